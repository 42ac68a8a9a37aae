import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from small import roughen
from tiny import train_tiny
from torch import Tensor
from torch.distributions import Independent, Laplace, Normal

from pyro_textvae import information
from pyro_textvae.batch import Batch
from pyro_textvae.corpus import Split
from pyro_textvae.distributions import VonMisesFisher
from pyro_textvae.evaluation import evaluate
from pyro_textvae.evaluation.collapse import (
    MERGED_KL,
    active_units,
    apart,
    component_pairwise_kl,
    components_assigned,
    information_of_components,
    mutual_information_aggregate,
    mutual_information_in_batch,
    spread,
)
from pyro_textvae.information import pairwise_log_prob
from pyro_textvae.posteriors import WithComponents
from pyro_textvae.priors import GaussianMixture, VonMisesFisherMixture
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size

MEANS = torch.tensor([-2.0, -0.5, 0.0, 1.0, 3.0])
SCALES = torch.tensor([0.5, 0.3, 1.0, 0.7, 0.4])


def information_by_quadrature() -> float:
    """I(x;z) = h(z) - E h(z|x) where x picks one of five Gaussians on a line."""
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.distributions.Normal(MEANS.double(), SCALES.double()).log_prob(z[:, None]).exp().mean(1)
    entropy = torch.trapezoid(-torch.xlogy(density, density), z)
    return (entropy - (SCALES.double().log() + 0.5 * math.log(2 * math.pi * math.e)).mean()).item()


def batches_of_gaussians(batches: int, copies: int) -> tuple[list[Independent], list[Tensor]]:
    """Each batch has every one of the five Gaussians `copies` times."""
    q = Independent(Normal(MEANS.repeat(copies)[:, None], SCALES.repeat(copies)[:, None]), 1)
    return [q] * batches, [q.sample() for _ in range(batches)]


def test_the_aggregate_estimator_finds_the_information_of_a_mixture_known_by_quadrature():
    estimate, sentences = mutual_information_aggregate(*batches_of_gaussians(30, 20))
    assert sentences == 3000
    assert estimate == pytest.approx(information_by_quadrature(), abs=0.05)  # standard error 0.013


def test_the_in_batch_estimator_finds_it_where_each_batch_is_like_the_whole():
    estimate = mutual_information_in_batch(*batches_of_gaussians(30, 20))
    assert estimate == pytest.approx(information_by_quadrature(), abs=0.05)


def test_small_batches_hide_information_that_the_whole_split_shows():
    order = torch.randperm(400).view(100, 4)
    mean = torch.arange(5.0).repeat_interleave(80)
    posteriors = [Independent(Normal(mean[rows, None], torch.tensor(0.2)), 1) for rows in order]
    draws = [q.sample() for q in posteriors]
    assert mutual_information_in_batch(posteriors, draws) < mutual_information_aggregate(posteriors, draws)[0] - 0.3


def test_neither_estimator_exceeds_its_cap_and_distinct_codes_reach_it():
    means = 100 * torch.randn(10, 8, 3)
    posteriors = [Independent(Normal(mean, torch.tensor(0.1)), 1) for mean in means]
    draws = [q.sample() for q in posteriors]
    aggregate, _ = mutual_information_aggregate(posteriors, draws)
    in_batch = mutual_information_in_batch(posteriors, draws)
    assert aggregate == pytest.approx(math.log(80), abs=1e-6) and aggregate <= math.log(80) + 1e-9
    assert in_batch == pytest.approx(math.log(8), abs=1e-6) and in_batch <= math.log(8) + 1e-9


def test_posteriors_that_are_all_alike_hold_no_information():
    q = Independent(Normal(torch.zeros(16, 3), torch.ones(16, 3)), 1)
    draws = [q.sample() for _ in range(4)]
    assert mutual_information_aggregate([q] * 4, draws)[0] == pytest.approx(0, abs=1e-9)
    assert mutual_information_in_batch([q] * 4, draws) == pytest.approx(0, abs=1e-9)


