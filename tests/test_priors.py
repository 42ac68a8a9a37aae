import itertools
import math

import pytest
import torch
from small import a_batch

from pyro_textvae.priors import (
    LOG_VARIANCE_LIMIT,
    GaussianMixture,
    Mixture,
    NoPrior,
    Prior,
    StandardNormal,
    UniformSphere,
    VonMisesFisherMixture,
)

MIXTURES = [GaussianMixture, VonMisesFisherMixture]


@pytest.mark.parametrize("kind", MIXTURES)
@pytest.mark.parametrize("variables", [1, 2])
def test_a_mixtures_density_is_the_sum_over_every_joint_class(kind, variables):
    prior: Mixture = kind(3, variables, 4)
    code = prior.sample(5)
    joint = []
    for classes in itertools.product(range(4), repeat=variables):
        parts = [
            prior.component(torch.full((variables, 1), k)).log_prob(code.unflatten(-1, (variables, 3)).movedim(1, 0))[m]
            for m, k in enumerate(classes)
        ]
        joint.append(torch.stack(parts).sum(0) - variables * math.log(4))
    torch.testing.assert_close(prior.log_prob(code), torch.stack(joint).logsumexp(0))


def test_a_gaussian_mixtures_density_integrates_to_one():
    prior = GaussianMixture(1, 1, 3)
    grid = torch.linspace(-12, 12, 4001)
    assert torch.trapezoid(prior.log_prob(grid[:, None]).exp(), grid).item() == pytest.approx(1, abs=1e-5)


def test_a_circle_of_von_mises_components_integrates_to_one():
    prior = VonMisesFisherMixture(2, 1, 3)
    angle = torch.linspace(0, 2 * math.pi, 4001)
    points = torch.stack([angle.cos(), angle.sin()], -1)
    assert torch.trapezoid(prior.log_prob(points).exp(), angle).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", MIXTURES)
def test_draws_from_one_component_are_around_its_mean(kind):
    prior: Mixture = kind(3, 2, 4)
    for component in range(4):
        drawn = prior.sample(20_000, component).unflatten(-1, (2, 3)).mean(0)  # (M, D)
        torch.testing.assert_close(drawn, prior.means()[:, component].detach(), atol=0.04, rtol=0)


@pytest.mark.parametrize("kind", MIXTURES)
def test_draws_from_the_mixture_are_around_the_mean_of_its_means(kind):
    prior: Mixture = kind(3, 2, 4)
    drawn = prior.sample(40_000).unflatten(-1, (2, 3)).mean(0)
    torch.testing.assert_close(drawn, prior.means().mean(1).detach(), atol=0.04, rtol=0)


def test_the_means_of_gaussian_components_are_their_table():
    prior = GaussianMixture(3, 2, 4)
    torch.testing.assert_close(prior.means(), prior.mean)


def test_the_code_lists_one_variable_after_the_other():
    prior = GaussianMixture(3, 2, 4)
    z = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    assert prior.join(z)[1].tolist() == [3, 4, 5, 18, 19, 20]


def test_no_log_variance_can_overflow_and_every_one_keeps_its_gradient():
    prior = GaussianMixture(2, 1, 3)
    with torch.no_grad():
        prior.log_variance.fill_(8.0)
    scale = prior.component(prior.every()).stddev
    assert (2 * scale.log() < LOG_VARIANCE_LIMIT).all()
    scale.sum().backward()
    assert prior.log_variance.grad is not None
    assert (prior.log_variance.grad > 0).all()
    with torch.no_grad():
        prior.log_variance.fill_(-1e6)
    assert prior.log_prob(torch.zeros(1, 2)).isfinite().all()


def test_the_standard_normal_is_standard_and_normal():
    prior = StandardNormal(3)
    code = torch.tensor([[0.5, -1.0, 2.0]])
    assert prior.log_prob(code).item() == pytest.approx(-0.5 * (0.25 + 1 + 4) - 1.5 * math.log(2 * math.pi))
    drawn = prior.sample(20_000)
    torch.testing.assert_close(drawn.mean(0), torch.zeros(3), atol=0.04, rtol=0)
    torch.testing.assert_close(drawn.var(0), torch.ones(3), atol=0.06, rtol=0)


def test_the_uniform_sphere_has_one_density_all_over():
    prior = UniformSphere(3)
    drawn = prior.sample(1000)
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(1000))
    torch.testing.assert_close(prior.log_prob(drawn), torch.full((1000,), -math.log(4 * math.pi)))


def test_a_language_models_prior_is_empty():
    prior = NoPrior()
    assert prior.sample(4).shape == (4, 0) == (len(prior(a_batch([[4]] * 4))), prior.code)
    assert prior.log_prob(prior.sample(4)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "prior", [StandardNormal(3), UniformSphere(3), NoPrior()], ids=lambda prior: type(prior).__name__
)
def test_a_component_of_a_prior_that_has_none_is_refused(prior: Prior):
    with pytest.raises(ValueError, match=f"component=2 was asked for, but {type(prior).__name__} has no components"):
        prior.sample(1, component=2)


def test_a_component_that_is_not_there_is_refused_with_those_that_are():
    for component in (4, -1):
        with pytest.raises(ValueError, match=f"component={component}, but the components are 0 to 3"):
            GaussianMixture(2, 1, 4).sample(1, component)


@pytest.mark.parametrize("kind", MIXTURES)
def test_a_mixture_without_components_or_variables_is_refused(kind):
    with pytest.raises(ValueError, match="'components' is 1, but a mixture has at least 2"):
        kind(2, 1, 1)
    with pytest.raises(ValueError, match="'variables' is 0, but a mixture has at least one"):
        kind(2, 0, 3)


def test_components_without_concentration_are_refused():
    with pytest.raises(ValueError, match=r"'component_concentration' is 0.0, but it must be positive"):
        VonMisesFisherMixture(2, concentration=0.0)
