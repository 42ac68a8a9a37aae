"""What a code holds of a sentence: its words, and their order (Xu & Durrett 2018, Table 6 and Figure 5).

    probe_bag_of_words   a small network learns to say a sentence's bag of words from its code, and one to say the code
                         from the bag of words; the model is only read
    order_sensitivity    how far the code turns when neighbouring words change places

Both compare directions, by cosines, so that a Gaussian's code and one on the sphere are measured alike. A code is the
mean of q(z|x), of a von Mises-Fisher its direction; of a discrete and a continuous variable the continuous one's.

A cosine says little without what it would be for nothing. Mean word embeddings share a large part, whatever the
sentence: so beside each probe stands the best constant answer. Codes may share a direction too: so beside the
sensitivity stands the cosine of the codes of two different sentences. And no cosine sees lengths: the means of a
collapsed Gaussian posterior are short beside its noise, and turn all the same.

What differs from the procedure released with the paper. Its probe keeps the least error on the test split over all
passes; here the pass is chosen on the validation split, and test is read once. It averages the embeddings over the
start symbol and padding as well; here over the words. Its inputs are not standardised. Its direction from the bag of
words to the code cannot be run as released, so that column of the paper has no known procedure. Its swaps are no swaps
of neighbours: those are how="rows" here.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import Split
from pyro_textvae.errors import did_you_mean
from pyro_textvae.evaluation.codes import batches_of, continuous_mean, evaluating
from pyro_textvae.evaluation.likelihood import standard_error
from pyro_textvae.vae import TextVAE

HIDDEN, LEARNING_RATE, BATCH_SIZE, PASSES = 128, 1e-3, 10, 10
"""Of a probe: Linear, tanh, Linear, by Adam. As released, but for the width, which there is the output's."""

PROBABILITIES = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of exchanging two neighbours."""

AT_ONCE, ROWS_AT_ONCE = 256, 20
"""Sentences of like length that are encoded together; the second of how="rows", whose exchanges they share (as
released)."""

How = Literal["adjacent", "rows"]
Exchange = Callable[[Batch, float, np.random.Generator], Tensor]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosines of vectors (..., D), in float64: (...). Exactly 1 for equal vectors; 0 where one alone is 0."""
    lengths = a.double().norm(dim=-1, keepdim=True), b.double().norm(dim=-1, keepdim=True)
    u, v = (x.double() / length.clamp_min(1e-300) for x, length in zip((a, b), lengths, strict=True))
    one_is_zero = ((lengths[0] == 0) != (lengths[1] == 0)).squeeze(-1)
    return torch.where(one_is_zero, 0.0, 1 - (u - v).square().sum(-1) / 2)


# The bag of words.


@dataclass(frozen=True)
class Probed:
    """Mean cosine on held-out sentences of what a probe says and what is so, beside the best that says nothing.

    cosine          of the probe; its standard error over the sentences
    constant        the same of the one direction that is best on the training sentences: the floor
    passes          over the training sentences, after which the probe was best on the validation sentences
    """

    cosine: float
    standard_error: float
    constant: float
    passes: int