def test_information_of_von_mises_fisher_codes_is_that_of_quadrature_on_the_circle():
    angles = torch.tensor([0.0, 0.4, 2.0, 4.0])
    loc = torch.stack([angles.cos(), angles.sin()], -1).repeat(25, 1)
    q = VonMisesFisher(loc, torch.full((100,), 6.0))
    draws = [q.sample() for _ in range(30)]
    grid = torch.arange(20_000) * (2 * math.pi / 20_000)
    point = torch.stack([grid.cos(), grid.sin()], -1)
    densities = VonMisesFisher(loc[:4], torch.full((4,), 6.0)).log_prob(point[:, None]).double().exp()
    mixture = densities.mean(1)
    width = 2 * math.pi / 20_000
    exact = (torch.xlogy(densities, densities).mean(1) - torch.xlogy(mixture, mixture)).sum().item() * width
    assert mutual_information_aggregate([q] * 30, draws)[0] == pytest.approx(exact, abs=0.05)


def random_sphere(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


@pytest.mark.parametrize("variables", [(), (3,)])
def test_pairwise_densities_are_those_of_the_distribution_itself(variables: Sequence[int]):
    shape = (*variables, 7, 4)
    sphere = random_sphere(*shape)
    families = {
        "normal": Independent(Normal(5 + torch.randn(shape), torch.rand(shape) + 0.1), 1),
        "vmf": VonMisesFisher(sphere, 20 * torch.rand(shape[:-1])),
        "another": Independent(Laplace(torch.randn(shape), torch.rand(shape) + 0.1), 1),
    }
    for name, q in families.items():
        z = q.sample(torch.Size([2])).movedim(0, -3).flatten(-3, -2)  # 14 draws
        expected = q.log_prob(z.movedim(-2, 0).unsqueeze(-2))
        expected = expected.sum(1) if variables else expected
        torch.testing.assert_close(pairwise_log_prob(q, z), expected.double(), atol=1e-3, rtol=1e-5, msg=name)


def test_pairwise_densities_stay_right_far_from_zero_and_for_narrow_posteriors():
    loc = torch.tensor([[1000.0], [1000.001], [999.0]])
    q = Independent(Normal(loc, torch.full((3, 1), 1e-4)), 1)
    expected = torch.distributions.Normal(loc.double().T, torch.tensor(1e-4).double()).log_prob(loc.double())
    torch.testing.assert_close(pairwise_log_prob(q, loc), expected, rtol=1e-6, atol=1e-3)


def test_a_family_without_a_closed_form_is_taken_in_chunks(monkeypatch: pytest.MonkeyPatch):
    q = Independent(Laplace(torch.randn(6, 2), torch.ones(6, 2)), 1)
    z = q.sample()
    whole = pairwise_log_prob(q, z)
    monkeypatch.setattr(information, "NUMBERS_AT_ONCE", 13)
    torch.testing.assert_close(pairwise_log_prob(q, z), whole)


def test_a_large_split_is_represented_by_as_many_sentences_as_fit_and_their_number_is_said():
    posteriors, draws = batches_of_gaussians(30, 20)
    estimate, sentences = mutual_information_aggregate(posteriors, draws, most=1250)
    assert sentences == 1200
    assert estimate == pytest.approx(information_by_quadrature(), abs=0.1)


def test_a_unit_is_active_if_its_posterior_mean_varies_by_more_than_a_hundredth():
    column = torch.tensor([-1.0, 0.0, 1.0])  # unbiased variance 1
    means = torch.stack([column * 0.0999, column * 0.1001, column, torch.zeros(3)], 1)
    assert active_units(means) == 2


def test_spread_is_the_variance_of_points_summed_over_dimensions():
    points = torch.tensor([[[0.0, 0.0], [2.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]])
    assert spread(points) == pytest.approx((1 + 4 + 0) / 2)


def test_pairwise_kl_of_components_is_the_mean_over_ordered_pairs_and_variables():
    prior = GaussianMixture(latent=2, variables=2, components=3)
    with torch.no_grad():
        prior.mean.zero_()
        prior.mean[0, 0, 0] = 2.0  # variable 0: one of three is 2 away, which is 2 nats both ways, in 4 of 6 pairs
    assert component_pairwise_kl(prior).mean().item() == pytest.approx((2 * 4 / 6 + 0) / 2, abs=1e-6)


def test_pairs_weighed_by_their_use_show_merged_components_beside_an_idle_one_far_away():
    prior = GaussianMixture(latent=2, components=4)
    with torch.no_grad():
        prior.mean.zero_()
        prior.mean[0, 3] = 10.0
    uniform, idle = torch.full((5, 1, 4), 0.25), torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(5, 1, 4) / 3
    assert component_pairwise_kl(prior, uniform).mean().item() == pytest.approx(
        component_pairwise_kl(prior).mean().item(), rel=1e-6
    )
    assert component_pairwise_kl(prior).mean().item() > 10 > 0.01 > component_pairwise_kl(prior, idle).mean().item()
    alone = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(5, 1, 4)
    assert component_pairwise_kl(prior, alone).mean().item() == pytest.approx(
        component_pairwise_kl(prior).mean().item(), rel=1e-6
    )


def test_pairwise_kl_of_spherical_components_is_zero_when_they_coincide():
    prior = VonMisesFisherMixture(latent=3, variables=2, components=4)
    apart = component_pairwise_kl(prior).mean().item()
    with torch.no_grad():
        prior.direction.copy_(torch.ones_like(prior.direction))
    assert apart > 1 and component_pairwise_kl(prior).mean().item() == pytest.approx(0, abs=1e-5)


def test_pairwise_kl_of_spherical_components_is_the_closed_form_of_three_dimensions():
    prior = VonMisesFisherMixture(latent=3, variables=2, components=4, concentration=7.0)
    directions = torch.nn.functional.normalize(prior.direction.detach().double(), dim=-1)
    cosines = directions @ directions.mT  # (M, K, K)
    # There the mean of z has length coth(kappa) - 1/kappa, and KL is kappa times that times one less the cosine.
    expected = 7 * (1 / math.tanh(7) - 1 / 7) * (1 - cosines).sum((1, 2)) / 12
    torch.testing.assert_close(component_pairwise_kl(prior).double(), expected, rtol=1e-5, atol=0)


def test_pairwise_kl_of_gaussian_components_is_that_of_quadrature():
    prior = GaussianMixture(latent=1, components=2)
    with torch.no_grad():
        prior.log_variance.copy_(torch.tensor([0.3, -1.1])[None, :, None])
    z = torch.linspace(-20, 20, 200_001, dtype=torch.float64)[:, None]
    log_p = [prior.component(torch.tensor([[k]])).log_prob(z.float()[:, None, None]).squeeze().double() for k in (0, 1)]
    both = [torch.trapezoid(a.exp() * (a - b), z[:, 0]).item() for a, b in (log_p, log_p[::-1])]
    assert component_pairwise_kl(prior).item() == pytest.approx(sum(both) / 2, rel=1e-4)


def test_a_component_is_assigned_if_it_is_the_likeliest_of_a_tenth_of_an_even_share():
    # Of 80 sentences and 4 components, an even share is 20: a tenth of it are two sentences.
    likeliest = torch.tensor([0] * 60 + [1] * 17 + [2] * 2 + [3])
    q = 0.1 + 0.6 * torch.nn.functional.one_hot(likeliest, 4)
    assert components_assigned(q[:, None]) == 3
    alone = torch.tensor([0.4, 0.2, 0.2, 0.2]).expand(80, 4)
    assert components_assigned(torch.stack([q, alone], 1)) == (3 + 1) / 2
    assert information_of_components(alone[:, None])[2] > 3  # by probability, all four are in use


def test_information_of_components_agrees_with_the_reference_vector():
    q = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    information, entropy, in_use = information_of_components(q[:, None])
    assert information == pytest.approx(0.2088890370, abs=1e-7)
    assert math.log(3) - entropy == pytest.approx(0.0464731226, abs=1e-7)
    assert in_use == pytest.approx(math.exp(entropy))
    twice = information_of_components(torch.stack([q, q], 1))
    assert twice[0] == pytest.approx(2 * information) and twice[2] == pytest.approx(in_use)


def test_components_that_one_variable_never_uses_show():
    one_hot = torch.eye(4)[torch.tensor([0, 0, 1, 1])]
    information, entropy, in_use = information_of_components(one_hot[:, None])
    assert information == pytest.approx(math.log(2)) and entropy == pytest.approx(math.log(2))
    assert in_use == pytest.approx(2)


# --- evaluate as a whole


def split(sentences: int = 40) -> Split:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 8, sentences)
    return Split(
        random.integers(4, 12, lengths.sum()).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        {"topic": random.integers(-1, 3, sentences).astype(np.int32)},
    )


SIZE = Size(vocabulary=12, embedding=4, hidden=6, latent=3)


@pytest.mark.parametrize("variables", [1, 2])
def test_the_dispersion_that_is_reported_is_the_mean_over_sentences_of_that_of_their_natural_parameters(variables: int):
    """By hand: E A - A(E) of A = eta1^2 / (-4 eta2) - ln(-2 eta2) / 2, the natural parameters being mixed by q(c|x)."""
    vae = recipes()["dem_vae"](SIZE, variables=variables, components=4).vae
    roughen(vae, 0.6)
    text = split()
    found = evaluate(vae, text, deep=False)["dispersion_nats_per_sentence"]
    prior, posterior = vae.prior, vae.posterior
    assert isinstance(prior, GaussianMixture) and isinstance(posterior, WithComponents)
    p = prior.component(prior.every())  # batch shape (K, M, 1)
    mean, variance = (each.detach().double()[:, :, 0].movedim(0, 1) for each in (p.mean, p.variance))  # (M, K, D)
    eta = mean / variance, -1 / (2 * variance)

    def log_partition(eta1: Tensor, eta2: Tensor) -> Tensor:
        return (-eta1.square() / (4 * eta2) - (-2 * eta2).log() / 2).sum(-1)

    by_hand = []
    vae.eval()
    with torch.no_grad():
        for i in range(len(text)):
            features = vae.encoder(Batch.collate([text.ids(i).tolist()]))
            q = posterior.c(features).probs[:, 0].double()  # (M, K)
            mixed = [(q[..., None] * each).sum(1) for each in eta]  # (M, D)
            by_hand.append(((q * log_partition(*eta)).sum() - log_partition(*mixed).sum()).item())
    assert np.std(by_hand) > 0.01
    assert found == pytest.approx(np.mean(by_hand), rel=1e-4)


@pytest.mark.parametrize("name", list(recipes()))
def test_every_recipe_is_measured_in_finite_numbers_the_same_for_the_same_seed(name: str):
    vae = recipes()[name](SIZE).vae
    metrics = evaluate(vae, split(), importance_samples=5, batch_size=8)
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    assert metrics == evaluate(vae, split(), importance_samples=5, batch_size=8)
    if "mutual_information_aggregate_nats" in metrics:
        assert metrics["mutual_information_aggregate_nats"] <= math.log(40)
        assert metrics["mutual_information_in_batch_nats"] <= math.log(8)


@pytest.mark.parametrize(
    ("name", "options", "floor"),
    [
        ("bn_vae", {"gamma": 0.5}, 3 * 0.5**2 / 2),
        ("bn_both_vae", {"tau": 0.4}, -3 * math.log(0.6 / 2) / 2),
        ("delta_vae", {"delta": 0.2}, 3 * 0.2),
        ("delta_vae", {"delta": 0.2, "prior": "autoregressive"}, 3 * 0.2),
        ("vae", {}, None),
        ("dem_vae", {}, None),
    ],
)
def test_a_floor_under_the_kl_is_reported_where_a_part_of_the_model_sets_one(name, options, floor):
    metrics = evaluate(recipes()[name](SIZE, **options).vae, split(), batch_size=8)
    assert metrics.get("kl_floor_nats_per_sentence") == (None if floor is None else pytest.approx(floor, rel=1e-5))
    if floor is not None:
        above = metrics["kl_z_nats_per_sentence"] - metrics["kl_floor_nats_per_sentence"]
        assert metrics["kl_above_floor_nats_per_sentence"] == pytest.approx(above)
        assert name.startswith("bn") or above > -1e-6  # running moments need not keep to it


def test_evaluation_leaves_the_random_numbers_and_the_modes_of_modules_as_they_were():
    vae = recipes()["bn_vae"](SIZE).vae
    vae.train()
    vae.decoder.eval()
    before = torch.get_rng_state()
    state = {name: value.clone() for name, value in vae.state_dict().items()}
    evaluate(vae, split())
    assert torch.equal(torch.get_rng_state(), before)
    assert vae.training and vae.encoder.training and not vae.decoder.training
    assert all(torch.equal(value, state[name]) for name, value in vae.state_dict().items())


def test_the_modes_come_back_even_if_evaluation_fails():
    vae = recipes()["vae"](SIZE).vae.train()
    with pytest.raises(ValueError, match="no sentences"):
        evaluate(vae, Split(np.zeros(0, np.int32), np.zeros(1, np.int64)))
    assert vae.training and vae.decoder.training


def test_a_single_sentence_is_evaluated_without_what_needs_two():
    vae = recipes()["dem_vae"](SIZE).vae
    metrics = evaluate(vae, split(1), importance_samples=2)
    assert all(map(math.isfinite, metrics.values()))
    assert not {"nll_elbo_standard_error", "active_units", "shuffled_z_gap_nats_per_sentence"} & set(metrics)


def test_the_gap_is_zero_for_a_decoder_that_ignores_the_code():
    vae = recipes()["vae"](SIZE).vae
    with torch.no_grad():
        for parameter in vae.decoder.parameters():
            parameter.mul_(0.0)
    assert evaluate(vae, split(), deep=False)["shuffled_z_gap_nats_per_sentence"] == 0


def test_a_batch_normalised_posterior_reports_its_floor_and_how_far_from_it_the_kl_is():
    metrics = evaluate(recipes()["bn_vae"](SIZE, gamma=0.6).vae, split(), deep=False)
    assert metrics["kl_floor_nats_per_sentence"] == pytest.approx(3 * 0.36 / 2, rel=1e-5)
    assert metrics["kl_above_floor_nats_per_sentence"] == pytest.approx(
        metrics["kl_nats_per_sentence"] - metrics["kl_floor_nats_per_sentence"]
    )


def test_the_cheap_set_has_neither_labels_nor_importance_weights():
    vae = recipes()["dem_vae"](SIZE).vae
    cheap, deep = evaluate(vae, split(), importance_samples=5, deep=False), evaluate(vae, split(), importance_samples=5)
    assert {name for name in deep if name not in cheap} == {
        "nll_importance_weighted_nats_per_sentence", "nll_importance_weighted_standard_error",
        "perplexity_importance_weighted", "importance_samples",
        "homogeneity_topic", "homogeneity_topic_chance", "adjusted_mutual_information_topic",
        "drawn_homogeneity_topic", "drawn_homogeneity_topic_chance",
    }  # fmt: skip
    assert all(cheap[name] == deep[name] for name in cheap)


def test_several_variables_are_measured_together_and_each_alone():
    metrics = evaluate(recipes()["dem_vae"](SIZE, variables=2).vae, split())
    assert {"homogeneity_topic", "homogeneity_topic_c0", "homogeneity_topic_c1_chance"} <= set(metrics)


def test_a_label_column_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="'topics' \\(did you mean 'topic'\\?\\)"):
        evaluate(recipes()["dem_vae"](SIZE).vae, split(), label_names={"topics": ["a"]})


