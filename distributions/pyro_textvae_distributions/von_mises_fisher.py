"""The von Mises-Fisher distribution: a Gaussian's counterpart on the unit sphere."""

from collections.abc import Callable, Iterable
from typing import Any, Self, SupportsFloat

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import register_kl

from pyro_textvae_distributions import _bessel as radial
from pyro_textvae_distributions._quantile import draw_cotangent, draw_cotangent_of_number
from pyro_textvae_distributions._sphere import (
    check_value,
    log_sphere_area,
    refuse_all_but_floats,
    refuse_all_but_tensors,
    refuse_off_sphere,
    refuse_where,
)
from pyro_textvae_distributions._tables import recent, recorded, unrecorded
from pyro_textvae_distributions.hyperspherical_uniform import HypersphericalUniform

_BLOCK = 1 << 16  # numbers made at a time of a large batch of draws
_NOISE = 2.0**-32  # size of the noise that makes directions: the largest cotangent times it has a finite square
_LEAST = 2.0**-60  # length that it has at least: its square is no less than float32's smallest


class VonMisesFisher(TorchDistribution):
    """Distribution on the unit sphere of R^D with density proportional to exp(concentration * loc . x).

    `loc` is (..., D), D >= 2, of unit length: the mode. `concentration` is (...), at least 0 (0 is uniform), and
    broadcasts with the batch shape of `loc`; what depends on it alone is remembered where it is a plain number, which
    makes a draw with its KL and backward pass 1.6 times as fast at small batches. Log densities are with respect to the
    surface measure, in nats.

    It is the exponential family with natural parameter concentration * loc and sufficient statistic x. Radial
    quantities are computed in float64 and cast to the dtype of `loc` once, so float32 results are right to the last
    digit for concentrations from 0 to 3e38; `log_prob` depends on the rounding of its value, too. Parameters of
    bfloat16 or float16 are taken to float32 and the location normalised there; results are float32.

    `rsample` puts a normal draw through a tabulated quantile function, so it neither rejects nor asks the device. Its
    gradient in the concentration is the exact implicit one; its gradient in `loc` carries each draw along the rotation
    of `loc`. All gradients in `loc` are right up to a component along `loc`, which the normalisation that made `loc` a
    unit vector removes. Draws have first derivatives only; densities and divergences have all.

    Without validation a negative concentration counts as 0 and an infinite one as the largest of the dtype, with the
    gradients that draws and KLs have there: no NaN is made, and one that is given comes out as NaN.

    docs/von_mises_fisher.md tells how it is computed and what was measured.
    Source: Mardia & Jupp 2000 (the distribution), Figurnov et al. 2018 (implicit gradient), Davidson et al. 2018 (use
    in a VAE).

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

    def __init__(
        self, loc: Tensor, concentration: Tensor | SupportsFloat, *, validate_args: bool | None = None
    ) -> None:
        refuse_all_but_floats("loc", loc)
        half = loc.dtype in (torch.bfloat16, torch.float16)
        dtype = torch.float32 if half else loc.dtype
        if loc.dim() < 1 or loc.shape[-1] < 2:
            raise ValueError(
                f"'loc' has shape {tuple(loc.shape)}, but its last axis holds a unit vector of at least 2 entries: "
                "give it as (..., D) with D >= 2, before the concentration"
            )
        if isinstance(concentration, Tensor):
            refuse_all_but_floats("concentration", concentration)
            self._number = None
        else:
            number = _float(concentration)
            self._number = _number(number, dtype)
            try:
                concentration = torch.full((), number, dtype=dtype, device=loc.device)
            except RuntimeError:  # it is too large for that
                concentration = torch.full((), number, dtype=torch.float64, device=loc.device)
        try:
            batch_shape = _broadcast(loc.shape[:-1], concentration.shape)
        except RuntimeError:
            raise ValueError(
                f"'concentration' has shape {tuple(concentration.shape)}, which does not broadcast with the batch "
                f"shape {tuple(loc.shape[:-1])} of 'loc' {tuple(loc.shape)}: give one number for each vector"
            ) from None
        validate = self._validate_args if validate_args is None else validate_args
        if validate:
            _check_parameters(loc, concentration, dtype)
        if half:
            loc = torch.nn.functional.normalize(loc.float(), dim=-1)
        self._given = concentration.to(loc)  # in the shape it has: what is equal for all of a batch is computed once
        self.loc = _expanded(loc, batch_shape + loc.shape[-1:])
        super().__init__(batch_shape, loc.shape[-1:], validate_args=False)
        self._validate_args = validate

    @classmethod
    def fit(cls, value: Tensor, weights: Tensor | None = None) -> Self:
        """The vMF of maximum likelihood for unit vectors `value` (N, ..., D), N draws of each of a batch (...).

        `weights` (N, ...), at least 0, count a draw more or less than once; their axes after the first broadcast with
        those of the batch, so the responsibilities (N, K) of a mixture fit its K members to `value` (N, D), in memory
        for a few times N x K x D numbers. The location is the direction of the mean; the concentration makes the mean
        cosine that of the data, accurately for nearly uniform and for nearly equal vectors. It is far too large where N
        is not well above D, since the mean of few vectors is never short. Equal vectors have no finite maximum:
        validation refuses them, and without it they get the largest concentration. Not differentiable. Source: Banerjee
        et al. 2005.

        >>> data = VonMisesFisher(torch.tensor([0.6, 0.0, 0.8]), 50.0).sample((1000,))
        >>> (VonMisesFisher.fit(data).loc - torch.tensor([0.6, 0.0, 0.8])).abs().max() < 0.03
        tensor(True)
        """
        refuse_all_but_floats("value", value)
        if value.dim() < 2 or value.shape[0] < 1 or value.shape[-1] < 2:
            raise ValueError(
                f"'value' has shape {tuple(value.shape)}, but fitting takes (N, ..., D): N >= 1 unit vectors of D >= 2"
            )
        if cls._validate_args:
            refuse_off_sphere("value", value)
        x = torch.nn.functional.normalize(value.detach().double(), dim=-1)
        if weights is None:
            share = torch.full(x.shape[:-1], 1 / len(x), dtype=x.dtype, device=x.device)
        else:
            share, x = _shares(weights, x, validate=cls._validate_args)
        mean = (share[..., None] * x).sum(0)
        length = torch.linalg.vector_norm(mean, dim=-1)
        direction = torch.nn.functional.normalize(mean / length[..., None], dim=-1)
        loc = torch.where(length[..., None] > 0, direction, x[0])  # any where the vectors cancel
        # 1 - length, with its digits:
        deficit = (share * torch.linalg.vector_norm(x - loc, dim=-1).square()).sum(0) / 2
        dtype = torch.promote_types(value.dtype, torch.float32)
        k = radial.concentration_of(length, deficit, x.shape[-1])
        if cls._validate_args:
            refuse_where(
                ~(deficit > torch.finfo(dtype).eps ** 2),
                deficit,
                "the vectors of 'value' that count at batch index {index} are all equal: the likelihood grows with the "
                "concentration without bound; fit at least two different ones, and drop a member of a mixture that "
                "has come to explain one alone",
            )
        return cls(loc.to(dtype), k.to(dtype))

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: Any = None) -> "VonMisesFisher":
        new: Any = self._get_checked_instance(VonMisesFisher, _instance)
        batch_shape = torch.Size(batch_shape)
        new._given, new._number = self._given, self._number
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        super(VonMisesFisher, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        return f"{type(self).__name__}(loc: {self.loc.shape}, concentration: {self.batch_shape})"

    @classmethod
    def infer_shapes(
        cls, loc: torch.Size, concentration: torch.Size | tuple[int, ...] = ()
    ) -> tuple[torch.Size, torch.Size]:
        return torch.broadcast_shapes(loc[:-1], concentration), torch.Size(loc[-1:])

    @property
    def dimension(self) -> int:
        """D, of the space that holds the sphere."""
        return int(self.event_shape[0])  # torch.jit.trace would make it a tensor

    @property
    def concentration(self) -> Tensor:
        """(...), at least 0."""
        k = self._given if self._validate_args else radial.in_range(self._given).to(self._given.dtype)
        return _expanded(k, self.batch_shape)

    @property
    def natural_parameter(self) -> Tensor:
        """concentration * loc, (..., D)."""
        return self.concentration[..., None] * self.loc

    @property
    def log_normalizer(self) -> Tensor:
        """Log of the integral of exp(natural_parameter . x) over the sphere, nats: log_prob is eta . x minus this."""
        return self._of_batch(self._radial(radial.log_ratio) + log_sphere_area(self.dimension))

    @property
    def mean_cosine(self) -> Tensor:
        """E[loc . x], in [0, 1): the length of the mean."""
        return self._of_batch(self._radial(radial.mean_cosine))

    @property
    def mean(self) -> Tensor:
        return self.mean_cosine[..., None] * self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Of each coordinate, (..., D): the diagonal of the covariance matrix."""
        return self._of_coordinates(*self._variances())

    @property
    def covariance_matrix(self) -> Tensor:
        """(..., D, D): A' along the location and A / concentration in every direction orthogonal to it."""
        along, across = self._variances()
        covariance = (along - across)[..., None] * self.loc[..., :, None] * self.loc[..., None, :]
        return covariance.diagonal_scatter(self._of_coordinates(along, across), dim1=-2, dim2=-1)

    def _variances(self) -> tuple[Tensor, Tensor]:
        """Along the location and across it, (..., 1) each."""
        along, across = (self._of_batch(self._radial(f)) for f in (radial.variance, radial.variance_across))
        return along[..., None], across[..., None]

    def _of_coordinates(self, along: Tensor, across: Tensor) -> Tensor:
        """The variance of each coordinate, (..., D), of those along the location and across it, (..., 1) each."""
        square = self.loc.double().square()
        rest = (square.sum(-1, keepdim=True) - square).clamp_min(0)  # 1 - square, also where loc is nearly an axis
        return (along * square + across * rest).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        return self._of_batch(log_sphere_area(self.dimension) - self._radial(radial.kl_to_uniform))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats, of draws at a concentration of 1e6 right to 1e-3 in float32 (measured to D = 500).

        It is written as the log density at the mode less concentration * |x - loc|^2 / 2: the usual
        concentration * (loc . x) would round away exactly what tells two values near the mode apart.
        """
        if self._validate_args:
            self._validate_sample(value)
        at_mode = self._radial(radial.log_peak) - log_sphere_area(self.dimension)
        distance = torch.linalg.vector_norm(value - self.loc, dim=-1)
        return at_mode.to(self.loc.dtype) - self.concentration * distance.square() / 2

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            return _draw(self.loc, self._given, self._number, self._shape_of(sample_shape), with_rate=False)[0]

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        # Also without gradients: a transform of torch.func may ask for tangents then, which this refuses.
        at = self.loc, self._given, self._number, self._shape_of(sample_shape), torch.is_grad_enabled()
        return _Draw.apply(*at)  # pyright: ignore[reportReturnType]

    def _shape_of(self, sample_shape: torch.Size | tuple[int, ...]) -> torch.Size:
        """Of draws; _extended_shape takes its time to say it where there is nothing to extend."""
        return self._extended_shape(torch.Size(sample_shape)) if sample_shape else self.loc.shape

    def _radial(self, function: Callable[..., Tensor], *dtype: torch.dtype) -> Tensor:
        """A function of `_bessel` at the concentration, of the shape in which that came; remembered for a number."""
        if self._number is None or torch.compiler.is_compiling():
            return function(self._given, self.dimension, *dtype)
        value = radial.of_number(function, self._number, self.dimension)
        return torch.full((), value, dtype=dtype[0] if dtype else torch.float64, device=self.loc.device)

    def _of_batch(self, x: Tensor) -> Tensor:
        """A radial quantity in the dtype and the shape of the batch."""
        return x.to(self.loc.dtype).expand(self.batch_shape)

    def _validate_sample(self, value: Tensor) -> None:
        check_value(value, self.batch_shape, self.event_shape)


def _float(concentration: SupportsFloat) -> float:
    """A plain number, which may be NumPy's or an array of no axes, as Python's."""
    if isinstance(concentration, (int, float)):  # first, as torch.compile can ask no more of a number that changes
        return float(concentration)
    if isinstance(concentration, SupportsFloat) and getattr(concentration, "ndim", 0) == 0:
        return float(concentration)
    raise ValueError(
        f"'concentration' is a {type(concentration).__name__}, but it must be a number, or a tensor of one number for "
        "each vector: make it one with torch.as_tensor(concentration)"
    )


def _number(concentration: float, dtype: torch.dtype) -> float | None:
    """The number as `dtype` holds it, if the functions of it are to be remembered."""
    if dtype not in (torch.float32, torch.float64) or torch.compiler.is_compiling():
        return None
    number = recent(_rounded, concentration, dtype)
    return number if 0 <= number <= radial.largest(dtype) else None


def _rounded(number: float, dtype: torch.dtype) -> float:
    return torch.tensor(number, dtype=dtype).item()


def _check_parameters(loc: Tensor, concentration: Tensor, dtype: torch.dtype) -> None:
    """Raise ValueError for parameters that a vMF of `dtype` cannot have."""
    refuse_off_sphere("loc", loc)
    wide, largest = concentration.double(), radial.largest(dtype)
    if ((wide >= 0) & (wide <= largest)).all():
        return
    at = "the 'concentration' at index {index} is {value}, but it must be "
    refuse_where(~wide.isfinite(), wide, at + "finite: look for what made it")
    positive = "at least 0 (the uniform distribution): torch.nn.functional.softplus makes a number positive"
    refuse_where(wide < 0, wide, at + positive)
    refuse_where(wide > largest, wide, at + f"at most {largest:.8g}, for a 'loc' of {dtype}")


def _shares(weights: Tensor, x: Tensor, *, validate: bool) -> tuple[Tensor, Tensor]:
    """`weights` over their sum (N, ...), float64, and vectors x (N, ..., D), with axes of 1 put in to match."""
    refuse_all_but_tensors("weights", weights)
    weights = weights.detach().double()
    try:
        if weights.shape[:1] != x.shape[:1]:
            raise RuntimeError
        axes = len(torch.broadcast_shapes(weights.shape[1:], x.shape[1:-1]))
    except RuntimeError:
        raise ValueError(
            f"'weights' has shape {tuple(weights.shape)}, but 'value' holds {len(x)} vectors of each of a batch "
            f"{tuple(x.shape[1:-1])}: give it as ({len(x)},), or with further axes that broadcast with the batch"
        ) from None
    weights = weights.reshape(len(x), *[1] * (axes + 1 - weights.dim()), *weights.shape[1:])
    x = x.reshape(len(x), *[1] * (axes + 2 - x.dim()), *x.shape[1:])
    total = weights.sum(0)
    if validate:
        refuse_where(~(weights >= 0), weights, "the weight in 'weights' at index {index} is {value}: take at least 0")
        refuse_where(
            ~((total > 0) & total.isfinite()),
            total,
            "the 'weights' at batch index {index} have the sum {value}, but it must be finite and more than 0",
        )
    return weights / total, x


def _broadcast(first: torch.Size, second: torch.Size) -> torch.Size:
    """What torch.broadcast_shapes says; it takes 10 microseconds to say it, also of equal shapes."""
    return first if second in (first, ()) else torch.broadcast_shapes(first, second)


def _expanded(x: Tensor, shape: torch.Size) -> Tensor:
    """x.expand(shape), without a node in autograd's graph where it is x."""
    return x if x.shape == shape else x.expand(shape)


