"""The commands: each a function whose signature is its options and whose docstring is its help.

What needs torch is imported when a command runs, so that help does not wait for it.
"""

import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, UseAppendAction, arg

from pyro_textvae.cli import options

if TYPE_CHECKING:
    from pyro_textvae.evaluation import Verdict
    from pyro_textvae.run import Run

FAILED_ON = 3

State = Literal[
    "collapse", "unhealthy", "posterior-collapse", "mode-collapse", "dead-components", "over-dispersed", "no-code"
]
AsJson = Annotated[bool, arg(name="json", help="print JSON, and only that, on standard output")]
RunDirectory = Annotated[Positional[Path], arg(metavar="RUN", help="a run's directory, as 'train' wrote it")]
Texts = Annotated[
    Positional[tuple[str, ...]],
    arg(metavar="TEXT", help="texts, each in quotes; without any, standard input is read, one a line"),
]
FailOn = Annotated[
    State | None,
    arg(help="exit with code 3 if the verdict is this; 'collapse': of either kind, 'unhealthy': anything but healthy"),
]
Seed = Annotated[int, arg(help="of the random numbers")]
MaxLength = Annotated[int, arg(help="most words of a text")]
Decoding = Annotated[str, arg(help="greedy (the likeliest word each time), beam, or sample")]
Temperature = Annotated[float, arg(help="of sampling: below 1 tamer, above 1 wilder")]


@dataclass(frozen=True)
class Answer:
    """What a command has to say: text for people, data for `--json`, its exit code, and a word on the side."""

    text: str
    data: Any
    as_json: bool = False
    code: int = 0
    warning: str = ""


def parse(command: Callable[..., Answer], name: str, arguments: Sequence[str]) -> Callable[[], Answer]:
    """Bind a command to its arguments, without running it. SystemExit(0) after help, SystemExit(2) on wrong usage."""

    @functools.wraps(command)
    def bound(*args: Any, **kwargs: Any) -> Callable[[], Answer]:
        return functools.partial(command, *args, **kwargs)

    return tyro.cli(
        bound, prog=f"pyro-textvae {name}", args=list(arguments), config=(FlagCreatePairsOff, DisallowNone)
    )


# Start here.


def demo(*, output: Path = Path("runs/demo"), seed: Seed = 0, as_json: AsJson = False) -> Answer:
    """Train six small mixtures side by side: which collapse, which do not, and why.

    On the embedded corpora, in about three minutes on one core. Run again, it goes on where it stopped and trains
    nothing twice.

    Args:
        output: the directory for its runs, table and picture
    """
    from pyro_textvae.demo import demo

    shown = demo(output, seed)
    return Answer(shown.text(), shown.data(), as_json)


def recipes(name: Annotated[Positional[str | None], arg(metavar="NAME")] = None, *, as_json: AsJson = False) -> Answer:
    """List the methods that can be trained, or explain one.

    Args:
        name: a recipe, to read all of its documentation and options
    """
    import inspect

    from pyro_textvae.recipes import recipes

    known = recipes()
    about = {
        each: {
            "summary": known.summary(each),
            "documentation": inspect.getdoc(known[each]) or "",
            "options": known.options(each),
        }
        for each in ([name] if name else known)
    }
    if name is None:
        lines = []
        for each, what in about.items():
            lines.append(f"{each:<13} {what['summary']}")
            if what["options"]:
                lines.append(" " * 14 + "  ".join(f"{option}={_plain(v)}" for option, v in what["options"].items()))
        lines += ["", "One of them in full: pyro-textvae recipes dem_vae"]
        return Answer("\n".join(lines), about, as_json)
    lines = [f"{name}: {about[name]['documentation']}"]
    titles = {
        "recipe": "its own options",
        "sizes": "sizes, of every recipe",
        "training": "training, of every recipe",
        "corpus": "corpus, of every recipe",
    }
    for group, known_options in options.every(name).items():
        if known_options:
            lines += ["", f"{titles[group]}:"]
        for option, (kind, default) in known_options.items():
            takes = "" if options.describe(kind) == "a value of another kind" else options.describe(kind)
            lines.append(f"  {f'{option}={_plain(default)}':<32} {takes}".rstrip())
    first = next(iter(about[name]["options"].items()), ("hidden", 256))
    lines += ["", f"to change one: pyro-textvae train {name} --set {first[0]}={_plain(first[1])}"]
    return Answer("\n".join(lines), about, as_json)


