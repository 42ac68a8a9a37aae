import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from small import a_batch, a_size, gradients_of, roughen
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_textvae.batch import Batch
from pyro_textvae.distributions import VonMisesFisher, average
from pyro_textvae.objective import Draw, TextELBO
from pyro_textvae.recipes import recipes
from pyro_textvae.schedules import Cyclic, Linear
from pyro_textvae.terms import (
    KL,
    BatchFreeBits,
    BetaELBO,
    DispersedELBO,
    Dispersion,
    FreeBits,
    FreeBitsELBO,
    MIConstraint,
    MIConstraintELBO,
    MutualInformation,
    MutualInformationELBO,
    Reconstruction,
    SentenceDimensionFreeBits,
    SentenceFreeBits,
)
from pyro_textvae.vae import TextVAE

FAMILIES = ["gaussian", "vmf"]


def rough(family: str = "gaussian", variables: int = 3, components: int = 4) -> TextVAE:
    vae = recipes()["dem_vae"](a_size(), family=family, variables=variables, components=components).vae
    roughen(vae, 0.6)
    return vae.double()


def draw_of(vae: TextVAE, gradients: bool = False) -> Draw:
    pyro.set_rng_seed(3)
    # Outside of any gradient the draw's numbers can be read off it.
    vae.requires_grad_(gradients)
    return TextELBO(Reconstruction()).draw(vae.generative, vae.inference, a_batch())


def fixed(q_c: Tensor, p_z: Callable[[Tensor], Any], q_z: Any) -> Draw:
    """A draw of the given posteriors and components, for as many sentences as q_c has rows."""

    def model(batch: Batch) -> None:
        with pyro.plate("sentences", len(batch), dim=-1):
            c = pyro.sample("c", dist.Categorical(torch.ones(q_c.shape[-1])))
            pyro.sample("z", p_z(c))

    def guide(batch: Batch) -> None:
        with pyro.plate("sentences", len(batch), dim=-1):
            pyro.sample("c", dist.Categorical(q_c), infer={"enumerate": "parallel"})
            pyro.sample("z", q_z)

    return TextELBO(Reconstruction()).draw(model, guide, a_batch([[4]] * len(q_c)))


# Dispersion


