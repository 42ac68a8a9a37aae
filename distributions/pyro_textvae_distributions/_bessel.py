"""The radial functions of the von Mises-Fisher family, accurate in every dimension at every concentration.

A vMF on the sphere of R^d with concentration k is governed by L(k) = log 0F1(; d/2; k^2/4), the logarithm of
its normaliser relative to the uniform distribution. Everything the distribution needs follows from

    A(k)  = L'(k) = I_{d/2}(k) / I_{d/2-1}(k)     mean cosine between a draw and its location
    1 - A                                         which A cannot give once A is nearly one
    A'(k)                                         variance of that cosine
    A(k) / k                                      variance of a draw in any direction orthogonal to the location
    KL(k) = k A - L                               KL to the uniform distribution, nats
    k - L = k (1 - A) + KL                        log density at the location relative to the uniform density, nats

Bessel functions overflow and underflow and these combinations cancel, so none is computed from them here. With
t = k/d, s = hypot(t, 1/2), h = s + 1/2 and v = t/h in [0, 1), which is the tangent of half the angle of tangent 2t,

    A     = v + v^3 f(v) / h
    1 - A = (1/2 + 1/(4 (s + t)) - v^3 f(v)) / h
    A'    = g(v) / (d s h)
    A/k   = (1 + v^2 f(v) / h) / (d h)
    KL    = (d - 1)/2 log1p(t v) + v^2 c(v)

and f, g, c are smooth, bounded and even on [-1, 1]: one short Chebyshev table for each dimension, built in 50-digit
decimals when the dimension is first used (10 to 60 ms) and evaluated in float64. The table is exact to about
1e-15 relative for k from 0 to 1e7 and stays finite to 1e150.

Each function takes a concentration of any shape and returns float64 of that shape. First derivatives are closed forms
in the same functions (A', -A', k A' and 1 - A), and second ones differentiate those: under autograd, under the
transforms of torch.func, and inside torch.compile.

Source: DLMF 10.41(ii) (uniform expansion for large order) and 10.29.1 (recurrence down to the order wanted).
"""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_textvae_distributions._tables import kept, recent, recorded, unrecorded

# The expansion in 1/order is used from this order upwards, where the terms below leave an error under 1e-19.
_DEBYE_ORDER = 60
_DEBYE_TERMS = 14
# Chebyshev terms: (smallest dimension, terms that leave 3e-10 for float32, and coefficients under 1e-16 for float64).
_TERMS = ((50, 16, 26), (16, 18, 32), (9, 21, 38), (7, 23, 42), (5, 26, 48), (4, 29, 54), (3, 33, 60), (2, 39, 74))
# Newton's steps to the last digits from an approximation that is off by up to a fifth.
_NEWTON_STEPS = 7

LARGEST_CONCENTRATION = 1e150
"""Its square is the largest that float64 holds with room to spare."""


_LARGEST = {
    dtype: min(torch.finfo(dtype).max, LARGEST_CONCENTRATION)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}


def largest(dtype: torch.dtype) -> float:
    """The largest concentration in `dtype`."""
    return _LARGEST[dtype]


def in_range(k: Tensor) -> Tensor:
    """The nearest number that is a concentration, in float64; a NaN stays one.

    What takes a concentration calls this itself. Were it called once for all, draws and KLs would each derive a clamp,
    which is a twentieth of their time at small batches.
    """
    return k.clamp(0, largest(k.dtype)).double()


def mean_cosine(k: Tensor, dimension: int) -> Tensor:
    """A.

    >>> mean_cosine(torch.tensor(13.0), 3)
    tensor(0.9231, dtype=torch.float64)
    """

    def formula(k: Tensor) -> tuple[Tensor, ...]:
        at = _Point(k, dimension)
        return at.mean_cosine, at.variance

    return _with_derivatives(formula, lambda k: (variance(k, dimension),), (k,))


def mean_cosine_deficit(k: Tensor, dimension: int) -> Tensor:
    """1 - A."""

    def formula(k: Tensor) -> tuple[Tensor, ...]:
        at = _Point(k, dimension)
        return at.mean_cosine_deficit, -at.variance

    return _with_derivatives(formula, lambda k: (-variance(k, dimension),), (k,))


def variance(k: Tensor, dimension: int) -> Tensor:
    """A', of the cosine."""
    return _Point(k, dimension).variance


def variance_across(k: Tensor, dimension: int) -> Tensor:
    """A / k, of a draw in a direction orthogonal to the location; 1/d at k = 0."""
    return _Point(k, dimension).variance_across


