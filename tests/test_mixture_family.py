"""The mixture family: its components, its discrete codes, and the terms that are its own."""

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from small import a_batch, a_size, random_batch, roughen
from tiny import some_texts, train_tiny
from torch import Tensor
from torch.distributions import kl_divergence

import pyro_textvae
from pyro_textvae import toy
from pyro_textvae.batch import Batch
from pyro_textvae.corpus import Split
from pyro_textvae.distributions import OneHots, average, dispersion
from pyro_textvae.evaluation import evaluate
from pyro_textvae.evaluation.codes import Codes, classes_of, draw_codes, evaluating
from pyro_textvae.objective import Draw, Objective, TextELBO
from pyro_textvae.posteriors import BatchNormGaussian, OneHotPosterior, VonMisesFisherPosterior, WithComponents
from pyro_textvae.priors import (
    CategoricalMixture,
    FullCovarianceMixture,
    GaussianMixture,
    LearntVonMisesFisherMixture,
    MarginalGaussianMixture,
    Mixture,
    OneHotsBesideNormal,
    SharedVarianceMixture,
    UniformOneHots,
    VonMisesFisherMixture,
)
from pyro_textvae.recipes import Recipe, compose, recipes, with_bag_of_words
from pyro_textvae.size import Size
from pyro_textvae.terms import (
    KL,
    BagOfWords,
    DispersedELBO,
    Dispersion,
    LabelCrossEntropy,
    MutualInformation,
    Reconstruction,
    VariableFreeBits,
)
from pyro_textvae.vae import TextVAE

MIXTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian": ("dgm_vae", {}),
    "batch-normalised posterior": ("dgm_vae", {"gamma": 0.7}),
    "shared variance": ("dem_vae", {"family": "shared variance"}),
    "full covariance": ("dem_vae", {"family": "full covariance"}),
    "categorical": ("dcm_vae", {"classes": 3}),
    "bernoulli": ("dem_vae", {"family": "bernoulli"}),
    "vmf": ("dvmf_mixture_vae", {}),
    "vmf of learnt concentrations": ("dvmf_mixture_vae", {"concentrations": "learnt"}),
}
every_mixture = pytest.mark.parametrize(("name", "options"), MIXTURES.values(), ids=MIXTURES)


def rough(name: str, scale: float = 0.6, **options: Any) -> Recipe:
    made = recipes()[name](a_size(), **options)
    roughen(made.vae, scale)
    made.vae.double()
    return made


def draw_of(made: Recipe, batch: Batch | None = None, gradients: bool = False) -> Draw:
    pyro.set_rng_seed(3)
    made.vae.requires_grad_(gradients)  # off any graph its numbers can be read
    return TextELBO(Reconstruction()).draw(made.vae.generative, made.vae.inference, batch or a_batch())


# Every family


@every_mixture
@pytest.mark.parametrize("variables", [1, 3])
def test_the_kl_of_z_is_the_kl_to_the_averaged_prior_and_the_dispersion(name, options, variables):
    draw = draw_of(rough(name, variables=variables, components=4, **options))
    averaged = average(draw.p("z"), draw.probabilities("c"), dim=draw.enumeration_dim("c"))
    dispersed = Dispersion()(draw)
    assert dispersed.shape == (5,) and (dispersed > 1e-4).all()
    to_average = kl_divergence(draw.q("z"), averaged).sum(0)
    torch.testing.assert_close(draw.kl("z"), to_average + dispersed, rtol=1e-8, atol=1e-8)


@every_mixture
def test_a_dispersed_objective_trains_every_parameter_of_every_family(name, options):
    made = recipes()[name](a_size(), variables=2, components=3, warm_up=0, **options)
    roughen(made.vae)
    loss = Objective(made.vae, made.objective)(random_batch(16, words=12), 1)
    loss.backward()
    assert [key for key, p in made.vae.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad.isfinite().all() for p in made.vae.parameters() if p.grad is not None)


