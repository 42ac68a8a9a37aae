"""What a 2019 note on KL vanishing claims of its constraint and of self-labelling, and what it overlooks."""

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from scipy.optimize import minimize
from small import VOCABULARY, a_batch, a_size, gradients_of, random_batch, roughen
from tiny import assert_identical, train_tiny
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import EOS, Split
from pyro_textvae.encoders import Labeller
from pyro_textvae.evaluation import evaluate
from pyro_textvae.objective import Draw, Objective, TextELBO
from pyro_textvae.recipes import recipes, with_bag_of_words
from pyro_textvae.terms import (
    Information,
    LabelRecovery,
    MIConstraint,
    MIConstraintELBO,
    Reconstruction,
    SelfLabelling,
    SelfLabellingELBO,
)
from pyro_textvae.updates import DualAscent, Multiplier
from pyro_textvae.vae import MAX_PLATE_NESTING, TextVAE

SENTENCES, DIMENSIONS = 16, 2


class Posteriors:
    """q(z|x) = Normal(mean, exp(log_scale)) of 16 sentences beside a decoder that ignores z: what the KL alone does."""

    def __init__(self, apart: float, away: float = 0.0, seed: int = 0) -> None:
        noise = torch.randn(SENTENCES, DIMENSIONS, generator=torch.Generator().manual_seed(seed))
        self.mean = (apart * noise + away).requires_grad_()
        self.log_scale = torch.zeros(SENTENCES, DIMENSIONS).requires_grad_()
        self.batch = a_batch([[4]] * SENTENCES)

    def model(self, batch: Batch) -> None:
        with pyro.plate("sentences", SENTENCES, dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(DIMENSIONS), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.zeros(SENTENCES), 1.0), obs=torch.zeros(SENTENCES))

    def guide(self, batch: Batch) -> None:
        with pyro.plate("sentences", SENTENCES, dim=-1):
            pyro.sample("z", dist.Normal(self.mean, self.log_scale.exp()).to_event(1))

    def draw(self) -> Draw:
        return TextELBO(Reconstruction()).draw(self.model, self.guide, self.batch)

    def descend(self, elbo: TextELBO, steps: int = 300, dual: Multiplier | None = None, nats: float = 0.0) -> None:
        pyro.set_rng_seed(1)
        optimiser = torch.optim.Adam([self.mean, self.log_scale], lr=0.03)
        for _ in range(steps):
            optimiser.zero_grad()
            (elbo.differentiable_loss(self.model, self.guide, self.batch) / SENTENCES).backward()
            optimiser.step()
            if dual is not None:
                dual.ascend(nats - elbo.report["kl_z"])

    @torch.no_grad()
    def kl(self) -> float:
        return self.draw().kl("z").mean().item()

    @torch.no_grad()
    def information(self, draws: int = 50) -> float:
        return sum(self.draw().information().mean().item() for _ in range(draws)) / draws


# The constraint, as written


@pytest.mark.parametrize("nats", [0.2, 9.0])
def test_the_loss_steps_as_the_note_says_by_which_side_of_c_the_batch_is_on(nats):
    """-ELBO where the mean KL is at least c, and -ELBO - lambda mean KL where it is less."""
    vae = recipes()["vae"](a_size()).vae
    roughen(vae)
    vae.double()

    def loss_of(elbo: Any) -> Tensor:
        pyro.set_rng_seed(3)
        return elbo.differentiable_loss(vae.model, vae.guide, a_batch())

    plain = loss_of(TraceMeanField_ELBO(max_plate_nesting=MAX_PLATE_NESTING))
    kl = kl_divergence(vae.q_z(a_batch()), dist.Normal(torch.zeros(3).double(), 1.0).to_event(1))
    assert 0.2 < kl.mean() < 9.0
    theirs = plain - (3.0 * kl.sum() if nats == 9.0 else 0.0)
    ours = loss_of(MIConstraintELBO(3.0, nats))
    torch.testing.assert_close(gradients_of(vae, ours), gradients_of(vae, theirs), rtol=1e-8, atol=1e-10)


THRESHOLD = [(0.9, 1.0, False), (1.1, 1.0, True), (1.9, 2.0, False), (2.1, 2.0, True)]


