"""table(): train the rows of a table that are missing, measure them on test, and write what was found.

OUTPUT/table.json       the settings, so that a table is never of two trainings
OUTPUT/ROW/seed-N       a run each, with what was measured of it in table_measurement.json
OUTPUT/fitted.json      the numbers of lines that are no runs
OUTPUT/ae/seed-N        the autoencoder that rows with init_from="ae" begin with, trained once for all of them
OUTPUT/table.md, table.csv, table.png
"""

import inspect
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pyro_textvae import protocols
from pyro_textvae.batch import Batches
from pyro_textvae.checkpoint import read_json, write_json
from pyro_textvae.corpus import Corpus
from pyro_textvae.errors import did_you_mean
from pyro_textvae.pretraining import AUTOENCODER
from pyro_textvae.recipes import recipes
from pyro_textvae.run import Run
from pyro_textvae.size import Size
from pyro_textvae.tables import page
from pyro_textvae.tables.rows import Budget, Fitted, Row, Table
from pyro_textvae.tables.shi2020 import SHI2020_DIALOG, SHI2020_PTB
from pyro_textvae.tables.xu2018 import XU2018_CONCENTRATIONS, XU2018_PTB, XU2018_YELP
from pyro_textvae.tables.xu2018_20ng import XU2018_20NG
from pyro_textvae.tables.zhu2020 import ZHU2020, ZHU2020_LABELS
from pyro_textvae.training import (
    MEASUREMENT,
    Diverged,
    Training,
    device_of,
    options_of,
    sorted_options,
    train,
    with_labels,
)

KNOWN = (
    ZHU2020,
    ZHU2020_LABELS,
    SHI2020_PTB,
    SHI2020_DIALOG,
    XU2018_PTB,
    XU2018_YELP,
    XU2018_CONCENTRATIONS,
    XU2018_20NG,
)
TABLES = {each.name: each for each in KNOWN}

FITTED = "fitted.json"

FORMAT = 1
"""Of table.json."""

DIFFERENCES = 6
"""As many are named where a table is resumed with other settings."""


@dataclass(frozen=True)
class Result:
    """A table as far as it is trained: where it lies, its lines (page.Line), and the runs that failed, with why."""

    output: Path
    table: Table
    lines: Sequence[page.Line]
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        return [path for name in page.FILES if (path := self.output / name).exists()]

    def text(self) -> str:
        """What was measured, in columns; where it all is; and what failed."""
        text = [*page.columns(self.table, self.lines), "", *map(str, self.files)] if self.lines else []
        return "\n".join([*text, *(f"{name}: {why}" for name, why in self.failed.items())])

    def data(self) -> dict[str, Any]:
        """The same, and all numbers, for JSON."""
        return {
            "output": str(self.output),
            "files": [str(path) for path in self.files],
            "lines": [line.data() for line in self.lines],
            "failed": dict(self.failed),
        }