def test_the_kl_to_full_covariances_and_its_gradients_are_the_multivariate_normals():
    mean = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    scale = (torch.rand(2, 5, 3, dtype=torch.float64) + 0.3).requires_grad_()
    root = torch.randn(4, 2, 1, 3, 3).double().tril(-1) + torch.rand(4, 2, 1, 3).double().add(0.3).diag_embed()
    root.requires_grad_()
    p = dist.MultivariateNormal(torch.randn(4, 2, 1, 3).double(), scale_tril=root)
    ours = kl_divergence(dist.Normal(mean, scale).to_event(1), p)
    theirs = kl_divergence(torch.distributions.MultivariateNormal(mean, scale_tril=scale.diag_embed()), p)
    assert ours.shape == (4, 2, 5)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(*(torch.autograd.grad(kl.sum(), [mean, scale, root]) for kl in (ours, theirs)), strict=True):
        torch.testing.assert_close(a.tril(), b.tril())
    with pytest.raises(NotImplementedError):
        kl_divergence(dist.Laplace(mean, scale).to_event(1), p)


def test_one_shared_variance_disperses_by_the_variance_of_the_means():
    draw = draw_of(rough("dem_vae", family="shared variance", components=4))
    means, q = draw.p("z").mean[:, 0, 0], draw.probabilities("c")[:, 0]  # (K, D), (K, B)
    variance = draw.p("z").variance[0, 0, 0]
    centre = q.T @ means
    expected = torch.stack([(q[:, b, None] * (means - centre[b]) ** 2 / variance).sum() / 2 for b in range(5)])
    torch.testing.assert_close(Dispersion()(draw), expected)


def test_a_categorical_of_two_classes_is_a_bernoulli():
    prior = CategoricalMixture(3, 1, 4, classes=2).double()
    bits = torch.randint(0, 2, (6, 3)).double()
    code = torch.stack([bits, 1 - bits], -1).flatten(1)
    bernoulli = dist.Bernoulli(logits=prior.logits[0, :, :, 0]).to_event(1)  # (K,)
    expected = (bernoulli.log_prob(bits[:, None]).logsumexp(-1)) - math.log(4)
    torch.testing.assert_close(prior.log_prob(code), expected)


# Boundedness


def test_no_dispersion_exceeds_the_bound_of_its_components_and_components_that_cancel_meet_it():
    for kind in (VonMisesFisherMixture, LearntVonMisesFisherMixture):
        prior = kind(3, 1, 2, concentration=5.0).double()
        with torch.no_grad():
            prior.direction[0] = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])
            if isinstance(prior, LearntVonMisesFisherMixture):
                prior.log_factor.fill_(100.0)
        half = torch.full((2, 1, 1), 0.5).double()
        cancelled = dispersion(prior.component(prior.every()), half, dim=-3)
        assert cancelled.item() == pytest.approx(prior.dispersion_bound(), rel=1e-5)
    assert VonMisesFisherMixture(3, 4, 2).dispersion_bound() == pytest.approx(
        4 * VonMisesFisherMixture(3, 1, 2).dispersion_bound()
    )
    for free in (GaussianMixture(3), SharedVarianceMixture(3), FullCovarianceMixture(3), CategoricalMixture(3)):
        assert free.dispersion_bound() == math.inf


def test_more_than_all_dispersion_is_given_back_only_where_that_is_bounded():
    made = recipes()["dvmf_mixture_vae"](a_size(), dispersion=2.0, components=4, warm_up=0)
    assert isinstance(made.vae.prior, VonMisesFisherMixture)
    optimiser = torch.optim.Adam(made.vae.parameters(), lr=0.05)
    objective = Objective(made.vae, made.objective)
    for step in range(30):
        optimiser.zero_grad()
        objective(random_batch(16, seed=step, words=12), step).backward()
        optimiser.step()
    # Of what is paid beside the reconstruction, all but the dispersion is at least 0, and the dispersion is nearly all
    # that it can be.
    report, most = made.objective.report, made.vae.prior.dispersion_bound()
    assert 0.8 * most < report["dispersion"] < most
    paid = report["loss"] - report["reconstruction"]
    torch.testing.assert_close(paid, report["kl_c"] + report["kl_z"] - 2 * report["dispersion"])
    assert -most < paid < -0.5 * most
    with pytest.raises(ValueError, match=r"'dispersion' is 2.0; it lies in 0 .* lower the loss without bound"):
        recipes()["dem_vae"](a_size(), family="full covariance", dispersion=2.0)
    with pytest.raises(ValueError, match="'dispersion' is nan"):
        DispersedELBO(math.nan, most=5.0)


