"""What a training step owes to its batches, to scoring real tokens alone, to bfloat16 and to a fused optimiser.

The network is `vae` with an LSTM, V = 10,000, embedding 256, latent 32; ratios of CPU time, below 1 where it gains.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import by_hand
import measure
import torch
import tyro
from measure import Arm, Ratio

from pyro_textvae.batch import Batch, Batches, Batching
from pyro_textvae.corpus import Split
from pyro_textvae.objective import Objective
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size

CHUNK = 8


def padding(batches: list[Batch]) -> float:
    """The share of positions that are padding."""
    return 1 - sum(batch.real.numel() for batch in batches) / sum(batch.targets.numel() for batch in batches)


def chunks(split: Split, batching: Batching) -> Iterator[list[Batch]]:
    """The batches of a split in chunks of CHUNK, each of which has short ones and long ones in equal shares."""
    batches = list(Batches(split, measure.SENTENCES_PER_BATCH, batching=batching))
    batches.sort(key=lambda batch: batch.real.numel())
    count = len(batches) // CHUNK
    for i in range(count):
        yield batches[i::count][:CHUNK]


def per_token(arm: Arm, split: Split, new: Batching, old: Batching) -> Ratio:
    """CPU time of a step for every real token, batches of one kind over those of another; a pair is a chunk of each."""
    ratios = []
    for chunk in zip(chunks(split, new), chunks(split, old), strict=True):
        seconds, tokens = [0.0, 0.0], [0, 0]
        for i, pair in enumerate(zip(*chunk, strict=True)):
            for which in (0, 1) if i % 2 else (1, 0):
                seconds[which] += arm.seconds(pair[which])
                tokens[which] += pair[which].real.numel()
        ratios.append(seconds[0] / tokens[0] / (seconds[1] / tokens[1]))
    return Ratio.of(f"{new} / {old} batches, per real token", ratios)


def main(quick: bool = False, hidden: int = 256, pairs: int = 8, json: Path | None = None) -> None:
    """Measure what batches, padding, precision and the optimiser do to a training step.

    Args:
        quick: few pairs, to see that it runs.
        hidden: width of the recurrent state.
        pairs: how many batches, each a pair of two steps of both arms.
        json: a file to write the numbers to.
    """
    measure.prepare()
    pairs = 2 if quick else pairs
    recipe = recipes()["vae"](Size(measure.VOCABULARY, 256, hidden, 32, cell="lstm"))
    objective = Objective(recipe.vae, recipe.objective).train()
    fused = torch.optim.AdamW(objective.parameters(), lr=1e-4, fused=True)
    loop = torch.optim.AdamW(objective.parameters(), lr=1e-4, foreach=False)

    def arm(
        loss: Callable[[Batch], torch.Tensor],
        optimizer: torch.optim.Optimizer = fused,
        precision: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Arm:
        def step(batch: Batch) -> None:
            with precision():
                value = loss(batch)
            value.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return Arm("step", step, lambda: None)

    def only_update(optimizer: torch.optim.Optimizer) -> Arm:
        def gradients() -> None:
            for parameter in objective.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.full_like(parameter, 1e-3)

        return Arm("update", lambda batch: optimizer.step(), gradients)

    ours = arm(lambda batch: objective(batch, 0))
    real = arm(lambda batch: by_hand.vae_loss(recipe.vae, batch))
    padded = arm(lambda batch: by_hand.vae_loss(recipe.vae, batch, padded=True))
    bfloat16 = arm(lambda batch: objective(batch, 0), precision=lambda: torch.autocast("cpu", torch.bfloat16))
    for_loop = arm(lambda batch: objective(batch, 0), loop)

    corpus = measure.sentences(42_068)
    paired, random = (
        list(Batches(corpus, measure.SENTENCES_PER_BATCH, batching=each))[:pairs] for each in ("paired", "random")
    )
    for way in (ours, real, padded, bfloat16, for_loop):
        way.seconds(paired[0])

    few = measure.sentences(measure.SENTENCES_PER_BATCH * CHUNK * (2 if quick else pairs), seed=1)
    results = [
        per_token(ours, few, "paired", "random"),
        per_token(ours, few, "bucketed", "random"),
        measure.paired("scored real tokens / all positions, random batches", padded, real, random),
        measure.paired("scored real tokens / all positions, paired batches", padded, real, paired),
        measure.paired("bfloat16 autocast / float32", ours, bfloat16, paired),
        measure.paired("fused AdamW / for-loop AdamW, whole step", for_loop, ours, paired),
        measure.paired("fused AdamW / for-loop AdamW, update alone", only_update(loop), only_update(fused), paired),
    ]
    fused.zero_grad(set_to_none=True)
    widest = max(random, key=lambda batch: batch.tokens.size(1))
    memory = {name: measure.peak_mebibytes(way, widest) for name, way in (("real", real), ("padded", padded))}

    print(measure.machine())
    print(f"vae, hidden {hidden}; ratios of CPU time, median [quartiles] of {pairs} pairs.\n")
    table = [("change", "new / old", "pairs"), ("---",) * 3, *((ratio.name, ratio, ratio.pairs) for ratio in results)]
    print("\n".join(measure.row(cells) for cells in table))
    print(f"\nPadding: {padding(paired):.1%} of positions in paired batches, {padding(random):.1%} in random ones.")
    print(
        f"Peak memory of the process on a random batch of {widest.tokens.size(1) - 1} positions: "
        f"{memory['real']:.0f} MiB scoring real tokens, {memory['padded']:.0f} MiB scoring all."
    )
    measure.write_json(json, results)


if __name__ == "__main__":
    tyro.cli(main)
