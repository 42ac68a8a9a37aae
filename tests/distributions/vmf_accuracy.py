"""How far the vMF is from its reference values: what tests bound and docs/von_mises_fisher.md states.

    python tests/distributions/vmf_accuracy.py

prints the greatest error of every quantity, over the grid and the random points of vmf_reference.json (60 digits of
mpmath). Relative errors are of float64 and of that rounded to float32 once, as a float32 vMF does. Takes a minute.
"""

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import mpmath
import numpy as np
import torch
from make_vmf_reference import radial as radial_by_mpmath
from pyro_textvae_distributions import _bessel as radial
from pyro_textvae_distributions._quantile import draw_cotangent
from scipy import special
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn.functional import normalize

from pyro_textvae.distributions import VonMisesFisher

F64 = torch.float64
Errors = dict[tuple[float, ...], float]

TO_UNIFORM = "KL to the uniform distribution"
# Quantity: the function, and the column of the reference that it and its derivative in the concentration equal.
QUANTITIES: dict[str, tuple[Callable[[Tensor, int], Tensor], str, Callable[[dict[str, float]], float]]] = {
    "A": (radial.mean_cosine, "mean", lambda row: row["slope"]),
    "1 - A": (radial.mean_cosine_deficit, "deficit", lambda row: -row["slope"]),
    "A'": (radial.variance, "slope", lambda row: row["curvature"]),
    TO_UNIFORM: (radial.kl_to_uniform, "kl", lambda row: row["concentration"] * row["slope"]),
    "L": (radial.log_ratio, "log_ratio", lambda row: row["mean"]),
}
QUANTILE_DIMENSIONS = (2, 3, 4, 5, 7, 8, 16, 25, 50, 100, 1000)
QUANTILE_CONCENTRATIONS = (0.0, 0.3, 1.0, 2.5, 5.0, 20.0, 150.0, 1e4)
DENSITY_DIMENSIONS = (3, 25, 100, 500)


@cache
def reference() -> dict[str, list[list[float]]]:
    return json.loads(Path(__file__).with_name("vmf_reference.json").read_text())


def rows() -> list[dict[str, float]]:
    names = ("dimension", "concentration", "mean", "deficit", "slope", "curvature", "kl", "log_ratio")
    return [dict(zip(names, row, strict=True)) for row in reference()["radial"]]


def unit(dimension: int, *batch: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*batch, dimension, generator=torch.Generator().manual_seed(seed), dtype=F64), dim=-1)


def worst(errors: Errors) -> tuple[float, tuple[float, ...]]:
    """The greatest error, and where it is."""
    return max((error, at) for at, error in errors.items())


def of_radial(name: str) -> dict[str, Errors]:
    """Of one of QUANTITIES and of its derivative: in float64, and rounded."""
    function, column, derivative = QUANTITIES[name]
    errors: dict[str, Errors] = {"value": {}, "value, rounded": {}, "slope": {}, "slope, rounded": {}}
    for row in rows():
        at = (d, k) = int(row["dimension"]), row["concentration"]
        concentration = torch.tensor(k, dtype=F64, requires_grad=True)
        value = function(concentration, d)
        (slope,) = torch.autograd.grad(value, concentration)
        # A float32 KL to the uniform is a series of its own, which is shorter.
        rounded = value.float() if name != TO_UNIFORM else radial.kl_to_uniform(concentration, d, torch.float32)
        slope_rounded = slope if name != TO_UNIFORM else torch.autograd.grad(rounded, concentration)[0]
        for what, got, expected in (
            ("value", value, row[column]),
            ("value, rounded", rounded, row[column]),
            ("slope", slope, derivative(row)),
            ("slope, rounded", slope_rounded.float(), derivative(row)),
        ):
            errors[what][at] = abs(got.item() / expected - 1)
    return errors


def of_normaliser_and_entropy(dtype: torch.dtype) -> dict[str, Errors]:
    """Relative to the quantity, or to one nat where it is smaller; of a vMF of this dtype."""
    errors: dict[str, Errors] = {"log normaliser": {}, "entropy": {}}
    for row in rows():
        at = (d, k) = int(row["dimension"]), row["concentration"]
        area = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
        q = VonMisesFisher(unit(d).to(dtype), torch.tensor(k, dtype=dtype))
        if q.concentration.double().item() != k:
            continue  # float32 would round it first
        expected = (area + row["log_ratio"], area - row["kl"])
        for name, got, value in zip(errors, (q.log_normalizer, q.entropy()), expected, strict=True):
            errors[name][at] = abs(got.item() - value) / max(1, abs(value))
    return errors


