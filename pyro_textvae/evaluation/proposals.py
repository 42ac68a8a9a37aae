"""What importance weighting draws z from: the posterior, and densities between it and the prior.

A decoder that makes little of z leaves p(z|x) near the prior, and a q(z|x) that is surer of z than that, as one of a
fixed concentration or a KL held up by force often is, proposes from a corner of it. The importance-weighted bound is
then loose by nats, at hundreds of samples, and looser for such models than for others: it ranks them wrongly. So some
of the draws are made from flatter relatives of q, and some from the prior itself, and each is weighted by the density
of all proposals together:

    log p(x) >= E log (1/S) sum over s of p(x, z_s) / sum over k of (n_k / S) r_k(z_s),   n_k draws from r_k, S in all.

The sum has mean p(x) whatever the r_k are, so it is a bound for any of them (the balance heuristic of multiple
importance sampling: Veach & Guibas 1995; with the prior among them no weight exceeds p(x|z) S / n: Owen & Zhou 2000).
"""

import math
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import torch
import torch.distributions as td
from torch import Tensor

from pyro_textvae.distributions import AutoregressiveBernoulli, Concatenated, GumbelSoftmax, VonMisesFisher
from pyro_textvae.evaluation.codes import code_of, z_of
from pyro_textvae.vae import TextVAE

SHARES = (0.5, 0.25, 0.125)
"""Of the posterior's natural parameters that are left in what is drawn from between it and the prior."""

OWN = 0.5
"""Share of the draws that are the posterior's own: little is lost where it is right."""

PROPOSALS = [OWN, *SHARES]
"""All of these, for whom keeps beside a number how it was measured."""


def shares_of(samples: int) -> list[int]:
    """How many of so many draws are the posterior's own, each flatter relative's, and the prior's.

    Those that are flatter by less come first, so that of fewer than 8 draws none is the prior's.

    >>> shares_of(20)
    [10, 3, 3, 2, 2]
    """
    rest, others = int(samples * (1 - OWN)), len(SHARES) + 1
    return [samples - rest, *(rest // others + (place < rest % others) for place in range(others))]


def in_words(samples: int) -> str:
    """What so many draws are of, for pages."""
    own, *relatives, prior = shares_of(samples)
    if prior:
        return "half of the posterior, half of flatter relatives of it and the prior"
    return f"{own} of the posterior, {sum(relatives)} of flatter relatives of it, none of the prior"


@singledispatch
def flattened(q: td.Distribution, share: float) -> td.Distribution:
    """A flatter relative of q: its density to the power `share`, times a flat one of its family to the power 1 - share.

    Flat is Normal(0, I), the uniform distribution on the sphere, even chances; of binary variables in a row it is each
    one's chance given those before. Batch and event shape are q's. A family of one's own joins with
    `flattened.register`. Raises NotImplementedError for one that has not.

    >>> flattened(td.Normal(3.0, 0.1), 0.5)  # precisions 100 and 1
    Normal(loc: 2.9702..., scale: 0.1407...)
    """
    known = ", ".join(sorted(family.__name__ for family in flattened.registry if family is not object))
    raise NotImplementedError(
        f"no flatter relative of a {type(q).__name__} is known (known: {known}): give one with "
        "pyro_textvae.evaluation.proposals.flattened.register, or leave 'tempered' out"
    )


@flattened.register
def _(q: td.Independent, share: float) -> td.Distribution:
    return td.Independent(flattened(q.base_dist, share), q.reinterpreted_batch_ndims, validate_args=False)


@flattened.register
def _(q: td.Normal, share: float) -> td.Distribution:
    precision = share / q.scale.square() + (1 - share)
    return td.Normal(share * q.loc / q.scale.square() / precision, precision.rsqrt(), validate_args=False)


@flattened.register
def _(q: VonMisesFisher, share: float) -> td.Distribution:
    return VonMisesFisher(q.loc, share * q.concentration, validate_args=False)


@flattened.register
def _(q: GumbelSoftmax, share: float) -> td.Distribution:
    return GumbelSoftmax(share * q.logits, q.temperature, q.straight_through, validate_args=False)


@flattened.register
def _(q: AutoregressiveBernoulli, share: float) -> td.Distribution:
    weight = None if q.weight is None else share * q.weight
    return AutoregressiveBernoulli(share * q.logits, weight, validate_args=False)


@flattened.register
def _(q: Concatenated, share: float) -> td.Distribution:
    return Concatenated([flattened(part, share) for part in q.parts], validate_args=False)


class Proposals:
    """The densities that z is proposed from, q alone or q, its flatter relatives and the prior, and draws of each.

    q is `posterior_of` a batch of B sentences, of batch shape (B,) or (M, B). `tempered`, OWN of the draws are its own
    and the others have equal parts of the rest.
    """

    def __init__(self, vae: TextVAE, q: Any, samples: int, *, tempered: bool) -> None:
        self.vae, self.sentences = vae, q.batch_shape[-1]
        others = [*(flattened(q, share) for share in SHARES), None] if tempered else []  # None: the prior
        drawn = zip([q, *others], shares_of(samples) if tempered else [samples], strict=True)
        self.densities, self.counts = map(list, zip(*((each, count) for each, count in drawn if count), strict=True))

    def draw(self, place: int, count: int) -> Tensor:
        """`count` draws for each sentence from one of `densities`, shaped as q's."""
        if (density := self.densities[place]) is not None:
            return density.sample(torch.Size([count]))
        code = self.vae.prior.sample(count * self.sentences)
        return z_of(self.vae, code.unflatten(0, (count, self.sentences)))

    def log_prob(self, z: Tensor, log_prior: Tensor) -> Tensor:
        """Of draws of any, under all together as often as each is drawn from: (S, B), as `log_prior` is."""
        total = sum(self.counts)
        each = [
            (log_prior if density is None else _by_sentence(density.log_prob(z).double())) + math.log(count / total)
            for density, count in zip(self.densities, self.counts, strict=True)
        ]
        return _log_sum(each)


def log_prior_of(vae: TextVAE, z: Tensor) -> Tensor:
    """Marginal log p(z) of draws shaped as q's: (S, B)."""
    code = code_of(vae, z)
    return vae.prior.log_prob(code.flatten(0, 1)).double().unflatten(0, code.shape[:2])


def _by_sentence(log_prob: Tensor) -> Tensor:
    """(S, B) of (S, B) or (S, M, B)."""
    return log_prob.sum(1) if log_prob.dim() == 3 else log_prob


def _log_sum(each: Sequence[Tensor]) -> Tensor:
    return each[0] if len(each) == 1 else torch.stack(list(each)).logsumexp(0)
