"""The probes and the pictures of docs/results/xu2018.md, of runs that two tables of the vMF-VAE paper left.

    python scripts/xu2018_probes.py runs/xu2018/ptb runs/xu2018/concentrations

The outputs are of xu2018-ptb and of xu2018-concentrations. No model is trained. It writes four pictures and
xu2018-probes.md.
"""

from pathlib import Path
from typing import Annotated

import tyro

from pyro_textvae import Run, figures, load
from pyro_textvae.evaluation import BagOfWordsProbe, OrderSensitivity
from pyro_textvae.figures.style import save
from pyro_textvae.shown import Spread, markdown
from pyro_textvae.tables import Table
from pyro_textvae.tables.xu2018 import CONCENTRATIONS, SETTINGS, XU2018_CONCENTRATIONS, XU2018_PTB

RESULTS = Path(__file__).parents[1] / "docs" / "results"
HEAD = """# What the codes hold of a sentence

Of the inputless rows of [Penn Treebank](xu2018-ptb.md), by `python scripts/xu2018_probes.py MODELS SWEEP`; cosines on
test, ± over seeds. What they are of: [the probes](../probes.md)."""
PROBED = ("G-VAE inputless", "vMF-VAE inputless", "G-VAE-BoW inputless", "vMF-VAE-BoW inputless")


def main(
    models: Annotated[Path, tyro.conf.Positional],
    sweep: Annotated[Path, tyro.conf.Positional],
    output: Path = RESULTS,
) -> None:
    """Measure and draw.

    Args:
        models: the output of the table xu2018-ptb
        sweep: the output of the table xu2018-concentrations
        output: the folder of the pictures
    """
    swept = {row.name: runs_of(XU2018_CONCENTRATIONS, sweep, row.name)[0] for row in XU2018_CONCENTRATIONS.rows}
    columns = {
        f"NVRNN{setting}": [swept[f"vMF-VAE ({value:g}){setting}"] for value in CONCENTRATIONS] for setting in SETTINGS
    }
    for bound in ("elbo", "importance_tempered"):
        picture = figures.perplexity_map(columns, metric=f"perplexity_{bound}")
        save(picture, output / f"xu2018-map-{bound.split('_')[-1]}.png")
    inputless = {name: run for name, run in swept.items() if name.endswith(") inputless")}
    save(figures.tradeoff(inputless), output / "xu2018-tradeoff.png")

    probed = {name: runs_of(XU2018_PTB, models, name) for name in PROBED}
    orders = {name: [run.order_sensitivity() for run in runs] for name, runs in probed.items()}
    save(figures.order_sensitivity({name: of[0] for name, of in orders.items()}), output / "xu2018-order.png")
    bags = {name: [run.probe_bag_of_words() for run in runs] for name, runs in probed.items()}
    page = "\n".join([HEAD, "", *_of_bags(bags), "", *_of_orders(orders), ""])
    (output / "xu2018-probes.md").write_text(page, encoding="utf-8")
    print(page)


def runs_of(which: Table, output: Path, name: str) -> list[Run]:
    """The runs of a row, by seed."""
    (row,) = which.choose([name])
    runs = [load(directory) for directory in sorted((output / row.folder).glob("seed-*"))]
    if not runs:
        raise SystemExit(f"{output} has no run of the row {name!r}: train it with `pyro-textvae table {which.name}`")
    return runs


def _of_bags(bags: dict[str, list[BagOfWordsProbe]]) -> list[str]:
    head = ["row", "code → bag", "constant", "bag → code", "constant", "seeds"]
    body = []
    for name, found in bags.items():
        sides = ([each.code_to_bag for each in found], [each.bag_to_code for each in found])
        numbers = [(Spread.of([x.cosine for x in side]), Spread.of([x.constant for x in side])) for side in sides]
        body.append([name, *(f"{number:.3f}" for pair in numbers for number in pair), str(len(found))])
    return markdown(head, body)


def _of_orders(orders: dict[str, list[OrderSensitivity]]) -> list[str]:
    head = ["row", "neighbours exchanged, p = 0.1", "p = 1", "another sentence", "seeds"]
    body = []
    for name, found in orders.items():
        at = [dict(zip(each.probabilities, each.cosines, strict=True)) for each in found]
        numbers = [Spread.of([cosines[p] for cosines in at]) for p in (0.1, 1.0)]
        numbers.append(Spread.of([each.another_sentence for each in found]))
        body.append([name, *(f"{number:.3f}" for number in numbers), str(len(found))])
    return markdown(head, body)


if __name__ == "__main__":
    tyro.cli(main)
