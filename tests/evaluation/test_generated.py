"""Perplexities both ways of text whose worth is known, and what stands in the result.

The text is the grammar's own, one sentence of it again and again, its likeliest sentences, or its words in any order.
"""

import json
import math
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from torch import Tensor

from pyro_textvae import toy
from pyro_textvae.corpus import EOS, UNK, Corpus, Split
from pyro_textvae.encoders import NoEncoder
from pyro_textvae.evaluation import LanguageModelBudget, evaluate_generation, language_model
from pyro_textvae.evaluation.codes import evaluating
from pyro_textvae.evaluation.generated import Generation, generate
from pyro_textvae.evaluation.language_model import fit, nats_per_token
from pyro_textvae.evaluation.words import SMOOTHING
from pyro_textvae.posteriors import NoPosterior
from pyro_textvae.priors import StandardNormal
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size
from pyro_textvae.vae import TextVAE

SMALL = LanguageModelBudget(embedding=32, hidden=64, dropout=0.0, epochs=6, batch_size=16, learning_rate=1e-2)
COUNT = 888


class Recites(StandardNormal):
    """Prior: its codes are sentences, one after the other, as word ids padded with </s>."""

    def __init__(self, sentences: list[list[int]]) -> None:
        longest = max(map(len, sentences)) + 1
        super().__init__(longest)
        rows = [row + [EOS] * (longest - len(row)) for row in sentences]
        self.weight, self.rows, self.place = torch.nn.Parameter(torch.zeros(())), torch.tensor(rows), 0

    def sample(self, count: int, component: int | None = None, variable: int | None = None) -> Tensor:
        places = torch.arange(self.place, self.place + count) % len(self.rows)
        self.place = (self.place + count) % len(self.rows)
        return self.rows[places].float()