def _summed(x: Tensor, shape: torch.Size) -> Tensor:
    """x.sum_to_size(shape), not called where it is x."""
    return x if x.shape == shape else x.sum_to_size(shape)


def _draw(
    loc: Tensor, k: Tensor, number: float | None, shape: torch.Size, *, with_rate: bool
) -> tuple[Tensor, Tensor | None]:
    """Draws x (..., D) of `shape` and, if asked for, the rates (..., 1) of dx/dk = rate ((loc . x) x - loc).

    loc (..., D) and k (...) broadcast with the draws; `number` is k where that is a plain number.
    """
    loc = _expanded(loc, shape)
    x = torch.empty_like(loc, memory_format=torch.contiguous_format)
    with unrecorded():
        k = radial.in_range(k).unsqueeze(-1)
        of_each = _expanded(k, torch.Size((*shape[:-1], 1)))
        z = torch.randn_like(of_each, memory_format=torch.contiguous_format)
        if number is None:
            cotangent, rate = draw_cotangent(k, z, shape[-1], loc.dtype, with_rate=with_rate)
        else:
            cotangent, rate = draw_cotangent_of_number(number, z, shape[-1], loc.dtype), None
        if _in_blocks(x):
            for block in _blocks(x, loc, cotangent):
                _fill(*block)
        else:
            _fill(x, loc, cotangent)
    return x, None if rate is None else recorded(rate, x.dtype)