@pytest.mark.parametrize(("multiplier", "beta", "leaves"), THRESHOLD)
def test_a_collapse_is_left_only_where_lambda_exceeds_beta(multiplier, beta, leaves):
    posteriors = Posteriors(apart=0.1)
    before = posteriors.kl()
    posteriors.descend(MIConstraintELBO(multiplier, 0.6, beta))
    if leaves:
        assert posteriors.kl() == pytest.approx(0.6, abs=0.1)  # and no further: above c the KL is paid for
    else:
        assert posteriors.kl() < before / 2


@pytest.mark.parametrize(("multiplier", "beta", "leaves"), [(0.7, 1.0, False), (1.5, 1.0, True), (2.6, 2.0, True)])
def test_the_threshold_is_the_same_where_the_information_itself_is_constrained(multiplier, beta, leaves):
    posteriors = Posteriors(apart=0.3 if leaves else 1.0)
    before = posteriors.information()
    posteriors.descend(MIConstraintELBO(multiplier, 0.6, beta, of="information"), steps=500)
    if leaves:
        assert posteriors.information() > 0.35 > 2 * before
    else:
        assert posteriors.information() < 0.1 < before / 2


# What it overlooks


def test_a_mean_kl_of_c_may_hold_no_information_at_all():
    """One posterior for every sentence, away from the prior: nothing in the penalty prefers information over it."""
    posteriors = Posteriors(apart=0.0, away=0.1)
    posteriors.descend(MIConstraintELBO(2.0, 0.6))
    assert posteriors.kl() == pytest.approx(0.6, abs=0.1)
    assert posteriors.information() == pytest.approx(0.0, abs=1e-6)


def test_constrained_in_its_information_the_same_posterior_has_to_differ_between_sentences():
    posteriors = Posteriors(apart=0.02, away=0.6)
    assert posteriors.information() < 0.05
    posteriors.descend(MIConstraintELBO(3.0, 0.6, of="information"), steps=600)
    assert 0.5 < posteriors.information() < 0.8
    assert posteriors.mean.mean(0).abs().max() < 0.3  # and being away from the prior is paid for


def test_what_is_measured_tells_a_shift_from_information():
    """KL above c, no information and no gap: the verdict on a posterior that only moved away from its prior."""
    vae = recipes()["vae"](a_size()).vae
    roughen(vae, 1.0)
    posterior: Any = vae.posterior
    with torch.no_grad():
        posterior.mean.weight.zero_()
        posterior.mean.bias.fill_(2.0)
        posterior.log_variance.weight.zero_()
        posterior.log_variance.bias.zero_()
    measured = evaluate(vae, Split.of(np.array([4 + i % 8, 4 + i % 5, 5]) for i in range(200)), deep=False)
    assert measured["kl_nats_per_sentence"] == pytest.approx(6.0)
    assert abs(measured["mutual_information_aggregate_nats"]) < 1e-6
    noise = 4 * measured["shuffled_z_gap_standard_error"]
    assert abs(measured["shuffled_z_gap_nats_per_sentence"]) < noise


def test_the_information_of_a_batch_is_between_nothing_and_the_kl_and_below_its_cap():
    means = torch.tensor([-2.0, -0.5, 0.0, 1.0, 3.0]).double()
    z = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    aggregate = Normal(means, 0.7).log_prob(z[:, None]).exp().mean(1)
    entropy = -torch.trapezoid(torch.xlogy(aggregate, aggregate), z)
    true = (entropy - math.log(0.7) - 0.5 * math.log(2 * math.pi * math.e)).item()
    torch.manual_seed(0)
    for B in (2, 4, 32):
        found = []
        for _ in range(400):
            mean = means[torch.randint(5, (B,))]  # sentences drawn at random

            def model(batch: Batch, B: int = B) -> None:
                with pyro.plate("sentences", B, dim=-1):
                    pyro.sample("z", dist.Normal(torch.zeros(1).double(), 1.0).to_event(1))

            def guide(batch: Batch, mean: Tensor = mean, B: int = B) -> None:
                with pyro.plate("sentences", B, dim=-1):
                    pyro.sample("z", dist.Normal(mean[:, None], 0.7).to_event(1))

            draw = TextELBO(Reconstruction()).draw(model, guide, a_batch([[4]] * B))
            found.append(Information()(draw).mean())
            by_hand = [
                draw.q("z").log_prob(own)[n] - draw.q("z").log_prob(own).exp().mean().log()
                for n, own in enumerate(draw.value("z"))
            ]
            torch.testing.assert_close(draw.information(), torch.stack(by_hand))
        estimate, error = torch.stack(found).mean().item(), torch.stack(found).std().item() / 20
        assert max(found) <= math.log(B) + 1e-9
        assert estimate < true + 3 * error
    assert estimate > 0.9 * true  # 32 sentences show nearly all
    kl = kl_divergence(Normal(means, 0.7), Normal(torch.zeros(()).double(), 1.0)).mean().item()
    assert kl > true + 0.5  # which the KL does not measure