@dataclass(frozen=True)
class BagOfWordsProbe:
    """How well the code tells the bag of words, and it the code; prints as a table.

    sentences       held-out sentences, of the test split
    train_sentences that the probes learnt from
    left_out        sentences of both without a word, which have no bag
    """

    code_to_bag: Probed
    bag_to_code: Probed
    sentences: int
    train_sentences: int
    left_out: int = 0

    def data(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rows = {"code -> bag of words": self.code_to_bag, "bag of words -> code": self.bag_to_code}
        left_out = f"; {self.left_out:,} without a word left out" if self.left_out else ""
        return "\n".join(
            [
                f"bag of words: {self.sentences:,} test sentences, {self.train_sentences:,} trained on{left_out}",
                f"{'':<20}  cosine           constant",
                *(
                    f"{name:<20}  {each.cosine:.3f} ± {each.standard_error:.3f}    {each.constant:.3f}"
                    for name, each in rows.items()
                ),
            ]
        )


def probe_bag_of_words(
    vae: TextVAE, train: Split, valid: Split, test: Split, *, passes: int = PASSES, seed: int = 0
) -> BagOfWordsProbe:
    """Train both probes on `train`, choose their pass on `valid`, and measure them once on `test`.

    A bag of words is the mean embedding of the sentence's words in the model's own table: the encoder's or, where it
    has none, the decoder's. <s>, </s> and padding are no words, <unk> is one.

    A collapsed posterior's means keep traces of the sentence, which a probe reads however faint they are: a cosine
    above the constant's does not say that the decoder has anything of it. The model is left as it came, and the random
    numbers of the caller too. Raises ValueError for a model without a continuous code or without a table.
    """
    if not (isinstance(passes, int) and passes >= 1):
        raise ValueError(f"'passes' is {passes!r}, but a whole number of at least 1 is needed")
    table = _table_of(vae)
    pairs: list[tuple[Tensor, Tensor]] = []
    left_out = 0
    for name, split in (("train", train), ("valid", valid), ("test", test)):
        kept = split.take(np.flatnonzero(split.lengths > 0))
        left_out += len(split) - len(kept) if name != "valid" else 0
        if len(kept) < 2:
            raise ValueError(f"the {name} split has {len(kept)} sentence(s) with a word, but 2 or more are needed")
        with evaluating(vae, seed):
            read = [(vectors(vae, batch), bags(table, batch)) for batch in batches_of(vae, kept, AT_ONCE)]
        codes, bag = zip(*read, strict=True)
        pairs.append((torch.cat(codes), torch.cat(bag)))
    learnt, chosen, held = pairs
    turned = [(bag, code) for code, bag in pairs]
    return BagOfWordsProbe(
        code_to_bag=fit_probe(learnt, chosen, held, passes=passes, seed=seed),
        bag_to_code=fit_probe(*turned, passes=passes, seed=seed),
        sentences=len(held[0]),
        train_sentences=len(learnt[0]),
        left_out=left_out,
    )


def fit_probe(
    train: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    passes: int = PASSES,
    seed: int = 0,
) -> Probed:
    """Train a network to say directions from vectors: inputs (N, A) and targets (N, B) of three sets of pairs.

    It minimises 1 - cosine. Inputs are standardised by the training set's moments, so that their scale is no matter.
    """
    inputs, targets = train
    centre, scale = inputs.mean(0), inputs.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1)
    best, best_weights, best_pass = -math.inf, {}, 0
    with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []), torch.enable_grad():
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(inputs.size(1), HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, targets.size(1)))
        network.to(inputs)
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)

        def says(given: Tensor) -> Tensor:
            return network((given - centre) / scale)

        for each in tqdm(range(1, passes + 1), unit="pass", leave=False, disable=None):
            for chosen in torch.randperm(len(inputs)).to(inputs.device).split(BATCH_SIZE):
                loss = 1 - F.cosine_similarity(says(inputs[chosen]), targets[chosen]).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                found = cosine(says(valid[0]), valid[1]).mean().item()
            if found > best:
                best, best_weights, best_pass = found, copy.deepcopy(network.state_dict()), each
        network.load_state_dict(best_weights)
        with torch.no_grad():
            cosines = cosine(says(test[0]), test[1])
    # The mean cosine with a constant c is c . (mean of the unit targets) / |c|: greatest along that mean.
    constant = F.normalize(targets.double(), dim=-1).mean(0)
    floor = cosine(constant.expand(len(test[1]), -1), test[1]).mean().item()
    return Probed(cosines.mean().item(), standard_error(cosines), floor, best_pass)


def vectors(vae: TextVAE, batch: Batch) -> Tensor:
    """The continuous posterior means of a batch, (B, D)."""
    found = continuous_mean(vae.q_z(batch)) if vae.prior.code else None
    if found is None:
        raise ValueError(
            "this model's code is no vector: it has none, or only classes; probe a model with a Gaussian or a von "
            "Mises-Fisher code, such as 'vae' or 'vmf_vae'"
        )
    return found


def bags(table: Tensor, batch: Batch) -> Tensor:
    """Mean embedding of each sentence's words in a table (V, E): (B, E)."""
    words = _words(batch)[..., None]  # (B, T + 1, 1)
    return (table[batch.tokens] * words).sum(1) / words.sum(1)


def _words(batch: Batch) -> Tensor:
    """Where the words stand in batch.tokens, (B, T + 1)."""
    column = torch.arange(batch.tokens.size(1), device=batch.tokens.device)
    return (column > 0) & (column < batch.lengths[:, None])


def _table_of(vae: TextVAE) -> Tensor:
    """The first word table of the encoder or else of the decoder, (V, E)."""
    for part in (vae.encoder, vae.decoder):
        for module in part.modules():
            if isinstance(module, nn.Embedding):
                return module.weight.detach()
    raise ValueError("this model has no table of word embeddings, of which a bag of words would be the mean")


# The order of the words.


