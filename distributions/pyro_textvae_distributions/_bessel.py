"""The radial functions of the von Mises-Fisher family, accurate in every dimension at every concentration.

A vMF on the sphere of R^d with concentration k is governed by L(k) = log 0F1(; d/2; k^2/4), the logarithm of
its normaliser relative to the uniform distribution. Everything the distribution needs follows from

    A(k)  = L'(k) = I_{d/2}(k) / I_{d/2-1}(k)     mean cosine between a draw and its location
    1 - A                                         which A cannot give once A is nearly one
    A'(k)                                         variance of that cosine
    KL(k) = k A - L                               KL to the uniform distribution, nats

Bessel functions overflow and underflow and these combinations cancel, so none is computed from them here. With
a = d/2, s = hypot(a, k), h = k/s and p = a/s in (0, 1], the same four are

    A     = (k + h^3 f(p)/2) / (s + a)
    1 - A = (a^2/(s + k) + a - h^3 f(p)/2) / (s + a)
    A'    = a g(p) / (s (s + a))
    KL    = (a - 1/2) log1p(k^2 / (2a (s + a))) + h^2 c(p)

and f, g, c are smooth and bounded on [0, 1]: one short Chebyshev table for each dimension, built in 50-digit
decimals when the dimension is first used (10 to 60 ms) and evaluated in float64. The table is exact to about
1e-15 relative for k from 0 to 1e7 and stays finite to 1e38.

Source: DLMF 10.41(ii) (uniform expansion for large order) and 10.29.1 (recurrence down to the order wanted).
"""

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# The expansion in 1/order is used from this order upwards, where the terms below leave an error under 1e-19.
_DEBYE_ORDER = 60
_DEBYE_TERMS = 14
# Chebyshev terms that leave coefficients under 1e-16: (smallest dimension, terms).
_TERMS = ((50, 24), (16, 32), (9, 40), (7, 56), (5, 64), (4, 72), (3, 88), (2, 112))


class Radial(NamedTuple):
    """The radial functions at a concentration, each of its shape, in float64.

    Derivatives in the concentration are closed forms: A', -A', k A' and 1 - A; first order only.
    """

    mean_cosine: Tensor
    """A."""
    mean_cosine_deficit: Tensor
    """1 - A."""
    kl_to_uniform: Tensor
    """KL = k A - L, nats."""
    log_peak: Tensor
    """k - L = k (1 - A) + KL: log density at the location relative to the uniform density, nats."""


def log_sphere_area(dimension: int) -> float:
    """Log of the surface area of the unit sphere in R^dimension, which is minus the uniform log density.

    >>> round(log_sphere_area(3) - math.log(4 * math.pi), 12)
    0.0
    """
    return math.log(2) + dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2)


def radial(concentration: Tensor, dimension: int) -> Radial:
    """A, 1 - A, KL and k - L at a concentration of any shape, in float64 and differentiable once.

    >>> radial(torch.tensor(13.0), 3).mean_cosine
    tensor(0.9231, dtype=torch.float64)
    """
    return Radial(*_Radial.apply(concentration.double(), dimension))


def bregman(k: Tensor, other: Tensor, dimension: int) -> Tensor:
    """KL from a vMF of concentration `k` to one of concentration `other` at the same location, in nats.

    This is L(other) - L(k) - A(k) (other - k), at least zero; the arguments broadcast, the result is float64
    and differentiable once. Relative error some 1e-13, also for nearly equal concentrations.
    """
    return _Bregman.apply(*torch.broadcast_tensors(k.double(), other.double()), dimension)  # pyright: ignore[reportReturnType]


