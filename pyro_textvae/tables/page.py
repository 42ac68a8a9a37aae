"""What was measured, as Markdown, CSV and a picture: a line a row, mean and standard deviation over seeds."""

import csv
import io
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyro_textvae.checkpoint import write_atomically
from pyro_textvae.run import Run
from pyro_textvae.tables.rows import Row, Spread, Table

FILES = ("table.md", "table.csv", "table.png")


@dataclass(frozen=True)
class Measured:
    """A finished run and what its table measured of it."""

    run: Run
    numbers: Mapping[str, float | list[float]]


@dataclass(frozen=True)
class Line:
    """What the finished runs of a row come to.

    measures              those of the table's numbers that all of its runs have
    seconds               of training a run, validation not counted
    seconds_per_example   the same for each training sentence that was seen
    time_ratio            to those of the table's timed row; None where it is not trained
    """

    row: Row
    runs: Sequence[str]
    seeds: Sequence[int]
    epochs: Sequence[int]
    measures: Mapping[str, Spread]
    verdicts: Sequence[str]
    seconds: float
    seconds_per_example: float
    time_ratio: float | None = None

    @classmethod
    def fitted(cls, row: Row, numbers: Mapping[str, float]) -> "Line":
        """Of what was not trained."""
        measures = {name: Spread(value, None) for name, value in numbers.items()}
        return cls(row, (), (), (), measures, (), seconds=0.0, seconds_per_example=0.0)

    @classmethod
    def of(cls, row: Row, measured: Sequence[Measured], sentences: int, timed: Sequence[Measured]) -> "Line":
        found, runs = [each.numbers for each in measured], [each.run for each in measured]
        per_example = statistics.fmean(_seconds_per_example(run, sentences) for run in runs)
        beside = [_seconds_per_example(each.run, sentences) for each in timed]
        return cls(
            row,
            runs=[str(run.directory) for run in runs],
            seeds=[run.recipe["seed"] for run in runs],
            epochs=[_epochs(run) for run in runs],
            measures={
                name: Spread.of([value for each in found for value in _listed(each[name])])
                for name in found[0]
                if all(name in each for each in found)
            },
            verdicts=[run.verdict.state for run in runs],
            seconds=statistics.fmean(_seconds(run) for run in runs),
            seconds_per_example=per_example,
            time_ratio=per_example / statistics.fmean(beside) if beside else None,
        )

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "row": self.row.name,
            "recipe": self.row.recipe,
            "options": dict(self.row.options),
            "init_from": self.row.init_from,
            "runs": list(self.runs),
            "seeds": list(self.seeds),
            "epochs": list(self.epochs),
            "measures": {name: asdict(each) for name, each in self.measures.items()},
            "verdicts": list(self.verdicts),
            "seconds": self.seconds,
            "seconds_per_example": self.seconds_per_example,
            "time_ratio": self.time_ratio,
            "published": {corpus: dict(numbers) for corpus, numbers in self.row.published.items()},
        }


