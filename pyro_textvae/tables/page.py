"""What was measured, as Markdown, CSV and a picture: a line a row, mean and standard deviation over seeds."""

import csv
import io
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pyro_textvae.checkpoint import write_atomically
from pyro_textvae.optim import WITHOUT_EFFECT
from pyro_textvae.run import Run
from pyro_textvae.shown import Spread, markdown
from pyro_textvae.tables.rows import Row, Table
from pyro_textvae.training import options_of

FILES = ("table.md", "table.csv", "table.png")

Clock = Literal["cpu_seconds", "seconds"]
"""Columns of a run's history: CPU time and wall time."""

WALL: Mapping[Clock, str] = {"cpu_seconds": "", "seconds": " (wall)"}
"""What marks a time in the table."""


@dataclass(frozen=True)
class Measured:
    """A finished run and what its table measured of it."""

    run: Run
    numbers: Mapping[str, float | list[float]]


@dataclass(frozen=True)
class Line:
    """What the finished runs of a row come to.

    measures              those of the table's numbers that all of its runs have
    trained               sizes and options of training that all of its runs have
    clock                 of its time: "cpu_seconds", where all of its runs recorded them, or wall time, "seconds"
    seconds               of training a run, validation not counted
    seconds_per_example   the same for each training sentence that was seen
    time_ratio            to those of the table's timed row, by a clock that both have; None where it is not trained
    ratio_clock           that clock
    """

    row: Row
    runs: Sequence[str]
    seeds: Sequence[int]
    epochs: Sequence[int]
    measures: Mapping[str, Spread]
    verdicts: Sequence[str]
    trained: Mapping[str, Any]
    clock: Clock
    seconds: float
    seconds_per_example: float
    time_ratio: float | None = None
    ratio_clock: Clock = "seconds"

    @classmethod
    def fitted(cls, row: Row, numbers: Mapping[str, float]) -> "Line":
        """Of what was not trained."""
        measures = {name: Spread(value, None) for name, value in numbers.items()}
        return cls(row, (), (), (), measures, (), {}, "cpu_seconds", seconds=0.0, seconds_per_example=0.0)

    @classmethod
    def of(cls, row: Row, measured: Sequence[Measured], sentences: int, timed: Sequence[Measured]) -> "Line":
        found, runs = [each.numbers for each in measured], [each.run for each in measured]
        beside = [each.run for each in timed]
        clock, ratio_clock = _clock(runs), _clock([*runs, *beside])
        per_example = _seconds_per_example(runs, sentences, ratio_clock)
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
            trained=_common([_trained(run) for run in runs]),
            clock=clock,
            seconds=statistics.fmean(_seconds(run, clock) for run in runs),
            seconds_per_example=_seconds_per_example(runs, sentences, clock),
            time_ratio=per_example / _seconds_per_example(beside, sentences, ratio_clock) if beside else None,
            ratio_clock=ratio_clock,
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
            "clock": self.clock,
            "seconds": self.seconds,
            "seconds_per_example": self.seconds_per_example,
            "time_ratio": self.time_ratio,
            "ratio_clock": self.ratio_clock,
            "published": {corpus: dict(numbers) for corpus, numbers in self.row.published.items()},
        }


def _trained(run: Run) -> dict[str, Any]:
    """The sizes and options of training that a run's recipe reads and that a number of it depends on."""
    known = options_of(run.recipe["recipe"])
    read = [name for group in ("size", "training") for name in known[group] if name not in WITHOUT_EFFECT]
    return {name: value for name, value in (run.recipe["size"] | run.recipe["training"]).items() if name in read}


def _common(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of them say alike."""
    first, *others = settings
    return {name: value for name, value in first.items() if all((name, value) in each.items() for each in others)}


def _listed(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def lines(table: Table, runs: Mapping[str, Sequence[Measured]], sentences: int) -> list[Line]:
    """A line for each row that has finished runs; `sentences` are those of the training split."""
    timed = runs.get(table.timed, ())
    return [Line.of(row, runs[row.name], sentences, timed) for row in table.rows if row.name in runs]


def _clock(runs: Sequence[Run]) -> Clock:
    """CPU time, which other work on the machine does not enter, where every epoch of all of them has it."""
    rows = [row for run in runs for stage in run.stages for row in stage.history]
    return "cpu_seconds" if all("cpu_seconds" in row for row in rows) else "seconds"


def _seconds(run: Run, clock: Clock) -> float:
    return sum(row[clock] for stage in run.stages for row in stage.history)


def _epochs(run: Run) -> int:
    return sum(len(stage.history) for stage in run.stages)


def _seconds_per_example(runs: Sequence[Run], sentences: int, clock: Clock) -> float:
    return statistics.fmean(_seconds(run, clock) / (_epochs(run) * sentences) for run in runs)


# Markdown.


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
            f"{line.seconds / 60:.1f}{WALL[line.clock]}" if line.runs else "-",
            "-" if line.time_ratio is None else f"{line.time_ratio:.2f}{WALL[line.ratio_clock]}",
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
        f"The same for every row that has no other of its own: {_said(shared)}{_by_default(shared, found)}."
        + "".join(f" Only for {recipe}: {_said(options)}." for recipe, options in budget.caps.items()),
        f"{table.measure.about(settings)} Minutes are of training a run, the ratio is of them for each sentence seen, "
        "so that it does not depend on how many epochs a row took. They are CPU time; (wall) marks wall time, in which "
        "is what else the machine did: of a run on a GPU, or of one trained before CPU time was recorded. Columns of "
        "the paper are its own, on its own corpora and at its own sizes: no goal for ours.",
        "\n".join(markdown(*cells(table, found))),
        f"Not measured yet: {', '.join(absent)}." if absent else "",
        "What each row has of its own: "
        + "; ".join(f"{line.row.name} {_own(settings, line.row)}" for line in found)
        + ".",
        "![The table as a picture](table.png)" if pictured else "",
        "\n".join(f"- {note}" for note in table.notes),
        f"Source of the paper's numbers: {table.source}.",
    ]
    return "\n\n".join(part for part in text if part) + "\n"


def _by_default(shared: Mapping[str, Any], found: Sequence[Line]) -> str:
    """What all runs were trained with besides, so that it is known when defaults change."""
    trained = [line.trained for line in found if line.runs]
    common = _common(trained) if trained else {}
    left = {name: value for name, value in common.items() if name not in shared}
    return f"; of the protocol or by default {_said(left)}" if left else ""


def _own(settings: Mapping[str, Any], row: Row) -> str:
    """ "`gm_vae` variables=20, warm_up=1684": a warm-up is in updates."""
    own = settings["own"].get(row.name)
    if own is None:  # a line that is no run
        return f"is {row.recipe}"
    options = {name: value for name, value in own.items() if name != "recipe"}
    return " ".join([f"`{own['recipe']}`", _said(options)]).rstrip()


def _said(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


# CSV and the picture.


def comma_separated(table: Table, found: Sequence[Line]) -> str:
    """table.csv: the same with every digit, names and units as in evaluation.json."""
    head = ["row", "recipe", "options", "init_from", "seeds", "epochs"]
    head += [f"{name}{end}" for name in table.measure.titles for end in ("", "_standard_deviation")]
    head += ["verdicts", "clock", "seconds_of_training", "seconds_per_example"]
    head += [f"time_per_example_over_{table.timed}", "clock_of_that"]
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
                *(
                    (_counted(line.verdicts), line.clock, line.seconds, line.seconds_per_example)
                    if line.runs
                    else [None] * 4
                ),
                *(line.time_ratio, line.ratio_clock),
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
