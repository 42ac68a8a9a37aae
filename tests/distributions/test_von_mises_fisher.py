"""The vMF against mpmath, tables of 17 digits, quadrature and Monte Carlo."""

import math
import pickle
import re
from functools import cache
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Categorical, LogNormal, Normal
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from pyro.optim import ClippedAdam  # pyright: ignore[reportAttributeAccessIssue]
from pyro_textvae_distributions import _bessel as radial
from pyro_textvae_distributions._sphere import log_sphere_area
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import MixtureSameFamily, constraints, kl_divergence
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from vmf_accuracy import DENSITY_DIMENSIONS, of_float32_density, quantile

from pyro_textvae.distributions import HypersphericalUniform, VonMisesFisher

DIMENSIONS = (2, 3, 5, 10, 25, 100, 1000)
CONCENTRATIONS = (2.0**-10, 0.5, 13.0, 80.0, 1e3, 1e6)
ENDS = (0.0, 1e-30, 1e-6, 1.0, 1e6, 1e9, 1e18, 3e38)

# (dimension, concentration, log C_d): the normaliser to 17 digits.
LOG_NORMALIZERS = [
    (2, 1.0, -2.0737914249165241),
    (3, 13.0, -12.272927708942700),
    (5, 10.0, -8.9652234336919611),
    (10, 50.0, -40.507323555377370),
    (25, 1e6, -999856.26833210131),
    (100, 100.0, 48.814505688995300),
    (200, 1e5, -99037.283680352173),
    (1000, 10.0, 2032.0077627511526),
    (10000, 1e4, 28083.924125311346),
]
# (dimension, concentration, other concentration, cosine of the locations, KL).
KLS = [
    (2, 1.0, 2.0, 0.5, 0.58807918297577763),
    (3, 100.0, 100.125, 1.0, 7.8059956807517937e-7),
    (10, 50.0, 5.0, -0.5, 11.818668017411230),
    (25, 80.0, 0.0, 0.0, 16.457558834361062),
    (50, 13.0, 13.0009765625, 1.0, 7.9969784854774296e-9),
    (100, 80.0, 100.0, 0.75, 14.560505248957240),
    (100, 10000.0, 100.0, 0.5, 217.10941973971518),
    (1000, 10.0, 1000.0, 1.0, 367.55791284700363),
    (10000, 500.0, 501.0, 1.0, 4.9627679124874842e-5),
]
# (dimension, concentration, z, 1 - w at the quantile Phi(z), dw/dconcentration there).
QUANTILE_RATES = [
    (2, 1.0, 0.5, 0.10743989905885467, 0.11753905416578057),
    (2, 20.0, -1.0, 0.050324892849855613, 0.0025503008105709427),
    (3, 10.0, 1.0, 0.017275377863477111, 0.0017275377086119547),
    (4, 2.0, -1.5, 1.2879252768438749, 0.29493695547775957),
    (5, 10.0, 0.0, 0.15885710686891918, 0.014927024883681371),
    (10, 50.0, 2.0, 0.025358857460551356, 4.8886392567227110e-4),
    (25, 13.0, -1.0, 0.72288236134248399, 0.028149512875198617),
    (50, 80.0, 0.5, 0.23320297773021260, 0.0024439324825983188),
    (100, 20.0, -3.0, 1.1014240845097272, 0.0098212002815599335),
    (100, 100.0, 1.0, 0.32793076908412946, 0.0024104728791372614),
    (500, 500.0, 4.0, 0.29436958483850340, 4.3272223027870022e-4),
    (1000, 10.0, -2.0, 1.0532512332300190, 9.9859448260693143e-4),
    (10000, 10000.0, 1.0, 0.37669348569191468, 2.7284144488352740e-5),
    (100, 1e6, 0.25, 4.7434689709205693e-5, 4.7433539389548762e-11),
]


@cache
def exact(dimension: int, concentration: float) -> dict[str, float]:
    """A, 1 - A, A', KL to the uniform and log-normaliser from mpmath's Bessel functions, at 60 digits."""
    with mpmath.workdps(60):
        k, v = mpmath.mpf(concentration), mpmath.mpf(dimension) / 2 - 1
        bessel = mpmath.besseli(v, k)
        mean = mpmath.besseli(v + 1, k) / bessel
        log_ratio = mpmath.log(bessel) - v * mpmath.log(k / 2) + mpmath.loggamma(v + 1)
        return {
            "mean_cosine": float(mean),
            "deficit": float(1 - mean),
            "slope": float(1 - mean**2 - (dimension - 1) * mean / k),
            "kl": float(k * mean - log_ratio),
            "log_normalizer": float(
                log_ratio + mpmath.log(2) + (v + 1) * mpmath.log(mpmath.pi) - mpmath.loggamma(v + 1)
            ),
        }