class Copy:
    """Decoder: writes the words that the code lists."""

    ordered = True

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def condition_freely(self, code: Tensor) -> Tensor:
        return code

    def start(self, code: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros(1, len(code), dtype=torch.long),)

    def step(self, words: Tensor, code: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        listed = code.gather(1, state[0][0][:, None]).squeeze(1).long()
        return 100 * torch.nn.functional.one_hot(listed, self.vocabulary).float(), (state[0] + 1,)


def says(sentences: list[list[int]], vocabulary: int) -> TextVAE:
    """A model that samples just these sentences."""
    return TextVAE(NoEncoder(), NoPosterior(), Recites(sentences), cast(Any, Copy(vocabulary)))


@cache
def real() -> Corpus:
    """Eight hundred training sentences of the grammar, and a hundred of each other split."""
    return Corpus.open(toy.generate("toy", 1000, seed=1).texts)


def per_token(text: str) -> float:
    return toy.log_probability(text) / (len(text.split()) + 1)


@cache
def texts() -> dict[str, list[list[int]]]:
    """Sentences in the real vocabulary, so many that, with a tenth held out, as many train as the real ones do."""
    corpus, random = real(), np.random.default_rng(0)
    fresh = [corpus.vocabulary.encode(text.split()) for text in toy.generate("toy", COUNT, seed=2).texts]
    likely = sorted(real().splits["train"].texts(corpus.vocabulary), key=per_token)[-20:]
    return {
        "the grammar's": fresh,
        "one sentence": [fresh[0]],
        "twenty likely sentences": [corpus.vocabulary.encode(text.split()) for text in likely],
        "words in any order": [random.permutation(row).tolist() for row in fresh],
    }


@cache
def real_language_model() -> TextVAE:
    with evaluating(recipes()["lstm_lm"](Size(5)).vae, 0):
        return fit(real().splits["train"], real().splits["valid"], len(real().vocabulary), SMALL)[0]


@cache
def measured(name: str) -> dict[str, float]:
    vae = says(texts()[name], len(real().vocabulary))
    given = ("the real one", real_language_model())
    return evaluate_generation(vae, real(), sentences=COUNT, budget=SMALL, language_model=given).metrics


# --- the language model


def test_a_language_model_that_knows_nothing_costs_the_logarithm_of_the_vocabulary_a_token():
    model = recipes()["lstm_lm"](Size(12, embedding=4, hidden=4)).vae
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert nats_per_token(model, Split.of([[4, 5, 6], [7], []])) == pytest.approx(math.log(12), rel=1e-6)


def test_a_token_costs_the_same_in_any_company_and_the_end_of_a_sentence_counts():
    model = recipes()["lstm_lm"](Size(12, embedding=4, hidden=4)).vae
    rows = [[4, 5, 6, 7], [8], [], [9, 9]]
    alone = [nats_per_token(model, Split.of([row])) * (len(row) + 1) for row in rows]
    assert nats_per_token(model, Split.of(rows)) == pytest.approx(sum(alone) / (7 + 4), rel=1e-5)


def test_a_language_model_of_a_memoryless_text_learns_its_entropy():
    random = np.random.default_rng(0)
    p = np.array([0.5, 0.25, 0.125, 0.125])
    text, other = (Split.of(random.choice(np.arange(4, 8), 5, p=p) for _ in range(n)) for n in (600, 300))
    with evaluating(recipes()["lstm_lm"](Size(5)).vae, 0):
        model, _ = fit(text, other, 8, SMALL)
    shares = np.bincount(other.tokens, minlength=8)[4:] / other.tokens.size
    # Five words of this cross-entropy, and an end that is certain.
    assert nats_per_token(model, other) == pytest.approx(-5 / 6 * float((shares * np.log(p)).sum()), abs=0.05)


def test_the_weights_of_the_epoch_that_held_out_text_likes_best_are_kept(monkeypatch: pytest.MonkeyPatch):
    costs = []

    def noted(model: TextVAE, text: Split) -> float:
        costs.append(nats_per_token(model, text))
        return costs[-1]

    monkeypatch.setattr(language_model, "nats_per_token", noted)
    text, other = Split.of([[4, 5, 6, 7]] * 64), Split.of([[7, 6, 5, 4]] * 8 + [[8, 9, 10, 11]] * 8)
    with evaluating(recipes()["lstm_lm"](Size(5)).vae, 0):
        model, best = fit(text, other, 12, SMALL)
    assert len(costs) == SMALL.epochs and best == 1 + int(np.argmin(costs)) < SMALL.epochs
    assert nats_per_token(model, other) == pytest.approx(min(costs), rel=1e-6)


def test_a_language_model_trained_in_bfloat16_says_nearly_the_same_in_float32():
    text, costs = Split.of([[4, 5, 6, 7], [7, 6, 5, 4]] * 32), {}
    for precision in ("float32", "bfloat16"):
        with evaluating(recipes()["lstm_lm"](Size(5)).vae, 0):
            model, _ = fit(text, text, 12, replace(SMALL, precision=precision))
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        costs[precision] = nats_per_token(model, text)
    assert costs["bfloat16"] != costs["float32"] and costs["bfloat16"] == pytest.approx(costs["float32"], abs=0.05)


def test_training_that_leaves_no_number_says_what_to_lower():
    text = Split.of([[4, 5, 6, 7]] * 64)
    with (
        evaluating(recipes()["lstm_lm"](Size(5)).vae, 0),
        pytest.raises(ValueError, match="stopped being numbers: lower the budget's learning_rate"),
    ):
        fit(text, text, 12, LanguageModelBudget(learning_rate=1e30, clip=1e30, hidden=8, embedding=4))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 1.5},
        {"learning_rate": 0.0},
        {"clip": math.inf},
        {"hidden": 0},
        {"precision": "half"},
    ],
)
def test_a_budget_that_trains_nothing_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' is"):
        LanguageModelBudget(**wrong)


# --- what is known of these texts


def test_text_of_the_grammar_is_worth_as_much_as_real_text_both_ways():
    found = measured("the grammar's")
    entropy = toy.generate("toy", 1).entropy["nats_per_token"]
    for name in ("real_nats_per_token", "reverse_nats_per_token", "forward_nats_per_token"):
        assert entropy - 0.1 < found[name] < entropy + 0.5, name
    assert found["perplexity_reverse"] == pytest.approx(found["perplexity_real"], rel=0.15)
    assert found["perplexity_forward"] == pytest.approx(found["perplexity_real"], rel=0.15)
    assert found["perplexity_reverse"] == pytest.approx(math.exp(found["reverse_nats_per_token"]))
    assert found["word_kl_generated_to_train_nats"] < 0.1
    for n in (1, 2, 3, 4):
        assert found[f"distinct_{n}"] == pytest.approx(found[f"distinct_{n}_train"], rel=0.15)
    assert found["self_bleu"] == pytest.approx(found["self_bleu_train"], rel=0.1)