def kl_to_uniform(k: Tensor, dimension: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """KL, nats, rounded to `dtype`."""

    def formula(k: Tensor) -> tuple[Tensor, ...]:
        at = _Point(k, dimension, dtype)
        return at.kl_to_uniform, at.kl_slope

    return _with_derivatives(formula, lambda k: (_Point(k, dimension).kl_slope,), (k,), dtype)


def log_ratio(k: Tensor, dimension: int) -> Tensor:
    """L, nats."""

    def formula(k: Tensor) -> tuple[Tensor, ...]:
        at = _Point(k, dimension)
        mean = at.mean_cosine
        return at.k * mean - at.kl_to_uniform, mean  # half to all of k A

    return _with_derivatives(formula, lambda k: (mean_cosine(k, dimension),), (k,))


def log_peak(k: Tensor, dimension: int) -> Tensor:
    """k - L, nats."""

    def formula(k: Tensor) -> tuple[Tensor, ...]:
        at = _Point(k, dimension)
        deficit = at.mean_cosine_deficit
        return at.k * deficit + at.kl_to_uniform, deficit

    return _with_derivatives(formula, lambda k: (mean_cosine_deficit(k, dimension),), (k,))


def bregman(k: Tensor, other: Tensor, dimension: int) -> Tensor:
    """KL from a vMF of concentration `k` to one of concentration `other` at the same location, in nats.

    This is L(other) - L(k) - A(k) (other - k), at least zero; the arguments broadcast. Relative error some 1e-13, also
    for nearly equal concentrations.
    """

    def formula(k: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        at, to, step = _Point(k, dimension), _Point(other, dimension), other - k
        deficit, other_deficit = at.mean_cosine_deficit, to.mean_cosine_deficit
        far = (k * deficit + at.kl_to_uniform) - (other * other_deficit + to.kl_to_uniform) + deficit * step
        # The far form is a difference, which cancels when the two are near; there Taylor's remainder does not.
        near, between, t, weight = _between(k, other, dimension)
        value = torch.where(near, step.square() * (between @ (weight * (1 - t))), far)
        in_other = torch.where(near, step * (between @ weight), deficit - other_deficit)
        return value, -at.variance * step, in_other

    both = torch.broadcast_tensors(in_range(k), in_range(other))
    return _with_derivatives(formula, lambda k, other: _bregman_derivatives(k, other, dimension), both)


def _bregman_derivatives(k: Tensor, other: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    near, between, _, weight = _between(k, other, dimension)
    apart = mean_cosine_deficit(k, dimension) - mean_cosine_deficit(other, dimension)
    return -variance(k, dimension) * (other - k), torch.where(near, (other - k) * (between @ weight), apart)


def _between(k: Tensor, other: Tensor, dimension: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Whether two concentrations are near, and A' at the nodes between them (..., nodes) with nodes and weights."""
    t, weight = kept(_gauss_legendre, 8, k.device)
    near = (other - k).abs() < (torch.minimum(k, other) + dimension / 2) / 2
    return near, variance(k[..., None] + t * (other - k)[..., None], dimension), t, weight


def concentration_of(mean: Tensor, deficit: Tensor, dimension: int) -> Tensor:
    """The k with A(k) = mean and 1 - A(k) = deficit: the maximum of the likelihood. float64, at least 0.

    Both are asked for because either alone has lost its digits at one end. Newton's method from the approximation of
    Banerjee et al. 2005; its number of steps is fixed, so that the device is not asked. A deficit of 0 has no such k,
    and gives the largest of a float64 vMF. Not differentiable.
    """
    mean, deficit = mean.detach().double(), deficit.detach().double()
    tiny = torch.finfo(torch.float64).tiny
    k = mean * (dimension - mean.square()) / (deficit * (2 - deficit)).clamp_min(tiny)
    for _ in range(_NEWTON_STEPS):
        k = k.clamp(0, LARGEST_CONCENTRATION)
        at = _Point(k, dimension)
        excess = torch.where(mean < 0.5, at.mean_cosine - mean, deficit - at.mean_cosine_deficit)
        # A is concave: from below a step never passes the solution; from above it may, but not by more than half.
        k = torch.maximum(k - excess / at.variance, k / 2)
    return k.clamp(0, LARGEST_CONCENTRATION)


def of_number(function: Callable[[Tensor, int], Tensor], concentration: float, dimension: int) -> float:
    """One of the above at a plain number, remembered."""
    return recent(_of_number, function, concentration, dimension)


def _of_number(function: Callable[[Tensor, int], Tensor], concentration: float, dimension: int) -> float:
    return function(torch.tensor(concentration, dtype=torch.float64), dimension).item()


def _gauss_legendre(nodes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights, each (nodes,) in float64, of the Gauss-Legendre rule on [0, 1] (Golub & Welsch 1969)."""
    n = torch.arange(1, nodes, dtype=torch.float64)
    jacobi = torch.diag(n / (4 * n.square() - 1).sqrt(), -1)
    x, vectors = torch.linalg.eigh(jacobi)  # reads the lower triangle
    return ((x + 1) / 2).to(device), vectors[0].square().to(device)


class _Point:
    """The formulas of the module's docstring at one concentration; plain operations, which autograd can follow.

    On a batch of 32 an operation costs what it costs to call it, less with a tensor than with a number: so few are
    used, and constants are tensors. `precision` is that to which results will be rounded: fewer terms do for float32.
    """

    def __init__(self, k: Tensor, dimension: int, precision: torch.dtype = torch.float64) -> None:
        table = kept(_table_on, dimension, precision, k.device)
        self.k, self.dimension, self.half_degree = in_range(k), dimension, table.half_degree
        self.t = self.k * table.share
        self.s = torch.hypot(self.t, table.half)
        self.h = self.s + table.half
        self.v = self.t / self.h
        angle = torch.atan2(self.v, self.h.rsqrt())  # asin(v), as v^2 + 1/h = 1; with a slope also where v rounds to 1
        polynomials = torch.cos(angle.unsqueeze(-1) * table.twice_the_order)
        self.f, self.g, self.c = (polynomials @ table.coefficients).unbind(-1)

    @property
    def mean_cosine(self) -> Tensor:
        return self.v + self.v**3 * self.f / self.h

    @property
    def mean_cosine_deficit(self) -> Tensor:
        return (0.5 + 0.25 / (self.s + self.t) - self.v**3 * self.f) / self.h

    @property
    def variance(self) -> Tensor:
        return self.g / self.s / self.h / self.dimension

    @property
    def variance_across(self) -> Tensor:
        return (1 + self.v.square() * self.f / self.h) / self.h / self.dimension

    @property
    def kl_to_uniform(self) -> Tensor:
        growth = torch.special.xlog1py(self.half_degree, self.t * self.v)
        return torch.addcmul(growth, self.v * self.v, self.c)

    @property
    def kl_slope(self) -> Tensor:
        """k A', the derivative of the KL."""
        return self.v / self.s * self.g


def _with_derivatives(
    formula: Callable[..., tuple[Tensor, ...]],
    rule: Callable[..., tuple[Tensor, ...]],
    at: tuple[Tensor, ...],
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """The value, in `dtype`, of a function of one or two tensors.

    `formula` gives the value and its derivatives at those, and `rule` the derivatives as functions to be derived.
    """
    # torch.func needs a Function that torch.compile refuses, and that takes five times as long to call. PyTorch has no
    # public name for its being at work; its own Function.apply asks the same.
    transformed = not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()
    function = _OfTransforms if transformed else _Of
    return function.apply(formula, rule, dtype, *at)  # pyright: ignore[reportReturnType]


class _Of(torch.autograd.Function):
    """A value with its derivatives at hand. They are computed anew, by the rule, only to be derived themselves."""

    @staticmethod
    def forward(ctx: Any, formula: Any, rule: Any, dtype: torch.dtype, first: Tensor, *others: Tensor) -> Tensor:
        # torch.compile takes a forward with as many parameters as it gets arguments for one that wants no ctx: with *at
        # in the place of the last two this would be one.
        at = (first, *others)
        with unrecorded():
            results = formula(*at)
        value, *derivatives = [recorded(result, dtype) for result in results]
        ctx.rule = rule
        ctx.save_for_backward(*at, *derivatives)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        count = len(saved) // 2
        derivatives = ctx.rule(*saved[:count]) if torch.is_grad_enabled() else saved[count:]
        return None, None, None, *[gradients[0] * derivative for derivative in derivatives]


class _OfTransforms(torch.autograd.Function):
    """The same for torch.func, grad, vmap, jacrev, jacfwd and hessian, which always derive."""

    generate_vmap_rule = True

    @staticmethod
    def forward(formula: Any, rule: Any, dtype: torch.dtype, *at: Tensor) -> Tensor:
        return formula(*at)[0].to(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.rule, ctx.dtype, *at = inputs
        ctx.save_for_backward(*at)
        ctx.save_for_forward(*at)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        at = ctx.saved_tensors
        return None, None, None, *[(gradients[0] * d).to(x.dtype) for d, x in zip(ctx.rule(*at), at, strict=True)]

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        derivatives = ctx.rule(*ctx.saved_tensors)
        moved = [d * t for d, t in zip(derivatives, tangents[3:], strict=True) if t is not None]
        return torch.stack(moved).sum(0).to(ctx.dtype)


class _Table(NamedTuple):
    """The table of a dimension on a device, float64."""

    coefficients: Tensor
    """(terms, 3), of f, g and c."""
    twice_the_order: Tensor
    """(terms,): 0, 2, 4 ..."""
    half: Tensor
    share: Tensor
    half_degree: Tensor
    """() each: 1/2, 1/d and (d - 1)/2."""


def _table_on(dimension: int, precision: torch.dtype, device: torch.device) -> _Table:
    single, _ = _terms(dimension)
    if precision == torch.float32:
        whole = kept(_table_on, dimension, torch.float64, device)
        return whole._replace(coefficients=whole.coefficients[:single], twice_the_order=whole.twice_the_order[:single])
    coefficients = torch.tensor(_table(dimension), dtype=torch.float64, device=device)
    order = torch.arange(len(coefficients), dtype=torch.float64, device=device)
    constants = (
        torch.full((), c, dtype=torch.float64, device=device) for c in (1 / 2, 1 / dimension, (dimension - 1) / 2)
    )
    return _Table(coefficients, 2 * order, *constants)


def _terms(dimension: int) -> tuple[int, int]:
    """For float32 and for float64."""
    single, double = next(terms for smallest, *terms in _TERMS if dimension >= smallest)
    return single, double


def _table(dimension: int) -> list[list[float]]:
    """Chebyshev coefficients of f, g and c in 1 - 2v^2 = cos(2 asin(v)): a row a term, a column a function."""
    _, terms = _terms(dimension)
    cosine = [_cosine(m, terms) for m in range(4 * terms)]
    odd = range(1, 2 * terms, 2)
    with localcontext() as context:
        context.prec = 50
        values = [_scaled_functions(dimension, Decimal((1 + cosine[i]) / 2)) for i in odd]
    return [
        [
            (2 if n else 1)
            / terms
            * math.fsum(row[j] * cosine[n * i % (4 * terms)] for row, i in zip(values, odd, strict=True))
            for j in range(3)
        ]
        for n in range(terms)
    ]


def _cosine(m: int, n: int) -> float:
    """cos(pi m / (2n)) for 0 <= m <= 4n, folded to where the rounding of the angle does no harm."""
    if m > 2 * n:
        return _cosine(4 * n - m, n)
    if m > n:
        return -_cosine(2 * n - m, n)
    return math.cos(math.pi * m / (2 * n)) if 2 * m <= n else math.sin(math.pi * (n - m) / (2 * n))


def _scaled_functions(dimension: int, complement: Decimal) -> tuple[float, float, float]:
    """f, g and c at v^2 = 1 - complement, from the large-order expansion and the recurrence down to order d/2 - 1."""
    d, half = Decimal(dimension), Decimal("0.5")
    v = (1 - complement).sqrt()
    h = 1 / complement
    k = d * v * h
    order = d / 2 - 1
    up = max(0, math.ceil(_DEBYE_ORDER - order))
    top = order + up
    root = (top * top + k * k).sqrt()
    q = top / root
    value, slope = _debye_sum(q, top)
    at_zero, _ = _debye_sum(Decimal(1), top)
    log_ratio = (root - top) - top * ((top + root) / (2 * top)).ln() + q.ln() / 2 + (value / at_zero).ln()
    mean = (root - top - (1 - q * q) / 2 - (1 - q * q) * q * slope / value) / k
    product = Decimal(1)
    for step in range(up):
        w = top - step
        x = k * mean / (2 * w)
        product *= 1 + x
        mean = k / (2 * w * (1 + x))
    log_ratio += product.ln()

    slope = 1 - mean * mean - (d - 1) * mean / k
    kl = k * mean - log_ratio
    f = (mean - v) * h / v**3
    g = slope * d * (h - half) * h
    c = (kl - (d - 1) / 2 * h.ln()) / (v * v)  # 1 + t v = h
    return float(f), float(g), float(c)


def _debye_sum(q: Decimal, order: Decimal) -> tuple[Decimal, Decimal]:
    """The sum of U_j(q) / order^j, and its derivative in q."""
    value = slope = Decimal(0)
    for j, coefficients in enumerate(_debye_polynomials()):
        for power, coefficient in coefficients.items():
            term = coefficient * q ** (power - 1) / order**j if power else coefficient
            value += term * q if power else term
            slope += power * term
    return value, slope


@lru_cache(maxsize=1)
def _debye_polynomials() -> list[dict[int, Decimal]]:
    """U_0 .. U_J of DLMF 10.41.9: a dictionary power -> coefficient each."""
    polynomials: list[dict[int, Fraction]] = [{0: Fraction(1)}]
    for _ in range(_DEBYE_TERMS):
        following: dict[int, Fraction] = {}
        for n, u in polynomials[-1].items():
            following[n + 1] = following.get(n + 1, Fraction(0)) + u * (Fraction(n, 2) + Fraction(1, 8 * (n + 1)))
            following[n + 3] = following.get(n + 3, Fraction(0)) - u * (Fraction(n, 2) + Fraction(5, 8 * (n + 3)))
        polynomials.append(following)
    with localcontext() as context:
        context.prec = 50
        return [
            {power: Decimal(u.numerator) / Decimal(u.denominator) for power, u in polynomial.items()}
            for polynomial in polynomials
        ]
