import math
from typing import Any

import pyro
import pytest
import torch
from scipy.special import lambertw
from small import SENTENCES, a_batch, a_size, random_batch
from torch import Tensor, nn

from pyro_textvae.batch import Batch
from pyro_textvae.encoders import RecurrentEncoder
from pyro_textvae.objective import Objective, TextELBO
from pyro_textvae.posteriors import (
    BatchNormalisedMean,
    BatchNormBothGaussian,
    BatchNormGaussian,
    CommittedGaussian,
    Gaussian,
    NoPosterior,
    Point,
    VonMisesFisherPosterior,
    WithComponents,
    by_variable,
    committed_deviations,
)
from pyro_textvae.priors import GaussianMixture, StandardNormal
from pyro_textvae.recipes import compose
from pyro_textvae.size import INITIALISATIONS
from pyro_textvae.terms import KL, Reconstruction

WORDS, LATENT, GAMMA = 1000, 32, 0.7
BATCHES = {
    "2": random_batch(2, words=WORDS),
    "8": random_batch(8, words=WORDS),
    "32": random_batch(32, words=WORDS),
    "2 of one length": random_batch(2, words=WORDS, lengths=(9, 9)),
    "32 of one length": random_batch(32, words=WORDS, lengths=(4, 4)),
}


def bn_parts(initialisation: str, posterior: Any = BatchNormGaussian):
    size = a_size(vocabulary=WORDS, embedding=32, hidden=64, latent=LATENT, initialisation=initialisation)
    part = posterior(size.features, LATENT, GAMMA)
    return compose(size, posterior=part).vae, part


class WithUsualEpsilon(BatchNormGaussian):
    """As the official code has it: BatchNorm1d, whose variance has an epsilon of 1e-5."""

    def __init__(self, features: int, latent: int, gamma: float) -> None:
        super().__init__(features, latent, gamma)
        self.usual = nn.BatchNorm1d(latent, affine=False)

    def mean_of(self, features: Tensor) -> Tensor:
        return self.normalise.gamma * self.usual(self.mean(features)) + self.normalise.shift


def mean_kl(posterior: BatchNormGaussian, features: Tensor) -> Tensor:
    q = posterior.z(features)
    return torch.distributions.kl_divergence(q, StandardNormal(LATENT).density()).mean()


# The floor


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_the_training_kl_keeps_its_floor_from_the_first_step_under_every_initialisation(initialisation, batch):
    vae, posterior = bn_parts(initialisation)
    features = vae.encoder(batch)
    for shift in (0.0, 0.5):
        nn.init.uniform_(posterior.normalise.shift, -shift, shift)
        squares = posterior.mean_of(features).square().mean(0)
        floor = GAMMA**2 + posterior.normalise.shift.square()
        torch.testing.assert_close(squares, floor, rtol=1e-4, atol=1e-5)
        kl_floor = LATENT * (GAMMA**2 + posterior.normalise.shift.square().mean()) / 2
        torch.testing.assert_close(posterior.normalise.kl_floor(), kl_floor)
        assert mean_kl(posterior, features) > kl_floor * (1 - 1e-4)


def test_the_usual_epsilon_would_void_the_floor_under_small_weights():
    vae, posterior = bn_parts("he2019", WithUsualEpsilon)
    share = posterior.mean_of(vae.encoder(BATCHES["32"])).square().mean() / GAMMA**2
    assert share < 0.2


def under_pressure(posterior: type[BatchNormGaussian], steps: int = 25) -> tuple[list[float], float]:
    """The mean KL at every step of SGD on reconstruction and KL, from small weights; and the floor at the end."""
    vae, part = bn_parts("he2019", posterior)
    objective = Objective(vae, TextELBO(Reconstruction(), KL()))
    optimiser = torch.optim.SGD(vae.parameters(), lr=0.5)
    kls: list[float] = []
    for step in range(steps):
        optimiser.zero_grad()
        objective(random_batch(16, seed=step, words=WORDS), step).backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 5.0)
        optimiser.step()
        kls.append(objective.elbo.report["kl_z"].item())
    return kls, part.normalise.kl_floor().item()


def test_the_floor_holds_while_sgd_presses_on_it_and_with_the_usual_epsilon_it_does_not():
    floor = LATENT * GAMMA**2 / 2
    kls, final_floor = under_pressure(BatchNormGaussian)
    assert min(kls) > floor * (1 - 1e-4)
    assert kls[-1] > final_floor * (1 - 0.01)  # the shift moved after it was measured
    assert min(under_pressure(WithUsualEpsilon)[0]) < 0.2 * floor


def test_the_floor_needs_nothing_of_the_scale_of_the_input():
    for scale in (1e-12, 1e-6, 1.0, 1e6):
        normalise = BatchNormalisedMean(5, GAMMA)
        squares = normalise(scale * torch.randn(16, 5)).square().mean(0)
        torch.testing.assert_close(squares, torch.full((5,), GAMMA**2))


