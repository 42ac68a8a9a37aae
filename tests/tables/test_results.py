"""The published tables: the commands on their pages beside what their numbers, the CSVs, are of."""

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
def test_the_commands_of_a_page_train_the_rows_and_seeds_and_epochs_of_its_numbers(page: Path):
    _, commands, _ = page.read_text(encoding="utf-8").split("```", 2)
    trained: dict[str, tuple[int, int]] = {}
    for command in commands.splitlines()[1:]:
        words = shlex.split(command)
        table = TABLES[words[2]]
        seeds, epochs = option(words, "--seeds"), option(words, "--epochs")
        budget = table.budgets[option(words, "--budget") or "small"]
        names = (option(words, "--rows") or ",".join(row.name for row in table.rows)).split(",")
        rows = {row.name: row for row in table.rows}
        assert set(names) <= rows.keys()
        for name in names:
            runs = max(trained.get(name, (0, 0))[0], int(seeds or rows[name].seeds))
            stages = 2 if rows[name].init_from else 1  # each of as many epochs
            trained[name] = runs, stages * int(epochs or budget.settings["epochs"])
    with page.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        numbers = [row for row in csv.DictReader(file) if row["seeds"] != "0"]  # 0 of those that nothing is trained for
    assert trained == {row["row"]: (int(row["seeds"]), int(row["epochs"])) for row in numbers}
