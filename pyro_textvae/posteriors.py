"""Posteriors: features to q(z|x) and q(c|x), the guide's half. Each is a small Pyro program that returns z.

With M discrete variables z is split in M parts of D numbers: batch shape (M, B) under a plate of variables.
"""

import math
from typing import Any, Literal, cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_textvae.distributions import AutoregressiveBernoulli, Concatenated, GumbelSoftmax, VonMisesFisher
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
        """The means, (B, M D); at least float32, also under autocast."""
        return at_least_float32(self.mean(features))

    def scale_of(self, features: Tensor) -> Tensor:
        """The standard deviations, (B, M D); at least float32."""
        return (0.5 * at_least_float32(self.log_variance(features)).clamp(*LOG_VARIANCE_RANGE)).exp()

    def z(self, features: Tensor) -> dist.TorchDistribution:
        """Return q(z|x), batch shape (B,) or (M, B), event shape (D,)."""
        mean, scale = self.mean_of(features), self.scale_of(features)
        return dist.Normal(by_variable(mean, self.variables), by_variable(scale, self.variables)).to_event(1)

    def forward(self, features: Tensor) -> Tensor:
        return pyro.sample("z", self.z(features))


def committed_deviations(delta: float) -> tuple[float, float]:
    """The two standard deviations s at which KL(Normal(0, s^2) || Normal(0, 1)) is `delta` nats, below 1 and above.

    Their squares are the roots of ln v - v + 2 delta + 1 = 0 (Razavi et al. 2019), here by Newton's method on u = ln v
    from outside of them, where it cannot overshoot. Raises ValueError for a delta that is not positive and finite.
    """
    if not 0 < delta < math.inf:
        raise ValueError(
            f"'delta' is {delta!r}, but a committed rate is a positive number of nats; without one, train 'vae'"
        )

    def root(u: float) -> float:
        while True:
            after = u - (u - math.expm1(u) + 2 * delta) / -math.expm1(u)
            if abs(after) >= abs(u):  # no nearer to the other root: as exact as these numbers go
                return u
            u = after

    return math.exp(root(-2 * delta - 1) / 2), math.exp(root(math.log(4 * delta + 2)) / 2)


class CommittedGaussian(Gaussian):
    """A Gaussian posterior no dimension of which comes nearer to Normal(0, 1) than `delta` nats (Razavi et al. 2019).

    The standard deviation lies between the two at which a mean of 0 costs delta. What it leaves of delta the mean makes
    up, and max(0, a) on top, where a is the layer `mean`'s number: the KL of a dimension is delta + max(0, a) / 2. A
    mean is never negative. The layer `log_variance` says through a sigmoid where between the two the deviation lies;
    a hundredth at either end is left out, as the mean's gradient is infinite there.

    A posterior that is the same for every sentence can pay all of delta: this KL need not inform. Where a is negative
    for all of them, as small weights leave half of the dimensions from the start, its layer gets no gradient.
    """

    def __init__(self, features: int, latent: int, delta: float = 0.1) -> None:
        super().__init__(features, latent)
        self.delta = delta
        self.lowest, self.highest = committed_deviations(delta)

    def scale_of(self, features: Tensor) -> Tensor:
        share = 0.01 + 0.98 * torch.sigmoid(at_least_float32(self.log_variance(features)))
        return self.lowest + (self.highest - self.lowest) * share

    def mean_of(self, features: Tensor) -> Tensor:
        variance = self.scale_of(features).square()
        left = (2 * self.delta + 1 + variance.log() - variance).clamp_min(1e-12)  # positive, but for rounding
        return (left + F.relu(super().mean_of(features))).sqrt()

    def kl_floor(self) -> Tensor:
        """The least KL to a standard normal, nats a sentence: delta for each dimension."""
        return torch.tensor(self.delta * self.mean.out_features)