@pytest.mark.parametrize("variables", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_kl_of_z_is_the_kl_to_the_averaged_prior_and_the_dispersion(family, variables):
    draw = draw_of(rough(family, variables))
    averaged = average(draw.p("z"), draw.probabilities("c"), dim=draw.enumeration_dim("c"))
    to_average = kl_divergence(draw.q("z"), averaged).sum(0)
    dispersion = Dispersion()(draw)
    assert dispersion.shape == (5,)
    assert (dispersion > 1e-3).all()
    torch.testing.assert_close(draw.kl("z"), to_average + dispersion, rtol=1e-9, atol=1e-9)


def test_dispersion_has_the_reference_value_for_gaussian_components():
    mean = torch.tensor([[-1, 0.5], [0, 2], [3, -1]], dtype=torch.float64)
    log_variance = torch.tensor([[0, -0.5], [0.3, 0.1], [-1, 0.7]], dtype=torch.float64)
    m, log_s2 = torch.tensor([0.4, -0.2]).double(), torch.tensor([-0.3, 0.2]).double()
    draw = fixed(
        torch.tensor([[0.2, 0.5, 0.3]]).double(),
        lambda c: dist.Normal(mean[c], (0.5 * log_variance[c]).exp()).to_event(1),
        dist.Normal(m[None], (0.5 * log_s2)[None].exp()).to_event(1),
    )
    assert Dispersion()(draw).item() == pytest.approx(2.6468140356, abs=1e-7)
    assert draw.kl("z").item() == pytest.approx(4.3422785466, abs=1e-7)


def test_dispersion_has_the_reference_value_for_categorical_components():
    eta = torch.tensor([[1, -0.5, 0], [-1, 2, 0], [0.3, 0.3, 0]], dtype=torch.float64)
    draw = fixed(
        torch.tensor([[0.2, 0.5, 0.3]]).double(),
        lambda c: dist.OneHotCategorical(logits=eta[c]),
        dist.RelaxedOneHotCategoricalStraightThrough(torch.tensor(1.0), torch.tensor([[0.2, 0.5, 0.3]]).double()),
    )
    assert Dispersion()(draw).item() == pytest.approx(0.2657922408, abs=1e-7)


def test_dispersion_has_the_reference_value_for_von_mises_fisher_components():
    e = torch.eye(5, dtype=torch.float64)
    loc = torch.stack([e[0], e[1], 0.6 * e[0] + 0.8 * e[1]])
    kappa = torch.tensor([5.0, 10.0, 20.0], dtype=torch.float64)
    draw = fixed(
        torch.tensor([[0.2, 0.5, 0.3]]).double(),
        lambda c: VonMisesFisher(loc[c], kappa[c]),
        VonMisesFisher((0.6 * e[0] + 0.8 * e[2])[None], torch.tensor([15.0], dtype=torch.float64)),
    )
    assert Dispersion()(draw).item() == pytest.approx(1.1784237396, abs=1e-7)
    assert draw.kl("z").item() == pytest.approx(8.2948960302, abs=1e-6)


def test_equal_components_have_no_dispersion_and_neither_has_a_certain_class():
    vae = rough()
    prior: Any = vae.prior
    with torch.no_grad():
        for table in (prior.mean, prior.log_variance):
            table.copy_(table[:, :1].expand_as(table))
    torch.testing.assert_close(Dispersion()(draw_of(vae)), torch.zeros(5).double())
    vae = rough()
    posterior: Any = vae.posterior
    with torch.no_grad():
        posterior.assignment[-1].bias[::4] += 1000.0
    torch.testing.assert_close(Dispersion()(draw_of(vae)), torch.zeros(5).double())


@pytest.mark.parametrize("family", FAMILIES)
def test_giving_all_dispersion_back_leaves_the_kl_to_the_averaged_prior(family):
    vae = rough(family)
    draw = draw_of(vae)
    averaged = average(draw.p("z"), draw.probabilities("c"), dim=draw.enumeration_dim("c"))
    expected = -draw.log_likelihood() + draw.kl("c") + kl_divergence(draw.q("z"), averaged).sum(0)
    torch.testing.assert_close(DispersedELBO(dispersion=1.0).weigh(draw), expected)


def test_a_term_of_the_mixture_asks_for_a_mixture():
    vae = recipes()["vae"](a_size()).vae
    for term in (Dispersion(), MutualInformation()):
        with pytest.raises(ValueError, match="this term needs a discrete variable c"):
            term(draw_of(vae))


# Mutual information


def test_mutual_information_has_the_reference_values():
    q_c = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)
    draw = fixed(q_c, lambda c: dist.Normal(c.double(), 1.0), dist.Normal(torch.zeros(3).double(), 1.0))
    information = MutualInformation()(draw)
    assert information.shape == (3,)
    assert information.tolist() == pytest.approx([0.2088890370] * 3, abs=1e-9)
    assert draw.kl("c").mean().item() == pytest.approx(0.2553621595, abs=1e-7)
    assert (draw.kl("c") - information).mean().item() == pytest.approx(0.0464731226, abs=1e-7)


@pytest.mark.parametrize("variables", [1, 3])
def test_mutual_information_is_that_of_the_joint_table_of_sentences_and_classes(variables):
    draw = draw_of(rough(variables=variables))
    expected = 0.0
    for q in draw.q("c").probs:
        joint = q / len(q)
        independent = joint.sum(0, keepdim=True) * joint.sum(1, keepdim=True)
        expected += (joint * (joint / independent).log()).sum().item()
    assert MutualInformation()(draw).mean().item() == pytest.approx(expected)
    assert 0 < expected < variables * math.log(4)