def unit(dimension: int, *batch: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(*batch, dimension, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def vmf(dimension: int, concentration: float, dtype: torch.dtype = torch.float64) -> VonMisesFisher:
    return VonMisesFisher(unit(dimension, dtype=dtype), torch.tensor(concentration, dtype=dtype))


def turned(dimension: int, cosine: float) -> tuple[Tensor, Tensor]:
    """Two unit vectors, (D,) each, with the given cosine."""
    a = torch.zeros(dimension, dtype=torch.float64)
    b = a.clone()
    a[0], b[0], b[1] = 1.0, cosine, math.sqrt(1 - cosine**2)
    return a, b


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_the_radial_functions_agree_with_mpmath_to_their_last_digits(dimension: int, concentration: float):
    expected = exact(dimension, concentration)
    k = torch.tensor(concentration, dtype=torch.float64, requires_grad=True)
    mean = radial.mean_cosine(k, dimension)
    (slope,) = torch.autograd.grad(mean, k)
    assert mean.item() == pytest.approx(expected["mean_cosine"], rel=2e-15)
    assert radial.mean_cosine_deficit(k, dimension).item() == pytest.approx(expected["deficit"], rel=5e-15)
    assert radial.kl_to_uniform(k, dimension).item() == pytest.approx(expected["kl"], rel=5e-15)
    assert slope.item() == pytest.approx(expected["slope"], rel=1e-14)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_a_float32_vmf_rounds_its_float64_values_once(dimension: int, concentration: float):
    expected = exact(dimension, concentration)
    q = vmf(dimension, concentration, torch.float32)
    assert q.mean_cosine.item() == pytest.approx(expected["mean_cosine"], rel=1.2e-7)
    assert kl_divergence(q, HypersphericalUniform(dimension)).item() == pytest.approx(expected["kl"], rel=1.2e-7)
    assert q.log_normalizer.item() == pytest.approx(expected["log_normalizer"], rel=1.2e-7)
    assert q.log_prob(q.loc).item() == pytest.approx(concentration - expected["log_normalizer"], rel=1.2e-7, abs=1e-6)


@pytest.mark.parametrize(("dimension", "concentration", "log_c"), LOG_NORMALIZERS)
def test_the_normaliser_agrees_with_the_table(dimension: int, concentration: float, log_c: float):
    assert -vmf(dimension, concentration).log_normalizer.item() == pytest.approx(log_c, rel=1e-14)


@pytest.mark.parametrize(("dimension", "k", "other", "cosine", "expected"), KLS)
def test_the_kl_between_two_vmfs_agrees_with_the_table(
    dimension: int, k: float, other: float, cosine: float, expected: float
):
    a, b = turned(dimension, cosine)
    assert kl_divergence(VonMisesFisher(a, k), VonMisesFisher(b, other)).item() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(("dimension", "k", "other", "cosine"), [(3, 5.0, 9.0, 0.3), (25, 40.0, 10.0, -0.2)])
def test_the_kl_is_the_mean_log_ratio_of_draws(dimension: int, k: float, other: float, cosine: float):
    a, b = turned(dimension, cosine)
    p, q = VonMisesFisher(a, k), VonMisesFisher(b, other)
    x = p.sample((40_000,))
    ratio = p.log_prob(x) - q.log_prob(x)
    assert abs(ratio.mean() - kl_divergence(p, q)) < 4 * ratio.std() / 200


def test_the_kl_broadcasts_a_batch_of_posteriors_against_members_of_a_mixture():
    M, B, K, D = 2, 3, 4, 5
    q = VonMisesFisher(unit(D, M, B, seed=1), torch.rand(M, B, dtype=torch.float64) * 50)
    p = VonMisesFisher(unit(D, K, M, B, seed=2), torch.rand(K, M, 1, dtype=torch.float64) * 50)
    kl = kl_divergence(q, p)
    assert kl.shape == (K, M, B)
    one = kl_divergence(
        VonMisesFisher(q.loc[1, 2], q.concentration[1, 2]), VonMisesFisher(p.loc[3, 1, 2], p.concentration[3, 1, 2])
    )
    torch.testing.assert_close(kl[3, 1, 2], one)
    assert kl_divergence(q, HypersphericalUniform(D, (K, M, B))).shape == (K, M, B)
    single = VonMisesFisher(q.loc.float(), q.concentration.float())
    for a, b in ((single, single), (single, HypersphericalUniform(D)), (HypersphericalUniform(D), single)):
        assert kl_divergence(a, b).dtype == torch.float32


def test_the_log_density_is_linear_in_the_natural_parameter():
    q = VonMisesFisher(unit(7, 3), torch.tensor([0.0, 2.0, 300.0], dtype=torch.float64))
    x = unit(7, 4, 3, seed=1)
    torch.testing.assert_close(q.log_prob(x), (q.natural_parameter * x).sum(-1) - q.log_normalizer)
    torch.testing.assert_close(q.entropy(), q.log_normalizer - (q.natural_parameter * q.mean).sum(-1))


@pytest.mark.parametrize("dimension", DENSITY_DIMENSIONS)
def test_a_float32_log_density_keeps_three_digits_at_a_concentration_of_a_million(dimension: int):
    assert of_float32_density(dimension) < 1e-3


@pytest.mark.parametrize("dimension", [2, 3, 25, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_value_and_no_gradient_is_nan_from_concentration_zero_to_the_largest(dimension: int, dtype: torch.dtype):
    loc = unit(dimension, dtype=dtype).requires_grad_()
    k = torch.tensor(ENDS, dtype=dtype, requires_grad=True)
    q = VonMisesFisher(loc, k)
    x = q.rsample((20,))
    other = VonMisesFisher(unit(dimension, seed=1, dtype=dtype), 3.0)
    values = [x, q.mean, q.entropy(), q.log_prob(x.detach()), kl_divergence(q, other), kl_divergence(other, q)]
    values += [kl_divergence(q, HypersphericalUniform(dimension)), kl_divergence(q, q.expand((2, len(ENDS))))]
    for value in values:
        assert value.isfinite().all()
        for gradient in torch.autograd.grad(value.sum(), (loc, k), retain_graph=True, allow_unused=True):
            assert gradient is None or gradient.isfinite().all()
    assert (x.norm(dim=-1) - 1).abs().max() < (1e-6 if dtype == torch.float32 else 1e-14)


def test_draws_are_symmetric_about_their_location():
    q = vmf(6, 4.0)
    x = q.sample((50_000,))
    across = x - (x @ q.loc)[:, None] * q.loc
    assert (across.mean(0).abs() < 4 * across.std(0) / 50_000**0.5).all()
    second = across.T @ across / 50_000
    expected = second.trace() / 5 * (torch.eye(6, dtype=torch.float64) - torch.outer(q.loc, q.loc))
    torch.testing.assert_close(second, expected, atol=4e-3, rtol=0)


@pytest.mark.parametrize("dimension", [2, 3, 10, 300])
def test_noise_that_is_the_location_over_again_makes_a_unit_vector_all_the_same(dimension: int):
    """The seed that made the locations is set again before a draw: the noise may then point exactly along them."""
    for behind in range(0, 64, 4):
        torch.manual_seed(1)
        loc = normalize(torch.randn(128, dimension), dim=-1)
        torch.manual_seed(1)
        torch.randn(behind)
        x = VonMisesFisher(loc, 3.0).sample()
        assert (x.norm(dim=-1) - 1).abs().max() < 1e-6


def test_noise_that_lies_exactly_along_the_location_makes_the_location(monkeypatch: pytest.MonkeyPatch):
    loc = torch.tensor([0.0, 1.0, 0.0])
    monkeypatch.setattr(Tensor, "normal_", lambda x, mean, size: x.copy_(loc).mul_(size))
    assert torch.equal(VonMisesFisher(loc, 3.0).sample(), loc)


def test_empty_large_and_oddly_shaped_batches_are_drawn():
    assert VonMisesFisher(torch.empty(0, 5), torch.empty(0)).rsample().shape == (0, 5)
    loc, k = unit(30, 7, 1, dtype=torch.float32), torch.rand(5) * 100
    q = VonMisesFisher(loc, k)
    x = q.sample((2000, 1))  # drawn in blocks
    assert x.shape == (2000, 1, 7, 5, 30)
    assert (x.norm(dim=-1) - 1).abs().max() < 1e-6
    torch.testing.assert_close(x.mean((0, 1)), q.mean, atol=0.02, rtol=0)
    assert VonMisesFisher(unit(200_000, dtype=torch.float32), 1e4).sample().norm().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("batch", [(), (4,), (3, 2), (0,), (500, 90)])  # the last is drawn in blocks
@pytest.mark.parametrize("samples", [(), (2,)])
def test_draws_and_gradients_do_not_depend_on_how_parameters_lie_in_memory(
    batch: tuple[int, ...], samples: tuple[int, ...]
):
    loc, k = unit(3, *batch), torch.rand(batch, dtype=torch.float64) * 20

    def turned(x: Tensor) -> Tensor:
        return x.permute(tuple(reversed(range(x.dim()))))

    def other_way_round(x: Tensor) -> Tensor:
        """The same numbers, the first axis innermost in memory."""
        return turned(turned(x).clone(memory_format=torch.contiguous_format))

    def of(loc: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        loc, k = loc.detach().requires_grad_(), k.detach().requires_grad_()
        torch.manual_seed(0)
        x = VonMisesFisher(loc, k).rsample(samples)
        assert x.shape == (*samples, *loc.shape)
        return x, *torch.autograd.grad((x * torch.arange(3.0)).sum(), (loc, k))

    torch.testing.assert_close(of(other_way_round(loc), other_way_round(k)), of(loc, k), rtol=0, atol=0)
    if batch:
        one, shared = loc[:1].expand(loc.shape), k[:1].expand(k.shape)
        torch.testing.assert_close(of(one, shared), of(one.clone(), shared.clone()), rtol=0, atol=0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_draws_are_right_where_the_location_is_an_axis(sign: float):
    loc = torch.tensor([sign, 0.0, 0.0, 0.0])
    x = VonMisesFisher(loc, 30.0).sample((20_000,))
    torch.testing.assert_close(x.mean(0), VonMisesFisher(loc, 30.0).mean, atol=5e-3, rtol=0)


@pytest.mark.parametrize(("dimension", "k", "z", "deficit", "expected"), QUANTILE_RATES)
def test_a_draw_is_its_quantile_and_moves_with_the_concentration_as_that_does(
    dimension: int, k: float, z: float, deficit: float, expected: float
):
    for precision, accuracy in ((torch.float64, 1e-12), (torch.float32, 2e-7)):
        y, rate = quantile(k, torch.tensor(z, dtype=torch.float64), dimension, precision)
        assert (2 / (1 + torch.exp(2 * y))).item() == pytest.approx(deficit, rel=accuracy)
        assert (rate / torch.cosh(y).square()).item() == pytest.approx(expected, rel=10 * accuracy)


@pytest.mark.parametrize(("dimension", "concentration"), [(2, 0.0), (3, 5.0), (5, 2.0), (25, 20.0), (100, 50.0)])
def test_the_gradient_in_the_concentration_is_unbiased(dimension: int, concentration: float):
    n = 40_000
    loc = unit(dimension)
    k = torch.full((n,), concentration, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((VonMisesFisher(loc, k).rsample() @ loc).sum(), k)
    slope = exact(dimension, concentration)["slope"] if concentration else 1 / dimension
    assert abs(gradient.mean() - slope) < 4 * gradient.std() / n**0.5
    # Differentiating the accepted proposal alone gives 0.866 of it at (5, 2), far outside this interval.
    assert gradient.std() / n**0.5 < 0.01 * slope


@pytest.mark.parametrize(("dimension", "concentration"), [(2, 3.0), (5, 2.0), (30, 40.0)])
def test_the_gradient_in_the_location_is_that_of_the_moments(dimension: int, concentration: float):
    n = 40_000
    mu, direction = unit(dimension), unit(dimension, seed=3)
    loc = mu.expand(n, dimension).clone().requires_grad_()
    x = VonMisesFisher(loc, concentration).rsample()
    projection = x @ direction
    (gradient,) = torch.autograd.grad((projection + projection.square()).sum(), loc)
    moments = exact(dimension, concentration)
    first, second = moments["mean_cosine"], moments["slope"] + moments["mean_cosine"] ** 2
    cosine = direction @ mu
    scale = first + 2 * cosine * (second - (1 - second) / (dimension - 1))
    expected = scale * (direction - cosine * mu)
    assert (gradient @ mu).abs().max() < 1e-12
    assert ((gradient.mean(0) - expected).abs() < 4.5 * gradient.std(0) / n**0.5 + 1e-12).all()


@pytest.mark.parametrize("dimension", [2, 3, 10])
def test_first_derivatives_are_right(dimension: int):
    k = torch.tensor([0.0, 0.3, 7.0, 60.0], dtype=torch.float64) + 1e-3
    other = torch.tensor([2.0, 0.31, 7.0, 9.0], dtype=torch.float64)
    x = unit(dimension, 4, seed=2)

    def values(free: Tensor, k: Tensor, free_other: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        q = VonMisesFisher(normalize(free, dim=-1), k, validate_args=False)
        p = VonMisesFisher(normalize(free_other, dim=-1), other, validate_args=False)
        to_uniform = kl_divergence(q, HypersphericalUniform(dimension))
        return q.log_prob(x), q.entropy(), q.mean, q.log_normalizer, to_uniform, kl_divergence(q, p)

    inputs = (unit(dimension, 4), k, unit(dimension, 4, seed=1), other)
    assert gradcheck(values, tuple(t.clone().requires_grad_() for t in inputs))


@pytest.mark.parametrize("dimension", [2, 5, 50])
def test_at_concentration_zero_it_is_the_uniform_distribution(dimension: int):
    q, uniform = vmf(dimension, 0.0), HypersphericalUniform(dimension, dtype=torch.float64)
    x = uniform.sample((10,))
    torch.testing.assert_close(q.log_prob(x), uniform.log_prob(x))
    torch.testing.assert_close(q.entropy(), uniform.entropy())
    assert q.mean.abs().max() == 0
    assert kl_divergence(q, uniform) == 0


def test_expand_keeps_the_class_and_so_the_kl():
    q = VonMisesFisher(unit(5, 3), torch.tensor(2.0, dtype=torch.float64))
    wide = q.expand((4, 3))
    assert type(wide) is VonMisesFisher
    assert wide.batch_shape == (4, 3)
    assert wide.event_shape == (5,)
    assert wide.rsample((2,)).shape == (2, 4, 3, 5)
    assert kl_divergence(wide, HypersphericalUniform(5).expand((4, 3))).shape == (4, 3)


def test_shapes_are_inferred_as_they_come_out():
    batch, event = VonMisesFisher.infer_shapes(loc=torch.Size((3, 5)), concentration=torch.Size((4, 1)))
    q = VonMisesFisher(unit(5, 3), torch.ones(4, 1, dtype=torch.float64))
    assert (batch, event) == (q.batch_shape, q.event_shape) == ((4, 3), (5,))


def test_a_float_concentration_takes_the_dtype_of_the_location():
    q = VonMisesFisher(unit(5, dtype=torch.float32), 3.0)
    assert q.concentration.dtype == q.rsample().dtype == q.log_prob(q.mode).dtype == torch.float32


@pytest.mark.parametrize("dimension", [2, 3, 5, 25, 500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_plain_number_is_the_concentration_that_a_tensor_of_it_is(dimension: int, dtype: torch.dtype):
    """A number's functions and quantiles are remembered; these are the same, to the rounding of a sum's order."""
    loc, x = unit(dimension, 300, dtype=dtype).requires_grad_(), unit(dimension, 300, seed=1, dtype=dtype)
    weight = unit(dimension, 300, seed=2, dtype=dtype)
    for concentration in (0.0, 1e-6, 0.3, 13.1, 1e4, 1e9, 3e38):
        results = []
        for given in (concentration, torch.tensor(concentration, dtype=dtype)):
            for q in (VonMisesFisher(loc, given), VonMisesFisher(loc, given, validate_args=False).expand((2, 300))):
                torch.manual_seed(1)
                draws = q.rsample((3,))
                (of_loc,) = torch.autograd.grad((draws * weight).sum(), loc, retain_graph=True)
                kls = (
                    kl_divergence(q, HypersphericalUniform(dimension)),
                    kl_divergence(HypersphericalUniform(dimension), q),
                )
                values = (q.concentration, q.log_prob(x), q.entropy(), q.log_normalizer, q.mean, q.variance, *kls)
                results.append((draws, of_loc, kl_divergence(q, VonMisesFisher(x, 2.0)), *values))
        assert VonMisesFisher(loc, concentration)._number is not None
        for number, tensor in zip(results[:2], results[2:], strict=True):
            torch.testing.assert_close(number[:2], tensor[:2], rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-14)
            torch.testing.assert_close(number[2:], tensor[2:], rtol=0, atol=0)


@pytest.mark.parametrize("number", [np.array(3.3), np.float64(3.3), np.float32(3.3), np.int64(3), 3, True])
def test_a_number_of_numpy_is_a_plain_number(number: Any):
    q, same = VonMisesFisher(unit(5), number), VonMisesFisher(unit(5), float(number))
    assert q._number == same._number == float(number)
    torch.testing.assert_close(q.entropy(), same.entropy(), rtol=0, atol=0)


@pytest.mark.parametrize("concentration", [np.array([1.0, 2.0]), np.array([3.3]), [1.0], "13", None])
def test_what_is_neither_a_number_nor_a_tensor_is_refused_with_what_to_do(concentration: Any):
    with pytest.raises(ValueError, match=r"'concentration' is a \w+, but it must be a number, or a tensor.*as_tensor"):
        VonMisesFisher(unit(4), concentration)


@pytest.mark.parametrize("concentration", [-1.0, math.nan, math.inf])
def test_without_validation_a_bad_number_is_what_a_tensor_of_it_is(concentration: float):
    q = VonMisesFisher(unit(4), concentration, validate_args=False)
    same = VonMisesFisher(unit(4), torch.tensor(concentration, dtype=torch.float64), validate_args=False)
    torch.testing.assert_close(q.entropy(), same.entropy(), rtol=0, atol=0, equal_nan=True)
    assert q.rsample().isnan().all() == math.isnan(concentration)


def test_what_is_remembered_of_a_number_serves_outside_the_mode_that_first_asked():
    loc = unit(73).requires_grad_()

    def step() -> Tensor:
        q = VonMisesFisher(loc, 4.5)
        return q.rsample().sum() + kl_divergence(q, HypersphericalUniform(73))

    with torch.inference_mode():
        step()
    (gradient,) = torch.autograd.grad(step(), loc)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("concentration", [4.5, torch.tensor([4.5, 2.0])])
def test_whatever_comes_of_it_may_be_saved_for_a_backward_pass(dtype: torch.dtype, concentration: Tensor | float):
    loc = unit(6, 2).to(dtype)
    k = concentration.to(dtype).requires_grad_() if isinstance(concentration, Tensor) else concentration
    q, other = VonMisesFisher(loc.clone().requires_grad_(), k), HypersphericalUniform(6, dtype=dtype)
    with torch.no_grad():
        unrecorded = (q.rsample(), kl_divergence(q, other), q.entropy(), q.mean, q.variance, q.log_prob(loc))
    recorded = (q.sample((3,)), q.rsample(), q.rsample((3,)), kl_divergence(q, other), q.entropy(), q.log_normalizer)
    for x in (*unrecorded, *recorded, q.variance, q.log_prob(loc)):
        weight = torch.ones_like(x.detach()).requires_grad_()
        (gradient,) = torch.autograd.grad((weight * x).sum(), weight)
        assert torch.equal(gradient, x.detach())


def test_it_survives_pickling():
    q = vmf(5, 3.0)
    copy = pickle.loads(pickle.dumps(q))
    torch.testing.assert_close(copy.log_prob(q.loc), q.log_prob(q.loc))


HALF = torch.full((4,), 0.5)


@pytest.mark.parametrize(
    ("loc", "concentration", "message"),
    [
        (torch.stack((HALF, 1.5 * HALF)), 1.0, r"'loc' at index \(1,\) has length 1.5, .*off the unit sphere by 0.5"),
        (torch.stack((HALF, HALF * math.nan)), 1.0, r"'loc' at index \(1,\) has length nan, and so no direction"),
        (torch.zeros(4), 1.0, r"'loc' at index \(\) has length 0.0, and so no direction"),
        (torch.ones(1), 1.0, r"'loc' has shape \(1,\).*at least 2 entries"),
        (
            torch.tensor([1 + 3e-9, 0.0], dtype=torch.float64),
            1.0,
            r"'loc' at index \(\) has length 1.000000003, .*by 3e-09",
        ),
        ([1.0, 0.0], 1.0, r"'loc' is a list, but it must be a tensor: .*torch.as_tensor\(loc\)"),
        (3.0, HALF, r"'loc' is a float, but it must be a tensor"),
        (HALF.double(), 1e300, r"'concentration' at index \(\) is 1e\+300, .*at most 1e\+150"),
        (torch.ones(3, dtype=torch.int64), 1.0, r"'loc' is a tensor of torch.int64.*loc.float\(\)"),
        (HALF, -1.0, r"'concentration' at index \(\) is -1.0, but it must be at least 0"),
        (HALF, torch.tensor([[1.0, 2.0], [math.nan, 3.0]]), r"'concentration' at index \(1, 0\) is nan"),
        (HALF, torch.tensor([math.inf]), r"'concentration' at index \(0,\) is inf, .*finite"),
        (HALF, torch.tensor([3]), r"'concentration' is a tensor of torch.int64"),
        (HALF.expand(3, 4), torch.ones(2), r"'concentration' has shape \(2,\), which does not broadcast.*\(3,\)"),
    ],
)
def test_bad_parameters_are_refused_by_name_value_and_index(loc: Tensor, concentration: Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        VonMisesFisher(loc, concentration, validate_args=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.stack((HALF, 3 * HALF)), r"'value' at index \(1,\) has length 3, .*off the unit sphere by 2"),
        (HALF * math.nan, r"'value' at index \(\) has length nan"),
        (torch.ones(3), r"'value' has shape \(3,\).*batch shape \(2,\) and vectors of 4"),
        (HALF.expand(3, 4), r"'value' has shape \(3, 4\).*batch shape \(2,\)"),
        (torch.ones(4, dtype=torch.int32), r"'value' is a tensor of torch.int32"),
    ],
)
def test_a_bad_value_is_refused_by_name_value_and_index(value: Tensor, message: str):
    for q in (
        VonMisesFisher(HALF.expand(2, 4), 3.0, validate_args=True),
        HypersphericalUniform(4, (2,), validate_args=True),
    ):
        with pytest.raises(ValueError, match=message):
            q.log_prob(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_validation_bad_concentrations_have_finite_limits_and_a_nan_stays_one(dtype: torch.dtype):
    loc = unit(5, dtype=dtype)
    k = torch.tensor([-3.0, 0.0, math.inf, math.nan, 2.0], dtype=dtype)
    q = VonMisesFisher(loc, k, validate_args=False)
    uniform = HypersphericalUniform(5, validate_args=False)
    for value in (q.rsample(), q.mean, q.log_prob(loc), q.entropy(), q.variance, kl_divergence(q, uniform)):
        finite = value.reshape(5, -1).isfinite().all(-1)
        assert finite.tolist() == [True, True, True, False, True]
        assert value[3].isnan().all()
        torch.testing.assert_close(value[0].isfinite(), value[1].isfinite())
    torch.testing.assert_close(q.entropy()[0], q.entropy()[1])  # negative counts as 0
    torch.testing.assert_close(q.rsample()[2], loc)


def test_without_validation_gradients_at_bad_concentrations_are_those_at_the_nearest_good_ones():
    loc, uniform = unit(5), HypersphericalUniform(5, validate_args=False)
    gradients = []
    for k in ([-3.0, math.inf], [0.0, 1e150]):
        k = torch.tensor(k, dtype=torch.float64, requires_grad=True)
        q = VonMisesFisher(loc, k, validate_args=False)
        torch.manual_seed(0)
        loss = q.rsample().sum() + kl_divergence(q, uniform).sum()
        gradients += torch.autograd.grad(loss, k)
        assert q.concentration.tolist() == [0.0, 1e150]
        assert kl_divergence(VonMisesFisher(loc, 2.0), q).isfinite().all()
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_it_is_shown_with_the_shapes_of_its_parameters():
    assert repr(VonMisesFisher(unit(4), 2.0)) == "VonMisesFisher(loc: torch.Size([4]), concentration: torch.Size([]))"


@pytest.mark.parametrize("concentration", [1e100, torch.tensor(1e100, dtype=torch.float64)])
def test_a_concentration_that_the_dtype_of_the_location_cannot_hold_is_refused(concentration: Any):
    with pytest.raises(
        ValueError, match=r"'concentration' at index \(\) is 1e\+100, .*at most 3.4028235e\+38.*torch.float32"
    ):
        VonMisesFisher(HALF, concentration, validate_args=True)
    q = VonMisesFisher(HALF, concentration, validate_args=False)
    assert q.log_prob(HALF).isfinite() and q.concentration.isfinite()
    assert VonMisesFisher(HALF.half(), 1e5, validate_args=True).concentration == 1e5


@pytest.mark.parametrize("of_loc", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("of_concentration", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_infinite_concentration_is_refused_in_every_dtype(of_loc: torch.dtype, of_concentration: torch.dtype):
    with pytest.raises(ValueError, match=r"'concentration' at index \(1,\) is inf, but it must be finite"):
        VonMisesFisher(HALF.to(of_loc), torch.tensor([1.0, math.inf], dtype=of_concentration), validate_args=True)


def test_only_rounding_is_forgiven_of_a_length():
    tolerance = 10 * 2.0**-23 * 2
    VonMisesFisher(HALF * (1 + 0.5 * tolerance), 1.0, validate_args=True)
    with pytest.raises(ValueError, match=r"'loc' at index \(\) has length 1.00000"):
        VonMisesFisher(HALF * (1 + 2 * tolerance), 1.0, validate_args=True)


def test_variances_keep_their_digits_where_the_location_is_an_axis():
    for k in (1e6, 1e8, 1e12):
        q = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), k)
        expected = torch.tensor([1 / k, 1 / k, 1 / k**2], dtype=torch.float64)  # to a relative 1 / k
        torch.testing.assert_close(q.variance.double(), expected, rtol=1e-5, atol=0)
        assert torch.equal(q.covariance_matrix, q.variance.diag())
    long = torch.tensor([1.0000012, 3e-4, 0.0], requires_grad=True)
    assert (VonMisesFisher(long, 1e6).variance >= 0).all()
    (gradient,) = torch.autograd.grad(VonMisesFisher(long, 0.0).variance[0], long)  # 1/D, whatever loc is
    direction = normalize(long.detach(), dim=-1)
    assert (gradient - (gradient @ direction) * direction).abs().max() < 1e-6


def test_variances_keep_their_digits_where_the_location_is_nearly_an_axis():
    loc = normalize(torch.tensor([1.0, 3e-4, -2e-4, 1e-5]), dim=-1)
    for k in (1e4, 1e6, 1e8):
        q = VonMisesFisher(loc, k)
        with mpmath.workdps(40):
            A = exact(4, k)
            square = mpmath.mpf(loc[0].item()) ** 2
            rest = sum(mpmath.mpf(x.item()) ** 2 for x in loc[1:])
            expected = float(A["slope"] * square + A["mean_cosine"] / k * rest)
        assert q.variance[0].item() == pytest.approx(expected, rel=1e-6)
        assert torch.linalg.eigvalsh(q.covariance_matrix.double()).min() > -1e-6 * q.variance.max()


def test_the_kl_between_spheres_of_two_dimensions_or_of_batches_that_do_not_broadcast_is_refused():
    q, uniform = VonMisesFisher(unit(5, 3), 1.0), HypersphericalUniform(4, (2,))
    with pytest.raises(ValueError, match=r"R\^5 and R\^4"):
        kl_divergence(q, uniform)
    for p in (VonMisesFisher(unit(5, 2), 1.0), HypersphericalUniform(5, (2,))):
        with pytest.raises(ValueError, match=r"batch shapes \(3,\) and \(2,\), which do not broadcast"):
            kl_divergence(q, p)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype):
    loc, k = unit(50, 3, dtype=torch.float32), torch.tensor([0.0, 20.0, 3e4])
    q = VonMisesFisher(loc.to(dtype), k.to(dtype), validate_args=True)
    exactly = VonMisesFisher(normalize(loc.to(dtype).float(), dim=-1), k.to(dtype).float())
    assert q.rsample().dtype == q.mean.dtype == q.log_prob(q.loc).dtype == torch.float32
    torch.testing.assert_close(q.rsample().norm(dim=-1), torch.ones(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(q.entropy(), exactly.entropy(), rtol=0, atol=0)
    torch.testing.assert_close(q.log_prob(q.loc), exactly.log_prob(q.loc))


def test_mean_and_covariance_are_those_of_draws():
    q = VonMisesFisher(unit(4, 2), torch.tensor([0.0, 6.0], dtype=torch.float64))
    x = q.sample((100_000,))
    torch.testing.assert_close(x.mean(0), q.mean, atol=6e-3, rtol=0)
    centred = x - x.mean(0)
    torch.testing.assert_close(
        torch.einsum("nbi,nbj->bij", centred, centred) / len(x), q.covariance_matrix, atol=6e-3, rtol=0
    )
    torch.testing.assert_close(q.covariance_matrix.diagonal(dim1=-2, dim2=-1), q.variance)
    torch.testing.assert_close(HypersphericalUniform(4, dtype=torch.float64).variance, q.variance[0])


def test_draws_turn_with_their_location():
    """The same noise about another location: the law of R x(mu) is that of x(R mu)."""
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    q = vmf(5, 8.0)
    turned = VonMisesFisher(rotation @ q.loc, q.concentration)
    a, b = q.sample((60_000,)) @ rotation.T, turned.sample((60_000,))
    torch.testing.assert_close(a.mean(0), b.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(a.T @ a / len(a), b.T @ b / len(b), atol=0.01, rtol=0)
    torch.testing.assert_close(turned.log_prob(a), q.log_prob(a @ rotation))


@pytest.mark.parametrize("dimension", [2, 3, 10, 200])
@pytest.mark.parametrize("concentration", [0.01, 1.0, 40.0, 1e5])
def test_a_fit_maximises_the_likelihood(dimension: int, concentration: float):
    x = vmf(dimension, concentration).sample((3000,))
    fitted = VonMisesFisher.fit(x)
    mean = x.mean(0)
    torch.testing.assert_close(fitted.mean, mean, rtol=1e-9, atol=1e-12)  # the moments that define the maximum
    for factor in (0.99, 1.01):
        other = VonMisesFisher(fitted.loc, fitted.concentration * factor)
        assert other.log_prob(x).mean() < fitted.log_prob(x).mean()
    if dimension == 10 and concentration == 40.0:
        # The standard error of the concentration is 1 / sqrt(n A').
        error = 1 / (3000 * radial.variance(torch.tensor(concentration), dimension)) ** 0.5
        assert abs(fitted.concentration - concentration) < 4 * error


def test_a_fit_takes_batches_weights_and_float32():
    q = VonMisesFisher(unit(6, 3, dtype=torch.float32), torch.tensor([2.0, 30.0, 500.0]))
    x = q.sample((2000,))
    fitted = VonMisesFisher.fit(x)
    assert fitted.batch_shape == (3,) and fitted.concentration.dtype == torch.float32
    torch.testing.assert_close(fitted.concentration, q.concentration, rtol=0.2, atol=0)
    weights = torch.rand(2000, 3).round()
    for b in range(3):
        some = VonMisesFisher.fit(x[weights[:, b] > 0, b])
        torch.testing.assert_close(VonMisesFisher.fit(x, weights).concentration[b], some.concentration)


def test_a_fit_of_equal_or_of_opposite_vectors():
    pole = torch.tensor([0.0, 0.0, 1.0])
    assert VonMisesFisher.fit(torch.stack((pole, -pole))).concentration == 0
    with pytest.raises(ValueError, match=r"'value' that count at batch index \(1,\) are all equal"):
        VonMisesFisher.fit(torch.stack((torch.eye(3), pole.expand(3, 3)), 1))


def test_a_fit_of_few_vectors_in_many_dimensions_is_as_far_too_large_as_the_page_says():
    for count, concentration in ((100, 10), (1000, 3)):
        fitted = VonMisesFisher.fit(HypersphericalUniform(100).sample((count, 40)))
        assert fitted.concentration.mean() == pytest.approx(concentration, rel=0.15)


def test_a_fit_of_nearly_equal_and_of_nearly_cancelling_vectors():
    x = vmf(3, 1e13).sample((1000,))
    fitted = VonMisesFisher.fit(x)
    deficit = (x - fitted.loc).square().sum(-1).mean() / 2  # 1 - A, and 1 - A = (D - 1) / 2k here
    torch.testing.assert_close(fitted.concentration, 1 / deficit, rtol=1e-9, atol=0)
    x = unit(5, 500)
    around = torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64) * math.pi / 3
    for cancelling in (torch.cat((x, -x))[torch.randperm(1000)], torch.stack((around.cos(), around.sin()), -1)):
        fitted = VonMisesFisher.fit(cancelling)
        assert fitted.loc.norm().item() == pytest.approx(1, abs=1e-12)
        assert fitted.concentration < 1e-12


def test_a_fit_without_validation_of_half_precision_and_of_vectors_off_the_sphere():
    x = vmf(4, 20.0, torch.float32).sample((200,))
    fitted = VonMisesFisher.fit(x.half())
    assert fitted.concentration.dtype == fitted.loc.dtype == torch.float32
    single = VonMisesFisher.fit(normalize(x.half().float(), dim=-1))
    torch.testing.assert_close(fitted.concentration, single.concentration, rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match=r"'value' at index \(\) has length"):
        single.log_prob(2 * single.loc)
    with pytest.raises(ValueError, match=r"'value' at index \(0,\) has length"):
        VonMisesFisher.fit(2 * x)
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        assert VonMisesFisher.fit(HALF.expand(3, 4)).concentration == radial.largest(torch.float32)
    finally:
        torch.distributions.Distribution.set_default_validate_args(True)


def test_responsibilities_fit_the_members_of_a_mixture():
    x = VonMisesFisher(unit(6, 3), 20.0).sample((500,)).flatten(0, 1)
    weights = torch.rand(1500, 2, dtype=torch.float64)
    both, one = VonMisesFisher.fit(x, weights), VonMisesFisher.fit(x, weights[:, 1])
    assert both.batch_shape == (2,)
    torch.testing.assert_close(both.mean[1], one.mean)
    # Weights of one axis count the draws of every batch alike.
    batches = x.view(500, 3, 6)
    every = VonMisesFisher.fit(batches, weights[:500, 0])
    torch.testing.assert_close(every.mean[2], VonMisesFisher.fit(batches[:, 2], weights[:500, 0]).mean)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.tensor([1.0, -1.0, 1.0]), r"'weights' at index \(1,\) is -1.0"),
        (torch.zeros(3), r"'weights' at batch index \(\) have the sum 0.0"),
        (torch.tensor([[1.0, math.inf], [1.0, 1.0], [1.0, 1.0]]), r"'weights' at batch index \(1,\) have the sum inf"),
        (torch.ones(2), r"'weights' has shape \(2,\), but 'value' holds 3 vectors"),
        ([1.0, 1.0, 1.0], r"'weights' is a list"),
        (torch.tensor([0.0, 2.0, 0.0]), r"'value' that count at batch index \(\) are all equal"),
    ],
)
def test_a_fit_refuses_weights_that_cannot_count(weights: Any, message: str):
    with pytest.raises(ValueError, match=message):
        VonMisesFisher.fit(torch.eye(3), weights)
    assert VonMisesFisher.fit(torch.eye(3), torch.tensor([0, 1, 1])).loc[0] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("what", ["log_prob", "entropy", "mean", "kl", "sample"])
def test_what_torch_jit_traces_of_one_batch_serves_another(what: str):
    x = unit(5, 3, seed=2)

    def of(loc: Tensor, k: Tensor) -> Tensor:
        q = VonMisesFisher(loc, k, validate_args=False)
        if what == "kl":
            return kl_divergence(q, HypersphericalUniform(5))
        if what == "log_prob":
            return q.log_prob(x)
        return getattr(q, what) if what == "mean" else getattr(q, what)()

    traced: Any = torch.jit.trace(of, (unit(5, 3), torch.full((3,), 2.0)), check_trace=False)
    at = unit(5, 3, seed=1), torch.tensor([0.1, 3.0, 400.0])
    torch.manual_seed(0)
    expected = of(*at)
    torch.manual_seed(0)
    torch.testing.assert_close(traced(*at), expected, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func's own, of torch.jit.script
def test_torch_func_takes_the_density_as_autograd_does():
    def log_prob(loc: Tensor, k: Tensor, x: Tensor) -> Tensor:
        return VonMisesFisher(loc, k, validate_args=False).log_prob(x)

    loc, x = unit(5, 4), unit(5, 4, seed=1)
    k = torch.tensor([0.0, 1.0, 30.0, 1e6], dtype=torch.float64, requires_grad=True)
    every = log_prob(loc, k, x)
    torch.testing.assert_close(torch.vmap(log_prob)(loc, k, x), every)
    (first,) = torch.autograd.grad(every.sum(), k, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), k)
    k = k.detach()
    torch.testing.assert_close(torch.vmap(torch.func.grad(log_prob, argnums=1))(loc, k, x), first)
    torch.testing.assert_close(torch.vmap(torch.func.hessian(log_prob, argnums=1))(loc, k, x), second)

    def kl(k: Tensor) -> Tensor:
        return kl_divergence(
            VonMisesFisher(loc[0], k[0], validate_args=False), VonMisesFisher(loc[1], k[1], validate_args=False)
        )

    both = torch.tensor([3.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(torch.func.hessian(kl)(both), torch.autograd.functional.hessian(kl, both))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_a_number_that_changes_compiles():
    compiled = torch.compile(lambda k: VonMisesFisher(HALF, k).mean, fullgraph=True, backend="aot_eager")
    for k in (1.0, 2.0, 3.5):
        torch.testing.assert_close(compiled(k), VonMisesFisher(HALF, k).mean)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_the_density_and_the_kl_compile_to_one_graph(enabled: bool, requires_grad: bool):
    loc = unit(6, 3, dtype=torch.float32).requires_grad_(requires_grad)
    x = unit(6, 3, seed=1, dtype=torch.float32)
    made_outside = VonMisesFisher(loc.detach(), 4.0, validate_args=False)

    def of_step(loc: Tensor, k: Tensor, x: Tensor) -> Tensor:
        q = VonMisesFisher(loc, k, validate_args=False)
        of_number = VonMisesFisher(loc, 5.0, validate_args=False).log_prob(x) + made_outside.log_prob(x)
        kls = kl_divergence(q, HypersphericalUniform(6, validate_args=False)) + kl_divergence(q, made_outside)
        return q.log_prob(x) + of_number + kls

    k = torch.tensor([0.5, 10.0, 300.0], requires_grad=requires_grad)
    compiled = torch.compile(of_step, fullgraph=True, backend="aot_eager")
    results = []
    for function in (of_step, compiled):
        with torch.set_grad_enabled(enabled):
            value = function(loc, k, x)
        gradients = torch.autograd.grad(value.sum(), (loc, k)) if value.requires_grad else ()
        results.append((value, *gradients))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.parametrize("as_number", [False, True])
def test_a_draw_with_its_kl_compiles_to_one_graph_that_makes_its_tables(as_number: bool):
    dimension = 73 + as_number  # of which no table has been made before
    loc, k = unit(dimension, 3, dtype=torch.float32).requires_grad_(), torch.tensor([0.5, 10.0, 300.0]).requires_grad_()

    def of_step(loc: Tensor, k: Tensor) -> Tensor:
        q = VonMisesFisher(loc, 13.0 if as_number else k, validate_args=False)
        return q.rsample()[:, 0] + kl_divergence(q, HypersphericalUniform(dimension, validate_args=False))

    results = []
    for function in (torch.compile(of_step, fullgraph=True, backend="aot_eager"), of_step):
        torch.manual_seed(0)
        value = function(loc, k)
        gradients = torch.autograd.grad(value.sum(), (loc, k), allow_unused=True, materialize_grads=True)
        results.append((value, *gradients))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("dimension", [71, 72])
def test_a_table_first_made_inside_a_transform_or_inference_mode_serves_outside(dimension: int):
    loc, k = unit(dimension), torch.tensor(3.0, dtype=torch.float64, requires_grad=True)

    def of_k(k: Tensor) -> Tensor:
        q = VonMisesFisher(loc, k, validate_args=False)
        return kl_divergence(q, VonMisesFisher(loc, 2.0, validate_args=False)) + q.sample().sum()

    if dimension == 71:
        torch.func.grad(of_k)(k)
    else:
        with torch.inference_mode():
            of_k(k)
    (gradient,) = torch.autograd.grad(of_k(k), k)
    assert gradient.isfinite()


@pytest.mark.parametrize("learnt", ["loc", "concentration", "both", "weight"])
def test_draws_refuse_a_second_derivative(learnt: str):
    loc = unit(5).requires_grad_(learnt in ("loc", "both"))
    k = torch.tensor(3.0, dtype=torch.float64, requires_grad=learnt != "loc")
    weight = unit(5, seed=1).requires_grad_(learnt == "weight")
    inputs = [x for x in (loc, k) if x.requires_grad]
    gradients = torch.autograd.grad(VonMisesFisher(loc, k).rsample() @ weight, inputs, create_graph=True)
    for gradient, again in zip(gradients, (weight,) if learnt == "weight" else inputs, strict=True):
        with pytest.raises(RuntimeError, match="draws of a vMF have first derivatives only"):
            torch.autograd.grad(gradient.sum(), again)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func's own, of torch.jit.script
def test_a_draw_that_is_not_differentiated_moves_with_nothing_in_either_mode():
    loc, k = unit(5, 3), torch.tensor([0.5, 2.0, 80.0], dtype=torch.float64)

    def of(loc: Tensor, k: Tensor) -> Tensor:
        torch.manual_seed(0)
        return VonMisesFisher(loc, k, validate_args=False).sample()

    with torch.no_grad(), pytest.raises(RuntimeError):  # not a tangent of zeros
        torch.func.jvp(lambda k: VonMisesFisher(loc, k, validate_args=False).rsample(), (k,), (k,))
    for moved in ((loc, torch.zeros_like(k)), (torch.zeros_like(loc), k)):
        assert (torch.func.jvp(of, (loc, k), moved)[1] == 0).all()
    weight = torch.tensor(2.0, dtype=torch.float64)
    slope = torch.func.grad(lambda scale: of(loc, scale * k).sum() * scale.square())
    curvature = torch.func.jvp(slope, (weight,), (torch.ones_like(weight),))[1]
    torch.testing.assert_close(curvature, 2 * of(loc, weight * k).sum())


@pytest.mark.parametrize("dimension", [2, 3, 5, 25, 500])
def test_the_float32_gradient_in_the_concentration_is_the_float64_one_to_its_rounding(dimension: int):
    N = 500
    loc, weight = unit(dimension, N, dtype=torch.float32), unit(dimension, N, seed=1, dtype=torch.float32)
    for concentration in (0.01, 1.0, 30.0):
        k = torch.full((N,), concentration, requires_grad=True)
        torch.manual_seed(0)
        z = torch.randn(N, 1, dtype=torch.float64).squeeze(-1)  # as a draw begins
        torch.manual_seed(0)
        x = VonMisesFisher(loc, k).rsample()
        (gradient,) = torch.autograd.grad((x * weight).sum(), k)
        _, rate = quantile(concentration, z, dimension, torch.float64)
        x, at, along = x.detach().double(), loc.double(), weight.double()
        across = at - (x * at).sum(-1, keepdim=True) * x  # dx/dk = dy/dk (loc - cosine x)
        assert ((gradient / rate - (across * along).sum(-1)).abs() < 5e-7).all()


def test_a_step_never_asks_the_device_for_a_number():
    asked: list[str] = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.__name__.split(".")[0] in {"_local_scalar_dense", "nonzero", "masked_select", "item"}:
                asked.append(func.__name__)
            return func(*args, **(kwargs or {}))

    def step() -> None:
        loc, k = unit(8, 4).requires_grad_(), torch.full((4,), 9.0, dtype=torch.float64, requires_grad=True)
        q = VonMisesFisher(loc, k, validate_args=False)
        p = VonMisesFisher(unit(8, 4, seed=1), 5.0, validate_args=False)
        draws = q.rsample().sum() + p.rsample().sum()
        (draws + kl_divergence(q, p).sum() + q.log_prob(p.loc).sum()).backward()

    step()  # tables are built on the first use
    with Count():
        step()
    assert asked == []


def test_it_learns_under_pyros_mean_field_elbo_with_an_analytic_kl():
    target = normalize(torch.tensor([1.0, 2.0, -2.0]), dim=-1)

    def model(evidence: float) -> None:
        with pyro.plate("sentences", 64):
            z = pyro.sample("z", HypersphericalUniform(3))
            pyro.factor("x", evidence * (z @ target))

    def guide(evidence: float) -> None:
        loc = normalize(pyro.param("loc", torch.ones(3)), dim=-1)
        concentration = pyro.param("concentration", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("sentences", 64):
            pyro.sample("z", VonMisesFisher(loc, concentration))

    elbo = TraceMeanField_ELBO()
    # With no evidence the loss is the KL alone: exact, so the same at every draw.
    kl = 64 * exact(3, 1.0)["kl"]
    assert elbo.loss(model, guide, 0.0) == elbo.loss(model, guide, 0.0) == pytest.approx(kl)
    svi = SVI(model, guide, ClippedAdam({"lr": 0.1, "lrd": 0.99}), elbo)
    for _ in range(300):
        svi.step(10.0)
    # The posterior is itself a vMF of concentration 10 at the target.
    torch.testing.assert_close(normalize(pyro.param("loc"), dim=-1), target, atol=0.02, rtol=0)
    torch.testing.assert_close(pyro.param("concentration"), torch.tensor(10.0), atol=0, rtol=0.1)


def test_masks_and_events_are_pyros():
    q = VonMisesFisher(unit(5, 2, 3), 4.0)
    assert q.to_event(1).log_prob(q.sample()).shape == (2,)
    masked = q.mask(torch.tensor([True, False, True]))
    assert (masked.log_prob(q.sample())[:, 1] == 0).all()
    assert (kl_divergence(masked, HypersphericalUniform(5, (2, 3), dtype=torch.float64).mask(True))[:, 1] == 0).all()


def test_a_mixture_has_the_density_of_its_parts_and_a_mean():
    parts = VonMisesFisher(unit(4, 3), torch.tensor([2.0, 20.0, 80.0], dtype=torch.float64))
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    mixture = MixtureSameFamily(Categorical(weights), parts)
    x = unit(4, 10, seed=5)
    torch.testing.assert_close(mixture.log_prob(x), (weights.log() + parts.log_prob(x[:, None])).logsumexp(-1))
    draws = mixture.sample((50_000,))
    torch.testing.assert_close(draws.mean(0), mixture.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(draws.var(0), mixture.variance, atol=0.01, rtol=0)


def test_hmc_samples_a_location_that_is_the_direction_of_a_normal():
    truth = VonMisesFisher(normalize(torch.tensor([1.0, 2.0, -2.0]), dim=-1), 20.0)
    data = truth.sample((100,))

    def model(data: Tensor) -> None:
        loc = normalize(pyro.sample("free", Normal(torch.zeros(3), 1.0).to_event(1)), dim=-1)
        k = pyro.sample("k", LogNormal(2.0, 1.0))
        with pyro.plate("data", len(data)):
            pyro.sample("x", VonMisesFisher(loc, k), obs=data)

    chain = MCMC(NUTS(model), num_samples=50, warmup_steps=50, disable_progbar=True)
    chain.run(data)
    samples = chain.get_samples()
    torch.testing.assert_close(normalize(samples["free"], dim=-1).mean(0), truth.loc, atol=0.05, rtol=0)
    torch.testing.assert_close(samples["k"].mean(), VonMisesFisher.fit(data).concentration, atol=0, rtol=0.15)


def test_pyros_enumeration_learns_the_members_of_a_mixture():
    truth = VonMisesFisher(normalize(torch.tensor([[1.0, 0.2, 0.0], [-0.3, 0.0, 1.0]]), dim=-1), 60.0)
    data = truth.sample((150,)).flatten(0, 1)

    def model(data: Tensor) -> None:
        loc = normalize(pyro.param("loc", torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])), dim=-1)
        k = pyro.param("k", torch.full((2,), 5.0), constraint=constraints.positive)
        with pyro.plate("data", len(data)):
            c = pyro.sample("c", Categorical(torch.ones(2) / 2), infer={"enumerate": "parallel"})
            pyro.sample("x", VonMisesFisher(loc[c], k[c]), obs=data)

    svi = SVI(model, lambda data: None, ClippedAdam({"lr": 0.1, "lrd": 0.99}), TraceEnum_ELBO(max_plate_nesting=1))
    for _ in range(150):
        svi.step(data)
    torch.testing.assert_close(normalize(pyro.param("loc"), dim=-1), truth.loc, atol=0.03, rtol=0)
    torch.testing.assert_close(pyro.param("k"), torch.full((2,), 60.0), rtol=0.25, atol=0)


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_a_concentration_learnt_for_each_sentence_trains_stably_and_finds_the_posterior(elbo: type):
    """An encoder gives every sentence a location and a concentration; the posterior is a vMF, so the truth is known.

    The evidence of a sentence is a vector e: with a uniform prior and likelihood exp(e . z), the posterior is
    vMF(e / |e|, |e|). Concentrations start near 1 and lie between 0.05 and 3000.
    """
    torch.manual_seed(0)
    D, N = 10, 400
    strength = torch.logspace(-1.3, 3.5, N)
    evidence = strength[:, None] * unit(D, N, dtype=torch.float32)
    encoder = torch.nn.Sequential(torch.nn.Linear(1, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))

    def model(rows: Tensor) -> None:
        with pyro.plate("sentences", len(rows)):
            z = pyro.sample("z", HypersphericalUniform(D))
            pyro.factor("x", (evidence[rows] * z).sum(-1))

    def guide(rows: Tensor) -> None:
        pyro.module("encoder", encoder)
        k = encoder(strength[rows, None].log()).squeeze(-1).exp()
        with pyro.plate("sentences", len(rows)):
            pyro.sample("z", VonMisesFisher(normalize(evidence[rows], dim=-1), k))

    svi = SVI(model, guide, ClippedAdam({"lr": 0.02, "lrd": 0.996}), elbo())
    losses: list[Any] = [svi.step(torch.randperm(N)[:64]) for _ in range(500)]
    assert all(map(math.isfinite, losses))
    with torch.no_grad():
        learnt = encoder(strength[:, None].log()).squeeze(-1).exp()
    # In the size of what remains to be gained: nats between the learnt posterior and the true one.
    loc = normalize(evidence, dim=-1)
    remaining = kl_divergence(VonMisesFisher(loc, learnt), VonMisesFisher(loc, strength))
    assert remaining.max() < 0.1, remaining.max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_step_asks_nothing_of_the_device_and_is_captured_in_a_graph():
    loc = unit(8, 64, dtype=torch.float32).cuda().requires_grad_()
    k = torch.full((64,), 9.0, device="cuda", requires_grad=True)
    uniform = HypersphericalUniform(8, device="cuda", validate_args=False)

    def step() -> Tensor:
        q = VonMisesFisher(loc, k, validate_args=False)
        of_number = VonMisesFisher(loc, 9.0, validate_args=False)
        x = q.rsample()
        loss = x.sum() + kl_divergence(q, uniform).sum() + q.log_prob(x.detach()).sum() + of_number.rsample().sum()
        loc.grad, k.grad = torch.autograd.grad(loss, (loc, k))
        return x

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):  # tables are built, and memory is taken, on the first uses
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        x = step()
    graph.replay()
    first = x.clone()
    graph.replay()
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(64, device="cuda"))
    assert not torch.equal(first, x)  # fresh noise at every replay


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_values_are_those_of_the_processor():
    for dimension in (2, 5, 50, 1000):
        loc, k = unit(dimension, 6), torch.tensor([0.0, 0.1, 3.0, 50.0, 1e4, 1e6], dtype=torch.float64)
        here, there = VonMisesFisher(loc, k), VonMisesFisher(loc.cuda(), k.cuda())
        x = here.sample()
        torch.testing.assert_close(there.log_prob(x.cuda()).cpu(), here.log_prob(x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(there.entropy().cpu(), here.entropy(), rtol=1e-12, atol=1e-12)
        mean = (there.sample((20_000,)) * loc.cuda()).sum(-1).mean(0).cpu()
        torch.testing.assert_close(mean, here.mean_cosine, atol=0.02, rtol=0)


def test_the_sphere_has_the_area_of_geometry():
    assert math.exp(log_sphere_area(2)) == pytest.approx(2 * math.pi)
    assert math.exp(log_sphere_area(4)) == pytest.approx(2 * math.pi**2)


def test_the_examples_of_the_page_run():
    page = (Path(__file__).parents[2] / "docs" / "von_mises_fisher.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert examples
    pyro.set_rng_seed(0)  # from which EM and SVI find the members of their mixtures
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, "docs/von_mises_fisher.md", "exec"), names)
    for learnt in (names["members"].loc, pyro.param("loc")):  # by EM and by SVI
        assert (learnt @ names["truth"].loc.T).amax(0).min() > 0.98
    for picture in re.findall(r"\((images/\S+\.png)\)", page):
        assert 0 < (Path(__file__).parents[2] / "docs" / picture).stat().st_size < 150_000
