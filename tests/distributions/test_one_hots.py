"""One-hots, their relaxation, and vectors laid end to end, against enumeration and torch's own distributions."""

import itertools

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_textvae.distributions import Concatenated, GumbelSoftmax, OneHots

N, J = 3, 4


def logits(*batch: int, seed: int = 0) -> Tensor:
    return torch.randn(*batch, N, J, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vertices() -> Tensor:
    """Every value: (J^N, N J)."""
    eye = torch.eye(J, dtype=torch.float64)
    return torch.stack([eye[list(classes)].flatten() for classes in itertools.product(range(J), repeat=N)])


@pytest.mark.parametrize("kind", [OneHots, GumbelSoftmax])
def test_the_probabilities_of_all_values_add_up_to_one_and_are_the_products_of_the_classes(kind):
    q = kind(logits())
    log_p = q.log_prob(vertices())
    assert log_p.exp().sum().item() == pytest.approx(1)
    independent = dist.OneHotCategorical(logits=logits()).to_event(1)
    torch.testing.assert_close(log_p, independent.log_prob(vertices().unflatten(-1, (N, J))))
    torch.testing.assert_close(q.mean, log_p.exp() @ vertices())
    torch.testing.assert_close(q.variance, log_p.exp() @ vertices().square() - q.mean.square())


def test_the_kl_is_the_sum_over_all_values_and_broadcasts():
    q, p = GumbelSoftmax(logits(2, 5)), OneHots(logits(3, 1, 1, seed=1))
    values = vertices()[:, None, None]
    log_q, log_p = q.log_prob(values), p.expand((3, 1, 5)).log_prob(values[:, None])
    expected = (log_q.exp()[:, None] * (log_q[:, None] - log_p)).sum(0)
    torch.testing.assert_close(kl_divergence(q, p), expected)
    assert kl_divergence(q, q).abs().max() < 1e-12


@pytest.mark.parametrize(("kind", "draw"), [(OneHots, "sample"), (GumbelSoftmax, "sample"), (GumbelSoftmax, "rsample")])
def test_draws_are_one_hots_as_often_as_their_probability_says(kind, draw):
    q = kind(logits(2), **({"straight_through": True} if draw == "rsample" else {}))
    drawn = getattr(q, draw)(torch.Size([40_000]))
    assert drawn.shape == (40_000, 2, N * J)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn.unflatten(-1, (N, J)).sum(-1) == 1).all()
    torch.testing.assert_close(drawn.mean(0), q.mean, atol=0.01, rtol=0)
    # Variables are independent: the joint table of two of them is the product of their own.
    pair = torch.einsum("sbi,sbj->bij", drawn[..., :J], drawn[..., J : 2 * J]) / len(drawn)
    torch.testing.assert_close(pair, q.probs[:, 0, :, None] * q.probs[:, 1, None, :], atol=0.01, rtol=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_relaxed_draw_is_distributed_as_torchs_own(temperature):
    q = GumbelSoftmax(logits(), temperature)
    theirs = dist.RelaxedOneHotCategorical(torch.tensor(temperature).double(), logits=logits()).to_event(1)
    ours, reference = (each.rsample(torch.Size([50_000])).reshape(50_000, -1) for each in (q, theirs))
    torch.testing.assert_close(ours.mean(0), reference.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(ours.T.cov(), reference.T.cov(), atol=0.01, rtol=0)
    assert (ours > 0).all() and torch.allclose(ours.unflatten(-1, (N, J)).sum(-1), torch.ones(()).double())


def test_a_cold_draw_is_nearly_a_one_hot_and_its_gradient_nearly_that_of_the_expectation():
    free = logits().requires_grad_()
    weight = torch.linspace(-1, 2, N * J, dtype=torch.float64)
    exact = torch.autograd.grad(GumbelSoftmax(free).mean @ weight, free)[0]
    for straight_through in (False, True):
        drawn = GumbelSoftmax(free, 0.3, straight_through).rsample(torch.Size([200_000]))
        gradient = torch.autograd.grad((drawn @ weight).mean(), free)[0]
        torch.testing.assert_close(gradient, exact, atol=0.04, rtol=0)  # biased, but for a temperature of 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_straight_through_gradient_is_that_of_the_relaxed_draw_with_the_same_noise(temperature):
    weight = torch.randn(5, N * J, dtype=torch.float64)
    gradients = []
    for straight_through in (True, False):
        free = logits(5).requires_grad_()
        torch.manual_seed(1)
        drawn = GumbelSoftmax(free, temperature, straight_through).rsample(torch.Size([3]))
        gradients.append(torch.autograd.grad((drawn * weight).sum(), free)[0])
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)
    # That of a softmax by hand, whose noise is the same draw of exponentials.
    torch.manual_seed(1)
    noise = -torch.empty(3, 5, N, J, dtype=torch.float64).exponential_().log()
    p = ((logits(5) + noise) / temperature).softmax(-1)
    w = weight.unflatten(-1, (N, J))
    expected = (p * (w - (p * w).sum(-1, keepdim=True)) / temperature).sum(0)
    # The logits are normalised first, which takes from the gradient of a variable its sum, and that is 0.
    torch.testing.assert_close(gradients[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [OneHots, GumbelSoftmax])
def test_expanding_keeps_what_it_is(kind):
    q = kind(logits(5)).expand((2, 5))
    assert type(q) is kind and q.batch_shape == (2, 5) and q.event_shape == (N * J,)
    assert q.sample().shape == (2, 5, N * J)
    if kind is GumbelSoftmax:
        hot = GumbelSoftmax(logits(5), 0.7, True).expand((2, 5))
        assert (hot.temperature, hot.straight_through) == (0.7, True)
        assert hot.rsample().max() == 1


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match=r"'temperature' is .*, but that of a Gumbel-softmax is positive"):
        GumbelSoftmax(logits(), temperature)


def test_a_variable_of_one_class_is_refused():
    with pytest.raises(ValueError, match="with at least 2 classes"):
        OneHots(torch.zeros(3, 1))


def test_vectors_end_to_end_are_scored_drawn_and_described_part_by_part():
    q_c, q_z = GumbelSoftmax(logits(5)), dist.Normal(torch.randn(5, 2).double(), 0.5).to_event(1)
    both = Concatenated([q_c, q_z])
    assert both.batch_shape == (5,) and both.event_shape == (N * J + 2,)
    drawn = both.sample(torch.Size([7]))
    assert drawn.shape == (7, 5, N * J + 2)
    c, z = drawn.split([N * J, 2], -1)
    assert set(c.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(both.log_prob(drawn), q_c.log_prob(c) + q_z.log_prob(z))
    torch.testing.assert_close(both.mean, torch.cat([q_c.mean, q_z.mean], -1))
    torch.testing.assert_close(both.variance, torch.cat([q_c.variance, q_z.variance], -1))
    assert both.expand((3, 5)).sample().shape == (3, 5, N * J + 2)
