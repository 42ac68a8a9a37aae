"""Posteriors: features to q(z|x) and q(c|x), the guide's half. Each is a small Pyro program that returns z.

With M discrete variables z is split in M parts of D numbers: batch shape (M, B) under a plate of variables.
"""

import math
from typing import cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_textvae.distributions import VonMisesFisher
from pyro_textvae.encoders import at_least_float32

LOG_VARIANCE_RANGE = (-20.0, 20.0)
"""Bounds of a log variance: beyond them the standard deviation leaves what float32 can square and divide."""


def by_variable(parameter: Tensor, variables: int | None) -> Tensor:
    """Reshape (B, M D) to (M, B, D); with `variables` None leave (B, D) as it is."""
    return parameter if variables is None else parameter.unflatten(-1, (variables, -1)).movedim(-2, 0)


class Gaussian(nn.Module):
    """q(z|x) = Normal(mean(x), diag(exp(log_variance(x)))): two linear maps of the features.

    `latent` is D, of each of the `variables` M (None: no discrete variable, and z has shape (B, D)).
    """

    def __init__(self, features: int, latent: int, variables: int | None = None) -> None:
        super().__init__()
        self.variables = variables
        self.mean = nn.Linear(features, latent * (variables or 1))
        self.log_variance = nn.Linear(features, latent * (variables or 1))

    def mean_of(self, features: Tensor) -> Tensor:
        return self.mean(features)

    def z(self, features: Tensor) -> dist.TorchDistribution:
        """Return q(z|x), batch shape (B,) or (M, B), event shape (D,); at least float32, also under autocast."""
        mean = at_least_float32(self.mean_of(features))
        scale = (0.5 * at_least_float32(self.log_variance(features)).clamp(*LOG_VARIANCE_RANGE)).exp()
        return dist.Normal(by_variable(mean, self.variables), by_variable(scale, self.variables)).to_event(1)

    def forward(self, features: Tensor) -> Tensor:
        return pyro.sample("z", self.z(features))


class BatchNormalisedMean(nn.Module):
    """Batch normalisation with a fixed scale gamma and a learnt shift, for posterior means (Zhu et al. 2020).

    In training every dimension of a batch has mean `shift` and mean square gamma^2 + shift^2 exactly, whatever the
    scale of its input: there is no epsilon in the variance, because an epsilon above the variance lets the KL escape
    its floor (with U(-0.01, 0.01) weights the input's variance starts near 1e-7, a hundredth of the usual 1e-5).

    In evaluation it uses running moments. The running variance is a total variance: it counts how batch means differ
    as well, since batches of one length differ from each other in their means.
    """

    running_mean: Tensor
    running_variance: Tensor
    batches_seen: Tensor
    gamma: Tensor

    ROUNDING = 1e-6
    """A spread below this share of the mean is rounding: such a dimension is constant, and no noise is blown up."""

    def __init__(self, dimensions: int, gamma: float = 0.7, momentum: float = 0.05) -> None:
        super().__init__()
        if not gamma > 0:
            raise ValueError(f"'gamma' is {gamma!r}, but the scale of a batch-normalised mean is positive")
        self.momentum = momentum
        self.shift = nn.Parameter(torch.zeros(dimensions))
        self.register_buffer("gamma", torch.tensor(float(gamma)))
        self.register_buffer("running_mean", torch.zeros(dimensions))
        self.register_buffer("running_variance", torch.ones(dimensions))
        self.register_buffer("batches_seen", torch.zeros(()))

    def forward(self, mean: Tensor) -> Tensor:
        """Return the normalised (B, D) of a (B, D)."""
        if self.training:
            if len(mean) < 2:
                raise ValueError(
                    "a batch of one sentence cannot be batch-normalised: its variance is zero; use a batch_size of at "
                    "least 2 (training merges a last batch of one into its neighbour)"
                )
            centre = mean.mean(0)
            variance = (mean - centre).square().mean(0)
            self._remember(centre.detach(), variance.detach())
        else:
            centre, variance = self.running_mean, self.running_variance
        varies = variance > (self.ROUNDING * centre).square()
        # Equal sentences in a small batch do not vary: without the inner `where` their gradient would be 0 times inf.
        scale = torch.where(varies, torch.where(varies, variance, 1).rsqrt(), 0) * self.gamma
        return (mean - centre) * scale + self.shift

    @torch.no_grad()
    def _remember(self, centre: Tensor, variance: Tensor) -> None:
        # The first batches are averaged with equal weight, so the moments are unbiased from the start.
        self.batches_seen += 1
        weight = (1 / self.batches_seen).clamp_min(self.momentum)
        difference = centre - self.running_mean
        between = (1 - weight) * weight * difference.square()
        self.running_variance.copy_((1 - weight) * self.running_variance + weight * variance + between)
        self.running_mean.add_(weight * difference)

    def kl_floor(self) -> Tensor:
        """The least KL to a standard normal, nats a sentence: sum over dimensions of (gamma^2 + shift^2) / 2."""
        return (self.gamma.square() + self.shift.square()).sum() / 2


