"""Updates: who moves at a training step. Most recipes move encoder and decoder together; some take turns."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pyro_textvae.batch import Batch

Side = Literal["both", "guide", "model"]
Move = Callable[[Batch, Side], tuple[Tensor, Tensor]]
"""One step of the optimiser on a batch, of both sides or of one: to the loss and the gradient's norm, before the step.

The guide's side is encoder and posterior, the model's prior and decoder. The gradient is clipped by the norm of both
sides, also when one of them rests."""


class Updates(ABC):
    """How one training batch changes the parameters."""

    @abstractmethod
    def __call__(
        self, move: Move, batch: Batch, another: Callable[[], Batch], rows: Sequence[dict[str, float]]
    ) -> tuple[Tensor, Tensor]:
        """Take the steps of one batch, by `move`; return what its last one returned.

        `another` draws a training batch at random, from the generator whose state checkpoints keep; `rows` are the
        rows of history, one a finished epoch. There is no other state, so a resumed run does what an unbroken one does.
        """


class Joint(Updates):
    """One step of both sides."""

    def __call__(
        self, move: Move, batch: Batch, another: Callable[[], Batch], rows: Sequence[dict[str, float]]
    ) -> tuple[Tensor, Tensor]:
        return move(batch, "both")


@dataclass(frozen=True)
class Aggressive(Updates):
    """The guide alone until it gains no more, then one step of the model alone (He et al. 2019).

    The guide steps on the batch, then on batches drawn at random. After every `block` steps the mean loss per predicted
    token of those is compared with that of the block before: when it got worse, or after `most` steps, the guide rests.

    All this only until the mutual information of the validation split, estimated in batches, is lower after an epoch
    than after the one before: from then on, both sides move together.
    """

    block: int = 15
    most: int = 99

    def __post_init__(self) -> None:
        for name in ("block", "most"):
            if getattr(self, name) < 1:
                raise ValueError(f"'{name}' is {getattr(self, name)}, but the guide takes at least one step")

    def __call__(
        self, move: Move, batch: Batch, another: Callable[[], Batch], rows: Sequence[dict[str, float]]
    ) -> tuple[Tensor, Tensor]:
        if not self.active(rows):
            return move(batch, "both")
        before, losses, tokens, ahead = float("inf"), [], 0, batch
        for step in range(1, self.most + 1):
            loss, _ = move(ahead, "guide")
            losses.append(loss * len(ahead))
            tokens += ahead.real.numel()
            if step % self.block == 0:
                now = torch.stack(losses).sum().item() / tokens
                if not now <= before:
                    break
                before, losses, tokens = now, [], 0
            ahead = another()
        return move(batch, "model")

    @staticmethod
    def active(rows: Sequence[dict[str, float]]) -> bool:
        """Whether the mutual information has never fallen yet."""
        information = [0.0, *(row["valid_mutual_information_in_batch_nats"] for row in rows)]
        return all(later >= earlier for earlier, later in itertools.pairwise(information))


@dataclass(frozen=True)
class Alternating(Updates):
    """By turns the model alone for `epochs` epochs, then the guide alone for as many (Miao et al. 2016's code)."""

    epochs: int = 10

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"'epochs' is {self.epochs}, but a turn takes at least one epoch")

    def __call__(
        self, move: Move, batch: Batch, another: Callable[[], Batch], rows: Sequence[dict[str, float]]
    ) -> tuple[Tensor, Tensor]:
        return move(batch, "guide" if len(rows) // self.epochs % 2 else "model")


JOINT = Joint()
