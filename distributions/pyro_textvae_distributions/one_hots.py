"""Several discrete variables as one vector of one-hots, their Gumbel-softmax relaxation, and vectors end to end."""

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import Distribution, register_kl


class OneHots(TorchDistribution):
    """N independent categorical variables of J classes each, as one-hot vectors laid end to end: N J numbers.

    `logits` is (*batch, N, J) and is normalised here; the event shape is (N J,). Log-probabilities are in nats.
    Raises ValueError for fewer than 2 classes.

    >>> OneHots(torch.zeros(2, 3)).log_prob(torch.tensor([1.0, 0, 0, 0, 0, 1]))  # - 2 ln 3
    tensor(-2.1972)
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 2)}  # pyright: ignore[reportAssignmentType]
    support = constraints.independent(constraints.unit_interval, 1)  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        if logits.dim() < 2 or logits.size(-1) < 2:
            raise ValueError(
                f"'logits' has shape {tuple(logits.shape)}, but it is (..., variables, classes) with at least 2 classes"
            )
        self.logits = logits.log_softmax(-1)
        shape = torch.Size([logits.size(-2) * logits.size(-1)])
        super().__init__(logits.shape[:-2], shape, validate_args=validate_args)

    def expand(self, batch_shape: torch.Size | Sequence[int], _instance: Any = None) -> "OneHots":
        new: Any = self._get_checked_instance(OneHots, _instance)
        batch_shape = torch.Size(batch_shape)
        new.logits = self.logits.expand(batch_shape + self.logits.shape[-2:])
        super(OneHots, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def probs(self) -> Tensor:
        """Probability of every class of every variable, (*batch, N, J)."""
        return self.logits.exp()

    @property
    def mean(self) -> Tensor:
        return self.probs.flatten(-2)

    @property
    def variance(self) -> Tensor:
        return (self.probs * (1 - self.probs)).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return (value.unflatten(-1, self.logits.shape[-2:]) * self.logits).sum((-2, -1))

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw one-hots, exactly."""
        return _vertex(self._perturbed(sample_shape)).flatten(-2)

    def _perturbed(self, sample_shape: torch.Size | Sequence[int]) -> Tensor:
        """Logits with Gumbel noise on each, whose largest is a class drawn with its probability: (*sample, N, J)."""
        logits = self.logits.expand(torch.Size(sample_shape) + self.logits.shape)
        return logits - torch.empty_like(logits, memory_format=torch.contiguous_format).exponential_().log()


def _vertex(scores: Tensor) -> Tensor:
    """One-hot of the largest along the last axis. (torch's own one_hot asks the device for the range of the index.)"""
    return torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), 1.0)


class GumbelSoftmax(OneHots):
    """OneHots whose reparameterised draws are relaxed: softmax((logits + Gumbel noise) / temperature).

    Sources: Jang et al. 2017, Maddison et al. 2017.

    With `straight_through` a draw is a one-hot, exactly distributed, and its gradient that of the relaxed one. Either
    gradient is biased, the less the lower the temperature, and the more it varies. `sample` draws true one-hots;
    log-probability, mean and KL are those of the discrete variables. Raises ValueError for a temperature that is not
    positive.
    """

    has_rsample = True

    def __init__(
        self,
        logits: Tensor,
        temperature: float = 1.0,
        straight_through: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        if not temperature > 0:
            raise ValueError(
                f"'temperature' is {temperature!r}, but that of a Gumbel-softmax is positive: 1.0 is usual"
            )
        self.temperature, self.straight_through = temperature, straight_through
        super().__init__(logits, validate_args)

    def expand(self, batch_shape: torch.Size | Sequence[int], _instance: Any = None) -> "GumbelSoftmax":
        new: Any = self._get_checked_instance(GumbelSoftmax, _instance)
        new.temperature, new.straight_through = self.temperature, self.straight_through
        super().expand(batch_shape, new)
        return new

    def rsample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        scores = self._perturbed(sample_shape) / self.temperature
        soft = scores.softmax(-1)
        # The difference is 0 exactly, so that what comes is a vertex to the last bit.
        value = _vertex(scores) + (soft - soft.detach()) if self.straight_through else soft
        return value.flatten(-2)


@register_kl(OneHots, OneHots)
def _kl_one_hots(q: OneHots, p: OneHots) -> Tensor:
    return (q.probs * (q.logits - p.logits)).sum((-2, -1))


class Concatenated(TorchDistribution):
    """Independent vectors laid end to end: the draw of each of `parts`, of one batch shape, beside the others'.

    >>> from pyro.distributions import Normal
    >>> both = Concatenated([OneHots(torch.zeros(2, 3)), Normal(torch.zeros(4), 1.0).to_event(1)])
    >>> both.event_shape
    torch.Size([10])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(self, parts: Sequence[Distribution], validate_args: bool | None = None) -> None:
        self.parts = list(parts)
        self.widths = [part.event_shape.numel() for part in self.parts]
        batch_shape = torch.broadcast_shapes(*(part.batch_shape for part in self.parts))
        super().__init__(batch_shape, torch.Size([sum(self.widths)]), validate_args=validate_args)

    def expand(self, batch_shape: torch.Size | Sequence[int], _instance: Any = None) -> "Concatenated":
        return Concatenated([part.expand(torch.Size(batch_shape)) for part in self.parts], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean.expand(self.batch_shape + part.event_shape) for part in self.parts], -1)

    @property
    def variance(self) -> Tensor:
        return torch.cat([part.variance.expand(self.batch_shape + part.event_shape) for part in self.parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        values = value.split(self.widths, -1)
        return torch.stack([part.log_prob(own) for part, own in zip(self.parts, values, strict=True)]).sum(0)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        return torch.cat([part.sample(torch.Size(sample_shape)) for part in self.parts], -1)
