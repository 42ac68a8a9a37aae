import itertools
import math

import pyro.distributions as dist
import pytest
import torch
from small import a_batch
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_textvae.priors import (
    LOG_VARIANCE_LIMIT,
    AutoregressiveNormal,
    AutoregressivePrior,
    CategoricalMixture,
    FullCovarianceMixture,
    GaussianMixture,
    LearntVonMisesFisherMixture,
    MarginalGaussianMixture,
    Mixture,
    NoPrior,
    OneHotsBesideNormal,
    Prior,
    SharedVarianceMixture,
    StandardNormal,
    UniformOneHots,
    UniformSphere,
    VonMisesFisherMixture,
    committed_correlation,
)

MIXTURES = [
    GaussianMixture,
    SharedVarianceMixture,
    FullCovarianceMixture,
    MarginalGaussianMixture,
    VonMisesFisherMixture,
    LearntVonMisesFisherMixture,
]


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


def test_a_discrete_priors_probabilities_add_up_to_one_and_its_draws_have_them():
    eye = torch.eye(3)
    values = torch.stack([eye[list(each)].flatten() for each in itertools.product(range(3), repeat=2)])
    for prior in (UniformOneHots(2, 3), CategoricalMixture(2, 1, 4, classes=3), CategoricalMixture(1, 2, 4, classes=3)):
        probabilities = prior.log_prob(values).exp()
        assert probabilities.sum().item() == pytest.approx(1, abs=1e-5)
        drawn = prior.sample(20_000)
        shares = (drawn[:, None] == values).all(-1).float().mean(0)
        torch.testing.assert_close(shares, probabilities, atol=0.015, rtol=0)


def test_one_hots_beside_a_normal_are_independent_of_it():
    prior = OneHotsBesideNormal(2, 3, 4)
    code = prior.sample(5)
    assert code.shape == (5, 3 * 4 + 2) == (5, prior.code)
    expected = dist.Normal(0.0, 1.0).log_prob(code[:, 12:]).sum(-1) - 3 * math.log(4)
    torch.testing.assert_close(prior.log_prob(code), expected)


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


# The autoregressive prior


def the_same_chain(correlation: Tensor, length: int) -> torch.distributions.MultivariateNormal:
    """The chain as a multivariate normal: the covariance of two numbers is the correlation to their distance."""
    distance = (torch.arange(length)[:, None] - torch.arange(length)).abs()
    return torch.distributions.MultivariateNormal(
        torch.zeros(length, dtype=torch.float64), correlation.double()[..., None, None] ** distance
    )


@pytest.mark.parametrize("length", [1, 2, 7])
def test_the_density_of_a_chain_is_that_of_the_multivariate_normal_with_its_covariance(length):
    correlation = torch.tensor([-0.8, 0.0, 0.3, 0.95], dtype=torch.float64)
    value = 2 * torch.randn(5, 4, length, dtype=torch.float64)
    ours = AutoregressiveNormal(correlation, length).log_prob(value)
    torch.testing.assert_close(ours, the_same_chain(correlation, length).log_prob(value))


def test_draws_from_a_chain_have_its_covariance():
    chain = AutoregressiveNormal(torch.tensor([0.6, -0.9], dtype=torch.float64), 5)
    drawn = chain.sample(torch.Size([100_000]))
    assert drawn.shape == (100_000, 2, 5)
    for row in range(2):
        expected = the_same_chain(chain.correlation, 5).covariance_matrix[row]
        torch.testing.assert_close(drawn[:, row].T.cov(), expected, atol=0.02, rtol=0)
        torch.testing.assert_close(drawn[:, row].mean(0), torch.zeros(5).double(), atol=0.02, rtol=0)


@pytest.mark.parametrize("length", [2, 3, 8])
def test_the_kl_from_independent_normals_to_a_chain_and_its_gradient_are_the_multivariate_normals(length):
    mean = torch.randn(6, length, dtype=torch.float64, requires_grad=True)
    scale = (torch.rand(6, length, dtype=torch.float64) + 0.3).requires_grad_()
    correlation = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    q = dist.Normal(mean, scale).to_event(1)
    ours = kl_divergence(q, AutoregressiveNormal(correlation, length))
    full = torch.distributions.MultivariateNormal(mean, torch.diag_embed(scale.square()))
    theirs = kl_divergence(full, the_same_chain(correlation, length))
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(*(torch.autograd.grad(kl.sum(), [mean, scale, correlation]) for kl in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b)


def test_the_kl_to_a_chain_is_for_numbers_that_are_normal_and_independent():
    chain = AutoregressiveNormal(torch.tensor(0.5), 3)
    for q in (dist.Laplace(torch.zeros(2, 3), 1.0).to_event(1), dist.Normal(torch.zeros(2, 1, 3), 1.0).to_event(2)):
        with pytest.raises(NotImplementedError):
            kl_divergence(q, chain)


def test_a_chain_is_expanded_by_itself_and_checks_its_correlation():
    chain = AutoregressiveNormal(torch.tensor(0.5), 3).expand((4, 2))
    assert (type(chain), chain.batch_shape, chain.event_shape) == (AutoregressiveNormal, (4, 2), (3,))
    assert chain.sample().shape == (4, 2, 3) and chain.log_prob(torch.zeros(3)).shape == (4, 2)
    with pytest.raises(ValueError, match="correlation"):
        AutoregressiveNormal(torch.tensor(1.5), 3)


@pytest.mark.parametrize("length", [2, 3, 32])
@pytest.mark.parametrize("delta", [1e-3, 0.1, 0.3])
def test_no_independent_posterior_comes_nearer_to_the_chain_than_its_committed_rate_and_the_best_meets_it(
    delta, length
):
    prior = AutoregressivePrior(length, delta).double()
    floor = prior.kl_floor()
    assert floor.item() == pytest.approx(delta * length, rel=1e-5)
    assert committed_correlation(delta, length) == pytest.approx(prior.correlation.item(), rel=1e-6)
    mean = torch.zeros(1, length, dtype=torch.float64, requires_grad=True)
    log_scale = torch.zeros(1, length, dtype=torch.float64, requires_grad=True)

    def kl() -> Tensor:
        return kl_divergence(dist.Normal(mean, log_scale.exp()).to_event(1), prior.density()).sum()

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = kl()
        loss.backward()
        return loss

    with torch.no_grad():
        mean.normal_()
        log_scale.normal_(0, 0.5)
    assert kl() > floor
    optimiser = torch.optim.LBFGS(
        [mean, log_scale], max_iter=200, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )
    optimiser.step(closure)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(kl(), floor, rtol=1e-7, atol=1e-9)


def test_a_chain_that_cannot_commit_is_refused():
    with pytest.raises(ValueError, match="'latent' is 1, but an autoregressive prior is a chain of at least 2 numbers"):
        AutoregressivePrior(1)
    for delta in (0.0, -1.0, math.nan, 3.0):
        with pytest.raises(ValueError, match=r"'delta' is .* commits to more than 0 and at most 0.66 nats for each"):
            AutoregressivePrior(16, delta)


def test_a_language_models_prior_is_empty():
    prior = NoPrior()
    assert prior.sample(4).shape == (4, 0) == (len(prior(a_batch([[4]] * 4))), prior.code)
    assert prior.log_prob(prior.sample(4)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "prior",
    [StandardNormal(3), UniformSphere(3), AutoregressivePrior(3), NoPrior()],
    ids=lambda prior: type(prior).__name__,
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
