from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from small import SENTENCES, a_batch, a_size, options_of
from torch import nn

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import BOS
from pyro_textvae.decoders import Sentences
from pyro_textvae.posteriors import BatchNormalisedMean
from pyro_textvae.recipes import recipes
from pyro_textvae.vae import TextVAE

EVERY_RECIPE = pytest.mark.parametrize("name", list(recipes()))


def a_vae(name: str = "vae", **changes) -> TextVAE:
    return recipes()[name](a_size(**changes), **options_of(name, variables=2, components=4)).vae


def trace_of(program: Callable[..., Any], batch: Batch) -> Any:
    return poutine.trace(program).get_trace(batch)


@EVERY_RECIPE
def test_the_model_observes_the_sentences_and_the_guide_draws_the_models_latent_sites(name):
    vae, batch = a_vae(name), a_batch()
    model, guide = trace_of(vae.model, batch), trace_of(vae.guide, batch)
    assert model.observation_nodes == ["x"]
    assert model.nodes["x"]["value"] is batch.tokens
    assert guide.stochastic_nodes == model.stochastic_nodes


@EVERY_RECIPE
def test_the_program_pyro_trains_registers_every_parameter_and_the_other_none(name):
    vae, batch = a_vae(name), a_batch()
    vae.generative(batch)
    vae.inference(batch)
    assert list(pyro.get_param_store().keys()) == []
    vae.model(batch)
    vae.guide(batch)
    registered = {id(value) for _, value in pyro.get_param_store().named_parameters()}
    assert registered == {id(parameter) for parameter in vae.parameters()}


@EVERY_RECIPE
def test_unconditioned_the_model_dreams_sentences(name):
    dream = trace_of(poutine.uncondition(a_vae(name).model), a_batch()).nodes["x"]["value"]
    assert dream.shape == a_batch().tokens.shape
    assert (dream[:, 0] == BOS).all()


def test_a_mixture_has_the_shapes_of_its_variables():
    trace = trace_of(a_vae("gm_vae").model, a_batch())
    assert trace.nodes["c"]["value"].shape == (2, len(SENTENCES))
    assert trace.nodes["z"]["value"].shape == (2, len(SENTENCES), 3)
    assert trace.nodes["_RETURN"]["value"].shape == (len(SENTENCES), 6)
    assert isinstance(trace.nodes["x"]["fn"], Sentences)


@pytest.mark.parametrize(("scheme", "width"), [("he2019", 0.01), ("kim2018", 0.1)])
def test_a_papers_initialisation_is_uniform_and_of_its_width(scheme, width):
    vae = a_vae("bn_vae", initialisation=scheme, tied=True, bidirectional=True)
    checked: set[int] = set()
    for module in vae.modules():
        limit = 0.1 if isinstance(module, nn.Embedding) else width
        if isinstance(module, nn.Embedding | nn.RNNBase | nn.Linear):
            for parameter in module.parameters():
                assert parameter.abs().max().item() <= limit
                assert parameter.numel() < 10 or parameter.abs().max().item() > 0.6 * limit
                checked.add(id(parameter))
    left = [parameter for parameter in vae.parameters() if id(parameter) not in checked]
    assert not any(parameter.any() for parameter in left)  # the shift and the output bias
    (normalise,) = (module for module in vae.modules() if isinstance(module, BatchNormalisedMean))
    assert normalise.gamma.item() == pytest.approx(0.7)


def test_the_small_initialisation_leaves_the_components_apart():
    prior: Any = a_vae("gm_vae", initialisation="he2019").prior
    assert prior.mean.std().item() > 0.5


def test_a_model_of_equal_seed_is_equal():
    def weights() -> list[torch.Tensor]:
        pyro.set_rng_seed(3)
        return list(a_vae("dem_vae").parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))
