"""The quantile table of the cosine, against quadrature of the density and the exact distribution of draws."""

import math

import numpy as np
import pytest
import torch
from pyro_textvae_distributions._quantile import REACH
from scipy import stats
from torch.nn.functional import normalize
from vmf_accuracy import QUANTILE_CONCENTRATIONS, QUANTILE_DIMENSIONS, of_quantile, quantile

from pyro_textvae.distributions import VonMisesFisher

PRECISIONS = [(torch.float64, 2e-12), (torch.float32, 2.5e-7)]
# The grid on which hyperspherical_vae's sampler was found to fail at 80 of 228 points.
KS_DIMENSIONS = (2, 3, 4, 5, 10, 25, 50, 100, 200, 500, 1000, 10_000)
KS_CONCENTRATIONS = (0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 11.0, 13.0, 20.0, 50.0, 80.0, 100.0, 150.0)
KS_CONCENTRATIONS += (1e3, 1e4, 1e5, 1e6)
# Above it, a million whole vectors take minutes: there the cosines are drawn alone, by the function that rsample uses.
LARGEST_DIMENSION_DRAWN_WHOLE = 200


@pytest.mark.parametrize("dimension", QUANTILE_DIMENSIONS)
@pytest.mark.parametrize("concentration", QUANTILE_CONCENTRATIONS)
def test_a_tabulated_quantile_has_the_probability_of_its_normal_draw(dimension: int, concentration: float):
    for precision, accuracy in PRECISIONS:
        assert of_quantile(dimension, concentration, precision) < accuracy


@pytest.mark.parametrize("dimension", [2, 3, 5, 25, 1000])
def test_the_implicit_gradient_is_the_slope_of_the_quantile(dimension: int):
    z = torch.linspace(-4, 4, 81, dtype=torch.float64)
    for concentration in (0.1, 1.0, 3.0, 30.0, 1e3, 1e6):
        step = 1e-4 * (concentration + 0.1)
        above, below = (quantile(concentration + sign * step, z, dimension, torch.float64)[0] for sign in (1, -1))
        slope = (above - below) / (2 * step)
        for precision, accuracy in ((torch.float64, 1e-6), (torch.float32, 3e-5)):
            _, rate = quantile(concentration, z, dimension, precision)
            torch.testing.assert_close(rate, slope, rtol=accuracy, atol=0)


@pytest.mark.parametrize("dimension", [2, 3, 6, 50])
def test_it_is_finite_and_rising_as_far_as_normal_draws_reach(dimension: int):
    z = torch.linspace(-REACH, REACH, 4001, dtype=torch.float64)
    for concentration in (0.0, 1e-300, 1e-6, 1.0, 40.0, 1e9, 3e38, 1e150):
        y, rate = quantile(concentration, z, dimension, torch.float64)
        assert y.isfinite().all() and rate.isfinite().all()
        assert (y.diff()[z[1:].abs() < 6] > 0).all()


def test_a_concentration_that_is_nan_gives_nan_and_spoils_no_other_draw():
    k = torch.tensor([1.0, math.nan, 5.0], dtype=torch.float64)
    y, _ = quantile(k, torch.zeros(3, dtype=torch.float64), 5, torch.float32)
    assert y.isnan().tolist() == [False, True, False]


def kolmogorov_smirnov(angle: np.ndarray, dimension: int, concentration: float) -> float:
    """p-value of angles between draws and their location, against the exact distribution function by quadrature."""
    if concentration == 0 and dimension == 2:
        at_mode, width = 0.0, math.inf
    else:
        m = dimension - 2
        root = math.hypot(2 * concentration, m)
        at_mode = math.acos(2 * concentration / (m + root)) if m else 0.0
        curvature = concentration * math.cos(at_mode) + (m / math.sin(at_mode) ** 2 if m else 0)
        width = 40 / math.sqrt(curvature)
    grid = np.linspace(max(0.0, at_mode - width), min(math.pi, at_mode + width), 400_001)
    with np.errstate(divide="ignore"):
        power = (dimension - 2) * np.log(np.sin(grid)) if dimension > 2 else 0.0
    log_density = power - 2 * concentration * np.sin(grid / 2) ** 2
    density = np.exp(log_density - log_density.max())
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(stats.kstest(np.interp(angle, grid, cumulative / cumulative[-1]), "uniform").pvalue)


def drawn_angles(dimension: int, concentration: float, count: int, dtype: torch.dtype) -> np.ndarray:
    loc = normalize(torch.randn(dimension, dtype=dtype), dim=-1)
    q = VonMisesFisher(loc, concentration)
    parts = []
    for size in [max(1, 4_000_000 // dimension)] * (count * dimension // 4_000_000 + 1):
        x = q.sample((min(size, count),))
        parts.append(2 * torch.asin((torch.linalg.vector_norm((x - loc).double(), dim=-1) / 2).clamp(max=1)))
    return torch.cat(parts)[:count].numpy()


@pytest.mark.parametrize("dimension", [2, 3, 4, 7, 8, 25, 100])
@pytest.mark.parametrize("concentration", [0.0, 1.0, 13.0, 50.0, 1e4])
def test_draws_have_the_exact_distribution_function(dimension: int, concentration: float):
    angle = drawn_angles(dimension, concentration, 50_000, torch.float32)
    assert kolmogorov_smirnov(angle, dimension, concentration) > 1e-4


@pytest.mark.parametrize(("dimension", "concentration", "mean"), [(25, 11.0, 0.2829), (100, 50.0, 0.3356)])
def test_draws_are_not_those_of_an_envelope_that_does_not_cover(dimension: int, concentration: float, mean: float):
    """s-vae-pytorch replaces its envelope by one for large concentrations, and draws with these mean cosines."""
    q = VonMisesFisher(normalize(torch.ones(dimension), dim=-1), concentration)
    drawn = (q.sample((20_000,)) @ q.loc).mean().item()
    assert abs(drawn - q.mean_cosine.item()) < 0.01 < abs(drawn - mean)


@pytest.mark.paper
@pytest.mark.parametrize("dimension", KS_DIMENSIONS)
def test_a_million_draws_have_the_exact_distribution_function_on_the_whole_grid(dimension: int):
    least = 1.0
    for concentration in KS_CONCENTRATIONS:
        for dtype in (torch.float32, torch.float64):
            if dimension <= LARGEST_DIMENSION_DRAWN_WHOLE:
                angle = drawn_angles(dimension, concentration, 1_000_000, dtype)
            else:
                z = torch.randn(1_000_000, dtype=torch.float64)
                angle = 2 * torch.atan(torch.exp(-quantile(concentration, z, dimension, dtype)[0])).numpy()
            p = kolmogorov_smirnov(angle, dimension, concentration)
            assert p > 1e-6, (dimension, concentration, dtype)
            least = min(least, p)
            x = VonMisesFisher(normalize(torch.randn(dimension, dtype=dtype), dim=-1), concentration).sample((1000,))
            assert (x.norm(dim=-1) - 1).abs().max() < (1e-6 if dtype == torch.float32 else 1e-14)
    print(f"D = {dimension}: least p of {2 * len(KS_CONCENTRATIONS)} tests {least:.1e}")
