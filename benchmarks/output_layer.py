"""The output layer with its cross-entropy against PyTorch's linear and cross_entropy: paired CPU times."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import measure
import torch
import tyro
from measure import Arm, Ratio
from torch import Tensor

from pyro_textvae.linear_cross_entropy import linear_cross_entropy, plain_linear_cross_entropy

TOKENS = 740  # of a batch of 32 sentences of Penn Treebank


@dataclass(frozen=True)
class Result:
    what: str
    precision: str
    width: int
    words: int
    ours_milliseconds: float
    plain: Ratio


def measured(train: bool, precision: torch.dtype, width: int, words: int, pairs: int) -> Result:
    inputs, weight = torch.randn(TOKENS, width), torch.randn(words, width) / width**0.5
    layer = [x.requires_grad_(train) for x in (inputs, weight, torch.randn(words))]
    targets = torch.randint(words, (TOKENS,))

    def arm(name: str, function: Callable[..., Tensor]) -> Arm:
        def step(_: int) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
                loss = function(*layer, targets).sum()
            if train:
                loss.backward()

        def before() -> None:
            for x in layer:
                x.grad = None

        return Arm(name, step, before)

    ours, plain = arm("ours", linear_cross_entropy), arm("plain", plain_linear_cross_entropy)
    for each in (ours, plain):
        each.seconds(0)
    ratio = measure.paired("plain", ours, plain, range(pairs))
    what = "loss and gradients" if train else "loss alone"
    milliseconds = 1000 * min(ours.seconds(0) for _ in range(5))
    return Result(what, str(precision).removeprefix("torch."), width, words, milliseconds, ratio)


def main(quick: bool = False, pairs: int = 16, json: Path | None = None) -> None:
    """Measure the output layer.

    Args:
        quick: four pairs of one size, to see that it runs.
        pairs: how many pairs of measurements a ratio is the median of.
        json: a file to write the numbers to.
    """
    sizes = [(64, 10_000), (256, 10_000), (512, 20_000), (64, 300)]
    if quick:
        sizes, pairs = sizes[-1:], 4
    measure.prepare()
    print(f"{measure.machine()}; {TOKENS} tokens\n")
    print(measure.row(["", "precision", "width", "words", "ours, ms", "PyTorch's over ours"]))
    print(measure.row(["---"] * 6))
    results = []
    for train in (True, False):
        for precision in (torch.float32, torch.bfloat16):
            for width, words in sizes:
                result = measured(train, precision, width, words, pairs)
                results.append(result)
                measure.write_json(json, results)
                found = (result.what, result.precision, width, words, f"{result.ours_milliseconds:.2f}", result.plain)
                print(measure.row(found), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