class BatchNormGaussian(Gaussian):
    """A Gaussian posterior whose mean is batch-normalised: its KL has a floor set by gamma (Zhu et al. 2020)."""

    def __init__(self, features: int, latent: int, gamma: float = 0.7, variables: int | None = None) -> None:
        super().__init__(features, latent, variables)
        # No bias: batch normalisation would take it off, and the shift stands in its place.
        self.mean = nn.Linear(features, latent * (variables or 1), bias=False)
        self.normalise = BatchNormalisedMean(latent * (variables or 1), gamma)

    def mean_of(self, features: Tensor) -> Tensor:
        return self.normalise(at_least_float32(self.mean(features)))


class VonMisesFisherPosterior(nn.Module):
    """q(z|x) = vMF(direction(x), concentration) on the unit sphere, with a fixed concentration (Xu & Durrett 2018).

    Its KL to the uniform distribution is a constant, so it cannot collapse in KL; whether the decoder uses z is
    another matter.
    """

    concentration: Tensor

    def __init__(self, features: int, latent: int, concentration: float, variables: int | None = None) -> None:
        super().__init__()
        if latent < 2:
            raise ValueError(f"'latent' is {latent}, but a von Mises-Fisher code lives on a sphere: at least 2")
        if not 0 < concentration < math.inf:
            raise ValueError(f"'concentration' is {concentration!r}, but a posterior's must be positive and finite")
        self.variables = variables
        self.direction = nn.Linear(features, latent * (variables or 1))
        self.register_buffer("concentration", torch.tensor(float(concentration)))

    def z(self, features: Tensor) -> dist.TorchDistribution:
        """Return q(z|x), batch shape (B,) or (M, B), event shape (D,)."""
        direction = at_least_float32(self.direction(features))
        direction = F.normalize(by_variable(direction, self.variables), dim=-1)
        return VonMisesFisher(direction, self.concentration)

    def forward(self, features: Tensor) -> Tensor:
        return pyro.sample("z", self.z(features))


class Point(nn.Module):
    """z is a function of x, without noise: an autoencoder's code. Its KL to any density is infinite."""

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.mean = nn.Linear(features, latent)

    def z(self, features: Tensor) -> dist.TorchDistribution:
        return dist.Delta(at_least_float32(self.mean(features)), event_dim=1)

    def forward(self, features: Tensor) -> Tensor:
        return pyro.sample("z", self.z(features))


class WithComponents(nn.Module):
    """q(z|x) q(c|x): a posterior of z beside M discrete variables of K classes each, independent given x.

    c is enumerated in parallel: every expectation over it is exact. z does not read c, so the decoder runs once.
    """

    def __init__(self, z_posterior: nn.Module, features: int, variables: int, components: int) -> None:
        super().__init__()
        self.z_posterior = z_posterior
        self.variables = variables
        self.assignment = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(), nn.Linear(features, variables * components)
        )

    def c(self, features: Tensor) -> dist.Categorical:
        """Return q(c|x), batch shape (M, B), over K components."""
        logits = at_least_float32(self.assignment(features))
        return dist.Categorical(logits=by_variable(logits, self.variables))

    def z(self, features: Tensor) -> dist.TorchDistribution:
        return cast(Gaussian, self.z_posterior).z(features)

    def forward(self, features: Tensor) -> Tensor:
        with pyro.plate("variables", self.variables, dim=-2):
            pyro.sample("c", self.c(features), infer={"enumerate": "parallel"})
            return pyro.sample("z", self.z(features))


class NoPosterior(nn.Module):
    """For a language model without a code: no site at all."""

    def forward(self, features: Tensor) -> None:
        return None
