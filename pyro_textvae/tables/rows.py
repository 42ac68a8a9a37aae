"""What a table is: rows, budgets, protocols and a measure, as data. Nothing here trains."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pyro_textvae.errors import did_you_mean
from pyro_textvae.shown import Spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyro_textvae.corpus import Corpus
    from pyro_textvae.run import Run

GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "λ": "lambda"}


@dataclass(frozen=True)
class Row:
    """One line of a table: a method with its hyper-parameters, and what was published of it.

    name       what the line is called, as printed where it was published; it selects the row
    recipe     a recipe's name
    options    of train(): the recipe's own, and what this row alone changes
    shares     options that count updates, each as a share of all updates planned, so that they fit every budget
    init_from  what train() takes the encoder from before it begins ("ae"), or None
    seeds      how many runs the row is the mean of, where nothing else is asked for
    published  corpus -> measure -> number as printed
    """

    name: str
    recipe: str
    options: Mapping[str, Any] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    init_from: str | None = None
    seeds: int = 1
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The name as that of a folder, in letters of every keyboard; it selects the row as well.

        >>> Row("AE+δ-VAE (0.15)", "delta_vae").folder
        'ae+delta-vae-0.15'
        """
        name = self.name.lower()
        for greek, latin in GREEK.items():
            name = name.replace(greek, latin)
        kept = "".join(letter if letter.isalnum() or letter in "+.-_" else " " for letter in name)
        return "-".join(kept.split())

    def given(self, updates: int) -> dict[str, Any]:
        """The row's own options of train(), where `updates` are planned."""
        counted = {name: max(1, round(share * updates)) for name, share in self.shares.items()}
        return {**self.options, **counted, **({"init_from": self.init_from} if self.init_from else {})}


@dataclass(frozen=True)
class Fitted(Row):
    """A line that is no run but what a function finds out about the corpus, such as a distribution of its words.

    recipe  says what it is in place of one
    find    from the corpus to numbers of the table's measure; it is called once a table
    """

    find: Callable[["Corpus"], Mapping[str, float]] = lambda corpus: {}


@dataclass(frozen=True)
class Budget:
    """How large and how long, the same for every row.

    settings  options of train(): sizes, epochs, the corpus's
    samples   of what the table measures: importance samples of an NLL, or labelled subsets of an accuracy
    caps      recipe -> options of it that bound what its updates cost, where that is many times a VAE's
    """

    summary: str
    settings: Mapping[str, Any]
    samples: int
    caps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def cap(self, recipe: str) -> dict[str, Any]:
        return dict(self.caps.get(recipe, {}))


Found = Mapping[str, Mapping[str, Spread]]
"""Row -> number -> mean and deviation over seeds."""


class Measure(ABC):
    """What a table finds out about a trained run, and how it is shown.

    titles   number -> the column that it is shown in; a run that lacks one of them shows a dash
    short    titles of those that a terminal has room for
    """

    titles: ClassVar[Mapping[str, str]]
    short: ClassVar[Sequence[str]]

    def constants(self) -> Mapping[str, Any]:
        """What the numbers depend on beside run and samples, JSON-able: where it changes, runs are measured anew."""
        return {}

    def check(self, corpus: "Corpus") -> None:
        """Raise ValueError for a corpus that lacks what is measured, before anything is trained."""
        return

    @abstractmethod
    def numbers(self, run: "Run", samples: int) -> dict[str, float | list[float]]:
        """Measure the best weights, on test; a list where one run has a number for each of several draws.

        The run is evaluated on valid as well, by which its verdict goes.
        """

    @abstractmethod
    def about(self, settings: Mapping[str, Any]) -> str:
        """A paragraph that says what the columns are; `settings` is what table.json holds."""

    @abstractmethod
    def picture(self, found: Found, groups: Mapping[str, str], about: str) -> "Figure | None":
        """The rows' numbers as a picture, each row of a group; None where there is nothing to draw."""


@dataclass(frozen=True)
class Table:
    """Rows that share a corpus, a budget and a protocol.

    measure    what is measured of each
    protocols  name -> options of train(): how every row is optimised; the first is the default
    timed      the row whose time per example is 1
    fitted     lines above the rows that nothing is trained for
    notes      what a reader has to know to compare, a paragraph each
    """

    name: str
    title: str
    source: str
    rows: Sequence[Row]
    budgets: Mapping[str, Budget]
    protocols: Mapping[str, Mapping[str, Any]]
    measure: Measure
    timed: str = "VAE"
    notes: Sequence[str] = ()
    fitted: Sequence[Fitted] = ()

    def __post_init__(self) -> None:
        for what in ("name", "folder"):
            every = [getattr(row, what) for row in self.lines]
            twice = sorted({each for each in every if every.count(each) > 1})
            if twice:
                raise ValueError(f"two rows of table {self.name!r} have the {what} {twice[0]!r}: rename one")
        if divided := [row.name for row in self.lines if "," in row.name]:
            raise ValueError(
                f"row {divided[0]!r} of table {self.name!r} has a comma, by which --rows divides: rename it"
            )

    @property
    def lines(self) -> list[Row]:
        """What is fitted, and the rows."""
        return [*self.fitted, *self.rows]

    def choose(self, names: Sequence[str] | None) -> list[Row]:
        """The lines of these names (or folders) in the order of the table; all of them for None.

        Raises ValueError for another name, and for none at all.
        """
        known = {each: row for row in self.lines for each in (row.name, row.folder)}
        for name in names or ():
            if name not in known:
                raise ValueError(
                    f"table {self.name!r} has no row {name!r}{did_you_mean(name, known)}; its rows are: "
                    f"{', '.join(row.name for row in self.lines)}"
                )
        if names is not None and not names:
            raise ValueError("no row was asked for: name one, or leave rows out for all of them")
        return [row for row in self.lines if names is None or {row.name, row.folder} & set(names)]

    @property
    def published_columns(self) -> list[tuple[str, str]]:
        """(corpus, measure) of every number that some row was published with, corpus after corpus."""
        measures: dict[str, dict[str, None]] = {}
        for row in self.lines:
            for corpus, numbers in row.published.items():
                measures.setdefault(corpus, {}).update(dict.fromkeys(numbers))
        return [(corpus, measure) for corpus, names in measures.items() for measure in names]