def train(
    model: Annotated[Positional[str], arg(metavar="RECIPE")] = "dem_vae",
    *,
    data: str = "toy",
    output: Path | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    settings: Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="NAME=VALUE")] = (),
    fail_on: FailOn = None,
    as_json: AsJson = False,
) -> Answer:
    """Train a recipe on a text, evaluate it, draw its pictures and judge it.

    For example: pyro-textvae train dem_vae --data reviews.txt --output runs/reviews --set dispersion=0.8

    Args:
        model: what to train; 'pyro-textvae recipes' lists them
        data: toy, toy-acts or toy-modes (embedded); a .txt (a sentence a line), .tsv (label, tab, text) or .jsonl file,
            or their .gz; a folder with train, valid and test of those; or a known corpus's name
        output: a new directory for the run; without one it goes to runs/RECIPE-DATA
        epochs: passes over the training text
        seed: of initial weights, order of batches, noise and the split of the text
        device: auto, cpu, cuda or cuda:1
        resume: go on with the unfinished run in --output, exactly where it stopped
        settings: an option of the recipe, the sizes, the training or the corpus; as often as needed.
            'pyro-textvae recipes RECIPE' lists them
    """
    given = options.parse(settings, model)
    from pyro_textvae.training import train

    one_thread()
    run = train(
        model, data, output=output, epochs=epochs, seed=seed, device=device, resume=resume, **given
    )
    where = run.directory
    text = "\n".join(
        [
            f"run      {where}",
            f"verdict  {run.verdict.state}",
            f"report   {where / 'report.md'}",
            f"metrics  {where / 'evaluation.json'}",
            f"figures  {where / 'figures'}",
            f"next     pyro-textvae sample {where}",
        ]
    )
    about = {"run": str(where), "recipe": run.name, "verdict": _verdict_data(run.verdict), "metrics": run.metrics}
    return _judged(text, about, run.verdict, fail_on, as_json)


# Is it good? Has it collapsed?


def verdict(run: RunDirectory, *, fail_on: FailOn = None, as_json: AsJson = False) -> Answer:
    """Say whether a run is healthy or has collapsed, why, and what to try."""
    judged = open_run(run).verdict
    return _judged(str(judged), _verdict_data(judged), judged, fail_on, as_json)


def evaluate(
    run: RunDirectory,
    *,
    split: str = "test",
    samples: int = 0,
    data: Path | None = None,
    batch_size: int = 64,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> Answer:
    """Measure a run: likelihood, KL, information, active units, clusters against labels.

    Args:
        split: train, valid or test of the corpus it was trained on
        samples: importance samples for the tighter bound, 500 for a paper; 0 leaves it out
        data: a text file of your own instead, a sentence a line; - is standard input
        batch_size: sentences at a time
    """
    texts = None if data is None else read_texts(data)
    measured = open_run(run).evaluate(split, samples=samples, seed=seed, data=texts, batch_size=batch_size)
    width = max(map(len, measured), default=0)
    return Answer("\n".join(f"{name:<{width}}  {number:.4f}" for name, number in measured.items()), measured, as_json)


def report(run: RunDirectory, *, as_json: AsJson = False) -> Answer:
    """Write a run's report: verdict, metrics, samples and pictures on one page."""
    path = open_run(run).report()
    return Answer(str(path), {"report": str(path)}, as_json)


def figures(run: RunDirectory, *, as_json: AsJson = False) -> Answer:
    """Draw a run's pictures anew."""
    paths = [str(path) for path in open_run(run).figures()]
    return Answer("\n".join(paths), {"figures": paths}, as_json)


def compare(
    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN", help="directories of runs, two or more")],
    *,
    output: Path | None = None,
    as_json: AsJson = False,
) -> Answer:
    """Put runs side by side, as a table and as a picture.

    Args:
        output: a file for the picture, such as compare.png or compare.pdf
    """
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} run came, but it takes two to compare: name their directories")
    opened = [open_run(each) for each in runs]
    from pyro_textvae import figures

    text = figures.compare_table(opened)
    about: dict[str, Any] = {
        str(run.directory): {"recipe": run.name, "verdict": _verdict_data(run.verdict), "metrics": run.metrics}
        for run in opened
    }
    if output is not None:
        figures.compare(opened).savefig(output)
        text += f"\n\npicture: {output}"
    return Answer(text, about, as_json)


# Texts and codes.


def sample(
    run: RunDirectory,
    *,
    count: int = 10,
    component: int | None = None,
    decoding: Decoding = "sample",
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    max_length: MaxLength = 40,
    as_json: AsJson = False,
) -> Answer:
    """Write new texts, from the whole prior or from one component of a mixture.

    Args:
        count: how many
        component: the number of the component, from 0
    """
    texts = open_run(run).sample(
        count,
        component,
        decoding=decoding,  # pyright: ignore[reportArgumentType]  (it says itself which are known)
        temperature=temperature,
        seed=seed,
        max_length=max_length,
    )
    return Answer("\n".join(texts), texts, as_json)


