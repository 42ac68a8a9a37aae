"""The vMF's radial functions against mpmath (vmf_reference.json), SciPy, and what holds over the whole domain."""

from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from make_vmf_reference import radial as radial_by_mpmath
from pyro_textvae_distributions import _bessel as radial
from scipy import stats
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import kl_divergence
from vmf_accuracy import (
    F64,
    QUANTITIES,
    of_kl_between_two,
    of_normaliser_and_entropy,
    of_radial,
    reference,
    unit,
    worst,
)

from pyro_textvae.distributions import HypersphericalUniform, VonMisesFisher

HALF_AN_ULP = 6.0e-8


def test_the_reference_is_what_its_script_computes():
    for row in reference()["radial"][::23]:
        if row[1] > 1e4 and row[0] > 800:
            continue  # the series of a million terms takes seconds
        with mpmath.workdps(60):
            assert [float(value) for value in radial_by_mpmath(int(row[0]), row[1])] == row[2:]


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_radial_function_and_its_derivative_is_that_of_mpmath(name: str):
    errors = of_radial(name)
    assert worst(errors["value"])[0] < 1e-14, worst(errors["value"])
    # A'' is the one that is a derivative of formulas instead of a formula.
    assert worst(errors["slope"])[0] < (1e-11 if name == "A'" else 1e-14), worst(errors["slope"])
    for what in ("value, rounded", "slope, rounded"):
        assert worst(errors[what])[0] < HALF_AN_ULP, worst(errors[what])


@pytest.mark.parametrize(("dtype", "accuracy"), [(F64, 1e-14), (torch.float32, HALF_AN_ULP)])
def test_normaliser_and_entropy_are_those_of_mpmath_relative_to_one_nat_or_more(dtype: torch.dtype, accuracy: float):
    for errors in of_normaliser_and_entropy(dtype).values():
        assert worst(errors)[0] < accuracy, worst(errors)


def test_the_kl_between_two_and_its_derivatives_are_those_of_mpmath():
    for what, errors in of_kl_between_two().items():
        assert worst(errors)[0] < (HALF_AN_ULP if "rounded" in what else 1e-13), (what, worst(errors))


@pytest.mark.parametrize("dimension", [2, 3, 5, 20, 60])
@pytest.mark.parametrize("concentration", [0.3, 5.0, 90.0, 2000.0])
def test_density_and_entropy_are_scipys_where_its_bessel_functions_do_not_underflow(
    dimension: int, concentration: float
):
    loc, x = unit(dimension), unit(dimension, 20, seed=1)
    twin: Any = stats.vonmises_fisher(loc.numpy(), concentration)  # pyright: ignore[reportArgumentType]
    ours = VonMisesFisher(loc, concentration)
    torch.testing.assert_close(ours.log_prob(x), torch.from_numpy(twin.logpdf(x.numpy())), rtol=1e-11, atol=1e-11)
    assert ours.entropy().item() == pytest.approx(twin.entropy(), rel=1e-11, abs=1e-11)


@settings(max_examples=60)
@given(dimension=st.integers(2, 20_000), exponent=st.floats(-9, 9), factor=st.floats(0, 3))
def test_what_holds_everywhere(dimension: int, exponent: float, factor: float):
    k = torch.tensor(10**exponent, dtype=F64)
    more = k * (1 + 10**-factor)
    mean, deficit = radial.mean_cosine(k, dimension), radial.mean_cosine_deficit(k, dimension)
    assert abs(mean + deficit - 1) < 4e-16
    # Amos' bounds of the ratio of two Bessel functions.
    order = dimension / 2 - 1
    assert mean >= k / (order + 0.5 + torch.hypot(k, torch.tensor(order + 1.5, dtype=F64))) * (1 - 1e-15)
    assert mean <= k / (order + torch.hypot(k, torch.tensor(order + 2, dtype=F64))) * (1 + 1e-15)
    assert radial.variance(k, dimension) > 0
    assert radial.mean_cosine(more, dimension) >= mean
    assert radial.kl_to_uniform(more, dimension) >= radial.kl_to_uniform(k, dimension) > 0
    assert radial.log_ratio(more, dimension) >= radial.log_ratio(k, dimension) > 0
    assert radial.bregman(k, more, dimension) >= 0 <= radial.bregman(more, k, dimension)
    # Moments: across the location lies what is left of a unit length.
    across = radial.variance_across(k, dimension)
    total = radial.variance(k, dimension) + mean**2 + (dimension - 1) * across
    assert total.item() == pytest.approx(1, rel=1e-13)
    recovered = radial.concentration_of(mean, deficit, dimension)
    assert recovered.item() == pytest.approx(k.item(), rel=1e-13)


