"""BLEU by hand, and the noisy reconstruction of models that hold the order of words, or nothing of it."""

import sys
from typing import Any, cast

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import EOS, Split
from pyro_textvae.evaluation import evaluate
from pyro_textvae.evaluation.codes import Codes, evaluating
from pyro_textvae.evaluation.reconstruction import noisy_reconstruction, reconstruction_bleu, swapped
from pyro_textvae.priors import StandardNormal
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size
from pyro_textvae.vae import TextVAE

LENGTH, WORDS = 7, 40


def split_of(sentences: list[list[int]]) -> Split:
    return Split(np.concatenate(sentences).astype(np.int32), np.cumsum([0, *map(len, sentences)], dtype=np.int64))


class Words(nn.Module):
    """Encoder: the words of sentences of LENGTH words as numbers; sorted, it knows nothing of their order."""

    def __init__(self, ordered: bool) -> None:
        super().__init__()
        self.ordered, self.unused = ordered, nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> Tensor:
        words = batch.tokens[:, 1 : LENGTH + 1].float()
        return words if self.ordered else words.sort(-1).values


class Same(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return pyro.sample("z", dist.Delta(features, event_dim=1))


class Copy:
    """Decoder: writes the words that the code lists; a word that it does not list at its place costs one nat."""

    ordered = True

    def log_prob(self, code: Tensor, batch: Batch) -> Tensor:
        return -(code != batch.tokens[:, 1 : LENGTH + 1]).sum(-1).float()

    def condition(self, code: Tensor, batch: Batch) -> Tensor:
        return code

    def start(self, code: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros(1, len(code), dtype=torch.long),)

    def step(self, words: Tensor, code: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        place = state[0][0]
        listed = torch.cat([code, torch.full((len(code), 1), float(EOS))], 1).gather(1, place[:, None]).squeeze(1)
        return 50 * nn.functional.one_hot(listed.long(), WORDS).float(), (state[0] + 1,)


def copying(ordered: bool = True) -> TextVAE:
    return TextVAE(Words(ordered), Same(), StandardNormal(LENGTH), cast(Any, Copy()))


def some_sentences(count: int = 30) -> list[list[int]]:
    """Of LENGTH words, all different."""
    random = np.random.default_rng(0)
    return [(4 + random.permutation(WORDS - 4)[:LENGTH]).tolist() for _ in range(count)]


def bleu(written: list[list[int]], sentences: list[list[int]], **options: Any) -> dict[str, float]:
    """BLEU where the codes are those of other sentences, padded with </s>."""
    vae, split = copying(), split_of(sentences)
    with evaluating(vae, 0):
        codes = Codes.read(vae, split)
        rows = [written[i] + [EOS] * (LENGTH - len(written[i])) for i in codes.index.tolist()]
        codes.code[:] = torch.tensor(rows)
        return reconstruction_bleu(vae, split, codes, z="drawn", **options)


# --- BLEU


def test_a_copy_has_a_bleu_of_100_and_the_name_says_how_it_was_decoded():
    sentences = some_sentences()
    for decoding in ("greedy", "beam", "sample"):
        found = evaluate(copying(), split_of(sentences), bleu=decoding)
        assert found[f"reconstruction_bleu_{decoding}_from_mean"] == pytest.approx(100)
        assert found[f"reconstruction_empty_share_{decoding}_from_mean"] == 0
    assert "reconstruction_bleu_greedy_from_drawn" in evaluate(
        copying(), split_of(sentences), bleu="greedy", bleu_from="drawn"
    )


def test_bleu_is_the_geometric_mean_of_n_gram_precisions():
    sentences = [[4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15]]
    found = bleu([[4, 5, 6, 7, 8, 20], [21, 11, 12, 13, 14, 15]], sentences)
    precisions = (10 / 12, 8 / 10, 6 / 8, 4 / 6)
    assert found["reconstruction_bleu_greedy_from_drawn"] == pytest.approx(100 * np.prod(precisions) ** 0.25)


def test_an_empty_hypothesis_counts_as_one_of_no_words():
    sentences = [[4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15]]
    found = bleu([[4, 5, 6, 7, 8, 9], []], sentences)  # no n-gram is wrong; half as long as it should be
    assert found["reconstruction_bleu_greedy_from_drawn"] == pytest.approx(100 * np.exp(1 - 12 / 6))
    assert found["reconstruction_empty_share_greedy_from_drawn"] == 0.5
    assert bleu([[], []], sentences)["reconstruction_bleu_greedy_from_drawn"] == 0


def test_what_is_missing_or_misspelt_for_bleu_is_said(monkeypatch: pytest.MonkeyPatch):
    sentences = some_sentences(3)
    with pytest.raises(ValueError, match="did you mean 'greedy'"):
        bleu(sentences, sentences, decoding="gredy")
    with pytest.raises(ValueError, match="did you mean 'mean'"):
        evaluate(copying(), split_of(sentences), bleu="greedy", bleu_from="means")  # pyright: ignore
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(ImportError, match=r"pip install 'pyro-textvae\[eval\]'"):
        bleu(sentences, sentences)


# --- noise


@pytest.mark.parametrize("pairs", [0, 1, 2, 3])
def test_pairs_of_words_are_exchanged_at_as_many_places_as_asked(pairs: int):
    random, words = np.random.default_rng(0), np.arange(10, 17)
    for _ in range(50):
        noisy = swapped(words, pairs, random)
        where = noisy - 10  # which word stands at each place now
        assert (noisy != words).sum() == 2 * pairs
        assert (where[where] == np.arange(7)).all()  # exchanged twice, all is as it was
    assert words.tolist() == list(range(10, 17))


def test_a_code_that_holds_the_order_loses_by_every_swap():
    found = evaluate(copying(), split_of(some_sentences()), swaps=(1, 3))
    assert [found[f"reconstruction_after_{n}_swaps_nats_per_sentence"] for n in (0, 1, 3)] == [0, 2, 6]
    assert found["reconstruction_after_swaps_sentences"] == 30


def test_a_code_that_holds_no_order_loses_nothing():
    vae, split = copying(ordered=False), split_of(some_sentences())
    found = evaluate(vae, split, swaps=(1, 2))
    assert len({found[f"reconstruction_after_{n}_swaps_nats_per_sentence"] for n in (0, 1, 2)}) == 1
    assert found["reconstruction_after_0_swaps_nats_per_sentence"] == found["reconstruction_nats_per_sentence"] > 0


def test_noise_is_measured_on_sentences_that_are_long_enough_and_on_no_more_than_asked():
    vae = recipes()["vae"](Size(WORDS, embedding=4, hidden=4, latent=2)).vae
    sentences = [[5] * length for length in (1, 2, 3, 4, 5, 6, 7)]
    with evaluating(vae, 0):
        found = noisy_reconstruction(vae, split_of(sentences), [2])
        assert found["reconstruction_after_swaps_sentences"] == 3  # longer than 4 words
        # Equal words, exchanged, are what they were: what moves is the noise of z.
        assert found["reconstruction_after_2_swaps_nats_per_sentence"] == pytest.approx(
            found["reconstruction_after_0_swaps_nats_per_sentence"], rel=0.1
        )
        few = noisy_reconstruction(vae, split_of(some_sentences()), [1], sentences=7)
        assert few["reconstruction_after_swaps_sentences"] == 7
        again = noisy_reconstruction(vae, split_of(some_sentences()), [1], sentences=7, seed=1)
        assert few != again
        with pytest.raises(ValueError, match="more than 8 words: the longest has 7"):
            noisy_reconstruction(vae, split_of(sentences), [1, 4])
        for wrong in ([], [-1]):
            with pytest.raises(ValueError, match="0 or more"):
                noisy_reconstruction(vae, split_of(sentences), wrong)


def test_a_language_model_has_nothing_to_reconstruct_from():
    vae = recipes()["lstm_lm"](Size(WORDS, embedding=4, hidden=4, latent=2)).vae
    split = split_of(some_sentences(4))
    assert not [name for name in evaluate(vae, split, swaps=(1,), bleu="greedy") if "swaps" in name or "bleu" in name]
    with evaluating(vae, 0):
        with pytest.raises(ValueError, match="no code"):
            noisy_reconstruction(vae, split, [1])
        with pytest.raises(ValueError, match="no code"):
            reconstruction_bleu(vae, split, Codes.read(vae, split))