def table(
    which: str | Table,
    data: Any,
    output: str | Path,
    *,
    budget: str = "small",
    protocol: str | None = None,
    rows: Sequence[str] | None = None,
    seeds: int | None = None,
    samples: int | None = None,
    device: str = "auto",
    progress: bool = True,
    **settings: Any,
) -> Result:
    """Train every row of a table into `output`, measure it on test, and write table.md, table.csv and table.png.

    which      a name of TABLES, or a Table of your own
    data       what train() takes; it needs a test split. A single file is split anew by each seed, alike for all rows
    budget     how large and how long, by its name in the table
    protocol   how rows are optimised, by its name in the table; None: the table's first
    rows       names of the rows to train; None: all of them. What is finished in `output` is in the table anyway
    seeds      train each row with seeds 0 to seeds - 1; None: as many as each row says for itself
    samples    importance samples; None: the budget's. With another number finished runs are measured anew, and what was
               measured with the number before is kept for when it is asked for again
    settings   options of train() that are to be other than the budget's and the protocol's, for every row that has none
               of its own: epochs=3

    Called again it goes on where it stopped, in the middle of a run if need be, and trains nothing twice; the files are
    written anew after each run, so Ctrl-C loses nothing. A run that diverges is reported, and the others go on.

    Raises ValueError before any training for names and values that are wrong, for recipes that are not there, and for
    an `output` that holds a table of other settings, naming what differs.
    """
    which = find(which)
    lines = which.choose(rows)
    chosen = [row for row in lines if not isinstance(row, Fitted)]
    plan = _plan(which, chosen, data, budget, protocol, seeds, samples, settings)
    output, where = Path(output), device_of(device)
    _claim(output, plan)
    _fit(which, [row for row in lines if isinstance(row, Fitted)], data, output, plan)
    todo = [(row, seed) for row in chosen for seed in range(row.seeds if seeds is None else seeds)]
    missing = [each for each in todo if _measurement(which, run_of(output, *each), plan.samples) is None]
    failed: dict[str, str] = {}
    began = time.monotonic()
    with tqdm(
        total=len(todo),
        initial=len(todo) - len(missing),
        desc=f"table {which.name}",
        unit="run",
        smoothing=0,  # the time left is by the mean of all runs: rows differ in what they cost
        disable=None if progress else True,
    ) as bar:
        for number, (row, seed) in enumerate(missing, start=1):
            bar.set_postfix_str(f"{row.name}, seed {seed}")
            try:
                of_all = dict(seed=seed, device=device, progress=progress)
                options = plan.options(row)
                if _shares_autoencoder(row):
                    options["init_from"] = autoencoder_of(output, seed)
                    trained("beta_vae", data, options["init_from"], **of_all, **AUTOENCODER | plan.shared)
                run = trained(row.recipe, data, run_of(output, row, seed), **of_all, **options)
                measured(which, run, plan.samples, where)
            except Diverged as error:
                failed[f"{row.name}, seed {seed}"] = str(error)
            except ValueError as error:
                raise ValueError(f"row {row.name!r}, seed {seed}: {error}") from error
            bar.update()
            _write(which, output, plan)
            if progress:
                what = "diverged" if f"{row.name}, seed {seed}" in failed else "done"
                left = len(missing) - number
                needed = page.duration((time.monotonic() - began) / number * left)
                tqdm.write(f"{row.name}, seed {seed}: {what}; {left} runs left" + (f", about {needed}" if left else ""))
    return Result(output, which, _write(which, output, plan), failed)


def find(which: str | Table) -> Table:
    """A known table by its name; raises ValueError for another."""
    if isinstance(which, str) and which not in TABLES:
        raise ValueError(f"unknown table {which!r}{did_you_mean(which, TABLES)}; there is: {', '.join(TABLES)}")
    return TABLES[which] if isinstance(which, str) else which


# Lines and runs.


def _fit(which: Table, lines: Sequence[Fitted], data: Any, output: Path, plan: "Plan") -> None:
    """Find the numbers of the lines that are no runs, those that are not known yet, into fitted.json."""
    known = _fitted(which, output)
    missing = [line for line in lines if line.name not in known]
    if missing:
        corpus, constants = _corpus(data, plan.shared), dict(which.measure.constants())
        for line in missing:
            known[line.name] = dict(line.find(corpus))
            write_json(
                output / FITTED,
                {name: {"constants": constants, "numbers": numbers} for name, numbers in known.items()},
            )


def _fitted(which: Table, output: Path) -> dict[str, dict[str, float]]:
    """The numbers that the measure, as it is now, found of the lines that are no runs."""
    found = read_json(output / FITTED) if (output / FITTED).exists() else {}
    constants = _jsonable(dict(which.measure.constants()))
    return {name: each["numbers"] for name, each in found.items() if each.get("constants") == constants}


def _corpus(data: Any, settings: Mapping[str, Any]) -> Corpus:
    of_corpus = inspect.signature(Corpus.open).parameters
    return Corpus.open(data, **{name: value for name, value in settings.items() if name in of_corpus})


def run_of(output: Path, row: Row, seed: int) -> Path:
    """The directory of a row's run."""
    return output / row.folder / f"seed-{seed}"


def autoencoder_of(output: Path, seed: int) -> Path:
    """The directory of the autoencoder that rows begin with."""
    return output / "ae" / f"seed-{seed}"


def _shares_autoencoder(row: Row) -> bool:
    """Whether a row begins with the autoencoder of all; one with sizes or training of its own pretrains for itself."""
    own = sorted_options(row.recipe, dict(row.options))
    return row.init_from == "ae" and not any(own[group] for group in ("size", "training", "corpus"))