def test_one_sentence_again_and_again_is_likely_and_worthless():
    good, found = measured("the grammar's"), measured("one sentence")
    assert found["perplexity_reverse"] > 20 * good["perplexity_reverse"]
    assert found["self_bleu"] == pytest.approx(100) and found["distinct_4"] < 0.01 < found["distinct_4_train"]
    assert found["word_kl_train_to_generated_nats"] > 10 * good["word_kl_train_to_generated_nats"]


def test_a_few_likely_sentences_win_forwards_and_lose_backwards():
    good, found = measured("the grammar's"), measured("twenty likely sentences")
    assert found["perplexity_forward"] < 0.85 * good["perplexity_forward"]
    assert found["perplexity_reverse"] > 5 * good["perplexity_reverse"]


def test_the_right_words_in_any_order_show_in_perplexities_and_not_in_word_counts():
    good, found = measured("the grammar's"), measured("words in any order")
    assert found["perplexity_reverse"] > 3 * good["perplexity_reverse"]
    assert found["perplexity_forward"] > 10 * good["perplexity_forward"]
    for name in ("word_kl_generated_to_train_nats", "word_kl_train_to_generated_nats", "distinct_1"):
        assert found[name] == pytest.approx(good[name], rel=1e-9)


def test_the_training_text_redrawn_is_what_a_model_gets_that_recites_training_sentences():
    train, some = real().splits["train"], dict(budget=SMALL, measures=("reverse_perplexity", "word_kl"))
    drawn = [train.ids(i).tolist() for i in np.random.default_rng(0).integers(len(train), size=COUNT)]
    found = evaluate_generation(says(drawn, len(real().vocabulary)), real(), sentences=COUNT, **cast(Any, some)).metrics
    for name in ("reverse{}_nats_per_token", "perplexity_reverse{}", "reverse{}_language_model_best_epoch"):
        assert found[name.format("_redrawn")] == found[name.format("")], name
    for name in ("word_kl_{}_to_train_nats", "word_kl_train_to_{}_nats"):
        assert 0 < found[name.format("redrawn")] == found[name.format("generated")], name
    # Text of the grammar does about as well as real text, and one sentence does not.
    assert measured("the grammar's")["perplexity_reverse"] < 1.15 * found["perplexity_reverse_redrawn"]
    assert measured("one sentence")["perplexity_reverse"] > 20 * found["perplexity_reverse_redrawn"]


def test_the_redrawn_text_can_be_left_out():
    some = dict(sentences=40, budget=TINY, measures=("reverse_perplexity", "word_kl", "distinct"))
    vae = tiny()
    with_it, without = (evaluate_generation(vae, real(), **cast(Any, some), redrawn=on) for on in (True, False))
    assert without.metrics == {name: value for name, value in with_it.metrics.items() if "redrawn" not in name}
    assert "redrawn" in str(with_it) and "redrawn" not in str(without)
    distinct = evaluate_generation(tiny(), real(), sentences=40, measures=["distinct"])
    assert not distinct.settings["redrawn"] and "redrawn" not in str(distinct)


def test_both_word_kls_have_the_direction_that_their_names_say():
    corpus = real()
    vae = says(texts()["one sentence"], len(corpus.vocabulary))
    found = evaluate_generation(vae, corpus, sentences=40, measures=["word_kl"]).metrics
    split, shares = corpus.splits["train"], []
    for rows in (texts()["one sentence"] * 40, [split.ids(i).tolist() for i in range(len(split))]):
        counts = Counter(word for row in rows for word in row)
        smoothed = np.array([counts[word] + SMOOTHING for word in range(UNK, len(corpus.vocabulary))])
        shares.append(smoothed / smoothed.sum())
    generated, train = shares
    one, other = (float(rel_entr(a, b).sum()) for a, b in ((generated, train), (train, generated)))
    assert abs(one - other) > 0.3
    assert found["word_kl_generated_to_train_nats"] == pytest.approx(one, rel=1e-6)
    assert found["word_kl_train_to_generated_nats"] == pytest.approx(other, rel=1e-6)


