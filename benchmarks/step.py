"""A training step through our ELBO, and through pyro.infer.SVI, against a hand-written PyTorch loop: CPU time.

All arms train one network: the same parameters at the same addresses. The hand-written loss and ours are first shown
to be equal, with equal gradients, from the same noise. Arms alternate ABBA in one process.
"""

import copy
import gc
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import by_hand
import measure
import numpy as np
import pyro
import torch
import tyro
from measure import Arm, Ratio
from pyro.infer import SVI, TraceEnum_ELBO, TraceMeanField_ELBO
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_textvae.batch import Batch, Batches
from pyro_textvae.objective import Objective
from pyro_textvae.optim import JointOptim
from pyro_textvae.recipes import Recipe, recipes
from pyro_textvae.size import Size
from pyro_textvae.vae import MAX_PLATE_NESTING, TextVAE

EMBEDDING = 256
LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Model:
    """A recipe at a size, and how a hand would write its loss."""

    recipe: str
    latent: int
    by_hand: Callable[[TextVAE, Batch], Tensor]
    variables: int = 0
    components: int = 0

    @property
    def name(self) -> str:
        return self.recipe + (f" M={self.variables} K={self.components} D={self.latent}" if self.variables else "")

    def build(self, hidden: int, cell: Literal["lstm", "gru"]) -> Recipe:
        size = Size(measure.VOCABULARY, EMBEDDING, hidden, self.latent, cell=cell)
        mixture = dict(variables=self.variables, components=self.components, warm_up=0) if self.variables else {}
        return recipes()[self.recipe](size, **mixture)


MODELS = (
    Model("vae", 32, by_hand.vae_loss),
    Model("bn_vae", 32, by_hand.bn_vae_loss),
    Model("dem_vae", 2, by_hand.dem_vae_loss, variables=20, components=5),
    Model("dem_vae", 16, by_hand.dem_vae_loss, variables=1, components=10),
)


@dataclass(frozen=True)
class Result:
    """What was measured of one model at one size; memory is that of the process, on the longest batch."""

    model: str
    hidden: int
    ratios: list[Ratio]
    step_milliseconds: float
    tokens_per_second: float
    peak_mebibytes_by_hand: float
    peak_mebibytes_ours: float


