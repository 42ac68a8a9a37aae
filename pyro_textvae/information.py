"""I(x;z) from posteriors and draws: what the training's objective and the evaluation's measures share.

    I(x;z) = E_x E_q(z|x) [log q(z|x) - log q(z)],        q(z) = the mean of q(z|x) over some sentences

The mean over N sentences that count their own posterior makes an estimate that never exceeds ln N. In expectation over
sentences drawn at random it is no more than the true I(x;z) either, whatever N is.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from pyro_textvae.distributions import Concatenated, OneHots, VonMisesFisher

NUMBERS_AT_ONCE = 1 << 24
"""Numbers of an intermediate (sentences, sentences, D) tensor; in float64 128 MB."""


def by_sentence(parameter: Tensor) -> Tensor:
    """(B, D) as it is, (M, B, D) to (B, M D)."""
    return parameter.movedim(-2, 0).flatten(1)


def pairwise_log_prob(q: Any, z: Tensor) -> Tensor:
    """log q_b(z_n) for every posterior b and draw n: (N, B), nats, in float64.

    q has batch shape (B,) and z (N, D); or (M, B) and (M, N, D), then the M variables are summed. Normal, one-hots and
    von Mises-Fisher are a matrix product; any other family goes through its own log_prob, in chunks.
    """
    if isinstance(q, Independent) and isinstance(q.base_dist, Normal):
        return _around(q, q.base_dist.loc, q.base_dist.scale.double().pow(-2), z)
    if isinstance(q, OneHots):
        return by_sentence(z.double()) @ by_sentence(q.logits.double().flatten(-2)).T
    if isinstance(q, Concatenated):
        parts = zip(q.parts, z.split(q.widths, -1), strict=True)
        return torch.stack([pairwise_log_prob(part, own) for part, own in parts]).sum(0)
    if isinstance(q, VonMisesFisher):
        return _around(q, q.loc, q.concentration.double()[..., None].expand_as(q.loc), z)
    numbers = q.batch_shape.numel() * q.event_shape.numel()
    chunks = []
    for part in z.split(max(1, NUMBERS_AT_ONCE // numbers), -2):
        log_prob = q.log_prob(part.movedim(-2, 0).unsqueeze(-2))  # (n, B) or (n, M, B)
        chunks.append((log_prob.sum(1) if log_prob.dim() == 3 else log_prob).double())
    return torch.cat(chunks)


def _around(q: Any, mode: Tensor, precision: Tensor, z: Tensor) -> Tensor:
    """Log densities that are log q(mode) less half the squared distance from it in units of the precision."""
    at_mode = q.log_prob(mode).double()
    at_mode = at_mode.sum(0) if at_mode.dim() == 2 else at_mode  # (B,)
    mode, precision, z = by_sentence(mode.double()), by_sentence(precision), by_sentence(z.double())
    # The squares are taken apart, and cancel the less the nearer all of it is to zero.
    centre = mode.mean(0)
    mode, z = mode - centre, z - centre
    distance = z.square() @ precision.T - 2 * z @ (precision * mode).T + (precision * mode.square()).sum(-1)
    return at_mode - distance / 2


def information_in_batch(q: Any, z: Tensor) -> Tensor:
    """log q_n(z_n) - log of the mean over the batch of q_b(z_n): (B,), nats, float64, differentiable in q and z.

    q and z are as in `pairwise_log_prob`, z_n drawn from q_n. The mean over the batch estimates I(x;z), and is at most
    ln B.
    """
    log_q = pairwise_log_prob(q, z)  # (B, B)
    return log_q.diagonal() - log_q.logsumexp(1) + math.log(len(log_q))
