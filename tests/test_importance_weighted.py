"""The importance-weighted bound as an objective."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO
from small import a_batch, a_size, gradients_of, roughen
from torch.distributions import Normal

from pyro_textvae.batch import Batch
from pyro_textvae.objective import Objective
from pyro_textvae.recipes import recipes
from pyro_textvae.terms import BagOfWords, BetaELBO, ImportanceWeightedELBO
from pyro_textvae.vae import MAX_PLATE_NESTING, TextVAE


def rough(name: str) -> TextVAE:
    vae = recipes()[name](a_size()).vae
    roughen(vae)
    return vae.double()


@pytest.mark.parametrize("name", ["vae", "vmf_vae", "bn_vae", "delta_vae"])
def test_it_is_the_log_of_the_mean_weight_and_its_gradient_is_that(name):
    vae, batch = rough(name), a_batch()
    pyro.set_rng_seed(5)
    ours = ImportanceWeightedELBO(3).differentiable_loss(vae.model, vae.guide, batch)
    pyro.set_rng_seed(5)
    copies = batch.repeat(3)
    q = vae.q_z(copies)
    z = q.rsample()
    weights = vae.decoder.log_prob(z, copies) + vae.prior.log_prob(z) - q.log_prob(z)
    theirs = -weights.reshape(3, 5).exp().mean(0).log().sum()
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients_of(vae, ours), gradients_of(vae, theirs), rtol=1e-8, atol=1e-9)


def test_of_a_single_sentence_it_is_pyros_renyi_bound_at_alpha_zero():
    vae, batch = rough("vae"), a_batch([[4, 5, 6]])
    pyros = RenyiELBO(alpha=0, num_particles=4, max_plate_nesting=MAX_PLATE_NESTING)
    pyro.set_rng_seed(0)
    theirs = torch.tensor([pyros.loss(vae.model, vae.guide, batch) for _ in range(200)])
    with torch.no_grad():
        many = ImportanceWeightedELBO(4).differentiable_loss(vae.model, vae.guide, batch.repeat(4000)) / 4000
        elbo = BetaELBO().differentiable_loss(vae.model, vae.guide, batch.repeat(4000)) / 4000
    error = theirs.std() / math.sqrt(len(theirs))
    assert abs(theirs.mean() - many) < 4 * error
    assert elbo - many > 4 * error  # or the two would be one bound


def test_it_lies_between_the_elbo_and_log_p_and_more_samples_bring_it_nearer():
    """x | z ~ Normal(z, 1): log p(x) is known, and no objective may exceed it."""

    def model(batch: Batch) -> None:
        with pyro.plate("sentences", len(batch), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.squeeze(-1), 1.0), obs=torch.full((len(batch),), 1.5).double())

    def guide(batch: Batch) -> None:
        with pyro.plate("sentences", len(batch), dim=-1):
            mean = torch.full((len(batch), 1), 0.2).double()  # the posterior's is 0.75, its deviation 0.71
            pyro.sample("z", dist.Normal(mean, 0.9).to_event(1))

    pyro.set_rng_seed(0)
    batch = a_batch([[4]] * 20_000)
    exact = -Normal(0.0, math.sqrt(2.0)).log_prob(torch.tensor(1.5)).item()
    plain = 0.5 * (1.3**2 + 0.9**2 + math.log(2 * math.pi))  # reconstruction and KL, by hand
    plain += 0.5 * (0.9**2 + 0.2**2 - 1) - math.log(0.9)
    losses: list[float] = []
    for samples in (1, 4, 16):
        elbo = ImportanceWeightedELBO(samples)
        losses.append((elbo.differentiable_loss(model, guide, batch) / len(batch)).item())
        assert elbo.report["loss"].item() == pytest.approx(losses[-1])
        assert -elbo.report["elbo"].item() == pytest.approx(plain, abs=0.04)
    assert losses[0] == pytest.approx(plain, abs=0.04)
    assert losses[0] > losses[1] + 0.02 > losses[2] + 0.02 > exact
    assert losses[2] == pytest.approx(exact, abs=0.03)


def test_with_the_true_posterior_one_sample_is_enough():
    def model(batch: Batch) -> None:
        with pyro.plate("sentences", 5, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.squeeze(-1), 1.0), obs=torch.full((5,), 1.5).double())

    def guide(batch: Batch) -> None:
        with pyro.plate("sentences", len(batch), dim=-1):
            pyro.sample("z", dist.Normal(torch.full((len(batch), 1), 0.75).double(), math.sqrt(0.5)).to_event(1))

    exact = -Normal(0.0, math.sqrt(2.0)).log_prob(torch.tensor(1.5).double()).item()
    loss = ImportanceWeightedELBO(1).differentiable_loss(model, guide, a_batch())
    assert loss.item() == pytest.approx(5 * exact, abs=1e-6)


def test_its_recipe_trains_on_it():
    torch.manual_seed(0)
    made = recipes()["iwae"](a_size(), samples=3)
    objective, losses = Objective(made.vae, made.objective), []
    optimiser = torch.optim.Adam(made.vae.parameters(), lr=0.02)
    for step in range(20):
        optimiser.zero_grad()
        loss = objective(a_batch(), step)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert losses[-1] == made.objective.report["loss"].item()


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("gm_vae", "'c' is a Categorical"),
        ("ae", "'z' is a Delta"),
        ("dvae", "'z' is a GumbelSoftmax"),
        ("fdarn", "'z' is a AutoregressiveBernoulli"),
    ],
)
def test_what_has_no_importance_weights_is_refused(name, site):
    vae = recipes()[name](a_size()).vae
    with pytest.raises(ValueError, match=f"site {site}, but importance weights need a z drawn from a density"):
        ImportanceWeightedELBO(2).differentiable_loss(vae.model, vae.guide, a_batch())


def test_a_bound_that_is_no_sum_takes_no_further_terms():
    with pytest.raises(ValueError, match="is no sum of terms, so none can be added to it"):
        ImportanceWeightedELBO(2).with_terms(BagOfWords())
