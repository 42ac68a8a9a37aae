"""The averaged prior and the dispersion: one identity over every family, and the cases that cancel."""

import math
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Distribution, kl_divergence
from torch.nn.functional import normalize

from pyro_textvae.distributions import OneHots, VonMisesFisher, average, dispersion

D = 4
# Each makes a batch of members from free numbers (*batch, D), and says how far they spread.
FAMILIES: dict[str, Callable[[Tensor], Distribution]] = {
    "normal": lambda free: dist.Normal(free[..., 0], (free[..., 1] / 3).exp()),
    "diagonal normal": lambda free: dist.Normal(free, (free.flip(-1) / 3).exp()).to_event(1),
    "torch's own normal": lambda free: torch.distributions.Normal(free[..., 0], (free[..., 1] / 3).exp()),
    "full-covariance normal": lambda free: dist.MultivariateNormal(
        free,
        scale_tril=torch.tril(free.sin()[..., None] * free.cos()[..., None, :], -1) + (free / 3).exp().diag_embed(),
    ),
    "gamma": lambda free: dist.Gamma(free[..., 0].exp(), free[..., 1].exp()),
    "independent gammas": lambda free: dist.Gamma(free.exp(), free.flip(-1).exp()).to_event(1),
    "dirichlet": lambda free: dist.Dirichlet(free.exp()),
    "categorical": lambda free: dist.Categorical(logits=free),
    "categorical by probabilities": lambda free: dist.Categorical(probs=free.softmax(-1)),
    "one-hot categorical": lambda free: dist.OneHotCategorical(logits=free),
    "independent categoricals": lambda free: dist.Categorical(logits=free[..., None] * free[..., None, :]).to_event(1),
    "one-hots": lambda free: OneHots(free[..., None] * torch.stack((free.sin(), free.cos(), free), -1)),
    "bernoulli": lambda free: dist.Bernoulli(logits=free[..., 0]),
    "independent bernoullis": lambda free: dist.Bernoulli(logits=free).to_event(1),
    "von mises-fisher": lambda free: VonMisesFisher(normalize(free, dim=-1), free.square().sum(-1)),
}
family = pytest.mark.parametrize("members", FAMILIES.values(), ids=FAMILIES.keys())
Q = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def free(*shape: int, seed: int, spread: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def both_sides(r: Distribution, components: Distribution, weights: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """sum_c q_c KL(r || p_c), and KL(r || average) + dispersion; r has no axis of members."""
    # In full, since torch's KL of two Bernoullis does not broadcast; the axis of members is the first in these tests.
    left = (weights * kl_divergence(r.expand(components.batch_shape), components)).sum(dim)
    return left, kl_divergence(r, average(components, weights, dim)) + dispersion(components, weights, dim)


@family
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), members_count=st.integers(1, 6), spread=st.floats(1e-3, 5.0))
def test_the_mean_kl_to_the_members_is_the_kl_to_their_average_and_the_dispersion(
    members: Callable[[Tensor], Distribution], seed: int, members_count: int, spread: float
):
    M, B = 2, 3
    components = members(free(members_count, M, B, D, seed=seed, spread=spread))
    weights = free(members_count, M, B, seed=seed + 1, spread=2.0).softmax(0)
    r = members(free(M, B, D, seed=seed + 2))
    left, right = both_sides(r, components, weights, -3)
    assert left.shape == right.shape == (M, B)
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-11)
    assert (dispersion(components, weights, -3) >= 0).all()


@family
def test_the_average_keeps_the_family_and_loses_the_axis(members: Callable[[Tensor], Distribution]):
    components = members(free(3, 2, 5, D, seed=0))
    for dim, shape in ((-3, (2, 5)), (-2, (3, 5)), (-1, (3, 2))):
        weights = free(3, 2, 5, seed=1).softmax(dim)
        mean = average(components, weights, dim)
        assert isinstance(mean, TorchDistributionMixin)  # also where the members are torch's own
        assert isinstance(mean, type(components))
        assert mean.batch_shape == dispersion(components, weights, dim).shape == shape
        assert mean.event_shape == components.event_shape


