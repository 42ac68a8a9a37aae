"""The demo: which mixtures collapse, and what keeps them from it, in small runs side by side.

Two questions, each on an embedded corpus whose true entropy is known; the second is asked with `modes`:

    toy         with and without dispersion, with and without mutual information: what finds the topics?
    toy-modes   do modes collapse although z stays informative? The case that dispersion is made for (Shi et al. 2020)
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pyro_textvae.checkpoint import read_json
from pyro_textvae.corpus import Corpus
from pyro_textvae.recipes import recipes
from pyro_textvae.run import Run
from pyro_textvae.size import Size
from pyro_textvae.training import Training, train


@dataclass(frozen=True)
class Experiment:
    """One run of the demo: a recipe on an embedded corpus, and the options that differ from the recipe's own."""

    name: str
    recipe: str
    corpus: str
    options: dict[str, Any] = field(default_factory=dict)


# Small enough for some minutes on one core, large enough that the collapse is the method's and not the training's.
TOY: dict[str, Any] = {"epochs": 12, "batch_size": 64, "latent": 8, "hidden": 96, "warm_up": 300}
MODES: dict[str, Any] = {"epochs": 12, "batch_size": 64, "latent": 8, "hidden": 96, "warm_up": 150}
NEITHER = {"mutual_information": 0.0}
INFORMATION = {"mutual_information": 1.0}
DISPERSION = {"dispersion": 0.8, "mutual_information": 0.0}
BOTH = {"dispersion": 0.8, "mutual_information": 1.0}

EXPERIMENTS = (
    Experiment("gm_vae", "gm_vae", "toy", TOY | NEITHER),
    Experiment("gm_vae-information", "gm_vae", "toy", TOY | INFORMATION),
    Experiment("dgm_vae", "dgm_vae", "toy", TOY | DISPERSION),
    Experiment("dem_vae", "dem_vae", "toy", TOY | BOTH),
)
"""With and without dispersion, with and without mutual information."""

MODES_EXPERIMENTS = (
    Experiment("gm_vae", "gm_vae", "toy-modes", MODES | NEITHER),
    Experiment("dgm_vae", "dgm_vae", "toy-modes", MODES | DISPERSION),
)
"""Where modes collapse although z stays informative."""


@dataclass(frozen=True)
class Shown:
    """What the demo has to show: its runs in the order of the experiments, and the pictures over them."""

    output: Path
    experiments: tuple[Experiment, ...]
    runs: tuple[Run, ...]
    pictures: tuple[Path, ...]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One row a run: what was trained, where it is, and the numbers of the table, on the validation split."""
        return [_row(experiment, run) for experiment, run in zip(self.experiments, self.runs, strict=True)]

    def text(self) -> str:
        """The table and where everything is."""
        lines: list[str] = []
        for corpus in dict.fromkeys(experiment.corpus for experiment in self.experiments):
            rows = [row for row in self.rows if row["corpus"] == corpus]
            lines += [f"{corpus}, whose true entropy is {rows[0]['entropy']:.2f} nats a sentence:", ""]
            lines += [*_table(rows), ""]
        lines += [
            "KL, I(c;x): nats a sentence that the code and its component tell. Spread: how far apart the components'",
            "means lie. Homogeneity: with the planted label that the components agree with most, 0 to 1 (by chance).",
            "Where I(c;x) is 0.00 it reads the last trace of what q(c|x) prefers.",
            "NLL: the ELBO, nats a sentence; in expectation no model is below the true entropy.",
            "",
            "pictures side by side",
            *(f"  {picture}" for picture in self.pictures),
            "each run: weights, evaluation.json (metrics), metrics.jsonl (each epoch), figures/, report.md",
            *(f"  {run.directory}" for run in self.runs),
            "why one of them is as it is",
            f"  pyro-textvae verdict {self.runs[0].directory}",
        ]
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """The same for `--json`."""
        return {
            "output": str(self.output),
            "pictures": [str(picture) for picture in self.pictures],
            "runs": [row | {"metrics": run.metrics} for row, run in zip(self.rows, self.runs, strict=True)],
        }


def demo(
    output: str | os.PathLike[str] = "runs/demo",
    seed: int = 0,
    *,
    experiments: tuple[Experiment, ...] = EXPERIMENTS,
    progress: bool = True,
) -> Shown:
    """Train the experiments into `output` and put them side by side.

    A run that is finished there is used again and an unfinished one goes on; where settings or corpus have changed, a
    new numbered directory is taken. Raises ValueError where `output` is a file.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"output {output} is a file, but the demo needs a directory for its runs: name another")
    runs = []
    for number, experiment in enumerate(experiments, start=1):
        title = f"[{number}/{len(experiments)}] {experiment.name} on {experiment.corpus}"
        runs.append(_trained(experiment, output, seed, title, progress))
    return Shown(output, experiments, tuple(runs), tuple(_pictures(experiments, runs, output)))