# Which posteriors go with which components


def of_parts(posterior: Any, prior: Mixture) -> Recipe:
    size = a_size()
    return compose(size, posterior=WithComponents(posterior, size.features, 1, prior.components), prior=prior)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        (lambda: VonMisesFisherPosterior(8, 3, 5.0, 1), lambda: GaussianMixture(3)),
        (lambda: BatchNormGaussian(8, 3, 0.7, 1), lambda: VonMisesFisherMixture(3)),
        (lambda: OneHotPosterior(8, 1, 3, 1), lambda: GaussianMixture(3)),
        (lambda: BatchNormGaussian(8, 4, 0.7, 1), lambda: CategoricalMixture(2, classes=2)),
    ],
    ids=["vmf on gaussians", "batch norm on a sphere", "one-hots on gaussians", "gaussian on one-hots"],
)
def test_a_posterior_that_lives_elsewhere_than_its_components_is_refused_with_the_reason(posterior, prior):
    made = of_parts(posterior(), prior())
    with pytest.raises(ValueError, match=r"site 'z' has q = .* live on different sets .* KL is infinite"):
        Objective(made.vae, made.objective)(a_batch(), 0)


# c summed out of both programs


def test_responsibilities_are_bayes_rule_and_the_marginal_is_the_mixtures_density():
    prior = MarginalGaussianMixture(2, 3, 4).double()
    roughen(prior)
    code = prior.sample(7)
    z = code.unflatten(-1, (3, 2)).movedim(1, 0)
    found = prior.responsibilities(z)
    assert found.shape == (3, 7, 4)
    joint = prior.component(prior.every()).log_prob(z).exp()  # (K, M, N)
    torch.testing.assert_close(found, (joint / joint.sum(0)).movedim(0, -1))
    made = rough("mop_gm_vae", variables=3, components=4)
    draw = draw_of(made)
    drawn, whole = draw.value("z"), made.vae.prior
    assert isinstance(whole, Mixture)
    by_hand = draw.q("z").log_prob(drawn) - draw.p("z").log_prob(drawn)
    torch.testing.assert_close(draw.kl("z"), by_hand.sum(0))
    torch.testing.assert_close(draw.p("z").log_prob(drawn).sum(0), whole.log_prob(whole.join(drawn)))


def test_draws_of_the_marginal_are_the_mixtures():
    prior = MarginalGaussianMixture(1, 1, 2)
    with torch.no_grad():
        prior.mean.copy_(torch.tensor([[[-3.0], [3.0]]]))
        torch.manual_seed(0)
        code = prior.sample(4000)
        with pyro.plate("sentences", 4000, dim=-1):
            dreamt = prior(Batch.collate([[4]] * 4000))
    for drawn in (code, dreamt):
        assert drawn.mean().item() == pytest.approx(0, abs=0.2)
        assert drawn.var().item() == pytest.approx(10, rel=0.05)


def test_the_classes_of_a_mixture_of_posteriors_are_the_average_of_those_of_its_draws():
    made = recipes()["mop_gm_vae"](a_size(latent=1), components=3)
    roughen(made.vae)
    with evaluating(made.vae, 0):
        draw, _ = draw_codes(made.vae, a_batch())
        found = torch.stack([classes_of(made.vae, draw) for _ in range(200)]).mean(0)  # pyright: ignore
        q, prior = draw.q("z"), made.vae.prior
        assert isinstance(prior, Mixture)
        grid = torch.linspace(-12, 12, 2001)[:, None, None, None].expand(-1, 1, 5, 1)
        density = q.log_prob(grid).exp()  # (S, 1, B)
        expected = (density[..., None] * prior.responsibilities(grid)).sum(0) * (24 / 2000)
    torch.testing.assert_close(found, expected.movedim(0, 1), atol=0.02, rtol=0)


# Discrete codes


@pytest.mark.parametrize("name", ["dvae", "di_vae", "dae"])
def test_a_discrete_code_is_relaxed_in_training_and_one_hots_in_evaluation(name):
    def code_of(vae: TextVAE) -> Tensor:
        code = vae.inference(a_batch())
        assert code is not None and code.shape == (5, 3 * 4)
        return code

    vae = recipes()[name](a_size(), classes=4).vae
    relaxed = code_of(vae)
    assert relaxed.min() > 0 and relaxed.max() < 1
    assert set(code_of(vae.eval()).unique().tolist()) == {0.0, 1.0}
    straight = recipes()[name](a_size(), classes=4, straight_through=True).vae
    assert set(code_of(straight).unique().tolist()) == {0.0, 1.0}


