"""The densities between a posterior and the prior that importance weighting draws from."""

import pytest
import torch
import torch.distributions as td
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from pyro_textvae.distributions import AutoregressiveBernoulli, Concatenated, GumbelSoftmax, VonMisesFisher
from pyro_textvae.evaluation.codes import code_of, draw_codes, evaluating, posterior_of, z_of
from pyro_textvae.evaluation.proposals import Proposals, flattened, in_words, shares_of
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size
from tests.small import a_batch


def normal() -> tuple[td.Distribution, td.Distribution, Tensor]:
    q = td.Independent(td.Normal(torch.randn(2, 3), 0.1 + torch.rand(2, 3)), 1)
    return q, td.Independent(td.Normal(torch.zeros(2, 3), 1.0), 1), torch.randn(50, 2, 3)


def sphere() -> tuple[td.Distribution, td.Distribution, Tensor]:
    q = VonMisesFisher(normalize(torch.randn(2, 4), dim=-1), torch.tensor([3.0, 70.0]))
    return q, VonMisesFisher(q.loc, 0.0), normalize(torch.randn(50, 2, 4), dim=-1)


def classes() -> tuple[td.Distribution, td.Distribution, Tensor]:
    q = GumbelSoftmax(3 * torch.randn(2, 2, 3))
    return q, GumbelSoftmax(torch.zeros(2, 2, 3)), one_hot(torch.randint(3, (50, 2, 2)), 3).float().flatten(-2)


def bits() -> tuple[td.Distribution, td.Distribution, Tensor]:
    q = AutoregressiveBernoulli(3 * torch.randn(2, 4))
    return q, AutoregressiveBernoulli(torch.zeros(2, 4)), torch.randint(2, (50, 2, 4)).float()


def both() -> tuple[td.Distribution, td.Distribution, Tensor]:
    parts = list(zip(normal(), classes(), strict=True))
    return Concatenated(parts[0]), Concatenated(parts[1]), torch.cat(parts[2], -1)  # pyright: ignore


@pytest.mark.parametrize("family", [normal, sphere, classes, bits, both])
@pytest.mark.parametrize("share", [0.5, 0.125])
def test_a_flatter_relative_is_the_normalised_power_of_q_times_that_of_the_flat_one(family, share: float):
    q, flat, z = family()
    relative = flattened(q, share)
    assert (relative.batch_shape, relative.event_shape) == (q.batch_shape, q.event_shape)
    assert relative.sample(torch.Size([3])).shape == q.sample(torch.Size([3])).shape
    apart = relative.log_prob(z) - share * q.log_prob(z) - (1 - share) * flat.log_prob(z)  # a constant for each of B
    assert apart.std(0).max() < 2e-5 * (1 + q.log_prob(z).abs().max())
    assert (apart.mean(0) > -1e-5).all()  # a geometric mean of two densities has less than all of the mass


def test_connected_bits_are_flattened_each_given_those_before():
    q = AutoregressiveBernoulli(torch.randn(4), torch.randn(4, 4))
    relative, z = flattened(q, 0.25), torch.randint(2, (20, 4)).float()
    assert isinstance(relative, AutoregressiveBernoulli)
    torch.testing.assert_close(relative.conditional_logits(z), 0.25 * q.conditional_logits(z))


def test_a_family_without_a_flatter_relative_says_how_to_give_one():
    with pytest.raises(NotImplementedError, match=r"no flatter relative of a Gamma is known .*flattened\.register"):
        flattened(td.Gamma(1.0, 1.0), 0.5)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (20, "half of the posterior, half of flatter relatives of it and the prior"),
        (5, "3 of the posterior, 2 of flatter relatives of it, none of the prior"),
        (1, "1 of the posterior, 0 of flatter relatives of it, none of the prior"),
    ],
)
def test_a_page_says_what_the_draws_are_of(samples: int, words: str):
    assert sum(shares_of(samples)) == samples and in_words(samples) == words


@pytest.mark.parametrize(("samples", "counts"), [(20, [10, 3, 3, 2, 2]), (7, [4, 1, 1, 1]), (3, [2, 1]), (1, [1])])
def test_every_proposal_gets_its_part_of_the_draws_the_posterior_first(samples: int, counts: list[int]):
    vae = recipes()["gm_vae"](Size(vocabulary=20, hidden=6, embedding=5, latent=3), variables=2).vae
    batch = a_batch()
    with evaluating(vae, 0):
        q = posterior_of(draw_codes(vae, batch)[0])
        proposals = Proposals(vae, q, samples, tempered=True)
        assert proposals.counts == counts and proposals.densities[0] is q
        for place in range(len(counts)):
            z = proposals.draw(place, 3)
            assert z.shape == (3, 2, len(batch), 3)
            torch.testing.assert_close(z_of(vae, code_of(vae, z)), z)
