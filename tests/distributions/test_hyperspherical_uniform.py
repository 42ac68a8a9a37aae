"""The uniform distribution on the sphere."""

import math
from typing import Any

import pytest
import torch
from torch.distributions import kl_divergence

from pyro_textvae.distributions import HypersphericalUniform


@pytest.mark.parametrize("dim", [2, 3, 50])
def test_draws_are_unit_vectors_with_no_preferred_direction(dim: int):
    x = HypersphericalUniform(dim).sample((20_000,))
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(20_000))
    assert (x.mean(0).abs() < 4.5 / (20_000 * dim) ** 0.5).all()
    torch.testing.assert_close(x.T @ x / 20_000, torch.eye(dim) / dim, atol=0.02, rtol=0)


def test_the_density_is_one_over_the_area():
    x = HypersphericalUniform(3).sample((5,))
    torch.testing.assert_close(HypersphericalUniform(3).log_prob(x), torch.full((5,), -math.log(4 * math.pi)))
    torch.testing.assert_close(HypersphericalUniform(3).entropy(), torch.tensor(math.log(4 * math.pi)))


def test_expand_keeps_the_class_and_the_shapes_broadcast():
    p = HypersphericalUniform(4).expand((2, 3))
    assert type(p) is HypersphericalUniform
    assert p.batch_shape == (2, 3)
    assert p.rsample((5,)).shape == (5, 2, 3, 4)
    assert p.log_prob(p.sample((5,))).shape == (5, 2, 3)
    assert p.log_prob(HypersphericalUniform(4).sample()).shape == (2, 3)
    assert p.entropy().shape == (2, 3)
    assert p.mean.shape == (2, 3, 4)
    assert HypersphericalUniform.infer_shapes(dim=4, batch_shape=(2, 3)) == (p.batch_shape, p.event_shape)
    assert kl_divergence(p, HypersphericalUniform(4)).shape == (2, 3)
    assert (kl_divergence(p, p) == 0).all()


def test_draws_take_the_dtype_that_was_asked_for():
    assert HypersphericalUniform(3, dtype=torch.float64).sample().dtype == torch.float64


@pytest.mark.parametrize("dim", [1, 2.5, math.nan, "5", None])
def test_a_sphere_of_one_or_of_broken_dimensions_is_refused(dim: Any):
    with pytest.raises(ValueError, match=rf"'dim' is {dim!r}, .*an int of at least 2"):
        HypersphericalUniform(dim)


def test_it_is_shown_with_its_dimension_and_shape():
    assert repr(HypersphericalUniform(3, (2,))) == "HypersphericalUniform(3, batch_shape=(2,))"


def test_a_value_off_the_sphere_is_refused():
    with pytest.raises(ValueError, match=r"'value' at index \(\) has length"):
        HypersphericalUniform(3, validate_args=True).log_prob(torch.ones(3))
