"""The von Mises-Fisher distribution: a Gaussian's counterpart on the unit sphere."""

from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import register_kl

from pyro_textvae_distributions._bessel import (
    bregman,
    gauss_legendre,
    log_sphere_area,
    radial,
)
from pyro_textvae_distributions.hyperspherical_uniform import HypersphericalUniform

# Wood's proposal is accepted with probability 0.66 or more in every dimension at every concentration, so that a
# draw for which all of these fail has probability 6e-12; it then keeps its first proposal.
_PROPOSALS = 24
# Nodes of the rule for the implicit gradient, and the standard deviations that its interval covers.
_NODES = 40
_REACH = 12.0


class VonMisesFisher(TorchDistribution):
    """Distribution on the unit sphere of R^D with density proportional to exp(concentration * loc . x).

    `loc` is (..., D), D >= 2, of unit length: the mode. `concentration` is (...), at least 0 (0 is uniform), and
    broadcasts with the batch shape of `loc`. Log densities are with respect to the surface measure, in nats.

    The natural parameter is concentration * loc, the sufficient statistic x. Radial quantities are computed in
    float64 and cast to the dtype of `loc` once, so float32 results are right to the last digits for concentrations
    from 0 to 1e6 and beyond. `rsample` draws with a fixed number of proposals, so it neither loops on data nor asks
    the device. Its gradient in the concentration is the exact implicit one; its gradient in `loc` carries each draw
    along the rotation of `loc`. All gradients in `loc` are right up to a component along `loc`, which the
    normalisation that made `loc` a unit vector removes. First derivatives only.

    Source: Wood 1994 (sampler), Figurnov et al. 2018 (implicit gradient), Davidson et al. 2018 (use in a VAE).

    >>> q = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(13.0))
    >>> q.mean
    tensor([0.0000, 0.0000, 0.9231])
    >>> torch.distributions.kl_divergence(q, HypersphericalUniform(3))
    tensor(2.2581)
    """

    arg_constraints = {"loc": constraints.sphere, "concentration": constraints.nonnegative}  # pyright: ignore[reportAssignmentType]
    support = constraints.sphere  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    loc: Tensor
    concentration: Tensor

    def __init__(self, loc: Tensor, concentration: Tensor | float, *, validate_args: bool | None = None) -> None:
        if loc.dim() < 1 or loc.shape[-1] < 2:
            raise ValueError(
                f"'loc' has shape {tuple(loc.shape)}, but its last axis holds a unit vector of at least 2 entries: "
                "give it as (..., D) with D >= 2"
            )
        kappa = torch.as_tensor(concentration, dtype=loc.dtype, device=loc.device)
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], kappa.shape)
        self.loc = loc.expand(batch_shape + loc.shape[-1:])
        self.concentration = kappa.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: Any = None) -> "VonMisesFisher":
        new: Any = self._get_checked_instance(VonMisesFisher, _instance)
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        new.concentration = self.concentration.expand(batch_shape)
        super(VonMisesFisher, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @classmethod
    def infer_shapes(
        cls, loc: torch.Size, concentration: torch.Size | tuple[int, ...] = ()
    ) -> tuple[torch.Size, torch.Size]:
        return torch.broadcast_shapes(loc[:-1], concentration), torch.Size(loc[-1:])

    @property
    def dimension(self) -> int:
        """D, of the space that holds the sphere."""
        return self.event_shape[0]

    @property
    def natural_parameter(self) -> Tensor:
        """concentration * loc, (..., D)."""
        return self.concentration[..., None] * self.loc

    @property
    def log_normalizer(self) -> Tensor:
        """Log of the integral of exp(natural_parameter . x) over the sphere, nats: log_prob is eta . x minus this."""
        return (
            self.concentration - radial(self.concentration, self.dimension).log_peak + log_sphere_area(self.dimension)
        ).to(self.loc.dtype)

    @property
    def mean_cosine(self) -> Tensor:
        """E[loc . x], in [0, 1): the length of the mean."""
        return radial(self.concentration, self.dimension).mean_cosine.to(self.loc.dtype)

    @property
    def mean(self) -> Tensor:
        return self.mean_cosine[..., None] * self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def entropy(self) -> Tensor:
        kl_to_uniform = radial(self.concentration, self.dimension).kl_to_uniform
        return (log_sphere_area(self.dimension) - kl_to_uniform).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats, right to 1e-3 in float32 even at a concentration of 1e6.

        It is written as the log density at the mode less concentration * |x - loc|^2 / 2: the usual
        concentration * (loc . x) would round away exactly what tells two values near the mode apart.
        """
        if self._validate_args:
            self._validate_sample(value)
        log_peak = radial(self.concentration, self.dimension).log_peak - log_sphere_area(self.dimension)
        distance = torch.linalg.vector_norm(value - self.loc, dim=-1)
        return log_peak.to(self.loc.dtype) - self.concentration * distance.square() / 2

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return _Sample.apply(self.loc.expand(shape), self.concentration.expand(shape[:-1]))  # pyright: ignore[reportReturnType]


class _Sample(torch.autograd.Function):
    """One draw for each row of loc (..., D) and concentration (...).

    A draw is x = w loc + sqrt(1 - w^2) t, with t uniform among the unit vectors orthogonal to loc, and w = tanh(y).
    """

    @staticmethod
    def forward(ctx: Any, loc: Tensor, concentration: Tensor) -> Tensor:
        k = concentration.double()
        y = _draw_height(k, loc.shape[-1])
        t = torch.randn_like(loc, memory_format=torch.contiguous_format)
        # Twice: in few dimensions the first pass cancels, and leaves some of loc in t.
        for _ in range(2):
            t -= (t * loc).sum(-1, keepdim=True) * loc
            t /= torch.linalg.vector_norm(t, dim=-1, keepdim=True)
        x = t * _sech(y)[..., None].to(loc.dtype) + loc * torch.tanh(y)[..., None].to(loc.dtype)
        ctx.save_for_backward(loc, k, x, y)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        loc, k, x, y = ctx.saved_tensors
        g = gradients[0]
        w = torch.tanh(y).to(loc.dtype)
        along = (g * loc).sum(-1)
        of_loc = of_concentration = None
        if ctx.needs_input_grad[0]:
            # The rotation that takes loc to loc + dloc moves x by dloc (loc . x) - loc (dloc . x).
            of_loc = w[..., None] * g - along[..., None] * x
        if ctx.needs_input_grad[1]:
            rate = _height_rate(k, y, loc.shape[-1]).to(loc.dtype)
            of_concentration = rate * (along - w * (g * x).sum(-1))
        return of_loc, of_concentration


def _sech(y: Tensor) -> Tensor:
    return torch.cosh(y).reciprocal()


def _draw_height(k: Tensor, dimension: int) -> Tensor:
    """Draws of y = atanh(loc . x), one for each entry of k: float64, by Wood's rejection in that variable.

    The density of y is proportional to sech(y)^(d-1) exp(k tanh y), its mode y0 satisfies tanh y0 = w0. The proposal
    is the density for k = 0 moved to y0, the law of y0 + log(g2 / g1) / 2 for two Gamma((d-1)/2) variables, and with
    u = w0 tanh(y - y0) it is accepted with log probability (d-1) (u / (1 + u) - log(1 + u)), which is never above 0.
    """
    s = torch.hypot(2 * k, torch.full_like(k, dimension - 1))
    w0 = 2 * k / (dimension - 1 + s)
    y0 = ((2 * k + s) / (dimension - 1)).log() / 2
    shape = k.new_full((2, _PROPOSALS, *k.shape), (dimension - 1) / 2)
    gamma = torch._standard_gamma(shape)  # pyright: ignore[reportPrivateImportUsage]
    e = (gamma[1].log() - gamma[0].log()) / 2
    u = w0 * torch.tanh(e)
    accepted = torch.rand_like(u).log() < (dimension - 1) * (u / (1 + u) - torch.log1p(u))
    first = accepted.byte().argmax(0, keepdim=True)
    return y0 + e.gather(0, first)[0]


def _height_rate(k: Tensor, y: Tensor, dimension: int) -> Tensor:
    """dy/dk of a draw y at a fixed quantile, which makes dw/dk = (1 - w^2) dy/dk: float64, of the shape of y.

    The implicit function theorem gives -(dF/dk) / (dF/dy) for the distribution function F of y. In the angle between
    x and loc, cos(theta) = w, this is the integral of

        (cos(t) - A) (sin(t) / sin(theta))^(d-2) exp(k (cos(t) - cos(theta))) / sin(theta)

    over t from 0 to theta, or minus that from theta to pi. The side away from the mean has an integrand of one sign.
    """
    deficit = radial(k, dimension).mean_cosine_deficit
    w, sine = torch.tanh(y), _sech(y)
    to_zero, to_pi = 2 * torch.atan(torch.exp(-y)), 2 * torch.atan(torch.exp(y))
    above = 2 / (1 + torch.exp(2 * y)) < deficit  # 1 - w against 1 - A: near the pole w and A are both 1
    spread = _REACH / (dimension - 2 + k).sqrt()
    span = torch.where(above, -torch.minimum(spread, to_zero), torch.minimum(spread, to_pi))[..., None]
    node, weight = gauss_legendre(_NODES, k.device)
    step = span * node
    half, full = torch.sin(step / 2).square(), torch.sin(step)
    w, sine, k = w[..., None], sine[..., None], k[..., None]
    ratio = (torch.cos(step) + w / sine * full).clamp_min(torch.finfo(torch.float64).tiny)
    fall = 2 * w * half + sine * full  # cos(theta) - cos(t)
    below_mean = 2 / (1 + torch.exp(2 * y))[..., None] + fall - deficit[..., None]  # A - cos(t)
    integrand = below_mean * torch.exp((dimension - 2) * ratio.log() - k * fall)
    return ((integrand * span) @ weight) / sine[..., 0]


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_vmf_vmf(p: VonMisesFisher, q: VonMisesFisher) -> Tensor:
    """The part that two concentrations at one location make, and the part that turning one away adds: both >= 0."""
    p_loc, q_loc = torch.broadcast_tensors(p.loc, q.loc)
    turned = torch.linalg.vector_norm(p_loc - q_loc, dim=-1).double().square() / 2  # 1 - cos, without cancellation
    mean_cosine = radial(p.concentration, p.dimension).mean_cosine
    along = bregman(p.concentration, q.concentration, p.dimension)
    return (along + mean_cosine * q.concentration.double() * turned).to(p.loc.dtype)


@register_kl(VonMisesFisher, HypersphericalUniform)
def _kl_vmf_uniform(p: VonMisesFisher, q: HypersphericalUniform) -> Tensor:
    kl = radial(p.concentration, p.dimension).kl_to_uniform.to(p.loc.dtype)
    return kl.expand(torch.broadcast_shapes(p.batch_shape, q.batch_shape))


@register_kl(HypersphericalUniform, HypersphericalUniform)
def _kl_uniform_uniform(p: HypersphericalUniform, q: HypersphericalUniform) -> Tensor:
    return torch.zeros_like(p.entropy() + q.entropy())
