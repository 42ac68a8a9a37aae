"""Binary variables in a row, against enumeration and the chain rule taken by hand."""

import itertools
import math

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_textvae.distributions import AutoregressiveBernoulli

K = 4


def values() -> Tensor:
    """Every value: (2^K, K)."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=K)), dtype=torch.float64)


def a_distribution(*batch: int, seed: int = 0, scale: float = 1.5) -> AutoregressiveBernoulli:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*batch, K, generator=generator, dtype=torch.float64)
    return AutoregressiveBernoulli(logits, scale * torch.randn(K, K, generator=generator, dtype=torch.float64))


def by_the_chain_rule(q: AutoregressiveBernoulli, logits: list[float], value: list[float]) -> float:
    assert q.weight is not None
    total = 0.0
    for k in range(K):
        logit = logits[k] + sum(q.weight[k, j].item() * value[j] for j in range(k))
        p = 1 / (1 + math.exp(-logit))
        total += math.log(p if value[k] else 1 - p)
    return total


def test_the_log_probability_is_the_chain_rules_and_that_of_all_values_adds_up_to_one():
    q = a_distribution()
    log_p = q.log_prob(values())
    by_hand = [by_the_chain_rule(q, q.logits.tolist(), value) for value in values().tolist()]
    torch.testing.assert_close(log_p, torch.tensor(by_hand, dtype=torch.float64))
    assert log_p.exp().sum().item() == pytest.approx(1)


def test_what_stands_on_and_above_the_diagonal_counts_for_nothing():
    q, weight = a_distribution(), torch.full((K, K), 7.0, dtype=torch.float64)
    assert q.weight is not None
    other = AutoregressiveBernoulli(q.logits, q.weight + weight.triu())
    torch.testing.assert_close(other.log_prob(values()), q.log_prob(values()))


def test_without_connections_the_variables_are_independent_and_the_mean_is_exact():
    logits = torch.linspace(-2, 2, K, dtype=torch.float64).expand(3, K)
    q, independent = AutoregressiveBernoulli(logits), dist.Bernoulli(logits=logits).to_event(1)
    torch.testing.assert_close(q.log_prob(values()[:, None]), independent.log_prob(values()[:, None]))
    torch.testing.assert_close(q.mean, independent.mean)
    torch.testing.assert_close(q.variance, independent.variance)


def test_draws_come_as_often_as_their_probability_says():
    q = a_distribution()
    drawn = q.sample((40_000,))
    assert drawn.shape == (40_000, K) and drawn.dtype == torch.float64
    number = (drawn @ (2 ** torch.arange(K - 1, -1, -1, dtype=torch.float64))).long()
    share = torch.bincount(number, minlength=2**K) / len(drawn)
    p = q.log_prob(values()).exp()
    assert ((share - p).abs() < 4.5 * (p * (1 - p) / len(drawn)).sqrt() + 1e-9).all()


def test_the_mean_field_mean_is_near_the_true_one_where_connections_are_weak():
    q = a_distribution(scale=0.3)
    true = q.log_prob(values()).exp() @ values()
    assert (q.mean - true).abs().max() < 0.01
    assert (a_distribution(scale=0.0).mean - a_distribution(scale=0.0).logits.sigmoid()).abs().max() == 0


def test_it_expands_draws_and_scores_in_batches():
    q = a_distribution(5)
    wide = q.expand((3, 5))
    assert wide.batch_shape == (3, 5) and wide.event_shape == (K,)
    drawn = wide.sample((2,))
    assert drawn.shape == (2, 3, 5, K)
    torch.testing.assert_close(wide.log_prob(drawn), q.log_prob(drawn))
    one = torch.stack(
        [AutoregressiveBernoulli(row, q.weight).log_prob(drawn[0, 0, i]) for i, row in enumerate(q.logits)]
    )
    torch.testing.assert_close(q.log_prob(drawn[0, 0]), one)


def test_a_weight_of_another_shape_and_values_that_are_not_binary_are_refused():
    with pytest.raises(ValueError, match=r"'weight' has shape \(2, 2\), but of 3 variables it is \(3, 3\)"):
        AutoregressiveBernoulli(torch.zeros(3), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="within the support"):
        AutoregressiveBernoulli(torch.zeros(3), validate_args=True).log_prob(torch.full((3,), 0.5))
