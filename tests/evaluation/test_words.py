"""Counts of words and n-grams by hand, against SciPy, and against sacrebleu pair by pair."""

import math
import sys

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from scipy.stats import entropy

from pyro_textvae.corpus import UNK, Split
from pyro_textvae.evaluation.words import distinct, self_bleu, word_frequencies, word_kl

VOCABULARY = 12


def some_text(count: int, seed: int = 0, words: int = 8, longest: int = 9, least: int = 0) -> Split:
    random = np.random.default_rng(seed)
    return Split.of(random.integers(4, 4 + words, random.integers(least, longest + 1)) for _ in range(count))


# --- word KL


def test_word_kl_by_hand_in_both_directions():
    a, b = Split.of([[4, 4], [5]]), Split.of([[4, 5, 5, 5]])  # of the words <unk>, 4 and 5, one count added to each
    p, q = np.array([1, 3, 2]) / 6, np.array([1, 2, 4]) / 7
    assert word_kl(a, b, 6, smoothing=1) == pytest.approx(float((p * np.log(p / q)).sum()), abs=1e-12)
    assert word_kl(b, a, 6, smoothing=1) == pytest.approx(float((q * np.log(q / p)).sum()), abs=1e-12)


@pytest.mark.parametrize("smoothing", [1e-6, 0.1, 3.0])
def test_word_kl_is_that_of_scipy(smoothing: float):
    a, b = some_text(50), some_text(70, seed=1, words=5)
    p, q = (np.array([np.sum(text.tokens == word) for word in range(UNK, VOCABULARY)]) + smoothing for text in (a, b))
    assert word_kl(a, b, VOCABULARY, smoothing) == pytest.approx(entropy(p, q), rel=1e-9)
    assert word_kl(b, a, VOCABULARY, smoothing) == pytest.approx(entropy(q, p), rel=1e-9)
    np.testing.assert_allclose(word_frequencies(a, VOCABULARY, smoothing), p / p.sum())


def test_word_kl_is_zero_between_equal_texts_and_finite_where_words_are_missing():
    text = some_text(30)
    assert word_kl(text, text, VOCABULARY) == 0
    nothing, other = Split.of([[], []]), Split.of([[4] * 30])
    assert 0 < word_kl(text, other, VOCABULARY) < 10
    assert word_kl(nothing, text, VOCABULARY) > 0 and math.isfinite(word_kl(text, nothing, VOCABULARY))


def test_without_smoothing_or_with_too_small_a_vocabulary_word_kl_is_refused():
    text = Split.of([[4, 9]])
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="it must be positive"):
            word_kl(text, text, VOCABULARY, wrong)
    with pytest.raises(ValueError, match="has the word id 9, but a vocabulary of 9 words"):
        word_kl(text, text, 9)


# --- distinct n-grams


def test_distinct_counts_n_grams_inside_sentences_over_the_whole_text():
    text = Split.of([[4, 5, 4, 5], [4, 5], [6], []])
    assert distinct(text, 1) == pytest.approx(3 / 7)
    assert distinct(text, 2) == pytest.approx(2 / 4)  # 45 54 45, 45
    assert distinct(text, 3) == pytest.approx(2 / 2)
    assert distinct(text, 4) == 1
    assert distinct(text, 5) is None and distinct(Split.of([[], []]), 1) is None


def test_saying_a_text_twice_halves_what_is_distinct_in_it():
    rows = [some_text(20).ids(i) for i in range(20)]
    for n in (1, 2, 3, 4):
        once = distinct(Split.of(rows), n)
        assert once and distinct(Split.of(rows * 2), n) == pytest.approx(once / 2)


# --- self-BLEU


@pytest.mark.parametrize("seed", range(4))
def test_self_bleu_is_the_mean_of_sacrebleu_of_each_sentence_against_the_others(seed: int):
    text = some_text(25, seed, words=4, longest=7, least=1)
    said = [" ".join(map(str, text.ids(i))) for i in range(len(text))]
    said += said[:3]  # some come twice
    bleu = BLEU(tokenize="none", effective_order=True)
    expected = [bleu.sentence_score(each, said[:i] + said[i + 1 :]).score for i, each in enumerate(said)]
    found = self_bleu(Split.of([*(text.ids(i) for i in range(len(text))), *(text.ids(i) for i in range(3))]))
    assert found == pytest.approx(np.mean(expected), rel=1e-9)


def test_self_bleu_is_100_where_all_sentences_are_one_and_0_where_none_shares_a_word():
    assert self_bleu(Split.of([[4, 5, 6, 7]] * 5)) == pytest.approx(100)
    assert self_bleu(Split.of([[4, 5], [6, 7], [8]])) == 0


def test_empty_sentences_have_no_self_bleu():
    full = [[4, 5, 6, 7, 8], [4, 5, 6, 9, 8]]
    assert self_bleu(Split.of([*full, []])) == self_bleu(Split.of(full))
    assert self_bleu(Split.of([[4, 5], []])) is None and self_bleu(Split.of([[], []])) is None


def test_without_sacrebleu_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(ImportError, match=r"pip install 'pyro-textvae\[eval\]'"):
        self_bleu(some_text(3))
