"""What a mixture of one exponential family loses when its members stand apart: the averaged prior and the dispersion.

Members p_c with natural parameters eta_c and log-normaliser A, and weights q_c that sum to one. The density that
averages the natural parameters is the normalised geometric mean of the members,

    p_bar = p(. | sum_c q_c eta_c),

and for every density r, with no sample of c,

    sum_c q_c KL(r || p_c) = KL(r || p_bar) + L_d,      L_d = sum_c q_c A(eta_c) - A(sum_c q_c eta_c) >= 0.

L_d, the dispersion, is the floor of the left side: no r goes below it. So the ELBO of a mixture prior lowers it, by
merging the members (mode collapse). It is also L_d = sum_c q_c KL(p_bar || p_c), and that is how it is computed here:
the difference of the A's loses every digit when the members are far from zero and near one another.

A family of one's own joins with `average.register` and `dispersion.register`.

Source: Shi, Zhou, Miao, Li 2020, "Dispersed Exponential Family Mixture VAEs for Interpretable Text Generation".
"""

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import torch
import torch.distributions as td
from pyro.distributions import (
    Bernoulli,  # pyright: ignore[reportAttributeAccessIssue]
    Categorical,
    Dirichlet,
    Gamma,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
)
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_textvae_distributions.one_hots import OneHots
from pyro_textvae_distributions.von_mises_fisher import VonMisesFisher

# Beyond it the exponential of float32 nears overflow; only a member without weight gets there.
_LARGEST_EXPONENT = 50.0
# Below this log ratio the series replaces the difference; it has the terms that float64 needs there.
_SERIES_BELOW, _SERIES_TERMS = 0.5, 15


@singledispatch
def average(components: td.Distribution, weights: Tensor, dim: int) -> TorchDistributionMixin:
    """The geometric mean of `components`: the member whose natural parameters are the weighted average of theirs.

    `components` is one distribution with the members along axis `dim` of its batch shape, counted from the right
    (dim < 0). `weights` broadcasts with the batch shape and sums to one over `dim`; weights of exactly 0 are allowed.
    The result is a Pyro distribution of the same family whose batch shape has lost axis `dim`; being valid by
    construction it is not validated, which would ask the device.
    Raises NotImplementedError for a family that has not been registered.

    >>> members = Normal(torch.tensor([0.0, 4.0]), torch.tensor([1.0, 2.0]))
    >>> average(members, torch.tensor([0.5, 0.5]), dim=-1).mean       # precisions 1 and 1/4
    tensor(0.8000)
    """
    raise _unknown("average", average.registry, components)


@singledispatch
def dispersion(components: td.Distribution, weights: Tensor, dim: int) -> Tensor:
    """How far `components` stand apart under `weights`: L_d in nats, at least 0, of the batch shape less axis `dim`.

    The arguments are those of `average`. It is 0 where one member has all the weight or all members are equal, and
    keeps its digits in float32 when the members nearly agree.

    >>> members = Normal(torch.tensor([100.0, 100.01, 99.99]), torch.ones(3))
    >>> dispersion(members, torch.full((3,), 1 / 3), dim=-1)  # half the variance of the means
    tensor(3.3348e-05)
    """
    raise _unknown("dispersion", dispersion.registry, components)


def _unknown(function: str, registry: Mapping[type, Any], components: td.Distribution) -> NotImplementedError:
    known = ", ".join(sorted(family.__name__ for family in registry if family is not object))
    return NotImplementedError(
        f"{function}() got {type(components).__name__}, but knows only {known}: "
        f"add a family of your own with {function}.register(...)"
    )


@average.register
def _(components: td.Independent, weights: Tensor, dim: int) -> TorchDistributionMixin:
    base, weights, dim, events = _inside(components, weights, dim)
    return average(base, weights, dim).to_event(events)