def trained(recipe: str, data: Any, directory: Path, **options: Any) -> Run:
    """train(), resumed if it was begun, without the pictures and the report."""
    begun = (directory / "recipe.json").exists()
    return train(recipe, data, output=directory, resume=begun, finish=False, **options)


def measured(which: Table, run: Run, samples: int, device: Any) -> None:
    """Measure a run's best weights as its table does, into MEASUREMENT."""
    run.vae.to(device)
    asked = {"table": which.name, "samples": samples}
    others = [each for each in _measurements(run.directory) if not asked.items() <= each.items()]
    now = asked | {"constants": which.measure.constants(), "numbers": which.measure.numbers(run, samples)}
    write_json(run.directory / MEASUREMENT, {"measurements": [*others, now]})


def _measurements(directory: Path) -> list[dict[str, Any]]:
    """What was measured of a run, by each table and number of samples; one file had one before it had several."""
    path = directory / MEASUREMENT
    found = read_json(path) if path.exists() else {"measurements": []}
    return found.get("measurements", [found])


def _measurement(which: Table, directory: Path, samples: int) -> page.Measured | None:
    """What was measured of a run; None if it is not trained, or not measured yet as this table does."""
    wanted = {"table": which.name, "samples": samples, "constants": _jsonable(dict(which.measure.constants()))}
    for found in _measurements(directory):
        if wanted.items() <= found.items():
            return page.Measured(Run(directory), found["numbers"])
    return None


# What is to be trained.


@dataclass(frozen=True)
class Plan:
    """Everything a table's numbers depend on, ready to be compared with table.json.

    shared  options of train() that all rows have; own: those of each row, by its name, with its recipe
    """

    table: str
    budget: str
    protocol: str
    samples: int
    corpus: dict[str, Any]
    shared: dict[str, Any]
    own: dict[str, dict[str, Any]]

    def options(self, row: Row) -> dict[str, Any]:
        own = self.own[row.name]
        return self.shared | {name: value for name, value in own.items() if name != "recipe"}

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT} | vars(self)


def _plan(
    which: Table,
    chosen: Sequence[Row],
    data: Any,
    budget: str,
    protocol: str | None,
    seeds: int | None,
    samples: int | None,
    settings: Mapping[str, Any],
) -> Plan:
    """What each row is trained with, all of it checked."""
    protocol = next(iter(which.protocols)) if protocol is None else protocol
    for what, name, known in (("budget", budget, which.budgets), ("protocol", protocol, which.protocols)):
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}{did_you_mean(name, known)}; it is one of {', '.join(known)}")
    asked: Budget = which.budgets[budget]
    samples = asked.samples if samples is None else samples
    for what, number in (("seeds", seeds), ("samples", samples)):
        if number is not None and number < 1:
            raise ValueError(f"{what}={number} came, but at least 1 is needed")
    absent = {row.name: row.recipe for row in chosen if row.recipe not in recipes()}
    if absent:
        raise ValueError(
            f"{len(absent)} rows of table {which.name!r} need recipes that are not known here: "
            f"{', '.join(f'{recipe} ({name})' for name, recipe in absent.items())}; the others can be "
            f"asked for alone, as rows {','.join(row.name for row in chosen if row.name not in absent)!r}"
        )
    shared = {**asked.settings, **which.protocols[protocol], **settings}
    corpus = _corpus(data, shared)
    if not len(corpus.splits.get("test", ())):
        raise ValueError(f"{data} has no test split, on which a table is measured: add one, as test.txt in a folder")
    which.measure.check(corpus)
    # The batches are those of all recipes: any name will do.
    of_protocol = protocols.protocol(shared["protocol"])("vae", corpus) if "protocol" in shared else {}
    given = of_protocol | shared
    training = Training(**{name: given[name] for name in ("batch_size", "epochs", "batching") if name in given})
    batches = Batches(corpus.splits["train"], training.batch_size, batching=training.batching)
    updates = training.epochs * len(batches)
    every = {row.name: {"recipe": row.recipe} | row.given(updates) | asked.cap(row.recipe) for row in which.rows}
    for name in settings:
        if owners := _all_have_their_own(name, every):
            raise ValueError(
                f"{name}={settings[name]!r} was asked for, but every row of table {which.name!r} that has {name!r} has "
                f"its own ({', '.join(f'{row} {value!r}' for row, value in owners.items())}): leave it out, or train "
                "the recipe by itself"
            )
    own = {row.name: every[row.name] for row in chosen}
    summary = corpus.summary()
    about = {name: summary[name] for name in ("name", "sha256", "splits", "vocabulary_size")}
    plan = Plan(which.name, budget, protocol, samples, about, shared, own)
    for row in chosen:
        _check(row, corpus, plan.options(row))
    return plan