def test_the_classes_that_a_semi_vae_decodes_from_are_relaxed_in_training_and_one_hots_in_evaluation():
    """What is drawn for every measure is the discrete model's: a blend of classes is none of its codes."""
    vae = recipes()["semi_vae"](a_size(), variables=2, components=4).vae
    relaxed = vae.inference(a_batch())
    assert relaxed is not None and relaxed.shape == (5, 2 * 4 + 3)
    assert relaxed[:, :8].min() > 0 and relaxed[:, :8].max() < 1
    random = np.random.default_rng(0)
    split = Split.of(random.integers(4, 12, (40, 5)).tolist())
    with evaluating(vae, 0):
        codes = Codes.read(vae, split)
    for drawn in (codes.code, torch.cat(codes.draws)):
        c = drawn[:, :8].unflatten(-1, (2, 4))
        assert set(c.unique().tolist()) == {0.0, 1.0} and (c.sum(-1) == 1).all()
    straight = recipes()["semi_vae"](a_size(), variables=2, components=4, straight_through=True).vae
    hot = straight.inference(a_batch())
    assert hot is not None and set(hot[:, :8].unique().tolist()) == {0.0, 1.0}


def test_what_a_di_vae_pays_is_the_kl_of_the_aggregate_posterior():
    made = rough("di_vae", classes=4)
    draw = draw_of(made)
    aggregate = draw.q("z").probs.mean(0)  # (M, K)
    expected = (aggregate * (4 * aggregate).log()).sum()
    paid = made.objective.weigh(draw) + draw.log_likelihood()
    torch.testing.assert_close(paid.mean(), expected)
    assert 0 < expected < draw.kl("z").mean()
    torch.testing.assert_close(made.objective.report["elbo"], (draw.log_likelihood() - draw.kl("z")).mean())


def test_what_a_dvae_as_released_pays_is_classes_over_variables_of_its_kl():
    charged = {}
    for name in ("dvae", "dvae_as_released"):
        made = rough(name, classes=5, warm_up=0)
        draw = draw_of(made)
        charged[name] = (made.objective.weigh(draw) + draw.log_likelihood()) / draw.kl("z")
    torch.testing.assert_close(charged["dvae"], torch.ones(5).double())
    torch.testing.assert_close(charged["dvae_as_released"], torch.full((5,), 5 / 3).double())


def test_a_semi_vae_pays_for_c_and_z_and_is_given_back_the_information_of_c():
    made = rough("semi_vae", variables=2, components=4, mutual_information=1.0, warm_up=0)
    draw = draw_of(made)
    assert draw.latents == ["c", "z"] and draw.discrete == ["c"]
    c, z = draw.q("c"), draw.q("z")
    torch.testing.assert_close(draw.kl("c"), (c.probs * (c.probs * 4).log()).sum((-2, -1)))
    normal = dist.Normal(torch.zeros(3).double(), 1.0).to_event(1)
    torch.testing.assert_close(draw.kl("z"), kl_divergence(z, normal))
    aggregate = c.probs.mean(0)
    paid = made.objective.weigh(draw) + draw.log_likelihood()
    expected = (aggregate * (4 * aggregate).log()).sum() + draw.kl("z").mean()
    torch.testing.assert_close(paid.mean(), expected)