@pytest.mark.parametrize("variables", [1, 3])
def test_the_kl_of_c_is_that_of_its_mean_and_the_mutual_information(variables):
    draw = draw_of(rough(variables=variables))
    aggregate = draw.q("c").probs.mean(-2)  # (M, K)
    to_prior = (aggregate * (4 * aggregate).log()).sum()
    torch.testing.assert_close(draw.kl("c").mean(), to_prior + MutualInformation()(draw).mean(), atol=1e-7, rtol=1e-6)


def test_certain_and_different_classes_carry_the_logarithm_of_their_number():
    logits = 1000 * torch.eye(4)
    draw = fixed(logits.softmax(-1), lambda c: dist.Normal(c.float(), 1.0), dist.Normal(torch.zeros(4), 1.0))
    information = MutualInformation()(draw)
    assert information.tolist() == pytest.approx([math.log(4)] * 4, abs=1e-5)


# Free bits and the hinge


@pytest.mark.parametrize("name", ["vae", "gm_vae"])
def test_free_bits_count_no_dimension_below_the_floor_and_c_as_it_is(name):
    vae = recipes()[name](a_size()).vae
    roughen(vae)
    draw = draw_of(vae)
    per_dimension = draw.kl_per_dimension().mean(0)
    floor = float(per_dimension.median())
    rest = draw.kl("c") if name == "gm_vae" else torch.zeros(5)
    expected = torch.maximum(per_dimension, torch.tensor(floor)).sum() + rest
    torch.testing.assert_close(FreeBits(nats=floor)(draw), expected)
    torch.testing.assert_close(FreeBits(nats=0.0)(draw).mean(), (draw.kl("z") + rest).mean())


def test_free_bits_do_not_press_on_a_dimension_below_the_floor():
    vae = recipes()["vae"](a_size()).vae
    roughen(vae)
    loss = FreeBits(nats=1e3)(draw_of(vae, gradients=True)).sum()
    assert not any(gradient.any() for gradient in gradients_of(vae, loss).values())
    assert loss.item() == pytest.approx(5 * 3 * 1e3)


def kls_of(draw: Draw) -> tuple[Tensor, Tensor]:
    """KL of each sentence (B,) and of its dimensions (B, D), off the graph."""
    return draw.kl("z").detach(), draw.kl_per_dimension().detach()


def masked(term: FreeBits, draw: Draw) -> Tensor:
    """What the papers' codes minimise: an indicator times the KL, which leaves the floor out of the number."""
    kl, per_dimension = draw.kl("z"), draw.kl_per_dimension()
    if isinstance(term, SentenceFreeBits):
        return ((kl > term.nats) * kl).sum()
    if isinstance(term, SentenceDimensionFreeBits):
        return ((per_dimension > term.nats / 3) * per_dimension).sum()
    if isinstance(term, BatchFreeBits):
        return (kl.mean() > term.nats) * kl.mean() * len(kl)
    return ((per_dimension.mean(0) > term.nats) * per_dimension.mean(0)).sum() * len(kl)


@pytest.mark.parametrize("share", [0.6, 0.95, 1.6])
@pytest.mark.parametrize("kind", [SentenceFreeBits, SentenceDimensionFreeBits, BatchFreeBits, FreeBits])
def test_the_gradients_of_free_bits_are_those_of_the_papers_masks(kind, share):
    vae = recipes()["vae"](a_size()).vae
    roughen(vae, 1.0)
    vae.double()
    draw = draw_of(vae, gradients=True)
    kl, per_dimension = kls_of(draw)
    term = kind(nats=share * float(per_dimension.mean(0).median() if kind is FreeBits else kl.mean()))
    ours, theirs = term(draw).sum(), masked(term, draw)
    gradient = torch.autograd.grad(ours, draw.q("z").base_dist.loc, retain_graph=True, allow_unused=True)[0]
    expected = torch.autograd.grad(theirs, draw.q("z").base_dist.loc, retain_graph=True)[0]
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)
    if kind in (SentenceFreeBits, SentenceDimensionFreeBits) and share == 0.95:
        assert 0 < (expected == 0).float().mean() < 1  # the mask lets some through and not others
    elif kind is BatchFreeBits:
        assert expected.any() == (share < 1)


