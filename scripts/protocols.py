"""NLL by CPU time where the same rows of a table are trained by two protocols: a picture, and a table that it prints.

    python scripts/protocols.py runs/zhu2020/ptb-5 runs/zhu2020/ptb-protocol

Either folder is that of a table, trained by one protocol each; the rows that both have are compared, by seed 0. CPU
time is what else the machine did too: train both beside the same other work.
"""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Annotated

import tyro

from pyro_textvae import Run
from pyro_textvae.checkpoint import read_json
from pyro_textvae.figures.style import INK, LABEL_COLOURS, header, new_figure, plain, save
from pyro_textvae.shown import markdown
from pyro_textvae.tables import TABLES, Row

PICTURE = Path(__file__).parents[1] / "docs" / "results" / "zhu2020-protocols.png"
Folder = Annotated[Path, tyro.conf.Positional]


def main(first: Folder, second: Folder, output: Path = PICTURE) -> None:
    """Draw and print.

    Args:
        first: the folder of a table
        second: the folder of the same table by another protocol
        output: the picture
    """
    settings = {folder: read_json(folder / "table.json") for folder in (first, second)}
    curves = {told["protocol"]: _curves(folder) for folder, told in settings.items()}
    if len(curves) < 2:
        raise SystemExit(f"error: {first} and {second} are both of the protocol {next(iter(curves))!r}: give two")
    rows = [row for row in TABLES[settings[first]["table"]].rows if all(row.folder in each for each in curves.values())]
    figure = new_figure(9.2, 4.4)
    for axes, row in zip(figure.subplots(1, len(rows), sharey=True, squeeze=False)[0], rows, strict=True):
        plain(axes)
        for (protocol, of_rows), colour in zip(curves.items(), LABEL_COLOURS, strict=False):
            minutes, nll = zip(*of_rows[row.folder], strict=True)
            axes.plot(minutes, nll, "o-", color=colour, markersize=4, linewidth=1.3)
            beside = dict(xytext=(7, 0), textcoords="offset points", va="center", fontsize=9, color=colour)
            axes.annotate(f"{protocol}\n{nll[-1]:.1f}", (minutes[-1], nll[-1]), **beside)
        axes.set_title(row.name, fontsize=10, color=INK, loc="left")
        axes.set_xlabel("CPU minutes of training", fontsize=9.5, color=INK)
        axes.set_ylabel("NLL (ELBO) on valid, nats a sentence", fontsize=9.5, color=INK)
        axes.label_outer()
        axes.grid(color="#EEEEEE", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_xlim(0, 1.2 * axes.get_xlim()[1])
    header(figure, "How low, and how soon", "a point an epoch; seed 0")
    save(figure, output)
    print(*markdown(["row", "protocol", "epochs", "CPU minutes", "NLL on valid"], list(_lines(curves, rows))), sep="\n")


def _curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Each row's (CPU minutes so far, NLL on valid), an epoch each."""
    found = {}
    for directory in sorted(folder.glob("*/seed-0")):
        history = Run(directory).history
        minutes = accumulate(epoch["cpu_seconds"] / 60 for epoch in history)
        nll = (epoch["valid_nll_elbo_nats_per_sentence"] for epoch in history)
        found[directory.parent.name] = list(zip(minutes, nll, strict=True))
    return found


def _lines(curves: dict[str, dict[str, list[tuple[float, float]]]], rows: list[Row]) -> Iterator[list[str]]:
    for row in rows:
        for protocol, of_rows in curves.items():
            minutes, nll = of_rows[row.folder][-1]
            yield [row.name, protocol, str(len(of_rows[row.folder])), f"{minutes:.1f}", f"{nll:.2f}"]


if __name__ == "__main__":
    tyro.cli(main)
