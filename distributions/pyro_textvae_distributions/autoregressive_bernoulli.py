"""Binary variables in a row, each of which may depend on those before it."""

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn import functional as F


class AutoregressiveBernoulli(TorchDistribution):
    """K binary variables: p(z_k = 1 | z_1 ... z_k-1) = sigmoid(logits_k + sum over j < k of weight_kj z_j).

    `logits` is (*batch, K); `weight` is (K, K), of which what lies below the diagonal counts, or None: independent
    variables. Values are 0 and 1, of the logits' type; the event shape is (K,). Log-probabilities, in nats, take one
    pass; draws take K, one variable after the other, and have no gradient. A KL has no closed form: `kl_by_sample`
    tells that it is log q - log p at the drawn value. Raises ValueError for a weight of another shape.

    Source: the latent layer of deep autoregressive networks (Gregor et al. 2014), and of fDARN (Mnih and Gregor 2014).

    >>> AutoregressiveBernoulli(torch.zeros(2), torch.tensor([[0.0, 0.0], [5.0, 0.0]])).log_prob(torch.ones(2)).exp()
    tensor(0.4967)
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 1)}  # pyright: ignore[reportAssignmentType]
    support = constraints.independent(constraints.boolean, 1)  # pyright: ignore[reportAssignmentType]
    kl_by_sample = True

    def __init__(self, logits: Tensor, weight: Tensor | None = None, validate_args: bool | None = None) -> None:
        K = logits.size(-1)
        if weight is not None and weight.shape != (K, K):
            raise ValueError(
                f"'weight' has shape {tuple(weight.shape)}, but of {K} variables it is ({K}, {K}): how much variable j "
                "adds to the logit of variable k in row k and column j"
            )
        self.logits = logits
        self.weight = None if weight is None else weight.tril(-1)
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: torch.Size | Sequence[int], _instance: Any = None) -> "AutoregressiveBernoulli":
        new: Any = self._get_checked_instance(AutoregressiveBernoulli, _instance)
        batch_shape = torch.Size(batch_shape)
        new.logits, new.weight = self.logits.expand(batch_shape + self.event_shape), self.weight
        super(AutoregressiveBernoulli, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """Each variable's probability where those before it are at theirs: its mean, exactly if they are independent.

        With connections it is the mean-field approximation, since the mean is a sum over 2^K values.
        """
        return self._in_a_row(self.logits, lambda probability: probability)

    @property
    def variance(self) -> Tensor:
        """Of the same approximation: mean (1 - mean)."""
        return self.mean * (1 - self.mean)

    def conditional_logits(self, value: Tensor) -> Tensor:
        """Logits of every variable given those before it, at values (..., K)."""
        return self.logits if self.weight is None else self.logits + value @ self.weight.T

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits = self.conditional_logits(value)
        return (value * logits - F.softplus(logits)).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        return self._in_a_row(self.logits.expand(self._extended_shape(torch.Size(sample_shape))), torch.bernoulli)

    def _in_a_row(self, logits: Tensor, value_of: Any) -> Tensor:
        """Values from their probabilities, each when those before it have theirs."""
        if self.weight is None:
            return value_of(logits.sigmoid())
        values: list[Tensor] = []
        for k in range(logits.size(-1)):
            logit = logits[..., k]
            if values:
                logit = logit + torch.stack(values, -1) @ self.weight[k, :k]
            values.append(value_of(logit.sigmoid()))
        return torch.stack(values, -1)