def test_equal_sentences_have_the_shift_as_their_mean_and_a_finite_gradient():
    vae, posterior = bn_parts("torch")
    batch = a_batch([[4, 5, 6]] * 4)
    nn.init.constant_(posterior.normalise.shift, 0.3)
    mean = posterior.mean_of(vae.encoder(batch))
    torch.testing.assert_close(mean, torch.full_like(mean, 0.3))
    Objective(vae, TextELBO(Reconstruction(), KL()))(batch, 0).backward()
    norms = [p.grad.norm().item() for p in vae.parameters() if p.grad is not None]
    assert max(norms) < 100


def test_a_batch_of_one_is_refused_in_training_and_welcome_in_evaluation():
    vae, posterior = bn_parts("torch")
    features = vae.encoder(a_batch([[4, 5]]))
    with pytest.raises(
        ValueError, match=r"a batch of one sentence cannot be batch-normalised: .* batch_size of at least 2"
    ):
        posterior.z(features)
    assert posterior.eval().z(features).sample().isfinite().all()


def test_evaluation_before_any_training_is_finite_and_of_the_size_of_the_mean():
    normalise = BatchNormalisedMean(3).eval()
    mean = torch.randn(4, 3)
    torch.testing.assert_close(normalise(mean), 0.7 * mean)


# Running moments


def test_the_running_variance_is_the_total_variance_of_batches_that_differ_in_mean():
    normalise = BatchNormalisedMean(3, momentum=0.05)
    # No more than 1 / momentum of them: until then every batch counts the same.
    batches = [torch.randn(8, 3) * (1 + i) + 10 * torch.randn(3) for i in range(20)]
    for batch in batches:
        normalise(batch)
    together = torch.cat(batches)
    torch.testing.assert_close(normalise.running_mean, together.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(normalise.running_variance, together.var(0, unbiased=False), rtol=1e-4, atol=1e-4)
    squares = (normalise.eval()(together) - normalise.shift).square().mean(0)
    torch.testing.assert_close(squares, torch.full((3,), 0.7**2), rtol=1e-4, atol=1e-4)


def test_older_batches_are_forgotten_at_the_rate_of_the_momentum():
    normalise = BatchNormalisedMean(1, momentum=0.5)
    batches = [torch.randn(4, 1) + 5 * i for i in range(6)]
    for batch in batches:
        normalise(batch)
    weights = torch.tensor([1 / 32, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2])
    means = torch.stack([batch.mean() for batch in batches])
    squares = torch.stack([batch.square().mean() for batch in batches])
    mean = (weights * means).sum()
    torch.testing.assert_close(normalise.running_mean[0], mean)
    torch.testing.assert_close(normalise.running_variance[0], (weights * squares).sum() - mean**2, rtol=1e-4, atol=1e-4)


def test_evaluation_leaves_the_running_moments_alone():
    normalise = BatchNormalisedMean(3)
    normalise(torch.randn(8, 3))
    before = {name: value.clone() for name, value in normalise.state_dict().items()}
    normalise.eval()(torch.randn(8, 3))
    assert all(torch.equal(value, before[name]) for name, value in normalise.state_dict().items())


def test_gamma_is_saved_but_not_learnt():
    normalise = BatchNormalisedMean(3)
    assert [name for name, _ in normalise.named_parameters()] == ["shift"]
    assert set(normalise.state_dict()) == {"shift", "gamma", "running_mean", "running_variance", "batches_seen"}


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("nan")])
def test_a_gamma_that_is_not_positive_is_refused(gamma):
    with pytest.raises(ValueError, match=r"'gamma' is .*, but the scale of a batch-normalised mean is positive"):
        BatchNormGaussian(4, 3, gamma)


# Both branches normalised


def bn_both_parts(initialisation: str, tau: float = 0.5):
    size = a_size(vocabulary=WORDS, embedding=32, hidden=64, latent=LATENT, initialisation=initialisation)
    part = BatchNormBothGaussian(size.features, LATENT, tau)
    return compose(size, posterior=part).vae, part


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_with_both_branches_normalised_the_codes_of_a_batch_have_the_priors_moments(initialisation, batch):
    vae, posterior = bn_both_parts(initialisation, tau=0.4)
    features = vae.encoder(batch)
    for reach in (0.0, 3.0):
        nn.init.uniform_(posterior.split, -reach, reach)
        q = posterior.z(features)
        torch.testing.assert_close(q.mean.mean(0), torch.zeros(LATENT), rtol=0, atol=1e-4)
        torch.testing.assert_close((q.mean.square() + q.variance).mean(0), torch.ones(LATENT), rtol=1e-4, atol=1e-5)
        share = 0.4 + 0.6 * torch.sigmoid(posterior.split)
        torch.testing.assert_close(q.mean.square().mean(0), share, rtol=1e-4, atol=1e-5)
        assert (q.stddev > 0).all()
        floor = posterior.kl_floor()
        torch.testing.assert_close(floor, -(1 - share).log().sum() / 2)
        assert floor > -LATENT * math.log(0.6) / 2
        kl = torch.distributions.kl_divergence(q, StandardNormal(LATENT).density()).mean()
        assert kl > floor * (1 - 1e-4)