def _in_blocks(x: Tensor) -> bool:
    """Whether x (..., D) is so large that to go through it in blocks, which stay in the processor's cache, takes half
    the time. What torch.compile makes of it goes through it once anyway.
    """
    return x.numel() > 2 * _BLOCK and x.dim() > 1 and not (x.is_cuda or torch.compiler.is_compiling())


def _blocks(x: Tensor, *others: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """The tensors, which have equal batch axes, in blocks."""
    rows = max(1, _BLOCK * len(x) // x.numel())
    return zip(*(tensor.split(rows) for tensor in (x, *others)), strict=True)


def _fill(x: Tensor, loc: Tensor, cotangent: Tensor) -> None:
    """Put unit vectors at angles of these cotangents (..., 1) from loc in x.

    Each has the direction of n + |n| cotangent loc, where n is normal noise less what of it lies along loc. Noise that
    happens to lie almost along loc leaves n some of that, by rounding: it moves the cotangent up or down alike, and by
    as much as 1 once in 1e7 draws of two dimensions in float32.
    """
    x.normal_(0, _NOISE).addcmul_(_dot(x, loc), loc, value=-1)
    # Noise that is loc over again, from a seed set twice, leaves nothing: then the draw is loc.
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(_LEAST)
    x.addcmul_(length.mul_(cotangent), loc)
    x.div_(torch.linalg.vector_norm(x, dim=-1, keepdim=True))


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """(..., 1), of vectors (..., D)."""
    return (x * y).sum(-1, keepdim=True)


class _Draw(torch.autograd.Function):
    """`_draw` with gradients in loc and k.

    The rotation that takes loc to loc + dloc moves a draw x by dloc (loc . x) - loc (dloc . x).
    """

    @staticmethod
    def forward(ctx: Any, loc: Tensor, k: Tensor, number: float | None, shape: torch.Size, wanted: bool) -> Tensor:
        """`wanted` says that there will be gradients, which are disabled in here."""
        x, rate = _draw(loc, k, number, shape, with_rate=wanted and ctx.needs_input_grad[1])
        ctx.save_for_backward(loc, k, rate, x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if not torch.is_grad_enabled():
            return *_pull_back(gradients[0], *ctx.saved_tensors), None, None, None
        return *_PullBack.apply(gradients[0], *ctx.saved_tensors), None, None, None  # pyright: ignore[reportGeneralTypeIssues]


class _PullBack(torch.autograd.Function):
    """`_pull_back`, which refuses to be derived."""

    @staticmethod
    def forward(ctx: Any, *saved: Any) -> tuple[Tensor, Tensor | None]:
        return _pull_back(*saved)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        raise RuntimeError("draws of a vMF have first derivatives only: their gradients are not derived again")


def _pull_back(g: Tensor, loc: Tensor, k: Tensor, rate: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """The gradients in loc and k of a gradient g in the draws x, with the rates of `_draw`."""
    along = _expanded(loc, x.shape)
    if _in_blocks(x):
        of_loc = torch.empty_like(x)
        away = torch.cat([_turn_back(*block)[1] for block in _blocks(x, along, g, of_loc)])
    else:
        of_loc, away = _turn_back(x, along, g)
    of_k = None if rate is None else _summed(away.mul_(rate).squeeze(-1), k.shape)
    return _summed(of_loc, loc.shape), of_k


def _turn_back(x: Tensor, loc: Tensor, g: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Of a gradient g in draws x: that in loc, which may be put in `out`, and g . ((loc . x) x - loc), (..., 1)."""
    of_loc = torch.mul(g, _dot(x, loc), out=out).addcmul_(_dot(g, loc), x, value=-1)
    return of_loc, _dot(of_loc, x)


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_vmf_vmf(p: VonMisesFisher, q: VonMisesFisher) -> Tensor:
    """The part that two concentrations at one location make, and the part that turning one away adds: both >= 0."""
    _batch_of_kl(p, q)
    turned = torch.linalg.vector_norm(p.loc - q.loc, dim=-1).double().square() / 2  # 1 - cos, without cancellation
    along = radial.bregman(p._given, q._given, p.dimension)
    kl = along + p._radial(radial.mean_cosine) * radial.in_range(q._given) * turned
    return kl.to(p.loc.dtype)


@register_kl(VonMisesFisher, HypersphericalUniform)
def _kl_vmf_uniform(p: VonMisesFisher, q: HypersphericalUniform) -> Tensor:
    batch_shape = _batch_of_kl(p, q)
    return _expanded(p._radial(radial.kl_to_uniform, p.loc.dtype), batch_shape)


@register_kl(HypersphericalUniform, HypersphericalUniform)
def _kl_uniform_uniform(p: HypersphericalUniform, q: HypersphericalUniform) -> Tensor:
    _batch_of_kl(p, q)
    return torch.zeros_like(p.entropy() + q.entropy())


@register_kl(HypersphericalUniform, VonMisesFisher)
def _kl_uniform_vmf(p: HypersphericalUniform, q: VonMisesFisher) -> Tensor:
    """The log-normaliser alone, since the mean of concentration * loc . x is 0."""
    batch_shape = _batch_of_kl(p, q)
    return _expanded(q._radial(radial.log_ratio).to(q.loc.dtype), batch_shape)


def _batch_of_kl(p: TorchDistribution, q: TorchDistribution) -> torch.Size:
    """The shape of the KL between two, or ValueError where there is none."""
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"the KL between distributions on spheres of R^{p.event_shape[0]} and R^{q.event_shape[0]} does not exist: "
            "the D of HypersphericalUniform(D) is the length of the vectors"
        )
    try:
        return _broadcast(p.batch_shape, q.batch_shape)
    except RuntimeError:
        raise ValueError(
            f"the KL is between distributions of batch shapes {tuple(p.batch_shape)} and {tuple(q.batch_shape)}, which "
            "do not broadcast: give one of them an axis of 1 for a KL of each pair"
        ) from None
