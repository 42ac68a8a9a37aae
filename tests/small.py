"""The small sizes, batches and programs that the tests of the model's parts share."""

import random
from typing import Any

import torch
from torch import Tensor, nn

from pyro_textvae.batch import Batch
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size

SENTENCES = [[4, 5, 6], [7, 8], [9], [4, 4, 4, 9, 5], [6, 7, 8]]
VOCABULARY = 12
MIXTURES = ("gm_vae", "dgm_vae", "dem_vae")
NOTHING_FREE: dict[str, dict[str, Any]] = {"free_bits_gm_vae": {"nats": 0.0, "nats_of_c": 0.0}}
"""Options of recipes of whose parameters some get no gradient as long as a KL is below its free bits."""


def a_size(**changes: Any) -> Size:
    sizes: dict[str, Any] = {"vocabulary": VOCABULARY, "embedding": 8, "hidden": 8, "latent": 3, "cell": "lstm"}
    return Size(**sizes | changes)


def a_batch(sentences: list[list[int]] = SENTENCES) -> Batch:
    return Batch.collate(sentences)


def random_batch(sentences: int, seed: int = 0, words: int = 40, lengths: tuple[int, int] = (4, 20)) -> Batch:
    """Sentences of words that fall off as Zipf's law has it."""
    generator = random.Random(seed)
    weights = [1 / rank for rank in range(1, words - 3)]
    return Batch.collate(
        [generator.choices(range(4, words), weights, k=generator.randint(*lengths)) for _ in range(sentences)]
    )


def roughen(module: nn.Module, scale: float = 0.3, seed: int = 0) -> None:
    """Move every parameter at random, as if trained: posteriors then differ between sentences and from the prior."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)


def options_of(name: str, **wanted: Any) -> dict[str, Any]:
    """Those of the wanted options that the recipe has."""
    return {option: value for option, value in wanted.items() if option in recipes().options(name)}


def gradients_of(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of every parameter, zeros where there is none; leaves none behind."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for name, parameter, gradient in zip(names, parameters, gradients, strict=True)
    }