def _all_have_their_own(name: str, every: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What each row has of an option that no row would take from outside; none where one would."""
    owners = {row: own[name] for row, own in every.items() if name in own}
    others = {own["recipe"] for own in every.values() if name not in own}
    taken = any(name in known for recipe in others & set(recipes()) for known in options_of(recipe).values())
    return {} if taken else owners


def _check(row: Row, corpus: Corpus, options: dict[str, Any]) -> None:
    """Raise what train() would for wrong options, before any row is trained."""
    try:
        arguments = inspect.signature(train).bind(row.recipe, corpus, **options).arguments
        given = sorted_options(row.recipe, arguments.get("recipe_options", {}))
        Training(**given["training"] | {name: options[name] for name in ("epochs",) if name in options})
        size = replace(Size(vocabulary=8, **given["size"]), embedding=4, hidden=8, layers=1)
        with torch.random.fork_rng(devices=[]):
            recipes()[row.recipe](size, **with_labels(row.recipe, given["recipe"], corpus))
    except ValueError as error:
        raise ValueError(f"row {row.name!r}: {error}") from error


# What lies in the output.


def _claim(output: Path, plan: Plan) -> None:
    """Make the folder, or check that the table in it has these settings; rows that it has not yet are added."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"output {output} is a file, but a table is a directory: name one that is new or empty")
    path, now = output / "table.json", _jsonable(plan.to_json())
    if path.exists():
        before = read_json(path)
        differing = list(_differences(before, now))
        if differing:
            some = "; ".join(islice(differing, DIFFERENCES))
            more = f"; and {len(differing) - DIFFERENCES} more" if len(differing) > DIFFERENCES else ""
            raise ValueError(
                f"{output} holds a table of other settings: {some}{more}. Ask for the same, or name another output"
            )
        now["own"] = before["own"] | now["own"]
    elif output.exists() and any(output.iterdir()):
        raise ValueError(f"output directory {output} is not empty and holds no table: name one that is new or empty")
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, now)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What two tables' trainings differ in, in words; of rows, those that both have."""
    old, new = (_flat(each, before["own"].keys() & now["own"].keys()) for each in (before, now))
    return [
        f"{name}: {old.get(name)!r} then, {new.get(name)!r} now"
        for name in {**old, **new}
        if name != "samples" and old.get(name) != new.get(name)
    ]


def _flat(settings: dict[str, Any], rows: Collection[str]) -> dict[str, Any]:
    flat = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    flat |= {f"corpus {name}": settings["corpus"][name] for name in ("name", "sha256")}
    flat |= settings["shared"]
    return flat | {f"{name} of row {row!r}": value for row in rows for name, value in settings["own"][row].items()}


def _jsonable(value: dict[str, Any]) -> dict[str, Any]:
    """As it is read again: tuples are lists by then. Raises ValueError for what JSON does not know."""
    try:
        return json.loads(json.dumps(value))
    except TypeError as error:
        raise ValueError(f"the settings of a table cannot be written to table.json: {error}") from error


def finished_runs(which: Table, output: Path, samples: int) -> dict[str, list[page.Measured]]:
    """The finished runs of each row that has any, in the order of the table and of their seeds."""
    found: dict[str, list[page.Measured]] = {}
    for row in which.rows:
        numbers = (path.name.removeprefix("seed-") for path in (output / row.folder).glob("seed-*"))
        seeds = sorted(int(number) for number in numbers if number.isdigit())
        runs = [run for seed in seeds if (run := _measurement(which, run_of(output, row, seed), samples))]
        if runs:
            found[row.name] = runs
    return found


def _write(which: Table, output: Path, plan: Plan) -> list[page.Line]:
    known = _fitted(which, output)
    lines = [page.Line.fitted(row, known[row.name]) for row in which.fitted if row.name in known]
    lines += page.lines(which, finished_runs(which, output, plan.samples), plan.corpus["splits"]["train"])
    if lines:
        page.write(which, output, lines, read_json(output / "table.json"))
    return lines
