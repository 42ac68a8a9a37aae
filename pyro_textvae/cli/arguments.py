"""What commands take and give: their arguments' types, texts from a shell, runs by their directories, answers."""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, arg
from tyro.constructors import PrimitiveConstructorSpec

from pyro_textvae.errors import did_you_mean

if TYPE_CHECKING:
    from pyro_textvae.run import Run

State = Literal[
    "collapse", "unhealthy", "posterior-collapse", "mode-collapse", "dead-components", "over-dispersed", "no-code"
]
UNSET = arg(help_behavior_hint="")  # no "(default: None)" in the help
AsJson = Annotated[bool, arg(name="json", help="print JSON, and only that, on standard output", help_behavior_hint="")]
RunDirectory = Annotated[Positional[Path], arg(metavar="RUN", help="a run's directory, as 'train' wrote it")]
Texts = Annotated[
    Positional[tuple[str, ...]],
    arg(
        metavar="TEXT",
        help="texts, each in quotes; without any, standard input is read, one a line",
        help_behavior_hint="",
    ),
]
FailOn = Annotated[
    State | None,
    PrimitiveConstructorSpec(  # or else tyro would list None, which is what stands there without the option
        nargs=1,
        metavar="STATE",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: value is None or value in get_args(State),
        str_from_instance=lambda value: [str(value)],
        choices=get_args(State),
    ),
    arg(
        metavar="STATE",
        help=f"exit with code 3 if the verdict is {', '.join(get_args(State)[:-1])} or {get_args(State)[-1]}; "
        "'collapse' is of either kind, 'unhealthy' anything but healthy",
        help_behavior_hint="",
    ),
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

    return tyro.cli(bound, prog=f"pyro-textvae {name}", args=list(arguments), config=(FlagCreatePairsOff, DisallowNone))


def open_run(directory: Path) -> "Run":
    """Open a run; a wrong path says which of the runs beside it may be meant."""
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


def read_texts(given: Sequence[str] = ()) -> list[str]:
    """The texts on the command line, or one a line from standard input."""
    if given:
        return list(given)
    if sys.stdin.isatty():
        print("Reading texts, one a line; end with Ctrl-D.", file=sys.stderr)
    try:
        with sys.stdin:
            lines = [line.rstrip("\r\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"standard input is not UTF-8 text ({error}): convert it, for example with iconv -t UTF-8"
        ) from error
    if not lines:
        raise ValueError("no text came: standard input is empty; give texts in quotes, or one a line")
    return lines