def test_the_information_is_that_of_a_continuous_code():
    for name in ("ae", "di_vae", "lstm_lm"):
        vae = recipes()[name](a_size()).vae
        with pytest.raises(ValueError, match="the information in the batch is that of a continuous z with a density"):
            Information()(TextELBO(Reconstruction()).draw(vae.generative, vae.inference, a_batch()))


def test_a_batch_that_cannot_show_so_much_is_refused_and_a_mean_kl_has_no_such_limit():
    MIConstraint(nats=99.0).check_batches(2)
    MIConstraint(nats=2.7, of="information").check_batches(16)
    with pytest.raises(ValueError, match=r"less than ln 16 = 2.77: ask for less, or take batches of more than 18"):
        MIConstraint(nats=2.9, of="information").check_batches(16)
    with pytest.raises(ValueError, match=r"take batches of more than 19 sentences$"):  # e^2.98 is 19.7
        MIConstraint(nats=2.98, of="information").check_batches(16)
    with pytest.raises(ValueError, match=r"less than ln 16 = 2.77: ask for less$"):  # no batch has e^50
        MIConstraint(nats=50.0, of="information").check_batches(16)
    for wrong in (dict(nats=0.0), dict(nats=math.inf), dict(weight=-1.0), dict(of="mi")):
        with pytest.raises(ValueError, match=r"'nats' is|the weight of the constraint is -1|'of' is 'mi'"):
            MIConstraint(**wrong)  # pyright: ignore[reportArgumentType]


# Dual ascent


def test_dual_ascent_finds_a_multiplier_that_holds_the_kl_at_c_whatever_beta_is():
    for beta in (1.0, 3.0):
        dual, posteriors = Multiplier(start=0.0, rate=0.02, judging=2 * beta), Posteriors(apart=0.3)
        posteriors.descend(MIConstraintELBO(dual, 0.6, beta), 800, dual, 0.6)
        assert posteriors.kl() == pytest.approx(0.6, abs=0.2)
        assert dual.value > beta


def test_a_multiplier_moves_in_training_alone_and_is_never_negative():
    dual = Multiplier(start=0.5, rate=0.1, judging=2.0)
    dual.ascend(torch.tensor(3.0))
    assert dual(7) == pytest.approx(0.8)
    dual.ascend(torch.tensor(-50.0))
    assert dual(7) == 0
    assert dual.eval()(7) == 2.0
    with pytest.raises(ValueError, match=r"'rate' is -1.0, but a multiplier's are finite and at least 0"):
        Multiplier(0.0, -1.0, 2.0)


@pytest.mark.parametrize("constrained", ["kl", "information"])
def test_a_run_with_dual_ascent_moves_its_multiplier_and_resumes_with_it(tmp_path, constrained):
    options: dict[str, Any] = dict(multiplier=0.0, nats=1.0, dual_rate=0.05, constrained=constrained)
    once = train_tiny("mi_constrained_vae", tmp_path / "once", epochs=2, **options)
    train_tiny("mi_constrained_vae", tmp_path / "twice", epochs=1, **options)
    train_tiny("mi_constrained_vae", tmp_path / "twice", epochs=2, resume=True, **options)
    assert_identical(once.directory, tmp_path / "twice")
    updates = recipes()["mi_constrained_vae"](a_size(), **options).updates
    assert isinstance(updates, DualAscent) and updates.multiplier.value == 0
    multiplier: Any = once.vae.multiplier
    assert multiplier.value > 0.05  # of 12 updates, each lacking nearly a nat
    assert ("train_information" in once.history[-1]) == (constrained == "information")


def test_dual_ascent_beside_an_objective_that_it_does_not_know_says_so():
    made = recipes()["mi_constrained_vae"](a_size(), dual_rate=0.1)
    other = with_bag_of_words(made)
    objective = Objective(other.vae, other.objective)

    def move(batch: Batch, side: Any) -> tuple[Tensor, Tensor]:
        return objective(batch, 0), torch.zeros(())

    with pytest.raises(ValueError, match="'kl_z' in the report of its objective, which was not what the step"):
        other.updates(move, a_batch(), a_batch, [])


