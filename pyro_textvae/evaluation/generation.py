"""Sentences from codes: greedy, sampled, beam search; and the paths between two codes.

Of a decoder they use `start(code) -> state` and `step(words, code, state) -> (logits, state)`. Sentences are lists of
word ids, without <s> and </s>. The padding and <s> are never written: they are no words. A sentence that has not ended
after `max_length` words is cut.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_textvae.corpus import BOS, EOS, PAD, SPECIALS, UNK
from pyro_textvae.decoders import Decoder
from pyro_textvae.errors import did_you_mean

Decoding = Literal["greedy", "beam", "sample"]
DECODINGS = ("greedy", "beam", "sample")
BEAM_WIDTH = 5


def write(
    decoder: Decoder, codes: Tensor, decoding: str = "greedy", max_length: int = 100, temperature: float = 1.0
) -> list[list[int]]:
    """Sentences from codes (N, code) in one of the three ways, by its name; raises ValueError for another.

    Of a decoder of bags, which knows no order and no end: `max_length` words, drawn each for itself ("sample"), or the
    most probable ones, each once and the likeliest first.
    """
    if decoding in ("greedy", "beam") and not decoder.ordered:
        return likeliest_words(decoder, codes, max_length)
    if decoding == "greedy":
        return greedy(decoder, codes, max_length)
    if decoding == "beam":
        return beam(decoder, codes, BEAM_WIDTH, max_length)
    if decoding == "sample":
        return sample(decoder, codes, max_length, temperature)
    raise ValueError(f"unknown decoding {decoding!r}{did_you_mean(decoding, DECODINGS)}: it is one of {DECODINGS}")


@torch.no_grad()
def greedy(decoder: Decoder, codes: Tensor, max_length: int = 100) -> list[list[int]]:
    """The most probable next word, step after step, for each of the codes (N, code)."""
    return _sentences(_word_by_word(decoder, codes, max_length, None, (PAD, BOS))[0])


@torch.no_grad()
def likeliest_words(decoder: Decoder, codes: Tensor, count: int) -> list[list[int]]:
    """The `count` words that a decoder of bags holds most probable at codes (N, code), the likeliest first."""
    _check(count)
    first = torch.full((len(codes),), BOS, device=codes.device)
    logits, _ = decoder.step(first, codes, decoder.start(codes))
    return logits.topk(min(count, logits.size(-1) - len(SPECIALS))).indices.tolist()


@torch.no_grad()
def sample(
    decoder: Decoder, codes: Tensor, max_length: int = 100, temperature: float = 1.0, forbid_unk: bool = False
) -> list[list[int]]:
    """Draw each word from p(word | words before, z)^(1 / temperature); `forbid_unk` leaves <unk> out.

    Uses torch's global random numbers.
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} came, but it must be positive: for the limit of 0, use greedy")
    forbidden = (PAD, BOS, UNK) if forbid_unk else (PAD, BOS)
    return _sentences(_word_by_word(decoder, codes, max_length, temperature, forbidden)[0])


@torch.no_grad()
def beam(decoder: Decoder, codes: Tensor, width: int = BEAM_WIDTH, max_length: int = 100) -> list[list[int]]:
    """The most probable sentence that a beam of `width` prefixes finds, for each of the codes (N, code).

    By log-probability, </s> counted, without a correction for length. Greedy's sentence is among the candidates, so
    the result is never less probable than it (a beam alone can lose it on the way); with width 1 it is greedy's.
    """
    if width < 1:
        raise ValueError(f"width={width} came, but a beam has at least 1 prefix")
    words, score = _word_by_word(decoder, codes, max_length, None, (PAD, BOS))
    if width == 1 or not len(codes):
        return _sentences(words)
    found, found_score = _search(decoder, codes, width, max_length)
    better = (found_score > score).tolist()
    return [a if yes else b for a, b, yes in zip(_sentences(found), _sentences(words), better, strict=True)]