@lru_cache(maxsize=64)
def gauss_legendre(nodes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights, each (nodes,) in float64, of the Gauss-Legendre rule on [0, 1] (Golub & Welsch 1969)."""
    with torch.inference_mode(False):  # cached: a tensor born in inference mode could not be used outside
        n = torch.arange(1, nodes, dtype=torch.float64)
        jacobi = torch.diag(n / (4 * n.square() - 1).sqrt(), -1)
        x, vectors = torch.linalg.eigh(jacobi)  # reads the lower triangle
        return ((x + 1) / 2).to(device), vectors[0].square().to(device)


class _Radial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, k: Tensor, dimension: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, deficit, slope, kl = _evaluate(k, dimension)
        ctx.save_for_backward(k, deficit, slope)
        return mean, deficit, kl, k * deficit + kl

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        of_mean, of_deficit, of_kl, of_peak = gradients
        k, deficit, slope = ctx.saved_tensors
        return (of_mean - of_deficit + of_kl * k) * slope + of_peak * deficit, None


class _Bregman(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, k: Tensor, other: Tensor, dimension: int) -> Tensor:
        step = other - k
        _, deficit, slope, kl = _evaluate(k, dimension)
        _, other_deficit, _, other_kl = _evaluate(other, dimension)
        far = (k * deficit + kl) - (other * other_deficit + other_kl) + deficit * step
        # The far form is a difference, which cancels when the two are near; there Taylor's remainder does not.
        t, weight = gauss_legendre(8, k.device)
        slopes = _evaluate(k[..., None] + t * step[..., None], dimension)[2]
        near = step.abs() < (torch.minimum(k, other) + dimension / 2) / 2
        ctx.save_for_backward(-slope * step, torch.where(near, step * (slopes @ weight), deficit - other_deficit))
        return torch.where(near, step.square() * (slopes @ (weight * (1 - t))), far)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        in_k, in_other = ctx.saved_tensors
        return gradients[0] * in_k, gradients[0] * in_other, None


def _evaluate(k: Tensor, dimension: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A, 1 - A, A' and KL at k (float64): the formulas of the module's docstring."""
    table = _table_on(dimension, k.device)
    a = dimension / 2
    s = torch.hypot(k, torch.full_like(k, a))
    h = k / s
    # cos(angle) = 2p - 1; this way of writing it keeps full accuracy at both ends.
    angle = 2 * torch.atan2(k, (a * (s + a)).sqrt())
    f, g, c = (torch.cos(angle[..., None] * torch.arange(len(table), device=k.device)) @ table).unbind(-1)
    bend = h**3 * f / 2
    mean = (k + bend) / (s + a)
    deficit = (a * (a / (s + k)) + a - bend) / (s + a)
    slope = a * g / s / (s + a)
    kl = (a - 0.5) * torch.log1p(k * (k / (s + a)) / (2 * a)) + h.square() * c
    return mean, deficit, slope, kl


@lru_cache(maxsize=256)
def _table_on(dimension: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(_table(dimension), dtype=torch.float64, device=device)


@lru_cache(maxsize=256)
def _table(dimension: int) -> list[list[float]]:
    """Chebyshev coefficients of f, g and c in 2p - 1: a row a term, a column a function."""
    terms = next(count for smallest, count in _TERMS if dimension >= smallest)
    # Every cosine needed is cos(pi m / (2 terms)); reducing m first keeps the large multiples exact.
    cosine = [math.cos(math.pi * m / (2 * terms)) for m in range(4 * terms)]
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


def _scaled_functions(dimension: int, p: Decimal) -> tuple[float, float, float]:
    """f, g and c at p, from the large-order expansion and the recurrence down to order dimension/2 - 1."""
    a = Decimal(dimension) / 2
    k = a * (1 - p * p).sqrt() / p
    order = a - 1
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

    s = (a * a + k * k).sqrt()
    h = k / s
    slope = 1 - mean * mean - (dimension - 1) * mean / k
    kl = k * mean - log_ratio
    f = 2 * ((s + a) * mean - k) / h**3
    g = slope * s * (s + a) / a
    c = (kl - (a - Decimal("0.5")) * (1 + k * k / (2 * a * (s + a))).ln()) / (h * h)
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