def check(model: Model, recipe: Recipe, batch: Batch) -> None:
    """Hand-written and our loss and gradients must agree in float64, from the same noise."""
    ours = Objective(copy.deepcopy(recipe.vae), recipe.objective).double()
    parameters = dict(ours.named_parameters())
    # As the framework initialises them, posteriors are nearly equal and some gradients nearly nothing.
    with torch.no_grad():
        for parameter in parameters.values():
            parameter += 0.1 * torch.randn_like(parameter)
    torch.manual_seed(1)
    expected_loss = model.by_hand(ours.vae, batch)
    expected = torch.autograd.grad(expected_loss, list(parameters.values()))
    torch.manual_seed(1)
    loss = ours(batch, 0)
    got = torch.autograd.grad(loss, list(parameters.values()))
    torch.testing.assert_close(loss, expected_loss, rtol=1e-10, atol=0)
    for name, ours_gradient, gradient in zip(parameters, got, expected, strict=True):
        torch.testing.assert_close(ours_gradient, gradient, rtol=1e-7, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def torch_arm(name: str, loss: Callable[[Batch], Tensor], optimizer: torch.optim.Optimizer) -> Arm:
    """A loop as one writes it: backward, update, gradients to None."""

    def step(batch: Batch) -> None:
        loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return Arm(name, step, lambda: optimizer.zero_grad(set_to_none=True))


def svi_arm(name: str, vae: TextVAE, elbo: object, optimizer: type[PyroOptim]) -> Arm:
    def gradients() -> None:
        # As the optimiser leaves them: Pyro's own sets them to zeros, and the next backward adds to those.
        for parameter in vae.parameters():
            parameter.grad = None if optimizer is JointOptim else torch.zeros_like(parameter)

    svi = SVI(vae.model, vae.guide, optimizer(torch.optim.AdamW, {"lr": LEARNING_RATE, "fused": True}), elbo)
    return Arm(name, lambda batch: svi.step(batch), gradients)


def measured(model: Model, hidden: int, cell: Literal["lstm", "gru"], batches: list[Batch]) -> Result:
    measure.prepare()
    pyro.clear_param_store()
    gc.collect()
    recipe = model.build(hidden, cell)
    longest, rest = batches[0], batches[1:]
    check(model, recipe, rest[0])

    objective = Objective(recipe.vae, recipe.objective).train()
    # One optimiser for both loops: moments at the same addresses too.
    optimizer = torch.optim.AdamW(objective.parameters(), lr=LEARNING_RATE, fused=True)
    hand = torch_arm("by hand", lambda batch: model.by_hand(recipe.vae, batch), optimizer)
    again = torch_arm("by hand again", lambda batch: model.by_hand(recipe.vae, batch), optimizer)
    ours = torch_arm("our ELBO", lambda batch: objective(batch, 0), optimizer)
    for arm in (hand, ours):
        arm.seconds(rest[0])
    memory_by_hand = measure.peak_mebibytes(hand, longest)
    memory_ours = measure.peak_mebibytes(ours, longest)

    theirs = TraceEnum_ELBO if model.variables else TraceMeanField_ELBO
    svi = svi_arm("SVI.step, our ELBO", recipe.vae, recipe.objective, JointOptim)
    pyros = theirs(max_plate_nesting=MAX_PLATE_NESTING)
    svi_pyro = svi_arm(f"SVI.step, {theirs.__name__}", recipe.vae, pyros, PyroOptim)
    for arm in (again, svi, svi_pyro):
        arm.seconds(rest[0])

    ratios: dict[str, list[float]] = {arm.name: [] for arm in (again, ours, svi, svi_pyro)}
    hand_seconds, ours_seconds, tokens = [], 0.0, 0
    # SVI's arms take every second batch: their bar is wider, and a run should take minutes.
    for i, batch in enumerate(rest):
        for arm in (again, ours) if i % 2 else (again, ours, svi, svi_pyro):
            a, b = measure.abba(hand, arm, batch)
            ratios[arm.name].append(b / a)
            if arm is ours:
                hand_seconds.append(a / 2)
                ours_seconds += b
                tokens += 2 * batch.real.numel()
    return Result(
        model.name,
        hidden,
        [Ratio.of(name, values) for name, values in ratios.items()],
        1000 * float(np.median(hand_seconds)),
        tokens / ours_seconds,
        memory_by_hand,
        memory_ours,
    )


def main(
    quick: bool = False,
    hidden: tuple[int, ...] = (256, 512),
    models: tuple[str, ...] = ("vae", "bn_vae", "dem_vae"),
    cell: Literal["lstm", "gru"] = "lstm",
    pairs: int = 12,
    json: Path | None = None,
) -> None:
    """Measure a training step through our ELBO and through SVI against a hand-written loop.

    Args:
        quick: four pairs of the smallest size only, to see that it runs.
        hidden: widths of the recurrent state.
        models: which recipes.
        cell: the recurrent cell.
        pairs: how many batches, each a pair of two steps of every arm.
        json: a file to write the numbers to.
    """
    if quick:
        hidden, pairs = hidden[:1], 4
    measure.prepare()
    split = measure.sentences(42_068)
    batches = list(Batches(split, measure.SENTENCES_PER_BATCH, batching="bucketed"))
    chosen = [max(batches, key=lambda batch: batch.tokens.size(1)), *batches[:pairs]]
    print(measure.machine())
    print(f"Ratios of CPU time to the hand-written loop: median [quartiles] of {pairs} pairs of 2 steps, ABBA")
    print("(SVI: of half as many). By hand again is the same loop against itself: the noise.\n")
    head = ["model", "hidden", "by hand again", "our ELBO", "SVI.step, our ELBO", "SVI.step, Pyro's ELBO"]
    head += ["by hand, ms CPU", "ours, tokens/s CPU", "peak MiB by hand / ours"]
    print(measure.row(head))
    print(measure.row(["---"] * len(head)), flush=True)
    results = []
    for width in hidden:
        for model in MODELS:
            if model.recipe not in models:
                continue
            result = measured(model, width, cell, chosen)
            results.append(result)
            measure.write_json(json, results)
            memory = f"{result.peak_mebibytes_by_hand:.0f} / {result.peak_mebibytes_ours:.0f}"
            speed = [f"{result.step_milliseconds:.0f}", f"{result.tokens_per_second:.0f}", memory]
            print(measure.row([result.model, result.hidden, *result.ratios, *speed]), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of the whole process: {peak:.0f} MiB.")


if __name__ == "__main__":
    tyro.cli(main)