def _trained(experiment: Experiment, output: Path, seed: int, title: str, progress: bool) -> Run:
    """The experiment's run: found finished, gone on with, or trained from the start."""
    corpus = Corpus.open(experiment.corpus, seed=seed)
    for directory in _numbered(output / f"{experiment.corpus}-{experiment.name}"):
        begun = (directory / "recipe.json").exists()
        if not begun and directory.exists() and any(directory.iterdir()):
            continue  # something else, or a run that was killed before it began
        if begun and not _is(directory, experiment, corpus, seed):
            continue
        if begun and (directory / "report.md").exists():  # the last thing that train() writes
            _say(f"{title}: finished before, used again from {directory}", progress)
            return Run(directory)
        _say(f"{title}: {'going on with' if begun else 'training into'} {directory}", progress)
        return train(
            experiment.recipe,
            experiment.corpus,
            output=directory,
            seed=seed,
            device="cpu",  # too small for a GPU to be faster
            resume=begun,
            progress=progress,
            **experiment.options,
        )
    raise AssertionError("there is always another number")


def _numbered(directory: Path) -> Iterator[Path]:
    yield directory
    for number in count(2):
        yield directory.with_name(f"{directory.name}-{number}")


def _is(directory: Path, experiment: Experiment, corpus: Corpus, seed: int) -> bool:
    """Whether the run that lies there was made of this experiment, defaults and corpus included."""
    recorded = read_json(directory / "recipe.json")
    own = recipes().options(experiment.recipe)
    given = experiment.options
    # Through JSON, as what was written went.
    wanted = json.loads(
        json.dumps(
            {
                "recipe": experiment.recipe,
                "options": own | {name: value for name, value in given.items() if name in own},
                "size": asdict(Size(len(corpus.vocabulary), **_of(Size, given))),
                "training": asdict(Training(**_of(Training, given))),
                "seed": seed,
            }
        )
    )
    del wanted["size"]["vocabulary"]
    same_corpus = read_json(directory / "corpus.json").get("sha256") == corpus.sha256
    return same_corpus and all(recorded.get(name) == value for name, value in wanted.items())


def _of(kind: type[Size] | type[Training], options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in kind.__dataclass_fields__}


def _pictures(experiments: tuple[Experiment, ...], runs: list[Run], output: Path) -> Iterator[Path]:
    from pyro_textvae import figures
    from pyro_textvae.figures.style import save

    for corpus in dict.fromkeys(experiment.corpus for experiment in experiments):
        beside = {
            experiment.name: run
            for experiment, run in zip(experiments, runs, strict=True)
            if experiment.corpus == corpus
        }
        yield save(figures.compare(beside), output / f"{corpus}.png")


def _row(experiment: Experiment, run: Run) -> dict[str, Any]:
    metrics = run.metrics["valid"]
    above = metrics["nll_elbo_above_entropy_nats_per_sentence"]
    chances = {name: value for name, value in metrics.items() if name.endswith("_chance")}
    clearest = max(chances, key=lambda name: metrics[name.removesuffix("_chance")] - chances[name])
    homogeneity = clearest.removesuffix("_chance")
    return {
        "corpus": experiment.corpus,
        "name": experiment.name,
        "run": str(run.directory),
        "kl": metrics["kl_nats_per_sentence"],
        "information": metrics["information_c_nats"],
        "spread": metrics["component_spread"],
        "label": homogeneity.removeprefix("homogeneity_"),
        "homogeneity": metrics[homogeneity],
        "chance": chances[clearest],
        "nll": metrics["nll_elbo_nats_per_sentence"],
        "entropy": metrics["nll_elbo_nats_per_sentence"] - above,
        "verdict": run.verdict.state,
    }


def _table(rows: list[dict[str, Any]]) -> list[str]:
    head = ["", "KL", "I(c;x)", "spread", "homogeneity", "NLL", "verdict"]
    body = [
        [
            row["name"],
            f"{row['kl']:.2f}",
            f"{row['information']:.2f}",
            f"{row['spread']:.2f}",
            f"{row['label']} {row['homogeneity']:.2f} ({row['chance']:.2f})",
            f"{row['nll']:.2f}",
            row["verdict"],
        ]
        for row in rows
    ]
    widths = [max(len(cells[column]) for cells in [head, *body]) for column in range(len(head))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if column in (0, len(head) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in [head, *body]
    ]


def _say(text: str, progress: bool) -> None:
    if progress:
        tqdm.write(text)