def encode(run: RunDirectory, texts: Texts = (), *, output: Path | None = None, as_json: AsJson = False) -> Answer:
    """Turn texts into codes: the means of their posteriors, as JSON or into an .npy file.

    Args:
        output: a file for the codes, an array (texts, dimensions): .npy or .json; without one they are printed as JSON
    """
    import numpy as np

    if output is not None and output.suffix not in (".npy", ".json"):
        raise ValueError(f"--output {output} came, but codes are written to a .npy or a .json file")
    codes = open_run(run).encode(read_texts(texts))
    if output is None:
        return Answer(json.dumps(codes.tolist()), codes.tolist(), as_json)
    if output.suffix == ".npy":
        np.save(output, codes)
    else:
        output.write_text(json.dumps(codes.tolist()) + "\n")
    text = f"{codes.shape[0]} codes of {codes.shape[1]} numbers: {output}"
    return Answer(text, {"output": str(output), "shape": list(codes.shape)}, as_json)


def assign(run: RunDirectory, texts: Texts = (), *, as_json: AsJson = False) -> Answer:
    """Say which component of a mixture each text belongs to."""
    given = read_texts(texts)
    components = open_run(run).assign(given).tolist()
    lines = [f"{_plain(component)}\t{text}" for component, text in zip(components, given, strict=True)]
    about = [{"text": text, "component": component} for component, text in zip(components, given, strict=True)]
    return Answer("\n".join(lines), about, as_json)


def reconstruct(
    run: RunDirectory,
    texts: Texts = (),
    *,
    decoding: Decoding = "greedy",
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    max_length: MaxLength = 40,
    as_json: AsJson = False,
) -> Answer:
    """Encode texts and write them again from their codes: what the code has kept."""
    given = read_texts(texts)
    again = open_run(run).reconstruct(
        given,
        decoding=decoding,  # pyright: ignore[reportArgumentType]
        temperature=temperature,
        seed=seed,
        max_length=max_length,
    )
    about = [{"text": text, "reconstruction": back} for text, back in zip(given, again, strict=True)]
    return Answer("\n".join(again), about, as_json)


def interpolate(
    run: RunDirectory,
    a: Annotated[Positional[str], arg(metavar="A", help="the first text, in quotes")],
    b: Annotated[Positional[str], arg(metavar="B", help="the second text, in quotes")],
    *,
    steps: int = 7,
    max_length: MaxLength = 40,
    as_json: AsJson = False,
) -> Answer:
    """Walk from the code of one text to that of another, and write what lies between.

    Args:
        steps: texts on the way, both ends counted
    """
    texts = open_run(run).interpolate(a, b, steps, max_length=max_length)
    return Answer("\n".join(texts), texts, as_json)


# What they share.


def open_run(directory: Path) -> "Run":
    """Open a run; a wrong path says which of the runs beside it may be meant."""
    from pyro_textvae.errors import did_you_mean
    from pyro_textvae.run import Run

    one_thread()
    if not directory.exists():
        beside = [str(path.parent) for path in sorted(directory.parent.glob("*/recipe.json"))]
        here = beside or [str(path.parent) for path in sorted(Path("runs").glob("*/recipe.json"))]
        known = f"; there are: {', '.join(here)}" if here else "; 'pyro-textvae train' makes one"
        raise FileNotFoundError(f"there is no run at {directory}{did_you_mean(str(directory), here)}{known}")
    return Run(directory)


def one_thread() -> None:
    """A small recurrent network is slower on two threads, which wait for each other, than on one."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def read_texts(given: Sequence[str] | Path) -> list[str]:
    """The texts on the command line, or one a line from standard input or from a file."""
    if isinstance(given, Path) and str(given) != "-":
        name, lines = str(given), _lines(given.open(encoding="utf-8"), str(given))
    elif not isinstance(given, Path) and given:
        return list(given)
    else:
        if sys.stdin.isatty():
            print("Reading texts, one a line; end with Ctrl-D.", file=sys.stderr)
        name, lines = "standard input", _lines(sys.stdin, "standard input")
    if not lines:
        raise ValueError(f"no text came: {name} is empty; give texts in quotes, or one a line")
    return lines


def _lines(file: Any, name: str) -> list[str]:
    try:
        with file:
            return [line.rstrip("\r\n") for line in file]
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 text ({error}): convert it, for example with iconv -t UTF-8") from error


def _judged(text: str, about: dict[str, Any], judged: "Verdict", fail_on: State | None, as_json: bool) -> Answer:
    failed = fail_on is not None and (
        fail_on == judged.state.replace(" ", "-")
        or (fail_on == "collapse" and judged.state.endswith("collapse"))
        or (fail_on == "unhealthy" and judged.state != "healthy")
    )
    warning = f"failed: the verdict is {judged.state}, and --fail-on is {fail_on}" if failed else ""
    return Answer(text, about, as_json, FAILED_ON if failed else 0, warning)


def _verdict_data(judged: "Verdict") -> dict[str, Any]:
    return {"state": judged.state, "reasons": list(judged.reasons), "advice": judged.advice}


def _plain(value: Any) -> str:
    """A value as --set takes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
