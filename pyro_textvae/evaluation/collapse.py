"""What the code still tells: mutual information, active units, and whether a mixture's components are apart and in use.

Mutual information I(x;z) = E_x E_q(z|x) [log q(z|x) - log q(z)] has two estimators that do not compare:

    aggregate   q(z) is the mean of q(z|x) over the split:       at most ln N    (what BN-VAE's tables hold)
    in batch    q(z) is the mean over a batch:                   at most ln B    (what lagging's tables hold)

Of a large split the first is over MOST_SENTENCES. The second leaves out what all of a batch have in common: `evaluate`
takes batches of like length, where the code of lagging takes those of one length, so that most of what a code tells of
the length is not in it, the more the larger the split. Both draw one z a sentence and count the sentence's own
posterior in the mean. log q(z|x) is taken at that z, not in closed form: the same in expectation, it holds for every
posterior, and never exceeds the cap. With M variables, z is all of them together.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_textvae.information import information_in_batch, pairwise_log_prob
from pyro_textvae.priors import Mixture

LARGEST_VARIANCE_OF_AN_IDLE_UNIT = 0.01
"""A dimension is active if its posterior mean varies by more over the split (Burda et al. 2016)."""

MERGED_KL = 0.1
"""Nats between two components on average; two unit Gaussians whose means are 0.45 apart: no sentence can tell which
of them its code came from."""

LEAST_SHARE_OF_A_COMPONENT = 0.1
"""Of an even share, 1/K of the sentences: a component that is the likeliest of fewer counts as idle."""

MOST_SENTENCES = 10_000
"""Of the aggregate mutual information, whose cost grows as their square: the number the published tables use."""


def mutual_information_aggregate(
    posteriors: Sequence[Any], draws: Sequence[Tensor], *, most: int = MOST_SENTENCES, seed: int = 0
) -> tuple[float, int]:
    """I(x;z) against the aggregate posterior, nats, and how many sentences it is over.

    posteriors and draws are a batch each. A split of more than `most` sentences is represented by whole batches, drawn
    at random as long as they fit. Noise makes it a little negative where the information is none.
    """
    order = torch.randperm(len(draws), generator=torch.Generator().manual_seed(seed)).tolist()
    kept: list[int] = []
    sentences = 0
    for i in order:
        if not kept or sentences + draws[i].size(-2) <= most:
            kept.append(i)
            sentences += draws[i].size(-2)
    z = torch.cat([draws[i] for i in kept], -2)
    aggregate = torch.full((sentences,), -torch.inf, dtype=torch.float64, device=z.device)
    own, first = [], 0
    for i in kept:
        log_q = pairwise_log_prob(posteriors[i], z)  # (N, B)
        own.append(log_q[first : first + log_q.size(1)].diagonal())
        aggregate = torch.logaddexp(aggregate, log_q.logsumexp(1))
        first += log_q.size(1)
    return (torch.cat(own) - aggregate + math.log(sentences)).mean().item(), sentences


def mutual_information_in_batch(posteriors: Sequence[Any], draws: Sequence[Tensor]) -> float:
    """I(x;z) against the aggregate of each batch alone, nats, averaged over sentences: at most ln B."""
    information, sentences = 0.0, 0
    for q, z in zip(posteriors, draws, strict=True):
        information += information_in_batch(q, z).sum().item()
        sentences += z.size(-2)
    return information / sentences


def active_units(means: Tensor) -> int:
    """How many dimensions of posterior means (N, D) vary over the split: unbiased variance above 0.01. N >= 2.

    The means are those that z is drawn around, after batch normalisation where there is any.
    Of a von Mises-Fisher posterior the mean lies inside the unit sphere (direction times A(concentration)), so that its
    variances sum to less than 1: with D > 100 none need be active. Under batch normalisation
    all are, where gamma^2 exceeds 0.01.
    """
    return int((means.double().var(0) > LARGEST_VARIANCE_OF_AN_IDLE_UNIT).sum())


def spread(points: Tensor) -> float:
    """Variance of points (..., N, D), summed over dimensions and averaged over what stands left of N."""
    return points.double().var(-2, correction=0).sum(-1).mean().item()


def component_pairwise_kl(prior: Mixture, assignment: Tensor | None = None) -> Tensor:
    """KL(p(z|c=i) || p(z|c=j)), nats, the mean over ordered pairs of different components: one for each variable, (M,).

    With q(c|x) (N, M, K) given, pairs are weighed by how much both are used, q(i) q(j): one idle component that lies
    far away hides nothing then of all others having merged.
    """
    K = prior.components
    i = prior.every()[:, None].expand(K, K, 1, 1)
    j = prior.every()[None].expand(K, K, 1, 1)
    kl = kl_divergence(prior.component(i), prior.component(j)).squeeze(-1).movedim(-1, 0).double()  # (M, K, K)
    different = 1 - torch.eye(K, dtype=kl.dtype, device=kl.device)
    weight = different.expand_as(kl)
    if assignment is not None:
        use = assignment.double().mean(0)  # (M, K)
        # Where one component is all that is used, no pair is: all count alike, but for rounding.
        weight = weight * (use[:, :, None] * use[:, None, :] + 1e-9)
    return (weight * kl).sum((1, 2)) / weight.sum((1, 2))


def apart(kl: Tensor, assignment: Tensor) -> Tensor:
    """Which variables keep components apart, (M,): two of them at least are in use, and `kl` (M,) between those in use
    is MERGED_KL or more. q(c|x) is (N, M, K); a component is in use here with a tenth of an even share of it."""
    second = assignment.double().mean(0).topk(2).values[:, 1]
    return (kl >= MERGED_KL) & (second >= LEAST_SHARE_OF_A_COMPONENT / assignment.size(-1))


def information_of_components(assignment: Tensor) -> tuple[float, float, float]:
    """I(c;x) and H(c), nats summed over the M variables, and the components in use, of q(c|x) (N, M, K).

    In use: exp of a variable's entropy, which is K when all are used alike and 1 when one is; the mean over variables.
    """
    q = assignment.double()
    aggregate = q.mean(0)  # (M, K)
    entropy = -torch.xlogy(aggregate, aggregate).sum(-1)  # (M,)
    conditional = -torch.xlogy(q, q).sum(-1).mean(0)
    return (entropy - conditional).sum().item(), entropy.sum().item(), entropy.exp().mean().item()


def components_assigned(assignment: Tensor) -> float:
    """How many components are the likeliest of at least a tenth of an even share of sentences, by q(c|x) (N, M, K).

    The mean over the M variables. Unlike the number in use by entropy it sees no probability: where every q(c|x) is
    nearly uniform all components are in use, and few or one may be assigned.
    """
    N, _, K = assignment.shape
    likeliest = torch.nn.functional.one_hot(assignment.argmax(-1), K).sum(0)  # (M, K)
    return (likeliest >= LEAST_SHARE_OF_A_COMPONENT * N / K).double().sum(-1).mean().item()
