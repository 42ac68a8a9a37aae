"""What comes back from a code: BLEU of the decoded sentences, and what noise in the encoder's input costs.

reconstruction_bleu     decode every sentence's code, and compare words
noisy_reconstruction    encode a sentence with some of its words swapped, and score the sentence itself
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from pyro_textvae.corpus import Split
from pyro_textvae.errors import did_you_mean
from pyro_textvae.evaluation.codes import Codes, batches_of
from pyro_textvae.evaluation.generation import Decoding, write
from pyro_textvae.evaluation.likelihood import reconstruct
from pyro_textvae.evaluation.words import sacrebleu
from pyro_textvae.vae import TextVAE

From = Literal["mean", "drawn"]
FROM = ("mean", "drawn")
"""Which z is decoded: the posterior's mean (of a vMF its direction), or one draw from it."""

NOISY_SENTENCES = 500
"""Sentences of the noisy reconstruction (Zhu et al. 2020); their standard error is then some nats in a hundred."""


def reconstruction_bleu(
    vae: TextVAE,
    split: Split,
    codes: Codes,
    decoding: Decoding = "greedy",
    z: From = "mean",
    *,
    max_length: int = 100,
    batch_size: int = 64,
) -> dict[str, float]:
    """Corpus BLEU, 0 to 100, of the sentences decoded from `codes` of a split against the sentences themselves.

    Up to 4-grams, no smoothing, words as the model has them (so <unk> matches <unk>, and a sentence longer than
    `max_length` words loses by the brevity penalty). The name says how z was chosen and decoded, since both move it by
    much: the code released with Zhu et al. (2020) decodes greedily from one draw. An empty hypothesis counts as one of
    no words. It is 0 where not one run of four words is right, as on a few sentences it often is: that is no measure.
    To be called inside `evaluating`, whose seed the sampled words come from.

    Raises ValueError for a model without a code and ImportError where sacrebleu is missing.
    """
    _need_code(codes)
    if z not in FROM:
        raise ValueError(f"z={z!r} came{did_you_mean(z, FROM)}, but BLEU is of the posterior's 'mean' or of z 'drawn'")
    BLEU = sacrebleu()
    chosen = codes.code if z == "drawn" else vae.prior.on_support(codes.means)
    written: list[list[int]] = []
    for part, batch in zip(chosen.split(batch_size), batches_of(vae, split, batch_size), strict=True):
        written += write(vae.decoder, vae.decoder.condition(part, batch), decoding, max_length)
    # Ids in place of words: BLEU asks only which are the same.
    hypotheses = [" ".join(map(str, sentence)) for sentence in written]
    references = [" ".join(map(str, split.ids(i))) for i in codes.index.tolist()]
    bleu = BLEU(tokenize="none", smooth_method="none", force=True).corpus_score(hypotheses, [references])
    return {
        f"reconstruction_bleu_{decoding}_from_{z}": float(bleu.score),
        f"reconstruction_empty_share_{decoding}_from_{z}": sum(not sentence for sentence in written) / len(written),
    }


def noisy_reconstruction(
    vae: TextVAE,
    split: Split,
    swaps: Sequence[int],
    *,
    sentences: int = NOISY_SENTENCES,
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, float]:
    """Mean -log p(x|z) of sentences x, nats, where z is drawn from q(z|x with n pairs of its words swapped).

    For every n of `swaps`, and for 0, which is what there is to compare with. The 2n positions are drawn at random,
    all different; the decoder is told the sentence as it was. A code that holds the words in their order loses by it,
    one that holds only which words there are does not. All n are measured on the same random `sentences` of the split
    that are longer than twice the largest n (Zhu et al. 2020 draw others for each n). To be called inside
    `evaluating`.

    Raises ValueError for a model without a code, for an n below 0, and where no sentence is long enough.
    """
    if not swaps or min(swaps) < 0 or sentences < 1:
        raise ValueError(
            f"swaps={list(swaps)} of {sentences} sentences came, but numbers of pairs are 0 or more, in 1 sentence or "
            "more: for example swaps=[1, 2, 4]"
        )
    random = np.random.default_rng(seed)
    long = np.flatnonzero(split.lengths > 2 * max(swaps))
    if not len(long):
        raise ValueError(
            f"{max(swaps)} swaps were asked for, but no sentence has more than {2 * max(swaps)} words: the longest has "
            f"{split.lengths.max(initial=0)}"
        )
    chosen = random.permutation(long)[:sentences]
    original = split.take(chosen)
    measured: dict[str, float] = {}
    for n in sorted({0, *swaps}):
        # Positions are drawn anew for each n; lengths stay, so batches and their order do as well.
        noisy = replace(Split.of(swapped(split.ids(i), n, random) for i in chosen), labels=original.labels)
        codes = Codes.read(vae, noisy, batch_size)
        _need_code(codes)
        cost = reconstruct(vae, original, codes.code, batch_size)
        measured[f"reconstruction_after_{n}_swaps_nats_per_sentence"] = cost.mean().item()
    return measured | {"reconstruction_after_swaps_sentences": float(len(chosen))}


def swapped(words: np.ndarray, pairs: int, random: np.random.Generator) -> np.ndarray:
    """The words of a sentence, (L,), those at `pairs` disjoint random pairs of positions exchanged; 2 pairs <= L."""
    positions = random.permutation(len(words))[: 2 * pairs]
    words = words.copy()
    words[positions] = words[np.roll(positions, pairs)]
    return words


def _need_code(codes: Codes) -> None:
    if not codes.posteriors:
        raise ValueError("a language model has no code to reconstruct from: choose a model that has one")
