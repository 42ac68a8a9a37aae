import pytest
import torch
from small import a_batch, a_size, roughen
from torch import Tensor

from pyro_textvae.objective import Objective
from pyro_textvae.recipes import Recipe, recipes
from pyro_textvae.refine import SemiAmortisedVAE
from pyro_textvae.schedules import END


def a_semi_amortised(double: bool = True, **options) -> tuple[Recipe, SemiAmortisedVAE]:
    torch.manual_seed(0)
    made = recipes()["sa_vae"](a_size(), **{"steps": 4, "warm_up": 0} | options)
    assert isinstance(made.vae, SemiAmortisedVAE)
    roughen(made.vae)
    return made, made.vae.double() if double else made.vae


def loss_of(made: Recipe) -> Tensor:
    torch.manual_seed(1)
    return Objective(made.vae, made.objective)(a_batch(), 3)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("warm_up", [0, 5])
def test_training_differentiates_through_the_steps(cell, warm_up):
    """Of every parameter's gradient, the part along a random direction equals the finite difference."""
    torch.manual_seed(0)
    made = recipes()["sa_vae"](a_size(cell=cell), steps=3, warm_up=warm_up, rate=0.7)
    roughen(made.vae)
    made.vae.double()
    parameters = dict(made.vae.named_parameters())
    gradients = torch.autograd.grad(loss_of(made), list(parameters.values()))
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        direction, size = torch.randn_like(parameter), 1e-5
        with torch.no_grad():
            parameter += size * direction
            above = loss_of(made)
            parameter -= 2 * size * direction
            below = loss_of(made)
            parameter += size * direction
        expected = (above - below) / (2 * size)
        torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-5, atol=1e-7, msg=name)


def test_refinement_lowers_the_bound_of_most_sentences_and_more_steps_lower_it_further():
    bounds = []
    for steps in (1, 5, 40):
        _, vae = a_semi_amortised(steps=steps, rate=2.0)
        vae.eval()
        batch = a_batch()
        torch.manual_seed(2)
        q = vae.q_z(batch)
        z = q.rsample(torch.Size([400]))
        log_ratio = q.log_prob(z) - vae.prior.log_prob(z.flatten(0, 1)).unflatten(0, (400, -1))
        likelihood = vae.decoder.log_prob(z.flatten(0, 1), batch.repeat(400)).unflatten(0, (400, -1))
        bounds.append((likelihood - log_ratio).mean().item())
    assert bounds[0] < bounds[1] < bounds[2]


def test_evaluation_refines_with_the_whole_kl_and_keeps_no_graph():
    made, vae = a_semi_amortised(warm_up=1000)
    vae.eval()
    with torch.no_grad():
        torch.manual_seed(3)
        q = vae.q_z(a_batch())
        made.objective.step = END
        torch.manual_seed(3)
        again = vae.q_z(a_batch())
    assert not q.mean.requires_grad and torch.equal(q.mean, again.mean)
    vae.train()
    made.objective.step = 0  # where the KL has no weight yet
    torch.manual_seed(3)
    assert not torch.equal(vae.q_z(a_batch()).mean, q.mean)


def test_a_fixed_encoder_can_be_refined_from():
    _, vae = a_semi_amortised()
    vae.encoder.requires_grad_(False)
    vae.posterior.requires_grad_(False)
    vae.q_z(a_batch()).mean.sum().backward()
    assert vae.decoder.embedding.weight.grad is not None


def test_no_step_is_no_refinement():
    with pytest.raises(ValueError, match=r"'steps' is 0.*train 'vae'"):
        recipes()["sa_vae"](a_size(), steps=0)