def _listed(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def lines(table: Table, runs: Mapping[str, Sequence[Measured]], sentences: int) -> list[Line]:
    """A line for each row that has finished runs; `sentences` are those of the training split."""
    timed = runs.get(table.timed, ())
    return [Line.of(row, runs[row.name], sentences, timed) for row in table.rows if row.name in runs]


def _seconds(run: Run) -> float:
    return sum(row["seconds"] for stage in run.stages for row in stage.history)


def _epochs(run: Run) -> int:
    return sum(len(stage.history) for stage in run.stages)


def _seconds_per_example(run: Run, sentences: int) -> float:
    return _seconds(run) / (_epochs(run) * sentences)


# Markdown.


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    above, *below = ["| " + " | ".join(each) + " |" for each in (head, *body)]
    return [above, "|" + "---|" * len(head), *below]


def cells(table: Table, found: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Head and body of the table: ours, then the published numbers, in columns that say so."""
    measures = {
        name: title for name, title in table.measure.titles.items() if any(name in line.measures for line in found)
    }
    published = table.published_columns
    head = ["", *measures.values(), "verdict", "seeds", "epochs", "minutes", f"time an example / {table.timed}"]
    head += [f"paper's {corpus}: {measure}" for corpus, measure in published]
    body = [
        [
            line.row.name,
            *(str(line.measures[name]) if name in line.measures else "-" for name in measures),
            *((_counted(line.verdicts), str(len(line.seeds)), _range(line.epochs)) if line.runs else ("-",) * 3),
            f"{line.seconds / 60:.1f}" if line.runs else "-",
            "-" if line.time_ratio is None else f"{line.time_ratio:.2f}",
            *(line.row.published.get(corpus, {}).get(measure, "") for corpus, measure in published),
        ]
        for line in found
    ]
    return head, body


def columns(table: Table, found: Sequence[Line]) -> list[str]:
    """The lines of a short table for a terminal: of ours, what the measure calls short, the verdict and the time."""
    head, body = cells(table, found)
    time = next(title for title in head if title.startswith("time "))
    kept = [i for i, title in enumerate(head) if i == 0 or title in (*table.measure.short, "verdict", "seeds", time)]
    rows = [[row[i] for i in kept] for row in (head, *body)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _counted(states: Sequence[str]) -> str:
    """ "healthy" of all seeds; "2 healthy, 1 posterior collapse" where they differ."""
    counts = Counter(states).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{count} {state}" for state, count in counts)


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else f"{min(numbers)} to {max(numbers)}"


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(42), duration(600), duration(9000)
    ('1 min', '10 min', '2.5 h')
    """
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"


def page(table: Table, found: Sequence[Line], settings: Mapping[str, Any], pictured: bool) -> str:
    """table.md: settings, table, picture, notes. `settings` is what table.json holds."""
    corpus, shared = settings["corpus"], settings["shared"]
    splits, budget = corpus["splits"], table.budgets[settings["budget"]]
    done = {line.row.name for line in found}
    absent = [row.name for row in table.lines if row.name not in done]
    text = [
        f"# {table.title}",
        f"Corpus: {corpus['name']}, {splits['train']:,} sentences to train on, {splits['valid']:,} to choose the epoch "
        f"by, {splits['test']:,} that are measured; {corpus['vocabulary_size']:,} words. "
        f"Budget `{settings['budget']}`: {budget.summary}. Protocol `{settings['protocol']}`. "
        f"The same for every row: {_said(shared)}."
        + "".join(f" Only for {recipe}: {_said(options)}." for recipe, options in budget.caps.items()),
        f"{table.measure.about(settings)} Minutes are wall time of training a "
        "run, the ratio is of it for each sentence seen, so that it does not depend on how many epochs a row took; "
        "what else the machine did is in both. Columns of the paper are its own, on its own corpora and at its own "
        "sizes: no goal for ours.",
        "\n".join(markdown(*cells(table, found))),
        f"Not trained yet: {', '.join(absent)}." if absent else "",
        "![The table as a picture](table.png)" if pictured else "",
        "\n".join(f"- {note}" for note in table.notes),
        f"Source of the paper's numbers: {table.source}.",
    ]
    return "\n\n".join(part for part in text if part) + "\n"


def _said(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


# CSV and the picture.


def comma_separated(table: Table, found: Sequence[Line]) -> str:
    """table.csv: the same with every digit, names and units as in evaluation.json."""
    head = ["row", "recipe", "options", "init_from", "seeds", "epochs"]
    head += [f"{name}{end}" for name in table.measure.titles for end in ("", "_standard_deviation")]
    head += ["verdicts", "seconds_of_training", "seconds_per_example", f"time_per_example_over_{table.timed}"]
    head += [f"published_{corpus}_{measure}" for corpus, measure in table.published_columns]
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(head)
    for line in found:
        numbers: list[Any] = []
        for name in table.measure.titles:
            spread = line.measures.get(name)
            numbers += [spread.mean, spread.deviation] if spread else [None, None]
        writer.writerow(
            [
                *(line.row.name, line.row.recipe, json.dumps(dict(line.row.options)), line.row.init_from),
                *(len(line.seeds), _range(line.epochs) if line.runs else None, *numbers),
                *((_counted(line.verdicts), line.seconds, line.seconds_per_example) if line.runs else [None] * 3),
                line.time_ratio,
                *(line.row.published.get(corpus, {}).get(measure) for corpus, measure in table.published_columns),
            ]
        )
    return written.getvalue()


def write(table: Table, output: Path, found: Sequence[Line], settings: Mapping[str, Any]) -> None:
    """Write the three FILES; the picture where there is something to show."""
    from pyro_textvae.figures.style import save

    picture = table.measure.picture(
        {line.row.name: line.measures for line in found},
        {
            line.row.name: f"encoder from a pretrained {line.row.init_from.upper()}"
            if line.row.init_from
            else "from scratch"
            for line in found
        },
        f"{settings['corpus']['name']}, test; budget {settings['budget']}, protocol {settings['protocol']}",
    )
    write_atomically(output / "table.md", page(table, found, settings, picture is not None).encode())
    write_atomically(output / "table.csv", comma_separated(table, found).encode())
    if picture is not None:
        save(picture, output / "table.png")