@dispersion.register
def _(components: td.Independent, weights: Tensor, dim: int) -> Tensor:
    base, weights, dim, events = _inside(components, weights, dim)
    return dispersion(base, weights, dim).sum(tuple(range(-events, 0)))


def _inside(components: td.Independent, weights: Tensor, dim: int) -> tuple[td.Distribution, Tensor, int, int]:
    """The arguments for the base of an Independent, and the number of axes that it makes part of the event."""
    _check(components, dim)
    events = components.reinterpreted_batch_ndims
    return components.base_dist, weights[(...,) + (None,) * events], dim - events, events


@average.register
def _(components: td.Normal, weights: Tensor, dim: int) -> TorchDistributionMixin:
    mean, log_variance = _average_normal(components, weights, dim)
    return Normal(mean.squeeze(dim), (log_variance / 2).exp().squeeze(dim), validate_args=False)


@dispersion.register
def _(components: td.Normal, weights: Tensor, dim: int) -> Tensor:
    mean, log_variance = _average_normal(components, weights, dim)
    location = ((components.loc - mean) / components.scale).square()
    # exp(d) - 1 - d, about d^2 / 2: in float64 the digits that cancel are far below those of a float32 d.
    difference = (log_variance - 2 * components.scale.log()).double().clamp(max=_LARGEST_EXPONENT)
    scale = (torch.expm1(difference) - difference).clamp_min(0).to(location.dtype)
    return (weights * (location + scale)).sum(dim) / 2


