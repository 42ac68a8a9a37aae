"""Reference values of the vMF's radial functions from mpmath, which tests compare with: writes vmf_reference.json.

    python tests/distributions/make_vmf_reference.py

Everything comes from 0F1(; d/2; k^2/4) and its neighbour at d/2 + 1, by mpmath's Bessel functions at 60 digits where
they converge, else by the series itself, whose terms are positive. Takes some minutes. Columns, 17 digits each:
dimension, concentration, A, 1 - A, A', A'', KL to the uniform distribution, and L = log 0F1, both in nats. Pairs are
rows of dimension, concentration, the other, the cosine of the locations, and the KL between the two.
"""

import json
import random
from pathlib import Path
from typing import Any

import mpmath
from mpmath import mpf

FILE = Path(__file__).with_name("vmf_reference.json")
DIMENSIONS = (2, 3, 5, 10, 25, 50, 100, 200, 500, 1000, 10_000, 100_000)
CONCENTRATIONS = (2.0**-10, 0.125, 1.0, 10.0, 13.0, 50.0, 80.0, 100.0, 150.0, 500.0, 1e3, 1e4, 1e5, 1e6)
RANDOM_POINTS, RANDOM_PAIRS = 60, 40
LARGEST_BESSEL_ORDER = 400
# A' of nearly equal terms loses twice the digits of k: at 1e6, of these, some 40 are left.
DIGITS = 60


def log_0f1(order: Any, k: Any) -> Any:
    """log 0F1(; order + 1; k^2/4) = log(I_order(k) order! (2/k)^order)."""
    if order <= LARGEST_BESSEL_ORDER:
        return mpmath.log(mpmath.besseli(order, k)) - order * mpmath.log(k / 2) + mpmath.loggamma(order + 1)
    quarter, lower = k * k / 4, order + 1
    term = total = mpf(1)
    j = 0
    while term * mpf(10) ** DIGITS > total:
        term *= quarter / ((j + 1) * (lower + j))
        total += term
        j += 1
    return mpmath.log(total)


def radial(dimension: int, concentration: float) -> tuple[Any, ...]:
    """A, 1 - A, A', A'', KL and L."""
    k, order = mpf(concentration), mpf(dimension) / 2 - 1
    ratio = log_0f1(order, k)
    mean = k / dimension * mpmath.exp(log_0f1(order + 1, k) - ratio)
    slope = 1 - mean**2 - (dimension - 1) * mean / k
    curvature = -2 * mean * slope - (dimension - 1) * (slope / k - mean / k**2)
    return mean, 1 - mean, slope, curvature, k * mean - ratio, ratio


def kl(dimension: int, concentration: float, other: float, cosine: float) -> Any:
    mean, *_, ratio = radial(dimension, concentration)
    other_ratio = radial(dimension, other)[-1] if other else mpf(0)
    return other_ratio - ratio + mean * (mpf(concentration) - mpf(other) * mpf(cosine))


def main() -> None:
    draw = random.Random(0)

    def concentration(largest: float) -> float:
        return float(round(2**20 * 10 ** draw.uniform(-3, largest)) / 2**20)

    points = [(d, k) for d in DIMENSIONS for k in CONCENTRATIONS]
    points += [(round(10 ** draw.uniform(0.31, 4.5)), concentration(5.0)) for _ in range(RANDOM_POINTS)]
    pairs = [(3, 100.0, 100.125, 1.0), (50, 13.0, 13.0009765625, 1.0), (1000, 10.0, 1000.0, 1.0)]
    pairs += [(2, 1.0, 2.0, 0.5), (25, 80.0, 0.0, 0.0), (100, 1e4, 100.0, -0.5), (10_000, 500.0, 501.0, 1.0)]
    for _ in range(RANDOM_PAIRS):
        d, k = round(10 ** draw.uniform(0.31, 3)), concentration(4.0)
        near = float(round(2**20 * k * (1 + 10 ** draw.uniform(-6, 0))) / 2**20)
        pairs.append((d, k, draw.choice((near, concentration(4.0))), draw.choice((1.0, 0.75, 0.0, -0.5))))
    with mpmath.workdps(DIGITS):
        rows = [[d, k, *(float(value) for value in radial(d, k))] for d, k in points]
        between = [[*pair, float(kl(*pair))] for pair in pairs]
    radials, kls = (",\n".join(json.dumps(row) for row in table) for table in (rows, between))
    FILE.write_text(f'{{"radial": [\n{radials}\n],\n"kl": [\n{kls}\n]}}\n')


if __name__ == "__main__":
    main()
