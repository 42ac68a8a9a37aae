"""Put a finished table among the results: its page, its numbers as CSV and its picture.

    python scripts/publish_table.py runs/zhu2020/ptb zhu2020-ptb

writes docs/results/zhu2020-ptb.md, .csv and, where the table has a picture, .png, with the commands that train and
measure the table.
"""

import csv
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from pyro_textvae.checkpoint import read_json
from pyro_textvae.tables import TABLES


def commands(settings: dict[str, Any], output: Path, seeds: dict[str, int]) -> list[str]:
    """What trains it; `seeds` are the runs of each row.

    What differs from the budget and the protocol is given by --set. Where rows have other numbers of runs than they
    would, or some were left out: one command for the fewest runs, and one for each larger number, which adds to it.
    """
    table = TABLES[settings["table"]]
    budget, protocol = table.budgets[settings["budget"]], table.protocols[settings["protocol"]]
    usual = {**budget.settings, **protocol}
    words = ["pyro-textvae", "table", table.name, "--data", "DIR", "--output", str(output)]
    words += ["--budget", settings["budget"], "--protocol", settings["protocol"]]
    words += ["--samples", str(settings["samples"])] if settings["samples"] != budget.samples else []
    for name, value in settings["shared"].items():
        if name not in usual or usual[name] != value:
            words += ["--epochs", str(value)] if name == "epochs" else ["--set", f"{name}={value}"]
    if seeds == {row.name: row.seeds for row in table.rows}:
        return [shlex.join(words)]
    calls = []
    for count in sorted(set(seeds.values())):
        rows = [name for name, runs in seeds.items() if runs >= count]
        some = ["--rows", ",".join(rows)] if len(rows) < len(table.rows) else []
        calls.append(shlex.join([*words, *some, "--seeds", str(count)]))
    return calls


def seeds_of(output: Path) -> dict[str, int]:
    """How many runs each trained row of a table has."""
    with (output / "table.csv").open(encoding="utf-8", newline="") as file:
        return {row["row"]: int(row["seeds"]) for row in csv.DictReader(file) if row["seeds"] != "0"}


def publish(output: Path, name: str, folder: Path) -> list[Path]:
    """Write the files of a table; returns their paths."""
    text = (output / "table.md").read_text(encoding="utf-8").replace("(table.png)", f"({name}.png)")
    head, rest = text.split("\n\n", 1)
    calls = "\n".join(commands(read_json(output / "table.json"), output, seeds_of(output)))
    page = f"{head}\n\n```sh\n{calls}\n```\n\n{rest}"
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.md"]
    written[0].write_text(page, encoding="utf-8")
    for source in (output / "table.csv", output / "table.png"):
        if source.exists():  # some tables have no picture
            written.append(folder / f"{name}{source.suffix}")
            written[-1].write_bytes(source.read_bytes())
    return written


@dataclass
class Arguments:
    output: Annotated[Path, tyro.conf.Positional]
    name: Annotated[str, tyro.conf.Positional]
    folder: Path = Path("docs/results")


def main(given: Arguments) -> int:
    try:
        print(*publish(given.output, given.name, given.folder), sep="\n")
    except OSError as error:
        print(f"publish_table: {error}: name the directory of a table that has been trained", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
