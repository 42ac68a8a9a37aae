"""What counting words and n-grams says of generated text, beside text of people: no model is trained for it.

word_kl     do words come as often as they should?
distinct    how much of what is said is said once?
self_bleu   how like is a sentence to all the others?

Distinct-n falls with the number of sentences and self-BLEU rises with it, so either is read beside that of as many
real sentences, never across sizes. Words are those of the vocabulary, <unk> among them; </s> is not counted.
"""

from collections import Counter
from typing import Any

import numpy as np

from pyro_textvae.corpus import UNK, Split

SMOOTHING = 0.1
"""Added to the count of every word of the vocabulary, in both texts: a word that one of them never says would make a
divergence infinite. With V = 10,000 it is 1,000 words in all, a thousandth of Penn Treebank."""

MOST_WORDS = 4
"""Of an n-gram, as in BLEU."""


def word_frequencies(split: Split, vocabulary: int, smoothing: float = SMOOTHING) -> np.ndarray:
    """Share of each word in a text, (V - 3,): <unk> first, then the words; `smoothing` is added to each count."""
    counts = np.bincount(split.tokens, minlength=vocabulary)[UNK:] + smoothing
    return counts / counts.sum()


def word_kl(a: Split, b: Split, vocabulary: int, smoothing: float = SMOOTHING) -> float:
    """KL(a || b), nats, of the two texts' distributions over single words, each smoothed.

    Shi et al. (2020) report KL(generated || train) of unsmoothed frequencies and leave out the words that train lacks,
    of which a vocabulary built on train has none; smoothing moves that direction by little.
    Raises ValueError unless smoothing is above 0, or for a vocabulary smaller than the texts'.
    """
    if not smoothing > 0:
        raise ValueError(
            f"smoothing={smoothing} came, but it must be positive: a word that one text lacks makes the KL infinite"
        )
    for split in (a, b):
        if (largest := int(split.tokens.max(initial=0))) >= vocabulary:
            raise ValueError(
                f"a text has the word id {largest}, but a vocabulary of {vocabulary} words came: give the one that "
                "both texts were encoded with"
            )
    p, q = (word_frequencies(split, vocabulary, smoothing) for split in (a, b))
    return float((p * np.log(p / q)).sum())


def ngrams(words: np.ndarray, n: int) -> list[tuple[int, ...]]:
    """The n-grams of a sentence of L words, L - n + 1 of them or none."""
    listed = words.tolist()
    return list(zip(*(listed[first:] for first in range(n)), strict=False))


def distinct(split: Split, n: int) -> float | None:
    """Share of different n-grams among all n-grams of the text, 0 to 1; None where no sentence has n words.

    Over the whole text, not averaged over sentences (Li et al. 2016, "A diversity-promoting objective function").
    """
    counts = Counter(gram for i in range(len(split)) for gram in ngrams(split.ids(i), n))
    return len(counts) / counts.total() if counts else None


def self_bleu(split: Split) -> float | None:
    """Mean over sentences of the BLEU, 0 to 100, of each against all the others as its references (Zhu et al. 2018).

    Sentence BLEU as sacrebleu has it: up to 4-grams, exponential smoothing, effective order (a sentence of three words
    is judged by its 3-grams). Empty sentences are left out; None where fewer than two are left. It rises with the
    number of sentences.

    Raises ImportError where sacrebleu is missing.
    """
    BLEU = sacrebleu()
    lengths = split.lengths[split.lengths > 0].astype(np.int64)
    if len(lengths) < 2:
        return None
    grams = [
        Counter(gram for n in range(1, MOST_WORDS + 1) for gram in ngrams(split.ids(int(i)), n))
        for i in np.flatnonzero(split.lengths)
    ]
    # What all the others have most of an n-gram: the most that any has, or, for the one that has it, the second most.
    most: dict[tuple[int, ...], tuple[int, int]] = {}
    for each in grams:
        for gram, count in each.items():
            first, second = most.get(gram, (0, 0))
            most[gram] = (count, first) if count >= first else (first, max(second, count))
    scores = []
    for i, (each, length) in enumerate(zip(grams, lengths.tolist(), strict=True)):
        right = [0] * MOST_WORDS
        for gram, count in each.items():
            first, second = most[gram]
            right[len(gram) - 1] += min(count, second if count == first else first)
        others = np.delete(lengths, i)
        nearest = others[np.lexsort((others, abs(others - length)))[0]]  # of two as near, the shorter
        every = [max(length - n, 0) for n in range(MOST_WORDS)]
        score = BLEU.compute_bleu(right, every, length, int(nearest), smooth_method="exp", effective_order=True)
        scores.append(score.score)
    return float(np.mean(scores))


def sacrebleu() -> Any:
    """The class sacrebleu.metrics.BLEU; raises ImportError, with what to install, where sacrebleu is missing."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise ImportError(
            "BLEU is computed by sacrebleu, which is not installed: pip install 'pyro-textvae[eval]'"
        ) from error
    return BLEU