class BatchNormalised(nn.Module):
    """Batch normalisation without epsilon, scale and shift: in training every dimension of a batch has mean 0 and mean
    square 1 exactly, whatever the scale of its input.

    An epsilon above the variance would let the KL escape the floor that normalisation gives it (with U(-0.01, 0.01)
    weights the variance of posterior means starts near 1e-7, a hundredth of the usual 1e-5).

    In evaluation it uses running moments. The running variance is a total variance: it counts how batch means differ
    as well, since batches of one length differ from each other in their means.
    """

    running_mean: Tensor
    running_variance: Tensor
    batches_seen: Tensor

    ROUNDING = 1e-6
    """A spread below this share of the mean is rounding: such a dimension is constant, and no noise is blown up."""

    def __init__(self, dimensions: int, momentum: float = 0.05) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(dimensions))
        self.register_buffer("running_variance", torch.ones(dimensions))
        self.register_buffer("batches_seen", torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        """Return the normalised (B, D) of a (B, D)."""
        centre, scale = self.centre_and_scale(values)
        return (values - centre) * scale

    def centre_and_scale(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """What (B, D) values are centred at and multiplied by, each (D,)."""
        if self.training:
            if len(values) < 2:
                raise ValueError(
                    "a batch of one sentence cannot be batch-normalised: its variance is zero; use a batch_size of at "
                    "least 2 (training merges a last batch of one into its neighbour)"
                )
            centre = values.mean(0)
            variance = (values - centre).square().mean(0)
            self._remember(centre.detach(), variance.detach())
        else:
            centre, variance = self.running_mean, self.running_variance
        varies = variance > (self.ROUNDING * centre).square()
        # Equal sentences in a small batch do not vary: without the inner `where` their gradient would be 0 times inf.
        return centre, torch.where(varies, torch.where(varies, variance, 1).rsqrt(), 0)

    @torch.no_grad()
    def _remember(self, centre: Tensor, variance: Tensor) -> None:
        # The first batches are averaged with equal weight, so the moments are unbiased from the start.
        self.batches_seen += 1
        weight = (1 / self.batches_seen).clamp_min(self.momentum)
        difference = centre - self.running_mean
        between = (1 - weight) * weight * difference.square()
        self.running_variance.copy_((1 - weight) * self.running_variance + weight * variance + between)
        self.running_mean.add_(weight * difference)


class BatchNormalisedMean(BatchNormalised):
    """Batch normalisation with a fixed scale gamma and a learnt shift, for posterior means (Zhu et al. 2020).

    In training every dimension of a batch has mean `shift` and mean square gamma^2 + shift^2 exactly.
    """

    gamma: Tensor

    def __init__(self, dimensions: int, gamma: float = 0.7, momentum: float = 0.05) -> None:
        super().__init__(dimensions, momentum)
        if not gamma > 0:
            raise ValueError(f"'gamma' is {gamma!r}, but the scale of a batch-normalised mean is positive")
        self.shift = nn.Parameter(torch.zeros(dimensions))
        self.register_buffer("gamma", torch.tensor(float(gamma)))

    def forward(self, values: Tensor) -> Tensor:
        centre, scale = self.centre_and_scale(values)
        return (values - centre) * (scale * self.gamma) + self.shift

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


class BatchNormBothGaussian(Gaussian):
    """A Gaussian posterior with mean and deviation batch-normalised: over a batch, z has the mean and the second moment
    of Normal(0, I) (the extension of Zhu et al. 2020 in arXiv:2004.12585v2).

    A dimension's means have mean 0 and mean square gamma_mu^2, its deviations mean square gamma_sigma^2, with

        gamma_mu^2 = tau + (1 - tau) sigmoid(split)      gamma_sigma^2 = (1 - tau) sigmoid(-split)

    whose sum is 1; tau is fixed and the split learnt. So in training the mean KL of a dimension is at least
    -ln gamma_sigma, and that at least -ln(1 - tau) / 2 (0.35 nats at 0.5). The original, as others retell it, takes the
    deviations' mean off too, which lets one be 0 and its KL infinite; here they are divided by their root mean square
    and stay positive.
    """

    tau: Tensor

    def __init__(self, features: int, latent: int, tau: float = 0.5, variables: int | None = None) -> None:
        super().__init__(features, latent, variables)
        if not 0 < tau < 1:
            raise ValueError(f"'tau' is {tau!r}, but the least share of the means lies between 0 and 1")
        dimensions = latent * (variables or 1)
        # No biases: normalisation takes the mean's off, and divides by the log variance's.
        self.mean = nn.Linear(features, dimensions, bias=False)
        self.log_variance = nn.Linear(features, dimensions, bias=False)
        self.normalise_mean, self.normalise_scale = BatchNormalised(dimensions), BatchNormalised(dimensions)
        self.split = nn.Parameter(torch.zeros(dimensions))
        self.register_buffer("tau", torch.tensor(float(tau)))

    def mean_of(self, features: Tensor) -> Tensor:
        gamma = (self.tau + (1 - self.tau) * torch.sigmoid(self.split)).sqrt()
        return gamma * self.normalise_mean(super().mean_of(features))

    def scale_of(self, features: Tensor) -> Tensor:
        scale = super().scale_of(features)
        # Deviations taken with both signs have mean 0, and their mean square for a variance.
        return self._gamma_of_scale() * self.normalise_scale(torch.cat([scale, -scale]))[: len(scale)]

    def _gamma_of_scale(self) -> Tensor:
        return ((1 - self.tau) * torch.sigmoid(-self.split)).sqrt()

    def kl_floor(self) -> Tensor:
        """The least KL to a standard normal, nats a sentence: sum over dimensions of -ln gamma_sigma."""
        return -self._gamma_of_scale().log().sum()


class VonMisesFisherPosterior(nn.Module):
    """q(z|x) = vMF(mean(x) / |mean(x)|, concentration) on the unit sphere (Xu & Durrett 2018).

    The concentration is fixed, so the KL to the uniform distribution is a constant and cannot collapse; whether the
    decoder uses z is another matter. `mean` is a linear map, named before it is normalised: every posterior's centre
    has this name, so that weights learnt with one posterior fit another by name.
    """

    concentration: Tensor

    def __init__(self, features: int, latent: int, concentration: float, variables: int | None = None) -> None:
        super().__init__()
        if latent < 2:
            raise ValueError(f"'latent' is {latent}, but a von Mises-Fisher code lives on a sphere: at least 2")
        if not 0 < concentration < math.inf:
            raise ValueError(f"'concentration' is {concentration!r}, but a posterior's must be positive and finite")
        self.variables = variables
        self.mean = nn.Linear(features, latent * (variables or 1))
        self.register_buffer("concentration", torch.tensor(float(concentration)))
        self.number = float(concentration)  # the same as a number, which a draw looks up once

    def z(self, features: Tensor) -> dist.TorchDistribution:
        """Return q(z|x), batch shape (B,) or (M, B), event shape (D,)."""
        return VonMisesFisher(self.direction_of(features), self.number)

    def direction_of(self, features: Tensor) -> Tensor:
        """Where each posterior points, (B, D) or (M, B, D); at least float32."""
        return F.normalize(by_variable(at_least_float32(self.mean(features)), self.variables), dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        return pyro.sample("z", self.z(features))


RELEASED_CLIP = (10.0, 150.0)
"""Least and largest concentration of the "clipped" kind, as released with Xu & Durrett 2018."""


class DetachedVonMisesFisher(VonMisesFisher):
    """A vMF whose draws have no gradient in the concentration; its density, mean and KL have. An ablation."""

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        draws = VonMisesFisher(self.loc, self.concentration.detach(), validate_args=False)
        return draws.rsample(sample_shape)


class LearntVonMisesFisherPosterior(VonMisesFisherPosterior):
    """q(z|x) = vMF(mean(x) / |mean(x)|, concentration(x)), a concentration for each sentence (of each variable).

    A layer of the features says a number a, about 0 at first, and so begins every concentration near `concentration`:

    kind="softplus"  concentration softplus(a) / ln 2: any positive number, so the KL may go to 0
    kind="clipped"   concentration + 10 a, cut to RELEASED_CLIP: at either end a sentence's gradient is 0 for good

    With gradient="exact" a draw is differentiated in the concentration, pathwise; so the decoder has a say in it.
    "detached" leaves that out, as every version released with Xu & Durrett 2018 does: then the KL alone moves the
    concentration, whose derivative is positive everywhere, so it can only fall. An ablation, to tell that slip from
    what learning a concentration does.
    """

    def __init__(
        self,
        features: int,
        latent: int,
        concentration: float,
        variables: int | None = None,
        kind: Literal["softplus", "clipped"] = "softplus",
        gradient: Literal["exact", "detached"] = "exact",
    ) -> None:
        super().__init__(features, latent, concentration, variables)
        least, largest = RELEASED_CLIP
        if kind == "clipped" and not least < concentration < largest:
            raise ValueError(
                f"'concentration' is {concentration!r}, but a clipped one begins between {least:g} and {largest:g}, "
                "where it can still move"
            )
        self.clipped, self.exact = kind == "clipped", gradient == "exact"
        self.raw_concentration = nn.Linear(features, variables or 1)

    def concentration_of(self, features: Tensor) -> Tensor:
        """The concentrations, (B,) or (M, B); at least float32."""
        raw = by_variable(at_least_float32(self.raw_concentration(features)), self.variables).squeeze(-1)
        if self.clipped:
            return (self.concentration + 10 * raw).clamp(*RELEASED_CLIP)
        return self.concentration * F.softplus(raw) / math.log(2)

    def z(self, features: Tensor) -> dist.TorchDistribution:
        kind = VonMisesFisher if self.exact else DetachedVonMisesFisher
        return kind(self.direction_of(features), self.concentration_of(features))


class Point(nn.Module):
    """z is a function of x, without noise: an autoencoder's code. Its KL to any density is infinite."""

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.mean = nn.Linear(features, latent)

    def z(self, features: Tensor) -> dist.TorchDistribution:
        return dist.Delta(at_least_float32(self.mean(features)), event_dim=1)

    def forward(self, features: Tensor) -> Tensor:
        return pyro.sample("z", self.z(features))


class OneHotPosterior(nn.Module):
    """q(z|x) of a discrete code: `latent` variables of `classes` classes each, relaxed by Gumbel-softmax in training.

    With M `variables` c beside it, `latent` one-hots for each. In evaluation mode every draw is a true one-hot, since
    the bound is the discrete model's; in training it is one where `straight_through`. The layer of the logits is named
    `mean`, as every posterior's centre is.
    """

    def __init__(
        self,
        features: int,
        latent: int,
        classes: int,
        variables: int | None = None,
        temperature: float = 1.0,
        straight_through: bool = False,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"'classes' is {classes}, but a discrete variable has at least 2")
        self.shape, self.variables = (latent, classes), variables
        self.temperature, self.straight_through = _checked(temperature), straight_through
        self.mean = nn.Linear(features, latent * classes * (variables or 1))

    def z(self, features: Tensor) -> dist.TorchDistribution:
        """Return q(z|x), batch shape (B,) or (M, B), event shape (latent * classes,)."""
        logits = by_variable(at_least_float32(self.mean(features)), self.variables).unflatten(-1, self.shape)
        return GumbelSoftmax(logits, self.temperature, self.straight_through or not self.training)

    def forward(self, features: Tensor) -> Tensor:
        return pyro.sample("z", self.z(features))


def _checked(temperature: float) -> float:
    if not 0 < temperature < math.inf:
        raise ValueError(f"'temperature' is {temperature!r}, but that of a Gumbel-softmax is positive: 1.0 is usual")
    return temperature


class BinaryPosterior(nn.Module):
    """q(z|x) of `latent` binary variables, each of which may depend on those before it (Mnih & Gregor 2014).

    Draws are true zeros and ones without a gradient, so the objective has to be one that takes gradients by the score
    function: LeaveOneOutELBO. The connections begin at 0, as independent variables. The layer of the logits is named
    `mean`, as every posterior's centre is.
    """

    def __init__(self, features: int, latent: int, autoregressive: bool = True) -> None:
        super().__init__()
        self.mean = nn.Linear(features, latent)
        self.connections = nn.Parameter(torch.zeros(latent, latent)) if autoregressive else None

    def z(self, features: Tensor) -> AutoregressiveBernoulli:
        """Return q(z|x), batch shape (B,), event shape (D,)."""
        return AutoregressiveBernoulli(at_least_float32(self.mean(features)), self.connections)

    def forward(self, features: Tensor) -> Tensor:
        by_score: Any = {"score_function": True}  # which Pyro passes on, and knows nothing of
        return pyro.sample("z", self.z(features), infer=by_score)


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


class ByVariable(nn.Module):
    """q(z|x) alone, for a prior with M discrete variables that are summed out: z under their plate, (M, B, D)."""

    def __init__(self, z_posterior: nn.Module, variables: int) -> None:
        super().__init__()
        self.z_posterior, self.variables = z_posterior, variables

    def z(self, features: Tensor) -> dist.TorchDistribution:
        return cast(Gaussian, self.z_posterior).z(features)

    def forward(self, features: Tensor) -> Tensor:
        with pyro.plate("variables", self.variables, dim=-2):
            return pyro.sample("z", self.z(features))


class OneHotsBeside(nn.Module):
    """q(c|x) q(z|x) where the decoder sees both: M discrete variables of K classes as one-hots beside a z.

    c cannot be summed out then, which would take the decoder K^M times; it is relaxed by Gumbel-softmax, as in
    `OneHotPosterior`. The code is [c, z].
    """

    def __init__(
        self,
        z_posterior: nn.Module,
        features: int,
        variables: int,
        components: int,
        temperature: float = 1.0,
        straight_through: bool = False,
    ) -> None:
        super().__init__()
        self.z_posterior, self.shape = z_posterior, (variables, components)
        self.temperature, self.straight_through = _checked(temperature), straight_through
        self.assignment = nn.Linear(features, variables * components)

    def c(self, features: Tensor) -> GumbelSoftmax:
        """Return q(c|x), batch shape (B,), event shape (M K,)."""
        logits = at_least_float32(self.assignment(features)).unflatten(-1, self.shape)
        return GumbelSoftmax(logits, self.temperature, self.straight_through or not self.training)

    def z(self, features: Tensor) -> dist.TorchDistribution:
        """Return q of the code [c, z], batch shape (B,)."""
        return Concatenated([self.c(features), cast(Gaussian, self.z_posterior).z(features)])

    def forward(self, features: Tensor) -> Tensor:
        c = pyro.sample("c", self.c(features))
        return torch.cat([c, cast(Gaussian, self.z_posterior)(features)], -1)


class NoPosterior(nn.Module):
    """For a language model without a code: no site at all."""

    def forward(self, features: Tensor) -> None:
        return None
