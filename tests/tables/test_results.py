"""The published tables: what their pages say beside what their numbers are of."""

import csv
import shlex
from pathlib import Path

import pytest

from pyro_textvae.tables import TABLES

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PAGES = sorted(page for page in RESULTS.glob("*.md") if page.with_suffix(".csv").exists())


def option(words: list[str], name: str) -> str | None:
    return words[words.index(name) + 1] if name in words else None


def test_there_are_pages():
    assert PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_train_the_rows_and_seeds_that_it_shows(page: Path):
    _, commands, _ = page.read_text(encoding="utf-8").split("```", 2)
    trained: dict[str, int] = {}
    for command in commands.splitlines()[1:]:
        words = shlex.split(command)
        names, seeds = option(words, "--rows"), option(words, "--seeds")
        for row in TABLES[words[2]].rows:
            if names is None or row.name in names.split(","):
                trained[row.name] = max(trained.get(row.name, 0), int(seeds) if seeds else row.seeds)
    with page.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        shown = {row["row"]: int(row["seeds"]) for row in csv.DictReader(file) if row["seeds"] != "0"}  # fitted
    assert trained == shown
