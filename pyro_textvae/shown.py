"""Numbers and tables as people read them: a mean with its deviation, rows in Markdown."""

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1; None of one value).

    >>> f"{Spread.of([0.5, 0.7]):.3f}", str(Spread.of([2.0]))
    ('0.600 ± 0.141', '2.00')
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __format__(self, form: str) -> str:
        return format(self.mean, form) + ("" if self.deviation is None else f" ± {format(self.deviation, form)}")

    def __str__(self) -> str:
        return f"{self:.2f}"


def markdown(head: Sequence[str], body: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The lines of a Markdown table; `right` are the columns of numbers, counted from 0.

    >>> print(*markdown(["a", "n"], [["b", "1"]], right=[1]), sep="\\n")
    | a | n |
    |---|---:|
    | b | 1 |
    """
    above, *below = ["| " + " | ".join(each) + " |" for each in (head, *body)]
    rule = "|" + "".join("---:|" if column in right else "---|" for column in range(len(head)))
    return [above, rule, *below]
