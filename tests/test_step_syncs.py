"""A training step asks the device for no number: on a GPU every such question makes the host wait for all before it.

On the CPU the questions are counted as the operations that ask them; where CUDA exists, torch itself watches.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_textvae.batch import Batch
from pyro_textvae.objective import Objective
from pyro_textvae.recipes import recipes
from tests.small import a_size, options_of, random_batch, roughen

# The operations whose result, or the shape of it, the host has to wait for.
QUESTIONS = (
    "_local_scalar_dense",
    "is_nonzero",
    "equal",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "repeat_interleave",
)


class Questions(TorchDispatchMode):
    """Counts the operations that make a host wait for its device."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in QUESTIONS:
            self.asked[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counted() -> Iterator[Counter[str]]:
    questions = Questions()
    with pyro.validation_enabled(False), questions:
        yield questions.asked


def objective_of(name: str, device: str = "cpu", **options: Any) -> Objective:
    wanted = options | options_of(name, variables=2, components=3)
    recipe = recipes()[name](a_size(vocabulary=40), **wanted)
    roughen(recipe.vae)
    return Objective(recipe.vae, recipe.objective).to(device).train()


def step(objective: Objective, batch: Batch) -> None:
    """What a training loop does with a batch, less the update itself."""
    objective(batch, 3).backward()
    nn.utils.clip_grad_norm_(objective.parameters(), 5.0)


CASES = [
    *((name, {}) for name in recipes()),
    *(("dem_vae", {"family": family}) for family in ("vmf", "shared variance", "full covariance", "bernoulli")),
    ("dvmf_mixture_vae", {"concentrations": "learnt"}),
    ("gm_vae", {"gamma": 0.7}),
    ("mi_constrained_vae", {"constrained": "information", "dual_rate": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_training_step_reads_no_number_back_from_the_device(name: str, options: dict[str, Any]) -> None:
    objective, batch = objective_of(name, **options), random_batch(6)
    with counted() as asked:
        step(objective, batch)
    assert not asked


def test_the_counter_sees_a_number_that_is_read_in_forward_and_in_backward() -> None:
    class Asks(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            assert x.item() == 1
            return x * 1

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            assert bool(gradient > 0)
            return gradient

    with counted() as asked:
        Asks.apply(torch.ones((), requires_grad=True)).backward()  # pyright: ignore[reportOptionalMemberAccess]
    assert sum(asked.values()) >= 2


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_training_step_on_cuda_never_makes_the_host_wait(name: str, options: dict[str, Any]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    objective, batch = objective_of(name, "cuda", **options), random_batch(6).to("cuda")
    with pyro.validation_enabled(False):
        step(objective, batch)  # the first allocates and chooses kernels
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(objective, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