def test_the_language_model_of_the_forward_perplexity_never_sees_what_it_is_measured_on():
    """Another real split changes what real text costs, and nothing that is said of the generated text."""
    corpus, random = real(), np.random.default_rng(0)
    words = random.integers(UNK + 1, len(corpus.vocabulary), (50, 8))
    other = replace(corpus, splits=corpus.splits | {"test": Split.of(words.tolist())})
    budget = LanguageModelBudget(embedding=8, hidden=8, epochs=3, batch_size=64, learning_rate=3e-2)
    measure: dict[str, Any] = dict(sentences=40, budget=budget, measures=["forward_perplexity"])
    one, two = (
        evaluate_generation(says(texts()["the grammar's"], len(corpus.vocabulary)), each, **measure).metrics
        for each in (corpus, other)
    )
    # It learns words that come together, and so ever less of words in any order: there the first epoch is the best.
    assert one["forward_language_model_best_epoch"] == 3
    assert one.pop("real_nats_per_token") < two.pop("real_nats_per_token") - 1
    assert one.pop("perplexity_real") < two.pop("perplexity_real")
    assert one == two


# --- what comes out


def tiny(name: str = "vae", **options: Any) -> TextVAE:
    return recipes()[name](Size(len(real().vocabulary), embedding=8, hidden=8, latent=3), **options).vae


TINY = LanguageModelBudget(embedding=4, hidden=4, epochs=1, batch_size=64)


def test_the_same_seed_gives_the_same_numbers_and_leaves_random_numbers_and_modes_alone():
    vae = tiny().train()
    before = torch.get_rng_state()
    some = dict(sentences=40, budget=TINY, measures=("reverse_perplexity", "distinct", "self_bleu"))
    found = evaluate_generation(vae, real(), **cast(Any, some))
    assert torch.equal(torch.get_rng_state(), before) and vae.training
    torch.manual_seed(5)
    assert evaluate_generation(vae, real(), **cast(Any, some)) == found
    assert evaluate_generation(vae, real(), **cast(Any, some), seed=1).metrics != found.metrics


def test_a_measure_is_the_same_alone_as_among_others():
    vae = tiny("dem_vae")
    together = evaluate_generation(vae, real(), sentences=40, budget=TINY).metrics
    for name in ("reverse_perplexity", "forward_perplexity", "word_kl", "distinct", "self_bleu"):
        alone = evaluate_generation(vae, real(), sentences=40, budget=TINY, measures=[name]).metrics
        assert alone.items() < together.items()


def test_settings_say_how_the_numbers_were_got_and_are_ready_for_json():
    found = evaluate_generation(tiny(), real(), "valid", sentences=40, budget=TINY, decoding="sample", temperature=0.5)
    assert json.loads(json.dumps(found.data())) == found.data()
    assert found.settings["language_model"]["epochs"] == 1 and found.settings["temperature"] == 0.5
    assert found.settings["compared_sentences"] == {"distinct": 40, "self_bleu": 40}
    assert found.settings["max_length"] == 100 and found.settings["prior_was_trained"]
    assert "decoding sample at temperature 0.5" in str(found) and "epochs 1" in str(found)
    assert "perplexity_reverse" in str(found)
    greedy = evaluate_generation(tiny("ae"), real(), sentences=40, decoding="greedy", measures=["distinct"])
    assert greedy.settings["temperature"] is None and greedy.settings["language_model"] is None
    assert not greedy.settings["prior_was_trained"] and "an autoencoder has none" in str(greedy)


def test_what_is_generated_is_what_a_model_writes_cut_where_it_is_told():
    sentences = [[4, 5, 6], [7, 8], [], [9, 9, 9, 9]]
    made = generate(says(sentences, 12), 6)
    assert [made.ids(i).tolist() for i in range(6)] == [*sentences, *sentences[:2]]
    cut = generate(says(sentences, 12), 4, "greedy", max_length=2)
    assert [cut.ids(i).tolist() for i in range(4)] == [[4, 5], [7, 8], [], [9, 9]]


