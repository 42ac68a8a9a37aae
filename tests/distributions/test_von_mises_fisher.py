"""The vMF against mpmath, tables of 17 digits, quadrature and Monte Carlo."""

import math
import pickle
from functools import cache

import mpmath
import numpy as np
import pyro
import pytest
import torch
from pyro.infer import SVI, TraceMeanField_ELBO
from pyro.optim import ClippedAdam  # pyright: ignore[reportAttributeAccessIssue]
from pyro_textvae_distributions import _bessel as radial
from pyro_textvae_distributions._quantile import draw_height
from pyro_textvae_distributions._sphere import log_sphere_area
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import constraints, kl_divergence
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_textvae.distributions import HypersphericalUniform, VonMisesFisher

DIMENSIONS = (2, 3, 5, 10, 25, 100, 1000)
CONCENTRATIONS = (2.0**-10, 0.5, 13.0, 80.0, 1e3, 1e6)
ENDS = (0.0, 1e-30, 1e-6, 1.0, 1e6, 1e9, 1e18)

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


def test_the_log_density_is_linear_in_the_natural_parameter():
    q = VonMisesFisher(unit(7, 3), torch.tensor([0.0, 2.0, 300.0], dtype=torch.float64))
    x = unit(7, 4, 3, seed=1)
    torch.testing.assert_close(q.log_prob(x), (q.natural_parameter * x).sum(-1) - q.log_normalizer)
    torch.testing.assert_close(q.entropy(), q.log_normalizer - (q.natural_parameter * q.mean).sum(-1))


@pytest.mark.parametrize("dimension", [3, 25, 100])
def test_a_float32_log_density_keeps_three_digits_at_a_concentration_of_a_million(dimension: int):
    q = vmf(dimension, 1e6, torch.float32)
    x = q.sample((500,))
    exactly = VonMisesFisher(normalize(q.loc.double(), dim=-1), 1e6).log_prob(normalize(x.double(), dim=-1))
    assert (q.log_prob(x) - exactly).abs().max() < 1e-3


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


@pytest.mark.parametrize("dimension", [2, 3, 5, 25, 100])
@pytest.mark.parametrize("concentration", [0.0, 1.0, 50.0, 1e4])
def test_the_cosine_of_draws_has_the_exact_distribution_function(dimension: int, concentration: float):
    n = 20_000
    q = vmf(dimension, concentration)
    angle = 2 * torch.asin((q.sample((n,)) - q.loc).norm(dim=-1) / 2)
    grid = np.linspace(0, np.pi, 400_001)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = (dimension - 2) * np.log(np.sin(grid)) if dimension > 2 else 0.0
    log_density = power + concentration * (np.cos(grid) - 1)
    density = np.nan_to_num(np.exp(log_density - np.nanmax(log_density)))
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    at_draws = np.interp(np.sort(angle.numpy()), grid, cumulative / cumulative[-1])
    distance = max(np.abs(at_draws - np.arange(n) / n).max(), np.abs(at_draws - np.arange(1, n + 1) / n).max())
    assert distance * math.sqrt(n) < 2.2  # exceeded by chance once in 8000


def test_draws_are_symmetric_about_their_location():
    q = vmf(6, 4.0)
    x = q.sample((50_000,))
    across = x - (x @ q.loc)[:, None] * q.loc
    assert (across.mean(0).abs() < 4 * across.std(0) / 50_000**0.5).all()
    second = across.T @ across / 50_000
    expected = second.trace() / 5 * (torch.eye(6, dtype=torch.float64) - torch.outer(q.loc, q.loc))
    torch.testing.assert_close(second, expected, atol=4e-3, rtol=0)


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
        y, rate = draw_height(torch.tensor(k).double(), torch.tensor(z).double(), dimension, precision, with_rate=True)
        assert rate is not None
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


def test_it_survives_pickling():
    q = vmf(5, 3.0)
    copy = pickle.loads(pickle.dumps(q))
    torch.testing.assert_close(copy.log_prob(q.loc), q.log_prob(q.loc))


@pytest.mark.parametrize(
    ("loc", "concentration"), [(torch.ones(3), 1.0), (torch.tensor([1.0, 0.0]), -1.0), (torch.ones(1), 1.0)]
)
def test_a_location_off_the_sphere_a_negative_concentration_and_one_dimension_are_refused(
    loc: Tensor, concentration: float
):
    with pytest.raises(ValueError, match=r"loc|concentration"):
        VonMisesFisher(loc, concentration, validate_args=True)


def test_a_value_off_the_sphere_is_refused():
    with pytest.raises(ValueError, match=r"'value' at index \(\) has length"):
        VonMisesFisher(unit(3), 1.0, validate_args=True).log_prob(torch.ones(3, dtype=torch.float64))


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
        (q.rsample().sum() + kl_divergence(q, p).sum() + q.log_prob(p.loc).sum()).backward()

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


def test_the_sphere_has_the_area_of_geometry():
    assert math.exp(log_sphere_area(2)) == pytest.approx(2 * math.pi)
    assert math.exp(log_sphere_area(4)) == pytest.approx(2 * math.pi**2)
