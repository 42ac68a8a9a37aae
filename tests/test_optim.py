"""JointOptim: Pyro's SVI with one torch optimiser over all parameters."""

import pyro
import torch
from pyro.infer import SVI, TraceMeanField_ELBO

from pyro_textvae.batch import Batch
from pyro_textvae.objective import Objective
from pyro_textvae.optim import JointOptim
from pyro_textvae.recipes import Recipe, recipes
from pyro_textvae.size import Size
from pyro_textvae.vae import MAX_PLATE_NESTING

ADAMW = {"lr": 1e-2, "fused": True, "weight_decay": 0.0}


def built() -> Recipe:
    torch.manual_seed(0)
    return recipes()["vae"](Size(vocabulary=20, hidden=8, embedding=6, latent=3))


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch.collate([torch.randint(4, 20, (n,), generator=generator).numpy() for n in (3, 5, 4)])


def test_svi_with_it_steps_as_torch_does_on_the_module():
    by_svi, by_hand, sentences = built(), built(), batch()
    svi = SVI(by_svi.vae.model, by_svi.vae.guide, JointOptim(torch.optim.AdamW, ADAMW), by_svi.objective)
    objective = Objective(by_hand.vae, by_hand.objective)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2, fused=True, weight_decay=0.0)
    for step in range(5):
        torch.manual_seed(step)
        svi.step(sentences)
        torch.manual_seed(step)
        optimizer.zero_grad()
        (objective(sentences, step) * len(sentences)).backward()  # SVI sums over the sentences
        optimizer.step()
    for ours, theirs in zip(by_svi.vae.parameters(), by_hand.vae.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_its_clip_bounds_the_joint_norm():
    recipe, sentences = built(), batch()
    before = [parameter.detach().clone() for parameter in recipe.vae.parameters()]
    optim = JointOptim(torch.optim.SGD, {"lr": 1.0}, clip=0.5)
    elbo = TraceMeanField_ELBO(max_plate_nesting=MAX_PLATE_NESTING)
    SVI(recipe.vae.model, recipe.vae.guide, optim, elbo).step(sentences)
    moved = [now.detach() - then for now, then in zip(recipe.vae.parameters(), before, strict=True)]
    torch.testing.assert_close(torch.cat([each.flatten() for each in moved]).norm(), torch.tensor(0.5))


def test_its_state_goes_on_in_another():
    whole, sentences = built(), batch()
    svi = SVI(whole.vae.model, whole.vae.guide, JointOptim(torch.optim.AdamW, ADAMW), whole.objective)
    halves, optim = built(), JointOptim(torch.optim.AdamW, ADAMW)
    for step in range(4):
        torch.manual_seed(step)
        svi.step(sentences)
    pyro.clear_param_store()
    for half in ((0, 1), (2, 3)):
        state = optim.get_state()
        optim = JointOptim(torch.optim.AdamW, ADAMW)
        if state:
            optim.set_state(state)
        other = SVI(halves.vae.model, halves.vae.guide, optim, halves.objective)
        for step in half:
            torch.manual_seed(step)
            other.step(sentences)
    for ours, theirs in zip(whole.vae.parameters(), halves.vae.parameters(), strict=True):
        assert torch.equal(ours, theirs)