def test_temperature_makes_words_tamer():
    vae = tiny()
    with evaluating(vae, 0):
        counts = {t: Counter(generate(vae, 100, temperature=t, max_length=20).tokens) for t in (0.02, 1.0)}
    assert len(counts[0.02]) < len(counts[1.0])


def test_empty_and_cut_sentences_are_counted_and_text_of_none_but_empty_ones_is_measured():
    rows = [[], [4] * 5, [4] * 9, [5]]
    found = evaluate_generation(says(rows, len(real().vocabulary)), real(), sentences=40, max_length=5, budget=TINY)
    assert found.metrics["generated_empty_share"] == 0.25 and found.metrics["generated_longest_share"] == 0.5
    assert found.metrics["generated_words_per_sentence"] == 11 / 4
    nothing = evaluate_generation(says([[]], len(real().vocabulary)), real(), sentences=40, budget=TINY).metrics
    assert nothing["generated_empty_share"] == 1 and nothing["perplexity_reverse"] > nothing["perplexity_real"]
    assert not {"distinct_1", "self_bleu"} & set(nothing) and "distinct_1_train" in nothing


def test_a_perplexity_too_large_for_a_number_is_left_out_and_its_nats_are_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyro_textvae.evaluation.generated.nats_per_token", lambda model, text: 800.0)
    found = evaluate_generation(tiny(), real(), sentences=40, budget=TINY, measures=["reverse_perplexity"]).metrics
    assert found["reverse_nats_per_token"] == 800 and "perplexity_reverse" not in found


@pytest.mark.parametrize("name", ["lstm_lm", "ae", "vmf_vae", "cnn_vae", "gm_vae"])
def test_every_kind_of_model_can_be_measured(name: str):
    found = evaluate_generation(tiny(name), real(), sentences=20, budget=TINY, max_length=10)
    assert all(map(math.isfinite, found.metrics.values())) and found.metrics["perplexity_reverse"] > 1


# --- bad input


class Conditional(StandardNormal):
    def sample(self, count: int, component: int | None = None, variable: int | None = None) -> Tensor:
        raise NotImplementedError("it needs a context")


def test_a_model_that_cannot_be_sampled_from_is_told_so():
    vae = TextVAE(NoEncoder(), NoPosterior(), Conditional(3), tiny().decoder)
    with pytest.raises(ValueError, match=r"Conditional and .* cannot be sampled from \(it needs a context\)"):
        evaluate_generation(vae, real(), budget=TINY)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"measures": ["reverse_perplexty"]},
            r"unknown measure .* \(did you mean 'reverse_perplexity'",
        ),
        ({"measures": "distinct"}, "measures='distinct' came, but a list is needed"),
        ({"measures": []}, "a list is needed"),
        ({"sentences": 19}, "sentences=19 came, but a whole number of at least 20"),
        ({"self_bleu_sentences": 1}, "self_bleu_sentences=1 came"),
        ({"decoding": "gredy"}, "did you mean 'greedy'"),
        ({"decoding": "greedy", "temperature": 0.5}, "draws no word: leave one of them out"),
        ({"temperature": 0.0}, "must be positive"),
        ({"max_length": 0}, "max_length=0 came"),
        ({"split": "tset"}, r"unknown split 'tset' \(did you mean 'test'"),
        ({"measures": ["distinct"], "language_model": ("it", None)}, "serves the forward perplexity alone"),
    ],
)
def test_wrong_numbers_and_names_are_refused(given: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        evaluate_generation(tiny(), real(), **given)


def test_a_language_model_is_measured_by_its_samples_alone():
    with pytest.raises(ValueError, match="one sentence again and again: use decoding='sample'"):
        evaluate_generation(tiny("lstm_lm"), real(), decoding="greedy")


def test_a_missing_sacrebleu_is_said_before_anything_is_generated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    vae = says([[4]], len(real().vocabulary))
    with pytest.raises(ImportError, match=r"pip install 'pyro-textvae\[eval\]'"):
        evaluate_generation(vae, real(), budget=TINY)
    assert cast(Recites, vae.prior).place == 0
    assert isinstance(evaluate_generation(vae, real(), sentences=20, measures=["distinct"]), Generation)