def _word_by_word(
    decoder: Decoder, codes: Tensor, max_length: int, temperature: float | None, forbidden: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Word by word; with no temperature, the most probable. Words (N, steps) and their log-probability (N,)."""
    _check(max_length)
    words = torch.full((len(codes),), BOS, device=codes.device)
    ended = torch.zeros_like(words, dtype=torch.bool)
    score = torch.zeros(len(codes), dtype=torch.float64, device=codes.device)
    state, written = decoder.start(codes), []
    for _ in range(max_length):
        logits, state = decoder.step(words, codes, state)
        log_prob = logits.double().log_softmax(-1)
        allowed = _without(log_prob, forbidden)
        if temperature is None:
            words = allowed.argmax(-1)
        else:
            words = torch.multinomial((allowed / temperature).softmax(-1), 1).squeeze(1)
        words = words.masked_fill(ended, EOS)
        score = score + log_prob.gather(1, words[:, None]).squeeze(1).masked_fill(ended, 0)
        ended = ended | (words == EOS)
        written.append(words)
        if ended.all():
            break
    return torch.stack(written, 1), score


def _search(decoder: Decoder, codes: Tensor, width: int, max_length: int) -> tuple[Tensor, Tensor]:
    """Beam search: the best of each beam, words (N, steps) and their log-probability (N,)."""
    N = len(codes)
    repeated = codes.repeat_interleave(width, 0)  # row n * W + w
    first_row = torch.arange(N, device=codes.device)[:, None] * width  # (N, 1)
    last = torch.full((N * width,), BOS, device=codes.device)
    # At first all prefixes of a beam are the same: one of them counts.
    score = torch.full((N, width), -torch.inf, dtype=torch.float64, device=codes.device)
    score[:, 0] = 0
    ended = torch.zeros(N, width, dtype=torch.bool, device=codes.device)
    state = decoder.start(repeated)
    written = torch.empty(N, width, 0, dtype=torch.long, device=codes.device)
    for _ in range(max_length):
        logits, state = decoder.step(last, repeated, state)
        log_prob = _without(logits.double().log_softmax(-1), (PAD, BOS)).unflatten(0, (N, width))  # (N, W, V)
        V = log_prob.size(-1)
        # A sentence that has ended stays as it is, at no cost: it can only be followed by another </s>.
        stay = torch.full((V,), -torch.inf, dtype=torch.float64, device=codes.device)
        stay[EOS] = 0
        log_prob = torch.where(ended[..., None], stay, log_prob)
        score, flat = (score[..., None] + log_prob).flatten(1).topk(width, dim=1)  # (N, W), best first
        parent, words = flat // V, flat % V
        written = torch.cat([written.gather(1, parent[..., None].expand_as(written)), words[..., None]], -1)
        ended = ended.gather(1, parent) | (words == EOS)
        rows = (first_row + parent).flatten()
        state = tuple(part.index_select(1, rows) for part in state)
        last = words.flatten()
        # Prefixes only lose probability as they grow, so an ended sentence at the top stays there.
        if ended[:, 0].all():
            break
    return written[:, 0], score[:, 0]


def _check(max_length: int) -> None:
    if max_length < 1:
        raise ValueError(f"max_length={max_length} came, but a sentence needs room for at least 1 word")


def _without(log_prob: Tensor, forbidden: tuple[int, ...]) -> Tensor:
    return log_prob.index_fill(-1, torch.tensor(forbidden, device=log_prob.device), -torch.inf)


def _sentences(words: Tensor) -> list[list[int]]:
    return [row[: row.index(EOS)] if EOS in row else row for row in words.tolist()]


def linear(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Points on the straight line from a to b, ends included: (..., D) each to (steps, ..., D)."""
    t = _fractions(a, steps)
    return a + t * (b - a)


def spherical(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Points on the great circle from a to b at equal angles, ends included: (..., D) each to (steps, ..., D).

    For codes on the unit sphere, where the straight line would leave it. Lengths other than one go linearly from a's
    to b's. With M variables, each has its own sphere: give (..., M, D). Between opposite points any great circle is a
    shortest way, and one is taken. Raises ValueError for a zero vector, which has no direction.
    """
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    if not ((length_a > 0) & (length_b > 0)).all():
        raise ValueError("a code of length 0 came, but on a sphere a point needs a direction: interpolate with linear")
    t = _fractions(a, steps)
    x, y = a / length_a, b / length_b
    # From the chords, since the arc cosine loses half its digits where the points are close.
    angle = 2 * torch.atan2((y - x).norm(dim=-1, keepdim=True), (y + x).norm(dim=-1, keepdim=True))
    across = y - (x * y).sum(-1, keepdim=True) * x
    # Opposite points leave nothing but rounding across: there the axis that x is farthest from gives the way.
    axis = F.one_hot(x.abs().argmin(-1), x.size(-1)).to(x)
    nothing = across.norm(dim=-1, keepdim=True) < 8 * torch.finfo(x.dtype).eps
    across = torch.where(nothing, axis, across)
    across = F.normalize(across - (x * across).sum(-1, keepdim=True) * x, dim=-1)
    point = (angle * t).cos() * x + (angle * t).sin() * across
    # Rounding in `across` would carry the points off the sphere by a few units in the last place.
    return F.normalize(point, dim=-1) * (length_a + t * (length_b - length_a))


def _fractions(a: Tensor, steps: int) -> Tensor:
    if steps < 2:
        raise ValueError(f"steps={steps} came, but a path has at least its 2 ends")
    return torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device).reshape(-1, *[1] * a.dim())