# Self-labelling


@pytest.mark.parametrize("beta", [1.0, 2.5])
@pytest.mark.parametrize("labelling", [0.1, 1.0])
def test_beside_a_decoder_that_ignores_z_the_best_posterior_is_not_the_prior(labelling, beta):
    """The closed form of SelfLabelling's docstring, against a numerical minimum."""
    g = np.array([0.7, -1.2, 0.0])

    def cost(parameters: np.ndarray) -> float:
        m, log_s = np.split(parameters, 2)
        kl = 0.5 * (np.exp(2 * log_s) + m**2 - 1 - 2 * log_s).sum()
        return beta * kl + labelling * (((m - g) ** 2).sum() + np.exp(2 * log_s).sum())

    m, log_s = np.split(minimize(cost, np.zeros(6), tol=1e-12).x, 2)
    np.testing.assert_allclose(m, 2 * labelling * g / (beta + 2 * labelling), atol=1e-5)
    np.testing.assert_allclose(np.exp(2 * log_s), beta / (beta + 2 * labelling), atol=1e-5)
    kl = 0.5 * (np.exp(2 * log_s) + m**2 - 1 - 2 * log_s).sum()
    s = beta / (beta + 2 * labelling)
    assert kl == pytest.approx(0.5 * (3 * (s - 1 - math.log(s)) + (1 - s) ** 2 * (g**2).sum()), abs=1e-5)
    if labelling == beta == 1:
        assert kl == pytest.approx(0.2160 * 3 + 0.2222 * (g**2).sum(), abs=1e-3)


@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_the_optimum_beside_any_decoder_is_a_reweighted_posterior_by_enumeration(beta):
    random, labelling, g = np.random.default_rng(0), 0.8, np.array([0.3, -0.4])
    points, prior = random.normal(size=(5, 2)), random.dirichlet(np.ones(5))  # five values of z
    log_likelihood = np.log(random.dirichlet(np.ones(4), size=5))[:, 2]  # log p(x|z) of one x
    distance = ((points - g) ** 2).sum(-1)

    def cost(logits: np.ndarray) -> float:
        log_q = logits - np.logaddexp.reduce(logits)
        q = np.exp(log_q)
        return float((q * (-log_likelihood + beta * (log_q - np.log(prior)) + labelling * distance)).sum())

    found = minimize(cost, np.zeros(5), tol=1e-13).x
    closed = np.log(prior) + log_likelihood / beta - labelling / beta * distance
    closed = np.exp(closed - np.logaddexp.reduce(closed))
    np.testing.assert_allclose(np.exp(found - np.logaddexp.reduce(found)), closed, atol=1e-5)
    # Its value is in closed form too, and no other q is better.
    least = -beta * np.logaddexp.reduce(np.log(prior) + log_likelihood / beta - labelling / beta * distance)
    assert cost(np.log(closed)) == pytest.approx(least, abs=1e-10)
    assert all(cost(random.normal(size=5)) > least for _ in range(100))


def labelled(**changes: Any) -> TextVAE:
    torch.manual_seed(0)
    vae = recipes()["self_labelling_vae"](a_size(**changes)).vae
    roughen(vae)
    return vae


def draw_of(vae: TextVAE, batch: Batch) -> Draw:
    return TextELBO(Reconstruction()).draw(vae.generative, vae.inference, batch)


def test_the_label_costs_its_squared_distance_from_a_draw_in_expectation_in_closed_form():
    vae, batch = labelled(), a_batch()
    with torch.no_grad():
        g, q = vae.decoder.guess(batch), vae.q_z(batch)
        costs = torch.stack([SelfLabelling()(draw_of(vae, batch)) for _ in range(1500)])
        expected = (q.mean - g).square().sum(-1) + q.variance.sum(-1)
    error = costs.std(0) / math.sqrt(len(costs))
    assert ((costs.mean(0) - expected).abs() < 4 * error).all()


def test_the_label_moves_the_guide_alone_and_its_recovery_the_labeller_alone():
    vae, batch = labelled(), random_batch(16, words=VOCABULARY)
    moved = {}
    for term in (SelfLabelling(), LabelRecovery()):
        gradients = gradients_of(vae, term(draw_of(vae, batch)).sum())
        moved[term.name] = {name.rsplit(".", 2)[0] for name, gradient in gradients.items() if gradient.any()}
    assert all(name.startswith(("encoder", "posterior")) for name in moved["self_labelling"])
    assert all(name.startswith("decoder.labeller") for name in moved["label_recovery"])
    assert moved["self_labelling"] and moved["label_recovery"]