@pytest.mark.parametrize("dimension", [2, 3, 25, 400])
def test_second_derivatives_are_right(dimension: int):
    loc, x = unit(dimension, 4), unit(dimension, 4, seed=1)
    k = torch.tensor([0.2, 1.5, 12.0, 90.0], dtype=F64, requires_grad=True)
    other = torch.tensor([2.0, 1.6, 12.0, 9.0], dtype=F64, requires_grad=True)

    def values(k: Tensor) -> tuple[Tensor, ...]:
        q = VonMisesFisher(loc, k, validate_args=False)
        to_uniform = kl_divergence(q, HypersphericalUniform(dimension))
        from_uniform = kl_divergence(HypersphericalUniform(dimension, dtype=F64), q)
        return (
            q.log_prob(x),
            q.entropy(),
            q.mean_cosine,
            q.log_normalizer,
            q.variance[..., :2],
            to_uniform,
            from_uniform,
        )

    def between(k: Tensor, other: Tensor) -> Tensor:
        p = VonMisesFisher(loc, k, validate_args=False)
        return kl_divergence(p, VonMisesFisher(x, other, validate_args=False))

    assert gradcheck(values, (k,)) and gradgradcheck(values, (k,))
    assert gradcheck(between, (k, other)) and gradgradcheck(between, (k, other))


@pytest.mark.parametrize("dimension", [2, 3, 25])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_second_derivatives_are_finite_from_zero_to_the_largest(dimension: int, dtype: torch.dtype):
    k = torch.tensor([0.0, 1e-30, 1e-6, 1.0, 1e6, 1e18, 3e38], dtype=dtype, requires_grad=True)
    q = VonMisesFisher(unit(dimension).to(dtype), k)
    for value in (q.log_prob(q.loc), q.entropy(), q.mean_cosine, q.variance, kl_divergence(q, q.expand((2, 7)))):
        assert value.isfinite().all()
        (first,) = torch.autograd.grad(value.sum(), k, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), k)
        assert first.isfinite().all() and second.isfinite().all()


@pytest.mark.parametrize("dimension", [2, 3, 5, 25, 100])
@pytest.mark.parametrize("concentration", [0.1, 1.0, 10.0, 100.0, 1000.0])
def test_the_gradient_of_draws_is_the_slope_of_exact_expectations(dimension: int, concentration: float):
    """For w = loc . x: of E[w] = A, of E[w^2] = A' + A^2, both by finite differences of the exact functions."""
    n, step = 20_000, 1e-4 * concentration
    loc = unit(dimension)
    k = torch.full((n,), concentration, dtype=F64, requires_grad=True)
    deficit = (VonMisesFisher(loc, k, validate_args=False).rsample() - loc).square().sum(-1) / 2  # 1 - w

    def expectations(at: float) -> tuple[Tensor, Tensor]:
        k = torch.tensor(at, dtype=F64)
        lost = radial.mean_cosine_deficit(k, dimension)
        return lost, radial.variance(k, dimension) + lost**2

    ends = [expectations(concentration + sign * step) for sign in (1, -1)]
    for power in (1, 2):
        (gradient,) = torch.autograd.grad(deficit.pow(power).sum(), k, retain_graph=True)
        expected = (ends[0][power - 1] - ends[1][power - 1]) / (2 * step)
        assert abs(gradient.mean() - expected) < 4.5 * gradient.std() / n**0.5 + 1e-6 * abs(expected)
        assert gradient.std() / n**0.5 < 0.03 * abs(expected)  # else the line above would say little