def test_under_pressure_the_moments_and_the_floor_of_both_branches_stay():
    vae, posterior = bn_both_parts("he2019")
    objective = Objective(vae, TextELBO(Reconstruction(), KL()))
    optimiser = torch.optim.SGD(vae.parameters(), lr=0.5)
    for step in range(20):
        optimiser.zero_grad()
        objective(random_batch(16, seed=step, words=WORDS), step).backward()
        assert objective.elbo.report["kl_z"] > posterior.kl_floor() * (1 - 1e-4)
        nn.utils.clip_grad_norm_(vae.parameters(), 5.0)
        optimiser.step()
    q = posterior.z(vae.encoder(random_batch(16, seed=99, words=WORDS)))
    torch.testing.assert_close((q.mean.square() + q.variance).mean(0), torch.ones(LATENT), rtol=1e-4, atol=1e-4)
    assert posterior.kl_floor() > LATENT * math.log(2) / 2


def test_in_evaluation_running_moments_take_the_place_of_the_batchs():
    posterior = BatchNormBothGaussian(4, 3)
    features = torch.randn(64, 4) + 1
    trained = posterior.z(features)
    evaluated = posterior.eval().z(features)
    torch.testing.assert_close(evaluated.mean, trained.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(evaluated.stddev, trained.stddev, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(posterior.z(features[:1]).mean, trained.mean[:1], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="a batch of one sentence cannot be batch-normalised"):
        posterior.train().z(features[:1])


@pytest.mark.parametrize("tau", [0.0, 1.0, -0.5, math.nan])
def test_a_share_of_the_means_that_is_none_is_refused(tau):
    with pytest.raises(ValueError, match=r"'tau' is .*, but the least share of the means lies between 0 and 1"):
        BatchNormBothGaussian(4, 3, tau)


# The committed rate


@pytest.mark.parametrize("delta", [1e-12, 1e-6, 0.01, 0.1, 0.15, 1.0, 10.0, 300.0])
def test_the_committed_deviations_are_the_two_at_which_a_mean_of_zero_costs_delta(delta):
    lowest, highest = committed_deviations(delta)
    # ln v - v + c = 0 has the roots -W(-exp(-c)), on both branches of Lambert's function, inaccurate where v is near 1.
    assert lowest < 1 < highest
    for deviation, branch in ((lowest, 0), (highest, -1)):
        if 0.01 <= delta <= 10:
            expected = (-lambertw(-math.exp(-2 * delta - 1), branch).real) ** 0.5
            assert deviation == pytest.approx(expected, rel=1e-12)
        log_variance = 2 * math.log1p(deviation - 1) if delta < 1 else 2 * math.log(deviation)
        assert (math.expm1(log_variance) - log_variance) / 2 == pytest.approx(delta, rel=1e-9 if delta > 1e-3 else 1e-3)


def test_the_committed_deviations_of_the_published_deltas():
    assert committed_deviations(0.1) == pytest.approx((0.70231, 1.33126), abs=1e-5)
    assert committed_deviations(0.15) == pytest.approx((0.64118, 1.40934), abs=1e-5)


@pytest.mark.parametrize("scale", [0.0, 0.3, 10.0, 1e4])
@pytest.mark.parametrize("delta", [1e-4, 0.1, 2.0])
def test_no_dimension_costs_less_than_delta_and_what_it_costs_more_is_half_the_rectified_mean(delta, scale):
    posterior = CommittedGaussian(4, 3, delta).double()
    features = scale * torch.randn(200, 4, dtype=torch.float64)
    q = posterior.z(features)
    kl = torch.distributions.kl_divergence(q.base_dist, torch.distributions.Normal(0.0, 1.0).expand((200, 3)))
    more = posterior.mean(features).relu() / 2
    torch.testing.assert_close(kl, delta + more, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(posterior.kl_floor(), torch.tensor(3 * delta))
    assert (q.mean >= 0).all() and (scale == 0 or (more == 0).any())
    single = CommittedGaussian(4, 3, delta)
    single.load_state_dict(posterior.state_dict())
    mean_field = single.z(features.float())
    kl = torch.distributions.kl_divergence(mean_field.base_dist, torch.distributions.Normal(0.0, 1.0).expand((200, 3)))
    assert (kl > delta - 1e-6).all()


def test_a_committed_posterior_has_a_finite_gradient_however_far_its_layers_reach():
    posterior, features = CommittedGaussian(4, 3, 1e-3), 1e4 * torch.randn(50, 4)
    q = posterior.z(features)
    (q.mean.sum() + q.stddev.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in posterior.parameters())


@pytest.mark.parametrize("delta", [0.0, -0.1, math.nan, math.inf])
def test_a_delta_that_commits_to_nothing_is_refused(delta):
    with pytest.raises(ValueError, match=r"'delta' is .*, but a committed rate is a positive number of nats; .* 'vae'"):
        CommittedGaussian(4, 3, delta)


# The other posteriors


def features_of(batch: Batch, **size) -> Tensor:
    return RecurrentEncoder(a_size(**size))(batch)


@pytest.mark.parametrize(("variables", "shape"), [(None, (5,)), (1, (1, 5)), (4, (4, 5))])
def test_a_posterior_has_one_distribution_for_each_variable_and_sentence(variables, shape):
    features = features_of(a_batch())
    for posterior in (
        Gaussian(8, 3, variables),
        BatchNormGaussian(8, 3, variables=variables),
        BatchNormBothGaussian(8, 3, variables=variables),
        VonMisesFisherPosterior(8, 3, 10.0, variables),
    ):
        assert (posterior.z(features).batch_shape, posterior.z(features).event_shape) == (shape, (3,))


def test_variables_are_taken_apart_as_the_prior_joins_them():
    code = torch.randn(5, 12)
    assert torch.equal(GaussianMixture(3, 4, 2).join(by_variable(code, 4)), code)
    assert by_variable(code, None) is code


def test_a_gaussian_posterior_has_the_mean_and_the_log_variance_that_its_maps_say():
    posterior, features = Gaussian(8, 3), features_of(a_batch())
    q = posterior.z(features)
    torch.testing.assert_close(q.mean, posterior.mean(features))
    torch.testing.assert_close(q.variance.log(), posterior.log_variance(features))


def test_no_log_variance_makes_a_gaussian_posterior_infinite():
    posterior = Gaussian(2, 3)
    with torch.no_grad():
        for bias in (1e4, -1e4):
            posterior.log_variance.bias.fill_(bias)
            q = posterior.z(torch.randn(4, 2))
            kl = torch.distributions.kl_divergence(q, StandardNormal(3).density())
            assert kl.isfinite().all() and (q.stddev > 0).all()


def test_a_von_mises_fisher_posterior_has_the_same_kl_for_every_sentence():
    vae_size = a_size()
    posterior = VonMisesFisherPosterior(vae_size.features, 3, 13.0)
    q = posterior.z(features_of(a_batch()))
    torch.testing.assert_close(q.mean.norm(dim=-1), torch.full((5,), 1 / math.tanh(13.0) - 1 / 13.0))
    assert [name for name, _ in posterior.named_parameters()] == ["mean.weight", "mean.bias"]
    torch.testing.assert_close(q.rsample().norm(dim=-1), torch.ones(5))


def test_the_heads_of_every_posterior_have_the_same_names_and_shapes():
    shapes = {"mean": (3, 8), "log_variance": (3, 8)}
    for posterior in (
        Gaussian(8, 3),
        BatchNormGaussian(8, 3),
        BatchNormBothGaussian(8, 3),
        CommittedGaussian(8, 3),
        VonMisesFisherPosterior(8, 3, 10.0),
        Point(8, 3),
    ):
        heads = {name: tuple(p.weight.shape) for name, p in posterior.named_children() if isinstance(p, nn.Linear)}
        assert "mean" in heads and heads.items() <= shapes.items()


def test_a_sphere_of_one_dimension_is_refused():
    with pytest.raises(ValueError, match="'latent' is 1, but a von Mises-Fisher code lives on a sphere: at least 2"):
        VonMisesFisherPosterior(8, 1, 10.0)


def test_a_point_is_its_own_draw():
    posterior = Point(8, 3)
    features = features_of(a_batch())
    assert torch.equal(posterior.z(features).sample(), posterior.mean(features))


def test_the_classes_of_each_variable_are_a_distribution_for_each_sentence():
    posterior = WithComponents(Gaussian(8, 3, 2), 8, 2, 6)
    q = posterior.c(features_of(a_batch()))
    assert q.probs.shape == (2, len(SENTENCES), 6)
    torch.testing.assert_close(q.probs.sum(-1), torch.ones(2, 5))


def test_the_posterior_of_a_language_model_has_no_site():
    with pyro.poutine.trace() as trace:
        assert NoPosterior()(torch.zeros(4, 0)) is None
    assert len(trace.trace.nodes) == 0