def test_a_class_of_a_discrete_code_can_be_asked_for_and_codes_move_to_the_nearest_one_hots():
    prior = UniformOneHots(3, 4)
    code = prior.sample(50, component=2, variable=1).unflatten(-1, (3, 4))
    assert (code[:, 1].argmax(-1) == 2).all() and len(code[:, 0].argmax(-1).unique()) > 1
    assert prior.sample(5, component=2).unflatten(-1, (3, 4)).argmax(-1).unique().tolist() == [2]
    for wrong in (dict(component=4), dict(component=1, variable=3), dict(variable=1)):
        with pytest.raises(ValueError, match=r"component|variable=3, but the variables are 0 to 2"):
            prior.sample(1, **wrong)
    soft = torch.tensor([[0.2, 0.5, 0.3, 0.0] * 3])
    assert prior.on_support(soft).tolist() == [[0.0, 1.0, 0.0, 0.0] * 3]
    both = OneHotsBesideNormal(2, 3, 4)
    moved = both.on_support(torch.cat([soft, torch.tensor([[0.4, -1.5]])], -1))
    assert moved.tolist() == [[0.0, 1.0, 0.0, 0.0] * 3 + [pytest.approx(0.4), -1.5]]
    mixture = CategoricalMixture(3, 1, 2, classes=4)
    assert mixture.on_support(soft).tolist() == [[0.0, 1.0, 0.0, 0.0] * 3]


# Terms


def test_the_information_of_a_discrete_code_is_that_of_its_joint_table():
    draw = draw_of(rough("dvae", classes=4))
    expected = 0.0
    for q in draw.q("z").probs.movedim(1, 0):  # (B, K) of each variable
        joint = q / len(q)
        independent = joint.sum(0, keepdim=True) * joint.sum(1, keepdim=True)
        expected += (joint * (joint / independent).log()).sum().item()
    assert MutualInformation()(draw).mean().item() == pytest.approx(expected)


def test_free_bits_are_shared_out_among_the_variables_of_c_and_of_z():
    draw = draw_of(rough("gm_vae", variables=3, components=4))
    per_variable = {site: draw.kl_per_variable(site) for site in ("c", "z")}
    for site, kl in per_variable.items():
        assert kl.shape == (3, 5)
        torch.testing.assert_close(kl.sum(0), draw.kl(site))
    nats, of_c = (3 * float(per_variable[site].median()) for site in ("z", "c"))
    found = VariableFreeBits(nats=nats, nats_of_c=of_c)(draw)
    expected = per_variable["z"].clamp_min(nats / 3).sum(0) + per_variable["c"].clamp_min(of_c / 3).sum(0)
    torch.testing.assert_close(found, expected)
    assert (found > draw.kl("z") + draw.kl("c")).any()
    torch.testing.assert_close(VariableFreeBits(nats=0.0, nats_of_c=0.0)(draw), draw.kl("z") + draw.kl("c"))


def labelled(labels: list[int]) -> Batch:
    return Batch.collate([[4, 5], [6], [7, 8, 9], [4], [9, 9]], {"act": labels})


@pytest.mark.parametrize(("name", "options"), [("cm_vae", {"components": 3}), ("semi_vae", {"components": 3})])
def test_the_cost_of_a_label_is_minus_its_log_probability_and_a_missing_one_costs_nothing(name, options):
    draw = draw_of(rough(name, variables=2, **options), labelled([0, 2, 1, -1, 1]))
    found = LabelCrossEntropy(column="act", variable=1)(draw)
    log_q = draw.log_classes("c")[1]  # (B, K)
    assert found.tolist() == pytest.approx(
        [-log_q[0, 0].item(), -log_q[1, 2].item(), -log_q[2, 1].item(), 0, -log_q[4, 1].item()]
    )
    torch.testing.assert_close(log_q.exp().sum(-1), torch.ones(5).double())
    with pytest.raises(ValueError, match=r"no label column 'acts' \(did you mean 'act'\?\)"):
        LabelCrossEntropy(column="acts")(draw)


def test_a_discrete_variable_of_z_may_be_the_label_as_well():
    draw = draw_of(rough("dcm_vae", classes=4), labelled([0, 3, 1, 2, 1]))
    found = LabelCrossEntropy(column="act", site="z", variable=2)(draw)
    log_q = draw.q("z").logits[0, :, 2]
    assert found.tolist() == pytest.approx((-log_q.gather(1, torch.tensor([[0], [3], [1], [2], [1]]))[:, 0]).tolist())


