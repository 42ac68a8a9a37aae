"""The command line: what Python says with `train` and a Run, said in a shell.

Standard output has a command's answer and nothing else, as text or (`--json`) as JSON; progress and errors go to
standard error. Exit codes: 0 done; 1 an error in what was given; 2 wrong usage; 3 `--fail-on` found the state it was
told of; 130 stopped by Ctrl-C.
"""

import contextlib
import inspect
import io
import json
import math
import os
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from pyro_textvae.cli import commands
from pyro_textvae.cli.arguments import parse
from pyro_textvae.errors import did_you_mean

WRONG_INPUT, WRONG_USAGE, FAILED_ON, INTERRUPTED = 1, 2, commands.FAILED_ON, 130

GROUPS = {
    "start here": (commands.demo, commands.recipes, commands.train, commands.table),
    "is it good? has it collapsed?": (
        commands.verdict,
        commands.evaluate,
        commands.generation,
        commands.report,
        commands.figures,
        commands.compare,
        commands.classify,
        commands.probe,
    ),
    "texts and codes": (
        commands.components,
        commands.topics,
        commands.sample,
        commands.encode,
        commands.assign,
        commands.reconstruct,
        commands.interpolate,
    ),
}
COMMANDS = {function.__name__: function for group in GROUPS.values() for function in group}

EXAMPLES = """\
  pyro-textvae demo
      four small runs in some minutes, and a picture of which collapsed
  pyro-textvae train dem_vae --data reviews.txt --output runs/reviews
      on a text of yours, a sentence a line; also .tsv, .jsonl or a folder
  pyro-textvae sample runs/reviews --count 5
      five new sentences like them"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        if arguments[1:]:
            return main([arguments[1], "--help"])
        print(_help())
        return 0 if arguments else WRONG_USAGE
    if arguments[0] in ("-V", "--version"):
        print(f"pyro-textvae {_version()}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        what = "option" if name.startswith("-") else "command"
        _say(
            f"error: unknown {what} {name!r}{did_you_mean(name, COMMANDS)}; the commands are: {', '.join(COMMANDS)}. "
            "What each does: pyro-textvae --help"
        )
        return WRONG_USAGE
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
    try:
        command = parse(COMMANDS[name], name, arguments)
    except SystemExit as stopped:  # --help is 0, wrong usage 2
        return stopped.code if isinstance(stopped.code, int) else WRONG_USAGE
    try:
        # What training says on its way is not the answer.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
            answer = command()
        print(json.dumps(_finite(answer.data), ensure_ascii=False) if answer.as_json else answer.text, flush=True)
    except KeyboardInterrupt as stopped:
        _say(_stopped(name, arguments, str(stopped)))
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough, as in `... | head`
        with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _mistakes() as error:
        _say(f"error: {_in_shell(str(error))}")
        return WRONG_INPUT
    if answer.warning:
        _say(answer.warning)
    return answer.code


IN_SHELL = {
    "resume=True": "--resume",
    "labels=[...]": "--label",
    "label=...": "--label",
    "evaluate(data=...)": "'evaluate RUN --data FILE'",
    "describe_components(data=...)": "'components RUN --data FILE'",
    "describe_topics(data=...)": "'topics RUN --data FILE'",
}
"""What messages advise in Python -> what a shell takes."""


def _in_shell(message: str) -> str:
    """A message on one line, its advice as a shell takes it, without the shapes that Pyro adds to what a model says."""
    message = message.partition("\nTrace Shapes:")[0]
    for python, shell in IN_SHELL.items():
        message = message.replace(python, shell)
    return " ".join(message.split())


def _mistakes() -> tuple[type[BaseException], ...]:
    """What the user can mend; anything else is ours, and keeps its traceback."""
    from pyro_textvae.training import Diverged

    return ValueError, OSError, ImportError, Diverged


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pyro-textvae")
    except PackageNotFoundError:
        return "from a source tree that is not installed"


def _help() -> str:
    lines = [
        "usage: pyro-textvae COMMAND [ARGUMENTS] | --help | --version",
        "",
        "Text VAEs that say when they collapse.",
    ]
    for title, group in GROUPS.items():
        lines += ["", f"{title}:"]
        for function in group:
            summary = (inspect.getdoc(function) or "").splitlines()[0]
            lines.append(f"  {function.__name__:<12} {summary}")
    return "\n".join(
        [
            *lines,
            "",
            "examples:",
            EXAMPLES,
            "",
            "pyro-textvae COMMAND --help explains a command; every command takes --json.",
        ]
    )


def _stopped(name: str, arguments: list[str], reason: str) -> str:
    """How to go on after Ctrl-C, as a command to paste."""
    if name in ("demo", "table"):
        again = shlex.join(["pyro-textvae", name, *arguments])
        return f"\nstopped. Finished runs are kept; go on where it stopped with:\n  {again}"
    if name != "train":
        return "\nstopped."
    directory = re.search(r"output=(.+)$", reason)  # train() says where it saved; it chose the place if none was given
    if directory and not any(re.match(r"--output(=|$)", argument) for argument in arguments):
        arguments = [*arguments, "--output", directory[1]]
    if "--resume" not in arguments:
        arguments = [*arguments, "--resume"]
    if not directory:
        return f"\nstopped{': ' + reason if reason else ''}. Where training had begun, --resume goes on with it."
    return f"\nstopped and saved. Go on where it stopped with:\n  {shlex.join(['pyro-textvae', name, *arguments])}"


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