@dataclass(frozen=True)
class OrderSensitivity:
    """Mean cosine of a sentence's code and its code after an exchange of words; prints as a table.

    how                "adjacent" or "rows" (`order_sensitivity` says what they do)
    probabilities      of an exchange
    cosines            for each probability, the mean over the sentences; standard_errors over them
    moved              for each probability, the share of the words that stand where another stood
    another_sentence   mean cosine of the codes of two different sentences: where the sentence is lost
    sentences          measured; too_short had one word or none, and nothing to exchange
    """

    how: str
    probabilities: tuple[float, ...]
    cosines: tuple[float, ...]
    standard_errors: tuple[float, ...]
    moved: tuple[float, ...]
    another_sentence: float
    sentences: int
    too_short: int

    def data(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        too_short = f"; {self.too_short:,} of fewer than two words left out" if self.too_short else ""
        what = "neighbours exchanged" if self.how == "adjacent" else "rows of the batch exchanged"
        rows = zip(self.probabilities, self.moved, self.cosines, self.standard_errors, strict=True)
        return "\n".join(
            [
                f"order of words: {what}, {self.sentences:,} sentences{too_short}",
                f"{'probability':>11}  {'moved':>6}  cosine",
                *(f"{p:>11g}  {moved:>6.1%}  {mean:.4f} ± {error:.4f}" for p, moved, mean, error in rows),
                f"{'another sentence':>19}  {self.another_sentence:.4f}",
            ]
        )


def order_sensitivity(
    vae: TextVAE,
    split: Split,
    *,
    probabilities: Sequence[float] = PROBABILITIES,
    how: How = "adjacent",
    seed: int = 0,
) -> OrderSensitivity:
    """Exchange words with each probability p, and compare the codes before and after by their cosine.

    how="adjacent"  from left to right each word changes places with the next one with probability p, unless it has just
                    been exchanged itself: no word moves by more than one place
    how="rows"      as released with Xu & Durrett (2018), whose text says adjacent: each position of the padded batch
                    changes places, with probability p, with one at random, in all sentences alike. <s>, </s> and
                    padding move too, and a position may be moved back. A batch is of 20 sentences of like length;
                    that they share their exchanges is not in the standard errors

    All probabilities share their random numbers. The model is left as it came, and the random numbers of the caller
    too. Raises ValueError for a probability outside [0, 1], a model without a continuous code or of bags of words, and
    where fewer than two sentences have two words.
    """
    if not vae.decoder.ordered:
        raise ValueError("a bag of words has no order, so its codes do not change where words are exchanged")
    probabilities = _checked(probabilities)
    if how not in EXCHANGES:
        raise ValueError(f"how={how!r} came{did_you_mean(how, EXCHANGES)}, but words are exchanged {get_args(How)}")
    kept = split.take(np.flatnonzero(split.lengths > 1))
    if len(kept) < 2:
        raise ValueError(
            f"{len(kept)} of {len(split)} sentences have two words to exchange, but at least 2 sentences are needed"
        )
    batches = list(batches_of(vae, kept, AT_ONCE if how == "adjacent" else ROWS_AT_ONCE))
    before = _encoded(vae, batches, seed)
    found: list[tuple[float, float, float]] = []
    for p in probabilities:
        random = np.random.default_rng(seed)
        after = [replace(batch, tokens=EXCHANGES[how](batch, p, random)) for batch in batches]
        cosines = cosine(before, _encoded(vae, after, seed))
        other = sum(int(((a.tokens != b.tokens) & _words(b)).sum()) for a, b in zip(after, batches, strict=True))
        found.append((cosines.mean().item(), standard_error(cosines), other / int(kept.lengths.sum())))
    means, errors, moved = zip(*found, strict=True)
    return OrderSensitivity(
        how, probabilities, means, errors, moved, mean_pairwise_cosine(before), len(kept), len(split) - len(kept)
    )


def _checked(probabilities: Sequence[float]) -> tuple[float, ...]:
    given = tuple(float(p) for p in ([probabilities] if isinstance(probabilities, int | float) else probabilities))
    wrong = [p for p in given if not 0 <= p <= 1]
    if wrong or not given:
        came = wrong[0] if wrong else "none"
        raise ValueError(f"{came} came as a probability of exchanging words, but it lies in 0 to 1: give (0.1, 0.5, 1)")
    return given


def _encoded(vae: TextVAE, batches: Sequence[Batch], seed: int) -> Tensor:
    """The continuous means, (N, D); noise inside the encoder is the same for the same batches' shapes."""
    with evaluating(vae, seed):
        return torch.cat([vectors(vae, batch) for batch in batches])


def mean_pairwise_cosine(codes: Tensor) -> float:
    """Mean cosine of two different rows of (N, D)."""
    total = F.normalize(codes.double(), dim=-1).sum(0).square().sum().item()
    return (total - len(codes)) / (len(codes) * (len(codes) - 1))


def exchange_neighbours(batch: Batch, p: float, random: np.random.Generator) -> Tensor:
    """batch.tokens (B, T+1) after each word, from left to right, was exchanged with the next one with probability p."""
    tokens = batch.tokens.clone()
    asked = torch.from_numpy(random.random(tokens.shape) < p).to(tokens.device)
    free = torch.ones_like(asked[:, 0])
    for t in range(1, tokens.size(1) - 2):  # the last word of the longest sentence has no word after it
        both = free & asked[:, t] & (t + 1 < batch.lengths)  # (B,); words stand at 1 to lengths - 1
        tokens[both, t], tokens[both, t + 1] = tokens[both, t + 1], tokens[both, t]
        free = ~both
    return tokens


def exchange_rows(batch: Batch, p: float, random: np.random.Generator) -> Tensor:
    """batch.tokens (B, T+1) after each position was, with probability p, exchanged with any, in all sentences alike."""
    places = np.arange(batch.tokens.size(1))
    asked, partner = random.random(len(places)) < p, random.integers(len(places), size=len(places))
    for t in np.flatnonzero(asked):
        places[[t, partner[t]]] = places[[partner[t], t]]
    return batch.tokens[:, torch.from_numpy(places).to(batch.tokens.device)]


EXCHANGES: dict[str, Exchange] = {"adjacent": exchange_neighbours, "rows": exchange_rows}