def test_recovery_is_no_cost_of_the_model_when_it_is_judged():
    vae, batch = labelled(), a_batch()
    vae.eval()
    assert not LabelRecovery()(draw_of(vae, batch)).any()
    elbo = SelfLabellingELBO(2.0, 0.5)
    loss, report = Objective(vae, elbo)(batch, 0), elbo.report
    expected = report["reconstruction"] + 0.5 * report["kl_z"] + 2 * report["self_labelling"]
    torch.testing.assert_close(loss, expected)


def test_a_labeller_reads_a_drawn_sentence_as_it_reads_the_same_one_in_a_batch():
    labeller = Labeller(a_size(bidirectional=True), 3)
    batch = a_batch()
    labels, ended = labeller.of_drawn(batch.tokens)
    assert ended.all()
    torch.testing.assert_close(labels, labeller(batch))
    unending = batch.tokens.masked_fill(batch.tokens == EOS, 4)
    assert not labeller.of_drawn(unending)[1].any()


def test_the_labeller_learns_the_posterior_mean_of_the_decoders_own_model():
    """E[z|x] under p(z) p(x|z), of the sentences of one word, by quadrature over z on a line."""
    torch.manual_seed(0)
    made = recipes()["self_labelling_vae"](a_size(vocabulary=7, latent=1, hidden=16))
    vae = made.vae
    roughen(vae.decoder, 1.0, seed=1)
    words = a_batch([[4], [5], [6]])
    z = torch.linspace(-6, 6, 601)
    with torch.no_grad():
        likelihood = torch.stack([vae.decoder.log_prob(at.expand(3, 1), words).exp() for at in z])  # (601, 3)
    posterior = likelihood * torch.exp(-0.5 * z[:, None] ** 2)
    expected = (z[:, None] * posterior).sum(0) / posterior.sum(0)
    labeller = vae.decoder.labeller
    assert labeller is not None and expected.std() > 0.2  # which is not one number for all
    optimiser = torch.optim.Adam(labeller.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, 250)
    batch = a_batch([[4]] * 512)
    for _ in range(250):
        optimiser.zero_grad()
        LabelRecovery()(draw_of(vae, batch)).mean().backward()
        optimiser.step()
        scheduler.step()
    with torch.no_grad():
        found = vae.decoder.guess(words).squeeze(1)
    torch.testing.assert_close(found, expected, atol=0.12, rtol=0)


def test_where_the_decoder_ignores_z_the_label_is_one_for_all_and_the_kl_that_stays_informs_of_nothing():
    """So a code may have kept its KL and lost its information: which the note's argument does not see."""
    torch.manual_seed(0)
    made = recipes()["self_labelling_vae"](a_size(latent=2), labelling=1.0)
    vae, elbo = made.vae, made.objective
    decoder: Any = vae.decoder
    parameters = {name: p for name, p in vae.named_parameters() if not name.startswith("decoder") or "labeller" in name}
    with torch.no_grad():  # z enters nowhere
        decoder.start_state.weight.zero_()
        decoder.network.weight_ih_l0[:, -2:].zero_()
    optimiser = torch.optim.Adam(parameters.values(), lr=0.02)
    for step in range(250):
        optimiser.zero_grad()
        Objective(vae, elbo)(random_batch(32, seed=step, words=VOCABULARY, lengths=(2, 6)), step).backward()
        optimiser.step()
    with torch.no_grad():
        draw = draw_of(vae, random_batch(64, seed=-1, words=VOCABULARY, lengths=(2, 6)))
    assert draw.kl("z").mean().item() == pytest.approx(0.2160 * 2, rel=0.25)
    assert draw.information().mean().item() < 0.06
    assert vae.decoder.guess(draw.batch).std(0).max() < 0.3


def test_a_decoder_without_labels_or_without_a_code_says_what_to_do():
    vae = recipes()["vae"](a_size()).vae
    with pytest.raises(ValueError, match="this decoder has no labels: make the recipe by with_self_labelling"):
        SelfLabelling()(draw_of(vae, a_batch()))
    with pytest.raises(ValueError, match="a language model has none: train a VAE"):
        recipes()["lstm_lm"](a_size()).vae.decoder.add_labeller(a_size())