@pytest.mark.parametrize("kind", [SentenceFreeBits, SentenceDimensionFreeBits, BatchFreeBits])
def test_free_bits_bound_what_they_are_named_for(kind):
    vae = recipes()["gm_vae"](a_size()).vae
    roughen(vae)
    draw = draw_of(vae)
    kl, per_dimension = kls_of(draw)
    nats = float(kl.median())
    expected = {
        SentenceFreeBits: kl.clamp_min(nats),
        SentenceDimensionFreeBits: per_dimension.clamp_min(nats / 3).sum(-1),
        BatchFreeBits: kl.mean().clamp_min(nats).expand(5),
    }
    torch.testing.assert_close(kind(nats=nats)(draw), expected[kind] + draw.kl("c"))
    torch.testing.assert_close(kind(nats=0.0)(draw).mean(), (draw.kl("z") + draw.kl("c")).mean())


@pytest.mark.parametrize("kind", [SentenceFreeBits, SentenceDimensionFreeBits, BatchFreeBits, FreeBits])
def test_pressed_by_the_kl_alone_a_code_empties_down_to_its_free_bits_and_no_further(kind):
    mean = (1 + torch.rand(5, 3)).requires_grad_()
    log_scale = torch.zeros(5, 3).requires_grad_()

    def model(batch: Batch) -> None:
        with pyro.plate("sentences", 5, dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.zeros(5), 1.0), obs=torch.zeros(5))

    def guide(batch: Batch) -> None:
        with pyro.plate("sentences", 5, dim=-1):
            pyro.sample("z", dist.Normal(mean, log_scale.exp()).to_event(1))

    elbo = TextELBO(kind(nats=0.2 if kind is FreeBits else 0.6))
    optimiser = torch.optim.SGD([mean, log_scale], lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        elbo.differentiable_loss(model, guide, a_batch()).backward()
        optimiser.step()
    kl, per_dimension = kls_of(elbo.draw(model, guide, a_batch()))
    bounded, floor = {
        SentenceFreeBits: (kl, 0.6),
        SentenceDimensionFreeBits: (per_dimension, 0.2),
        BatchFreeBits: (kl.mean(), 0.6),
        FreeBits: (per_dimension.mean(0), 0.2),
    }[kind]
    assert (bounded > 0.85 * floor).all()  # one step below at most
    assert (bounded < 1.001 * floor).all()
    assert elbo.report["loss"].item() == pytest.approx(0.6, rel=1e-3)


@pytest.mark.parametrize("nats", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [SentenceFreeBits, SentenceDimensionFreeBits, BatchFreeBits, FreeBits])
def test_free_bits_that_are_no_number_of_nats_are_refused(kind, nats):
    with pytest.raises(ValueError, match=f"'nats' is {nats}, but what is free is finite and at least 0"):
        kind(nats=nats)


def test_the_hinge_asks_for_a_mean_kl_and_is_silent_above_it():
    draw = draw_of(rough())
    kl = float((draw.kl("c") + draw.kl("z")).mean())
    assert MIConstraint(nats=kl + 2)(draw).tolist() == pytest.approx([2.0] * 5)
    assert MIConstraint(nats=kl - 2)(draw).tolist() == [0.0] * 5


# The named objectives


@pytest.mark.parametrize(
    ("named", "composed"),
    [
        (BetaELBO(0.4), TextELBO(Reconstruction(), KL(0.4))),
        (BetaELBO(), TextELBO(Reconstruction(), KL())),
        (FreeBitsELBO(0.5, 0.9), TextELBO(Reconstruction(), FreeBits(0.9, 0.5))),
        (DispersedELBO(0.7), TextELBO(Reconstruction(), KL(), Dispersion(0.7))),
        (
            DispersedELBO(0.7, 1.0, Linear(10)),
            TextELBO(Reconstruction(), KL(Linear(10)), Dispersion(0.7 * Linear(10)), MutualInformation(Linear(10))),
        ),
        (
            DispersedELBO(0.5, 0.2, lambda step: step / 10),
            TextELBO(Reconstruction(), KL(0.4), Dispersion(0.2), MutualInformation(0.08)),
        ),
        (MutualInformationELBO(), TextELBO(Reconstruction(), KL(), MutualInformation())),
        (MIConstraintELBO(3.0, 9.0, 0.5), TextELBO(Reconstruction(), KL(0.5), MIConstraint(3.0, 9.0))),
    ],
    ids=lambda elbo: type(elbo).__name__,
)
def test_a_named_objective_is_the_sum_of_its_terms(named, composed):
    draw = draw_of(rough())
    named.step = composed.step = 4
    torch.testing.assert_close(named.weigh(draw), composed.weigh(draw))


def test_the_objectives_are_what_their_table_says():
    draw = draw_of(rough())
    r, kl = -draw.log_likelihood(), draw.kl("c") + draw.kl("z")
    dispersion, information = Dispersion()(draw), MutualInformation()(draw)
    torch.testing.assert_close(BetaELBO(0.4).weigh(draw), r + 0.4 * kl)
    torch.testing.assert_close(DispersedELBO(0.8).weigh(draw), r + kl - 0.8 * dispersion)
    torch.testing.assert_close(
        DispersedELBO(0.8, 0.5, 0.1).weigh(draw), r + 0.1 * (kl - 0.8 * dispersion - 0.5 * information)
    )
    torch.testing.assert_close(MutualInformationELBO().weigh(draw), r + kl - information)
    torch.testing.assert_close(MIConstraintELBO(2.0, 1e3).weigh(draw), r + kl + 2 * (1e3 - kl.mean()))


@pytest.mark.parametrize("dispersion", [-0.1, 1.1, float("nan")])
def test_a_dispersion_outside_zero_to_one_is_refused_with_the_reason(dispersion):
    with pytest.raises(ValueError, match=r"'dispersion' is .*; it lies in 0 .* lower the loss without bound"):
        DispersedELBO(dispersion)


def test_a_schedule_moves_the_weight_and_not_the_report():
    elbo, vae = BetaELBO(Cyclic(period=10)), recipes()["vae"](a_size()).vae
    draw = draw_of(vae)
    losses = []
    for step in range(10):
        elbo.step = step
        losses.append(float(elbo.weigh(draw).mean()))
        torch.testing.assert_close(elbo.report["elbo"], (draw.log_likelihood() - draw.kl("z")).mean())
    kl, reconstruction = float(draw.kl("z").mean()), -float(draw.log_likelihood().mean())
    assert losses == pytest.approx([reconstruction + min(1, step / 5) * kl for step in range(10)])


@pytest.mark.parametrize(
    ("term", "name"),
    [
        (Reconstruction(), "reconstruction"),
        (KL(), "kl"),
        (FreeBits(), "free_bits"),
        (SentenceFreeBits(), "sentence_free_bits"),
        (Dispersion(), "dispersion"),
        (MutualInformation(), "mutual_information"),
        (MIConstraint(), "mi_constraint"),
    ],
)
def test_a_term_is_reported_under_its_name_in_snake_case(term, name):
    assert term.name == name


def test_the_kl_term_takes_the_sites_it_names():
    draw = draw_of(rough())
    torch.testing.assert_close(KL(sites=("c",))(draw), draw.kl("c"))
    torch.testing.assert_close(KL()(draw), draw.kl("c") + draw.kl("z"))


def test_terms_are_values():
    assert KL(0.5) == KL(0.5) != KL(0.6)
    assert len({FreeBits(nats=0.25), FreeBits()}) == 1