def test_what_the_true_entropy_leaves_is_reported():
    metrics = evaluate(recipes()["vae"](SIZE).vae, split(), entropy=3.0, deep=False)
    above = metrics["nll_elbo_above_entropy_nats_per_sentence"]
    assert above == pytest.approx(metrics["nll_elbo_nats_per_sentence"] - 3.0)


def test_a_variable_with_one_component_in_use_keeps_none_apart():
    kl = torch.tensor([5.0, 5.0, 0.05])
    shared, alone = torch.full((4, 3), 1 / 3), torch.tensor([[0.98, 0.01, 0.01]]).expand(4, 3)
    assignment = torch.stack([shared, alone, shared], 1)  # (4, 3, 3)
    assert apart(kl, assignment).tolist() == [True, False, False]


def test_variables_apart_are_those_whose_components_are(tmp_path: Path):
    run = train_tiny("gm_vae", tmp_path / "run", variables=3, components=2, latent=2, epochs=1)
    prior = run.vae.prior
    assert isinstance(prior, GaussianMixture)
    with torch.no_grad():
        prior.mean.zero_()
        prior.mean[1, 0] = 1.0
    metrics = run.evaluate("valid")
    assert metrics["variables_apart"] == 1
    assert metrics["component_pairwise_kl_in_use_nats"] < MERGED_KL  # that of the median variable
