"""The README cannot lag: its Python runs, its commands exist, its links lead somewhere.

A Python block that should not run here (a user's own file, an hour of training) says why, in the line above it:
`<!-- not run: reads a file of yours -->`. The others run top to bottom in one namespace, in an empty folder.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pyro_textvae.evaluation import Classification
from pyro_textvae.recipes import recipes

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FIRST_SCREEN = 40  # lines

FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: \S.*-->\s*$")


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of the first line of code, counted from 1
    runs: bool


@pytest.fixture(scope="module")
def text() -> str:
    if not README.exists():
        pytest.skip("there is no README.md yet")
    return README.read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    return [
        Block(
            match["language"],
            match["code"],
            text.count("\n", 0, match.start("code")) + 1,
            runs=not NOT_RUN.search(text[: match.start()]),
        )
        for match in FENCE.finditer(text)
    ]


def commands(text: str, program: str) -> list[list[str]]:
    """Every call of `program` in the README's code, fenced or inline, as its words (without the program)."""
    prose = FENCE.sub("", text)
    lines = [line for block in blocks(text) if block.language != "python" for line in block.code.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", prose)
    calls = [
        re.match(rf"(?:\$ )?(?:\w+=\S+ )*(?:\.venv/bin/)?{program}(?: +(.*))?$", line.partition("#")[0].rstrip())
        for line in lines
    ]
    return [(call[1] or "").split() for call in calls if call]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_python_of_the_readme_runs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes(), "_known", dict(recipes()._known))  # its own recipe is not the other tests'
    namespace: dict[str, object] = {"__name__": "__readme__"}
    for block in blocks(text):
        if block.language == "python" and block.runs:
            # Moved down to its own line, so that a traceback points into the README.
            exec(compile("\n" * (block.line - 1) + block.code, str(README), "exec"), namespace)
    # What it says of its few labels is so.
    found, sentence = namespace["found"], "lawyers cite the legal verdict in the courtroom"
    assert isinstance(found, Classification) and f'found.predict(["{sentence}"])  # ["law"]' in text
    assert found.predict([sentence]) == ["law"]


def test_the_first_screen_has_both_commands(text: str):
    first = "\n".join(text.splitlines()[:FIRST_SCREEN])
    missing = [command for command in ("make demo", "make test") if command not in first]
    assert not missing, f"{missing} should stand in the first {FIRST_SCREEN} lines of README.md"


def test_every_make_target_of_the_readme_exists(text: str):
    named = {word for call in commands(text, "make") for word in call if "=" not in word and not word.startswith("-")}
    assert named, "README.md names no make target in its code: has the form of its commands changed?"
    assert not named - make_targets(), f"README.md names make {sorted(named - make_targets())}; the Makefile has none"


def test_every_command_of_the_readme_and_its_options_exist(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from pyro_textvae.cli import main

    monkeypatch.setenv("COLUMNS", "200")
    options: dict[str, set[str]] = {}
    for call in commands(text, "pyro-textvae"):
        words = [word for word in call if not word.startswith("-")]
        flags = {word.partition("=")[0] for word in call if word.startswith("--")}
        options.setdefault(words[0] if words else "", set()).update(flags)
    assert options, "README.md names no pyro-textvae command in its code: has the form of its commands changed?"
    wrong = []
    for command, flags in options.items():
        monkeypatch.setattr(sys, "argv", ["pyro-textvae", *([command] if command else []), "--help"])
        with pytest.raises(SystemExit) as stopped:
            sys.exit(main())
        captured = capsys.readouterr()
        help_text = captured.out + captured.err
        if stopped.value.code not in (None, 0):
            wrong.append(f"'pyro-textvae {command} --help' ends with {stopped.value.code}: {help_text}")
        else:
            wrong += [f"pyro-textvae {command} has no {flag}" for flag in sorted(flags) if flag not in help_text]
    assert not wrong, "README.md, but:\n" + "\n".join(wrong)


def test_every_recipe_has_its_row_in_the_readme_with_its_options(text: str):
    from pyro_textvae import recipes

    missing = []
    for name in recipes():
        if recipes()[name].__module__ != "pyro_textvae.recipes":  # the README makes one of its own
            continue
        options = ", ".join(f"`{option}={default!r}`" for option, default in recipes().options(name).items())
        row = f"| `{name}` | {recipes().summary(name)} | {options} |"
        missing += [] if row in text.splitlines() else [row]
    assert not missing, "README.md lacks these rows of its table:\n" + "\n".join(missing)


def test_the_links_of_the_readme_lead_to_files(text: str):
    targets = re.findall(r"\]\(([^)#\s]+)", FENCE.sub("", text)) + re.findall(r'(?:src|href)="([^"#]+)"', text)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert not missing, f"README.md points to {missing}, which are not in the repository"
