"""Updates: who moves at a training step. Most recipes move encoder and decoder together; some take turns."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pyro_textvae.batch import Batch
from pyro_textvae.objective import TextELBO

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


class Multiplier(nn.Module):
    """The weight of a constraint, lambda, that dual ascent moves: a part of the model, so a run resumes with it.

    In evaluation mode it is `judging`, a constant, so that validation losses of different epochs compare. Raises
    ValueError for a `start` or a `rate` that is negative or no number.
    """

    value: Tensor

    def __init__(self, start: float, rate: float, judging: float) -> None:
        super().__init__()
        for name, given in (("start", start), ("rate", rate), ("judging", judging)):
            if not 0 <= given < math.inf:
                raise ValueError(f"{name!r} is {given!r}, but a multiplier's are finite and at least 0")
        self.rate, self.judging = rate, judging
        self.register_buffer("value", torch.tensor(float(start)))

    def forward(self, step: float) -> Tensor | float:
        """The weight, whatever the step."""
        return self.value if self.training else self.judging

    @torch.no_grad()
    def ascend(self, lacking: Tensor) -> None:
        """Up by `rate` times what is lacking, down where there is more than was asked for, never below 0."""
        self.value.add_(self.rate * lacking).clamp_(min=0)


@dataclass(frozen=True)
class DualAscent(Updates):
    """One step of both sides, then one of a constraint's multiplier: by what the batch lacked of `nats`, or had above.

    `reported` names what is constrained in the objective's report.
    """

    multiplier: Multiplier
    objective: TextELBO
    reported: str
    nats: float

    def __call__(
        self, move: Move, batch: Batch, another: Callable[[], Batch], rows: Sequence[dict[str, float]]
    ) -> tuple[Tensor, Tensor]:
        moved = move(batch, "both")
        if self.reported not in self.objective.report:
            raise ValueError(
                f"dual ascent finds no {self.reported!r} in the report of its objective, which was not what the step "
                "minimised: with another objective, make a DualAscent of that one"
            )
        self.multiplier.ascend(self.nats - self.objective.report[self.reported])
        return moved


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