def of_kl_between_two() -> dict[str, Errors]:
    """Of the KL and its derivatives in both concentrations, which are k A' - k' A' cos and A(k') - A(k) cos.

    Where the locations differ, those are relative to the greater of the two terms at cos = 1: the rounding of the
    locations, and so of the cosine, is absolute.
    """
    errors: dict[str, Errors] = {"value": {}, "value, rounded": {}, "slope in k": {}, "slope in the other": {}}
    for d, k, other, cosine, expected in reference()["kl"]:
        a = torch.zeros(int(d), dtype=F64)
        b = a.clone()
        a[0], b[0], b[1] = 1, cosine, math.sqrt(1 - cosine**2)
        at = [torch.tensor(value, dtype=F64, requires_grad=True) for value in (k, other)]
        kl = kl_divergence(VonMisesFisher(a, at[0]), VonMisesFisher(b, at[1]))
        slopes = torch.autograd.grad(kl, at)
        with mpmath.workdps(60):
            mean, _, slope, *_ = radial_by_mpmath(int(d), k)
            other_mean = radial_by_mpmath(int(d), other)[0] if other else mpmath.mpf(0)
            terms = ((slope * k, slope * mpmath.mpf(other)), (other_mean, mean))
            slopes_expected = [(float(x - y * cosine), float(max(x, y))) for x, y in terms]
        of_slopes = [(x, abs(x) if cosine == 1 else greater) for x, greater in slopes_expected]
        all_expected = [(expected, expected), (expected, expected), *of_slopes]
        for name, got, (value, scale) in zip(errors, (kl, kl.float(), *slopes), all_expected, strict=True):
            errors[name][d, k, other, cosine] = abs(got.item() - value) / scale
    return errors


def probability_between(y: np.ndarray, dimension: int, concentration: float) -> np.ndarray:
    """Of each interval between consecutive y, by 20-node quadrature of the normalised density."""
    node, weight = np.polynomial.legendre.leggauss(20)
    half = np.diff(y)[:, None] / 2
    at = y[:-1, None] + half * (1 + node)
    log_cosh = np.logaddexp(at, -at) - math.log(2)
    log_peak = radial.log_peak(torch.tensor(concentration, dtype=F64), dimension).item()
    log_density = log_peak - 2 * concentration / (1 + np.exp(2 * at)) - (dimension - 1) * log_cosh
    return (np.exp(log_density - special.betaln(0.5, (dimension - 1) / 2)) * half) @ weight


def quantile(concentration: Tensor | float, z: Tensor, dimension: int, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """y and dy/dk at standard normal draws z (...), by the table."""
    k = torch.as_tensor(concentration, dtype=F64)[..., None]
    cotangent, rate = draw_cotangent(k, z[..., None], dimension, precision, with_rate=True)
    assert rate is not None
    return cotangent.asinh().squeeze(-1), -rate.squeeze(-1)


def of_quantile(dimension: int, concentration: float, precision: torch.dtype) -> float:
    """Greatest |F(y(z)) - Phi(z)|, absolute, over 700 z."""
    z = torch.linspace(-8.59, 8.59, 700, dtype=F64)
    heights, _ = quantile(concentration, z, dimension, precision)
    got = np.cumsum(probability_between(heights.numpy(), dimension, concentration))
    return float(np.abs(got - special.ndtr(z[1:].numpy())).max())


def of_float32_density(dimension: int) -> float:
    """Greatest error of a float32 `log_prob` at a concentration of 1e6, nats, over 500 draws."""
    torch.manual_seed(0)
    q = VonMisesFisher(unit(dimension).float(), torch.tensor(1e6))
    x = q.sample((500,))
    exactly = VonMisesFisher(normalize(q.loc.double(), dim=-1), 1e6).log_prob(normalize(x.double(), dim=-1))
    return (q.log_prob(x) - exactly).abs().max().item()


def main() -> None:
    def line(name: str, exact: float, rounded: float | None = None) -> None:
        print(f"| {name} | {exact:.1e} | {'' if rounded is None else f'{rounded:.1e}'} |", flush=True)

    print(f"{len(rows())} points, {len(reference()['kl'])} pairs\n")
    print("| quantity | greatest relative error, float64 | rounded to float32 |\n|---|---|---|")
    of_all = {name: of_radial(name) for name in QUANTITIES}
    for name, errors in of_all.items():
        line(name, worst(errors["value"])[0], worst(errors["value, rounded"])[0])
    exact, rounded = of_normaliser_and_entropy(F64), of_normaliser_and_entropy(torch.float32)
    for name, errors in exact.items():
        line(f"{name}, of at least a nat", worst(errors)[0], worst(rounded[name])[0])
    for name, errors in of_all.items():
        line(f"derivative of {name}", worst(errors["slope"])[0], worst(errors["slope, rounded"])[0])
    between = of_kl_between_two()
    line("KL between two", worst(between["value"])[0], worst(between["value, rounded"])[0])
    line("its derivatives", max(worst(between[name])[0] for name in ("slope in k", "slope in the other")))
    points = [(d, k) for d in QUANTILE_DIMENSIONS for k in QUANTILE_CONCENTRATIONS]
    quantile = [max(of_quantile(*at, precision) for at in points) for precision in (F64, torch.float32)]
    line("F(table) - Phi(z), absolute", *quantile)
    densities = ", ".join(f"{of_float32_density(d):.0e}" for d in DENSITY_DIMENSIONS)
    print(f"| float32 `log_prob` at 1e6, nats, D = {', '.join(map(str, DENSITY_DIMENSIONS))} | | {densities} |")


if __name__ == "__main__":
    main()