def test_a_bag_of_words_is_scored_word_by_word_from_z_alone():
    made = rough("bow_vae", bag_of_words=0.5, warm_up=0)
    batch = a_batch()
    draw = draw_of(made, batch)
    bag = made.vae.decoder.bag
    assert bag is not None
    log_p = bag(draw.value("z")).log_softmax(-1)
    expected = []
    for b, words in enumerate([[4, 5, 6, 2], [7, 8, 2], [9, 2], [4, 4, 4, 9, 5, 2], [6, 7, 8, 2]]):
        expected.append(-sum(log_p[b, word].item() for word in words))
    assert BagOfWords()(draw).tolist() == pytest.approx(expected)
    loss = made.objective.weigh(draw)
    report = made.objective.report
    torch.testing.assert_close(loss.mean(), -report["elbo"] + 0.5 * report["bag_of_words"])


def test_any_recipe_takes_a_bag_of_words_and_only_one_with_a_code():
    made = with_bag_of_words(recipes()["dem_vae"](a_size(), variables=2), 2.0)
    Objective(made.vae, made.objective)(a_batch(), 0).backward()
    bag = made.vae.decoder.bag
    assert bag is not None and bag.weight.grad is not None and bag.weight.grad.any()
    with pytest.raises(ValueError, match="a language model has none: train a VAE"):
        with_bag_of_words(recipes()["lstm_lm"](a_size()))
    plain = draw_of(rough("vae"))
    with pytest.raises(ValueError, match="predicts no bag of words: make the recipe by with_bag_of_words"):
        BagOfWords()(plain)


# A label column observed as c


def test_a_supervised_mixture_learns_to_say_the_label(tmp_path):
    texts = some_texts(300)
    themes = [f"theme {n % 3}" for n in range(300)]
    run = train_tiny("dcm_vae", tmp_path, (texts, themes), epochs=6, supervised="label", learning_rate=0.02)
    assert run.recipe["options"]["components"] == 3
    metrics = run.evaluate("test")
    assert metrics["accuracy_label"] > 0.8 > metrics["accuracy_label_majority"]
    names = run.corpus.label_names["label"]
    assert [names[k] for k in run.assign(texts[:3])] == themes[:3]
    assert "train_label_cross_entropy_label" in run.history[-1]


# Label columns that variables of z tell, as in the paper


@pytest.mark.parametrize(("name", "options"), [("dcm_vae", {"variables": 2}), ("dvae", {}), ("di_vae", {})])
def test_a_variable_of_z_is_pulled_to_its_column_and_no_other_is_nor_does_the_rest_change(name, options):
    columns = {"emotion": [0, 3, 1, 2, 1], "act": [1, 0, 0, 1, 3]}
    batch = Batch.collate([[4, 5], [6], [7, 8, 9], [4], [9, 9]], columns)
    plain, told = rough(name, classes=4, **options), rough(name, classes=4, supervised_z=list(columns), **options)
    told.vae.load_state_dict(plain.vae.state_dict())
    draw = draw_of(told, batch, gradients=True)
    logits = draw.q("z").logits
    assert logits.requires_grad
    pulled, rest = told.objective.weigh(draw), plain.objective.weigh(draw)
    log_q = draw.log_classes("z")  # (variables, B, classes)
    expected = -sum(log_q[m, torch.arange(5), torch.tensor(labels)] for m, labels in enumerate(columns.values()))
    torch.testing.assert_close(pulled - rest, expected)  # in full at step 0, where the warm-up leaves nothing else
    # The gradient of a cross-entropy towards its logits, by hand, for these two variables; none for all others.
    gradient = torch.autograd.grad((pulled - rest).sum(), logits)[0].movedim(-2, -3).flatten(0, -3)
    by_hand = torch.zeros_like(gradient)
    for m, labels in enumerate(columns.values()):
        by_hand[m] = -torch.nn.functional.one_hot(torch.tensor(labels), 4)
    torch.testing.assert_close(gradient, by_hand)
    assert {f"label_cross_entropy_{column}" for column in columns} <= set(told.objective.report)