@family
def test_weights_broadcast_against_members_that_all_sentences_share(members: Callable[[Tensor], Distribution]):
    K, M, B = 3, 2, 5
    numbers, weights = free(K, M, 1, D, seed=0), free(K, M, B, seed=1).softmax(0)
    shared, repeated = members(numbers), members(numbers.expand(K, M, B, D))
    torch.testing.assert_close(dispersion(shared, weights, -3), dispersion(repeated, weights, -3))
    a, b = average(shared, weights, -3), average(repeated, weights, -3)
    assert a.batch_shape == b.batch_shape == (M, B)
    torch.testing.assert_close(kl_divergence(a, b), torch.zeros(M, B, dtype=torch.float64), atol=1e-12, rtol=0)


@family
def test_the_average_of_equal_members_is_that_member_and_nothing_is_dispersed(
    members: Callable[[Tensor], Distribution],
):
    numbers = free(1, 5, D, seed=0)
    components = members(numbers.expand(3, 5, D))
    weights = free(3, 5, seed=1).softmax(0)
    one = members(numbers[0])
    zero = torch.zeros(5, dtype=torch.float64)
    torch.testing.assert_close(dispersion(components, weights, -2), zero, atol=1e-14, rtol=0)
    torch.testing.assert_close(kl_divergence(one, average(components, weights, -2)), zero, atol=1e-12, rtol=0)


@family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_all_the_weight_on_one_member_the_dispersion_is_zero_and_its_gradients_are_finite(
    members: Callable[[Tensor], Distribution], dtype: torch.dtype
):
    numbers = free(3, 6, D, seed=0, spread=3.0, dtype=dtype).requires_grad_()
    weights = torch.eye(3, dtype=dtype).repeat(1, 2).requires_grad_()  # (3, 6): each member in turn
    result = dispersion(members(numbers), weights, -2)
    torch.testing.assert_close(result, torch.zeros_like(result), atol=1e-25, rtol=0)
    for gradient in torch.autograd.grad(result.sum(), (numbers, weights)):
        assert gradient.isfinite().all()
    mean = average(members(numbers), weights, -2)
    value = mean.log_prob(mean.sample())
    for gradient in torch.autograd.grad(value.sum(), (numbers, weights)):
        assert gradient.isfinite().all()


@family
def test_a_member_without_weight_counts_for_nothing(members: Callable[[Tensor], Distribution]):
    numbers = free(3, 6, D, seed=0, spread=3.0)
    some = torch.cat((Q[:2] / Q[:2].sum(), torch.zeros(1, dtype=torch.float64)))[:, None]
    torch.testing.assert_close(
        dispersion(members(numbers), some, -2), dispersion(members(numbers[:2]), some[:2], -2), rtol=1e-12, atol=0
    )