def _average_normal(components: td.Normal, weights: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and log variance of the averaged Gaussian; axis `dim` stays, of size 1."""
    _check(components, dim)
    log_precision = -2 * components.scale.log()
    # A logsumexp with weights outside the exponential, since the log of a weight of 0 has no gradient. The peak is
    # taken among the members that have weight; one without must not overflow either.
    peak = log_precision.where(weights > 0, -torch.inf).amax(dim, keepdim=True).detach()
    precision = weights * (log_precision - peak).clamp(max=_LARGEST_EXPONENT).exp()
    total = precision.sum(dim, keepdim=True)
    return (precision / total * components.loc).sum(dim, keepdim=True), -(peak + total.log())


@average.register
def _(components: td.MultivariateNormal, weights: Tensor, dim: int) -> TorchDistributionMixin:
    mean, root, _ = _average_multivariate_normal(components, weights, dim)
    dtype = components.loc.dtype
    covariance = torch.cholesky_inverse(root).squeeze(dim - 2).to(dtype)
    return MultivariateNormal(mean.squeeze(dim - 1).to(dtype), covariance_matrix=covariance, validate_args=False)


@dispersion.register
def _(components: td.MultivariateNormal, weights: Tensor, dim: int) -> Tensor:
    mean, root, precisions = _average_multivariate_normal(components, weights, dim)
    difference = (components.loc.double() - mean)[..., None]
    location = (difference * (precisions @ difference)).sum((-2, -1))
    # In float64, whose digits outlast what cancels; by one operation, so that a member alone gives exactly 0.
    scale = 2 * (_log_diagonal(root) - _log_diagonal(torch.linalg.cholesky_ex(precisions).L))
    return (weights * (location + scale)).sum(dim).clamp_min(0).to(components.loc.dtype) / 2


def _average_multivariate_normal(
    components: td.MultivariateNormal, weights: Tensor, dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the averaged Gaussian and the Cholesky factor of its precision, axis `dim` of size 1, and the members'
    precisions; in float64. No step of it asks the device whether a matrix was positive: these are, by construction."""
    _check(components, dim)
    precisions = torch.cholesky_inverse(components.scale_tril.double())
    weighted = weights[..., None, None] * precisions
    precision = weighted.sum(dim - 2, keepdim=True)
    root = torch.linalg.cholesky_ex(precision).L
    pulled = (weighted @ components.loc.double()[..., None]).sum(dim - 2, keepdim=True)
    return torch.cholesky_solve(pulled, root).squeeze(-1), root, precisions


def _log_diagonal(root: Tensor) -> Tensor:
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


@average.register
def _(components: td.Gamma, weights: Tensor, dim: int) -> TorchDistributionMixin:
    concentration, rate = _average_gamma(components, weights, dim)
    dtype = components.rate.dtype
    return Gamma(concentration.squeeze(dim).to(dtype), rate.squeeze(dim).to(dtype), validate_args=False)


@dispersion.register
def _(components: td.Gamma, weights: Tensor, dim: int) -> Tensor:
    concentration, rate = _average_gamma(components, weights, dim)
    alpha, beta = components.concentration.double(), components.rate.double()
    # A = log Gamma(alpha) - alpha log beta; that of beta is taken relative to the average.
    jump = _log_gamma_rises(concentration, alpha) - alpha * (beta / rate).log()
    return (weights * jump).sum(dim).clamp_min(0).to(components.rate.dtype)


def _average_gamma(components: td.Gamma, weights: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Concentration and rate of the averaged Gamma in float64; axis `dim` stays, of size 1."""
    _check(components, dim)
    parameters = components.concentration.double(), components.rate.double()
    concentration, rate = ((weights * each).sum(dim, keepdim=True) for each in parameters)
    return concentration, rate


@average.register
def _(components: td.Dirichlet, weights: Tensor, dim: int) -> TorchDistributionMixin:
    concentration = _average_dirichlet(components, weights, dim).squeeze(dim - 1)
    return Dirichlet(concentration.to(components.concentration.dtype), validate_args=False)


@dispersion.register
def _(components: td.Dirichlet, weights: Tensor, dim: int) -> Tensor:
    mean, alpha = _average_dirichlet(components, weights, dim), components.concentration.double()
    jump = _log_gamma_rises(mean, alpha).sum(-1) - _log_gamma_rises(mean.sum(-1), alpha.sum(-1))
    return (weights * jump).sum(dim).clamp_min(0).to(components.concentration.dtype)


def _average_dirichlet(components: td.Dirichlet, weights: Tensor, dim: int) -> Tensor:
    """Concentration of the averaged Dirichlet in float64; axis `dim` of the batch stays, of size 1."""
    _check(components, dim)
    return (weights[..., None] * components.concentration.double()).sum(dim - 1, keepdim=True)


def _log_gamma_rises(at: Tensor, to: Tensor) -> Tensor:
    """How far log Gamma at `to` lies above its tangent at `at`: at least 0. Weighted by q, tangents cancel where `at`
    is the average of `to`."""
    return torch.lgamma(to) - torch.lgamma(at) - torch.digamma(at) * (to - at)


@average.register
def _(components: td.Categorical, weights: Tensor, dim: int) -> TorchDistributionMixin:
    return Categorical(logits=_average_logits(components, weights, dim).squeeze(dim - 1), validate_args=False)


@average.register
def _(components: td.OneHotCategorical, weights: Tensor, dim: int) -> TorchDistributionMixin:
    return OneHotCategorical(logits=_average_logits(components, weights, dim).squeeze(dim - 1), validate_args=False)


@dispersion.register(td.Categorical)
@dispersion.register(td.OneHotCategorical)
def _(components: td.Categorical | td.OneHotCategorical, weights: Tensor, dim: int) -> Tensor:
    # Both are normalised by the same operation, so that one member with all the weight gives exactly 0.
    mean = _average_logits(components, weights, dim).log_softmax(-1)
    return (weights * _divergence(mean, components.logits.log_softmax(-1)).sum(-1)).sum(dim)


def _average_logits(components: td.Categorical | td.OneHotCategorical, weights: Tensor, dim: int) -> Tensor:
    """Averaged logits, not normalised; axis `dim` of the batch stays, of size 1."""
    _check(components, dim)
    return (weights[..., None] * components.logits).sum(dim - 1, keepdim=True)


@average.register
def _(components: OneHots, weights: Tensor, dim: int) -> TorchDistributionMixin:
    _check(components, dim)
    return OneHots((weights[..., None, None] * components.logits).sum(dim - 2), validate_args=False)


@dispersion.register
def _(components: OneHots, weights: Tensor, dim: int) -> Tensor:
    _check(components, dim)
    independent = OneHotCategorical(logits=components.logits, validate_args=False).to_event(1)
    return dispersion(independent, weights, dim)


@average.register
def _(components: td.Bernoulli, weights: Tensor, dim: int) -> TorchDistributionMixin:
    _check(components, dim)
    return Bernoulli(logits=(weights * components.logits).sum(dim), validate_args=False)


@dispersion.register
def _(components: td.Bernoulli, weights: Tensor, dim: int) -> Tensor:
    logits = components.logits
    two_classes = Categorical(logits=torch.stack((logits, torch.zeros_like(logits)), -1), validate_args=False)
    return dispersion(two_classes, weights, dim)


@average.register
def _(components: VonMisesFisher, weights: Tensor, dim: int) -> TorchDistributionMixin:
    mean = _average_vmf(components, weights, dim)
    dtype = components.loc.dtype
    return VonMisesFisher(
        mean.loc.squeeze(dim - 1).to(dtype), mean.concentration.squeeze(dim).to(dtype), validate_args=False
    )


@dispersion.register
def _(components: VonMisesFisher, weights: Tensor, dim: int) -> Tensor:
    """First derivatives only. The average minimises sum_c q_c KL(r || p_c) over r, so its own gradient is zero and is
    left out: it could only add rounding, or have no direction where the members cancel."""
    with torch.no_grad():
        mean = _average_vmf(components, weights, dim)
    return (weights * td.kl_divergence(mean, _exactly_on_the_sphere(components))).sum(dim).to(components.loc.dtype)


def _average_vmf(components: VonMisesFisher, weights: Tensor, dim: int) -> VonMisesFisher:
    """The averaged vMF in float64; axis `dim` of the batch stays, of size 1."""
    _check(components, dim)
    eta = _exactly_on_the_sphere(components).natural_parameter
    eta = (weights[..., None] * eta).sum(dim - 1, keepdim=True)
    length = torch.linalg.vector_norm(eta, dim=-1, keepdim=True)
    # Members that cancel exactly average to the uniform distribution, which the location of any of them describes.
    anywhere = components.loc.narrow(dim - 1, 0, 1).double()
    direction = torch.where(length > 0, eta, anywhere) / torch.where(length > 0, length, 1)
    return VonMisesFisher(direction, length[..., 0], validate_args=False)


def _exactly_on_the_sphere(components: VonMisesFisher) -> VonMisesFisher:
    """The same members in float64: a float32 location is off the sphere by more than a small dispersion."""
    loc = torch.nn.functional.normalize(components.loc.double(), dim=-1)
    return VonMisesFisher(loc, components.concentration.double(), validate_args=False)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """p log(p / q) - p + q, elementwise: at least 0, and summed over two densities their KL, without cancellation."""
    difference = log_p - log_q
    near = difference.abs() < _SERIES_BELOW
    x = difference.where(near, 0)  # so that the branch not taken has no infinite gradient
    series = torch.ones_like(x)
    for n in range(_SERIES_TERMS, 2, -1):
        series = 1 - x / n * series
    p = log_p.exp()
    far = p * difference - p + log_q.clamp(max=_LARGEST_EXPONENT).exp()
    return torch.where(near, p * x.square() / 2 * series, far)


def _check(components: td.Distribution, dim: int) -> None:
    if not -len(components.batch_shape) <= dim < 0:
        raise ValueError(
            f"'dim' is {dim}, but must be negative and name an axis of the batch shape "
            f"{tuple(components.batch_shape)}: count the axis of the members from the right"
        )
