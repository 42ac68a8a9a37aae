"""What an update costs by each method of the BN-VAE table, against a VAE's: paired ratios of CPU time.

Every row of Table 1 at the sizes of a budget, on the same batches: forward, backward, clipping and the optimiser, once
for each batch of the training text. Agg-VAE is measured while its encoder leads; afterwards it costs what a VAE costs.
The rows that begin with an autoencoder cost what their others do and an autoencoder's training before it.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import measure
import torch
import tyro
from measure import Arm, Ratio
from torch import Tensor

from pyro_textvae.batch import Batch, Batches
from pyro_textvae.loop import move, resting
from pyro_textvae.objective import Objective
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size
from pyro_textvae.tables.rows import Row
from pyro_textvae.tables.zhu2020 import BUDGETS, PROTOCOLS, SCRATCH
from pyro_textvae.updates import Side

CLIP = 5.0
SIZES = [field.name for field in fields(Size)]


@dataclass(frozen=True)
class Result:
    """An update's cost over a VAE's, and a VAE's own in milliseconds of CPU."""

    row: str
    ratio: Ratio
    vae_milliseconds: float


def arm(row: Row, size: Size, capped: dict[str, int], precision: str) -> Arm:
    """One update of a row on a batch, as the training loop makes it."""
    torch.manual_seed(0)
    recipe = recipes()[row.recipe](size, **{**row.options, **capped})
    objective = Objective(recipe.vae, recipe.objective).train()
    parameters, still = list(objective.parameters()), resting(recipe.vae)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def moved(batch: Batch, side: Side) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = objective(batch, 10**9)
        return loss.detach(), move(loss, optimizer, parameters, CLIP, still[side])

    return Arm(row.name, lambda batch: recipe.updates(moved, batch, lambda: batch, []), lambda: None)


def main(
    rows: tuple[str, ...] = (),
    budget: str = "small",
    precision: str = "bfloat16",
    pairs: int = 8,
    json: Path | None = None,
) -> None:
    """Measure an update of each row against a VAE's.

    Args:
        rows: names of rows; all that are trained from scratch by default.
        budget: whose sizes.
        precision: float32, or bfloat16 autocast.
        pairs: how many batches, each a pair of two updates of both, ABBA.
        json: a file to write the numbers to.
    """
    measure.prepare()
    chosen = [row for row in SCRATCH if row.name != "VAE" and (not rows or row.name in rows)]
    (vae,) = (row for row in SCRATCH if row.name == "VAE")
    settings = {**BUDGETS[budget].settings, **PROTOCOLS["modern"]}
    size = Size(vocabulary=measure.VOCABULARY, **{name: settings[name] for name in SIZES if name in settings})
    batches = list(Batches(measure.sentences(42_068), settings["batch_size"], batching="bucketed"))[: pairs + 1]
    print(measure.machine())
    print(f"CPU time of an update over a VAE's: median [quartiles] of {pairs} pairs of 2 updates, ABBA; {precision}\n")
    print(measure.row(["row", "over a VAE's", "VAE, ms CPU"]))
    print(measure.row(["---"] * 3), flush=True)
    results: list[Result] = []
    for row in (vae, *chosen):  # the VAE against another VAE: the noise
        one, other = arm(vae, size, {}, precision), arm(row, size, BUDGETS[budget].cap(row.recipe), precision)
        for each in (one, other):
            each.seconds(batches[0])
        times = [measure.abba(one, other, batch) for batch in batches[1:]]
        ratio = Ratio.of(row.name, [b / a for a, b in times])
        milliseconds = 500 * sum(a for a, _ in times) / len(times)
        results.append(Result(row.name, ratio, milliseconds))
        print(measure.row([row.name, ratio, f"{milliseconds:.0f}"]), flush=True)
        measure.write_json(json, results)


if __name__ == "__main__":
    tyro.cli(main)