def test_supervised_variables_of_z_learn_to_tell_their_columns(tmp_path):
    """Which of 25 frames a sentence has, and which of five speech acts; against what is likeliest anyhow."""
    drawn = toy.generate("toy-acts", 1000, seed=3)
    data = (drawn.texts, {column: drawn.labels[column] for column in ("act", "frame")})
    options: dict[str, Any] = dict(classes=25, components=4, hidden=32, learning_rate=0.02)
    run = train_tiny("dcm_vae", tmp_path, data, epochs=5, supervised_z=["frame", "act"], **options)
    trained = run.evaluate("test")
    assert trained["accuracy_act"] > 0.8 > 0.4 > trained["accuracy_act_majority"]
    assert trained["accuracy_frame"] > 0.4 > 0.15 > trained["accuracy_frame_majority"]
    for column in ("act", "frame"):
        costs = [row[f"train_label_cross_entropy_{column}"] for row in run.history]
        assert costs[-1] < 0.5 * costs[0]
    # Untrained, the same variables tell nothing.
    untrained = recipes()["dcm_vae"](Size(len(run.vocabulary), latent=4), classes=25).vae
    chance = evaluate(untrained, run.corpus.splits["test"], supervised_z=["frame", "act"])
    assert chance["accuracy_act"] < 0.4 and chance["accuracy_frame"] < 0.2


def test_one_column_for_z_may_be_given_by_its_name_alone(tmp_path):
    run = train_tiny("di_vae", tmp_path, (some_texts(), ["a", "b", "c"] * 40), epochs=1, supervised_z="label")
    assert pyro_textvae.load(tmp_path).recipe["options"]["supervised_z"] == ["label"]
    assert {"accuracy_label", "accuracy_label_majority"} <= set(run.evaluate("test"))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["a"] * 120, {"supervised_z": ["label"]}, "supervised_z='label' has one class alone, which tells nothing"),
        (
            ["a", "b", None] * 40,
            {"supervised_z": "label"},
            r"supervised_z='label' has no label for \d+ of \d+ training",
        ),
        (["a", "b"] * 60, {"supervised_z": ["lable"]}, r"supervised_z='lable' is no label col.*did you mean 'label'"),
        (
            ["a", "b", "c"] * 40,
            {"supervised_z": ["label"], "classes": 2},
            "has 3 classes, but a variable of z has .* 2",
        ),
        (["a", "b"] * 60, {"supervised_z": ["label", "label"]}, "names different label columns, at most one for each"),
        (["a", "b"] * 60, {"supervised_z": "label", "supervised": "label"}, "stands in 'supervised' and in 'superv"),
    ],
)
def test_labels_that_no_variable_of_z_can_tell_are_refused_before_anything_is_written(
    tmp_path, labels, options, message
):
    with pytest.raises(ValueError, match=message):
        train_tiny("dcm_vae", tmp_path / "run", (some_texts(), labels), **options)
    assert not (tmp_path / "run").exists()


def test_there_are_no_more_supervised_variables_of_z_than_z_has():
    for name, options in (("dcm_vae", {}), ("dvae", {}), ("di_vae", {})):
        with pytest.raises(
            ValueError, match=r"'supervised_z' is \['a', 'b', 'c', 'd'\], but .* each of z's 3 discrete"
        ):
            recipes()[name](a_size(), supervised_z=list("abcd"), **options)
    recipes()["dcm_vae"](a_size(), variables=2, supervised_z=list("abcd"))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["a"] * 120, {"supervised": "label"}, "supervised='label' has one class alone, which tells nothing"),
        (["a", "b", None] * 40, {"supervised": "label"}, r"supervised='label' has no label for \d+ of \d+ training"),
        (["a", "b"] * 60, {"supervised": "lable"}, r"supervised='lable' is no label column .*did you mean 'label'"),
        (["a", "b"] * 60, {"supervised": "label", "components": 5}, "'components' is 5, but the label 'label'.* 2 cla"),
        (None, {"supervised": "label"}, "is no label column of this corpus: it has none"),
    ],
)
def test_labels_that_cannot_be_observed_as_c_are_refused_before_anything_is_written(tmp_path, labels, options, message):
    data = some_texts() if labels is None else (some_texts(), labels)
    with pytest.raises(ValueError, match=message):
        train_tiny("cm_vae", tmp_path / "run", data, **options)
    assert not (tmp_path / "run").exists()


def test_one_hots_are_what_the_categorical_recipes_speak_of():
    draw = draw_of(rough("cm_vae", classes=4, components=3))
    assert isinstance(draw.q("z"), OneHots) and isinstance(draw.p("z"), OneHots)
    values: Tensor = draw.value("z").unflatten(-1, (3, 4))
    assert (values.sum(-1) == 1).all()
    assert isinstance(KL()(draw), Tensor)