@family
def test_first_derivatives_of_both_are_right(members: Callable[[Tensor], Distribution]):
    r = members(free(2, D, seed=2))

    def values(numbers: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        components, weights = members(numbers), logits.softmax(0)
        return dispersion(components, weights, -2), kl_divergence(r, average(components, weights, -2))

    inputs = (free(3, 2, D, seed=0).requires_grad_(), free(3, 2, seed=1).requires_grad_())
    assert gradcheck(values, inputs)


@pytest.mark.parametrize(
    ("means", "log_variance", "expected"),
    [((100.0, 100.01, 99.99), 0.0, 3.45e-5), ((1000.0, 1000.01, 999.99), -4.0, 1.89e-3)],
)
def test_float32_gaussians_far_from_zero_and_near_one_another_keep_their_dispersion(
    means: tuple[float, ...], log_variance: float, expected: float
):
    weights = torch.tensor([0.3, 0.4, 0.3])
    narrow = dist.Normal(torch.tensor(means), math.exp(log_variance / 2))
    # float32 holds such means to 4e-6 and 3e-5: what it does to the inputs is not the formula's doing.
    wide = dist.Normal(torch.tensor(means).double(), math.exp(log_variance / 2))
    got = dispersion(narrow, weights, -1)
    assert got.item() == pytest.approx(dispersion(wide, weights.double(), -1).item(), rel=1e-4)
    assert got.item() == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("apart", [1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("far", [0.0, 1000.0])
def test_float32_full_covariance_gaussians_keep_their_dispersion(far: float, apart: float):
    numbers = (free(1, 4, D, seed=0) + free(3, 4, D, seed=1, spread=apart)).float()
    narrow = FAMILIES["full-covariance normal"](numbers)
    assert isinstance(narrow, torch.distributions.MultivariateNormal)
    # The same float32 numbers in float64: what making them rounds is not the formula's doing.
    loc, scale_tril = narrow.loc + far, narrow.scale_tril
    narrow = dist.MultivariateNormal(loc, scale_tril=scale_tril)
    wide = dist.MultivariateNormal(loc.double(), scale_tril=scale_tril.double())
    weights = Q.float()[:, None]
    torch.testing.assert_close(
        dispersion(narrow, weights, -2).double(), dispersion(wide, weights.double(), -2), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("log_variance", [-80.0, 80.0])
def test_float32_gaussians_of_extreme_variance_give_finite_dispersion_and_gradients(log_variance: float):
    numbers = torch.tensor([log_variance, 0.0, 1.0], requires_grad=True)
    weights = torch.tensor([0.0, 0.6, 0.4], requires_grad=True)
    result = dispersion(dist.Normal(torch.zeros(3), (numbers / 2).exp()), weights, -1)
    assert result.isfinite()
    for gradient in torch.autograd.grad(result, (numbers, weights)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    "name",
    ["normal", "diagonal normal", "categorical", "one-hots", "bernoulli", "von mises-fisher"],
)
@pytest.mark.parametrize("apart", [1e-3, 1e-2, 1.0])
def test_float32_dispersion_is_that_of_float64(name: str, apart: float):
    numbers = (free(1, 4, D, seed=0) + free(3, 4, D, seed=1, spread=apart)).float()
    narrow = dispersion(FAMILIES[name](numbers), Q.float()[:, None], -2)
    wide = dispersion(FAMILIES[name](numbers.double()), Q[:, None], -2)
    # The members' own parameters (a log, a softmax, a unit vector) are rounded to 6e-8, against a spread of `apart`.
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-6 / apart + 1e-5, atol=0)


def test_the_gaussian_vector():
    mean = torch.tensor([[-1, 0.5], [0, 2], [3, -1]], dtype=torch.float64)
    log_variance = torch.tensor([[0, -0.5], [0.3, 0.1], [-1, 0.7]], dtype=torch.float64)
    components = dist.Normal(mean, (log_variance / 2).exp()).to_event(1)
    r = dist.Normal(torch.tensor([0.4, -0.2]).double(), (torch.tensor([-0.3, 0.2]).double() / 2).exp()).to_event(1)
    averaged = average(components, Q, -1)
    assert averaged.mean.tolist() == pytest.approx([1.6209422932, 0.9888259376], abs=1e-7)
    assert averaged.variance.tolist() == pytest.approx([0.7215560830, 1.0739540269], abs=1e-9)
    assert kl_divergence(r, averaged).item() == pytest.approx(1.6954645109, abs=1e-7)
    assert dispersion(components, Q, -1).item() == pytest.approx(2.6468140356, abs=1e-9)
    assert both_sides(r, components, Q, -1)[0].item() == pytest.approx(4.3422785466, abs=1e-7)
    common = dist.Normal(mean, math.sqrt(0.7)).to_event(1)
    assert dispersion(common, Q, -1).item() == pytest.approx(2.9428571429, abs=1e-9)


@pytest.mark.parametrize("kind", [dist.Categorical, dist.OneHotCategorical])
def test_the_categorical_vector(kind: Callable[..., Distribution]):
    components = kind(logits=torch.tensor([[1, -0.5, 0], [-1, 2, 0], [0.3, 0.3, 0]], dtype=torch.float64))
    r = kind(probs=Q)
    averaged = average(components, Q, -1)
    assert averaged.probs.tolist() == pytest.approx([0.1800570606, 0.5978104941, 0.2221324453], abs=1e-9)
    assert kl_divergence(r, averaged).item() == pytest.approx(0.0218284607, abs=1e-9)
    assert dispersion(components, Q, -1).item() == pytest.approx(0.2657922408, abs=1e-9)
    assert both_sides(r, components, Q, -1)[0].item() == pytest.approx(0.2876207015, abs=1e-9)


def test_the_von_mises_fisher_vector():
    e = torch.eye(5, dtype=torch.float64)
    loc = torch.stack((e[0], e[1], 0.6 * e[0] + 0.8 * e[1]))
    components = VonMisesFisher(loc, torch.tensor([5.0, 10.0, 20.0], dtype=torch.float64))
    r = VonMisesFisher(torch.tensor([0.6, 0, 0.8, 0, 0], dtype=torch.float64), 15.0)
    assert components.log_normalizer.tolist() == pytest.approx([5.2338028542, 8.9652234337, 17.6329962913], abs=1e-9)
    assert r.mean_cosine.item() == pytest.approx(0.8714285714, abs=1e-9)
    averaged = average(components, Q, -1)
    assert averaged.concentration.item() == pytest.approx(10.8258948822, abs=1e-9)
    assert kl_divergence(r, averaged).item() == pytest.approx(7.1164722907, abs=1e-9)
    assert dispersion(components, Q, -1).item() == pytest.approx(1.1784237396, abs=1e-9)
    assert both_sides(r, components, Q, -1)[0].item() == pytest.approx(8.2948960302, abs=1e-9)
    equal = VonMisesFisher(loc, 20.0)
    assert dispersion(equal, Q, -1).item() == pytest.approx(3.0052179557, abs=1e-9)
    nothing_left = VonMisesFisher(loc, 0.0).log_normalizer[0]
    assert (equal.log_normalizer[0] - nothing_left).item() == pytest.approx(14.3627072666, abs=1e-9)


def test_members_that_cancel_average_to_the_uniform_distribution_with_finite_gradients():
    pole = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    loc = torch.stack((pole, -pole)).requires_grad_()
    k = torch.tensor([4.0, 4.0], dtype=torch.float64, requires_grad=True)
    half = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    components = VonMisesFisher(loc, k)
    averaged = average(components, half, -1)
    assert averaged.concentration == 0
    value = dispersion(components, half, -1) + averaged.log_prob(pole)
    assert dispersion(components, half, -1).item() == pytest.approx(
        (components.log_normalizer[0] - math.log(4 * math.pi)).item()
    )
    for gradient in torch.autograd.grad(value, (loc, k, half)):
        assert gradient.isfinite().all()


def test_nothing_is_lost_by_a_mixture_of_one():
    components = dist.Normal(torch.tensor([[1.5, -2.0]]), 1.0)
    assert dispersion(components, torch.ones(1, 1), -2).tolist() == [0.0, 0.0]


def test_an_axis_counted_from_the_left_is_refused():
    with pytest.raises(ValueError, match="negative"):
        dispersion(dist.Normal(torch.zeros(3), 1.0), torch.ones(3) / 3, 0)


@pytest.mark.parametrize("function", [average, dispersion])
def test_a_family_that_is_not_known_is_named_with_what_to_do(function: Callable[..., object]):
    with pytest.raises(NotImplementedError, match=r"Poisson.*register"):
        function(dist.Poisson(torch.ones(3)), torch.ones(3) / 3, -1)
