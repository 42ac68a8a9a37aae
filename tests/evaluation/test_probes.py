"""Probes of the code: where the best answer is known they find it, and exchanges of words do what they say."""

import itertools
import json
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from small import a_batch, a_size, roughen
from tiny import some_texts, train_tiny
from torch import Tensor, nn

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import BOS, EOS, PAD, Split
from pyro_textvae.evaluation import probes
from pyro_textvae.evaluation.probes import (
    cosine,
    exchange_neighbours,
    exchange_rows,
    fit_probe,
    mean_pairwise_cosine,
    order_sensitivity,
    probe_bag_of_words,
)
from pyro_textvae.recipes import recipes
from pyro_textvae.run import Run
from pyro_textvae.vae import TextVAE


class MeanEmbedding(nn.Module):
    """An encoder that knows no order: the mean embedding of the words."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width).double()

    def forward(self, batch: Batch) -> Tensor:
        return probes.bags(self.embedding.weight, batch)


class Nothing(nn.Module):
    """An encoder that says the same of every sentence."""

    def forward(self, batch: Batch) -> Tensor:
        return torch.ones(len(batch), 8)


def a_vae(encoder: nn.Module | None = None, name: str = "vae") -> TextVAE:
    vae = recipes()[name](a_size(latent=8)).vae
    roughen(vae)
    if encoder is not None:
        vae.encoder = encoder
    return vae.eval()


def a_split(count: int = 300, seed: int = 0, words: tuple[int, int] = (2, 7)) -> Split:
    random = np.random.default_rng(seed)
    return Split.of(random.integers(4, 12, size=random.integers(*words)) for _ in range(count))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_tiny("vmf_vae", tmp_path_factory.mktemp("runs") / "vmf", concentration=8.0)


# Cosines.


def test_the_cosine_is_numpys_and_exactly_1_for_a_vector_and_itself():
    a, b = torch.randn(50, 7), torch.randn(50, 7)
    x, y = a.double().numpy(), b.double().numpy()
    expected = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert np.allclose(cosine(a, b).numpy(), expected, atol=1e-14)
    assert (cosine(a, a) == 1).all() and np.allclose(cosine(a, -3 * a).numpy(), -1, atol=1e-14)
    nothing = torch.zeros(50, 7)
    assert (cosine(a, nothing) == 0).all() and (cosine(nothing, nothing) == 1).all()


def test_the_cosine_of_two_sentences_is_the_mean_over_all_pairs():
    codes = torch.randn(6, 3)
    pairs = [cosine(a, b).item() for a, b in itertools.combinations(codes, 2)]
    assert mean_pairwise_cosine(codes) == pytest.approx(np.mean(pairs), abs=1e-14)


# A probe whose best answer is known: targets turned by von Mises noise off an angle that the inputs tell.


def turned(angles: np.ndarray, concentration: float, random: np.random.Generator) -> Tensor:
    """Directions (N, 2) at the angles plus noise: the best guess has the mean cosine I1 / I0 (concentration)."""
    noisy = angles + random.vonmises(0, concentration, len(angles))
    return torch.from_numpy(np.stack([np.cos(noisy), np.sin(noisy)], -1)).float()


def test_a_probe_reaches_the_best_cosine_there_is_and_not_more():
    random = np.random.default_rng(1)
    mixing = np.array([[2e-4, 0, 1.0, 0.3], [0, 5e-4, -1.0, 0.1]])  # scales are no matter
    sets = []
    for count in (2000, 500, 4000):
        angles = random.uniform(0, 2 * np.pi, count)
        inputs = np.stack([np.cos(angles), np.sin(angles)], -1) @ mixing
        sets.append((torch.from_numpy(inputs).float(), turned(angles, 3.0, random)))
    found = fit_probe(*sets)
    best = special.i1(3.0) / special.i0(3.0)  # 0.810
    assert best - 0.02 < found.cosine < best + 3 * found.standard_error
    assert abs(found.constant) < 4 / math.sqrt(4000)  # all angles alike: no constant is better than another
    assert 1 <= found.passes <= probes.PASSES


def test_a_probe_of_inputs_that_tell_nothing_is_no_better_than_the_constant():
    random = np.random.default_rng(2)
    sets = [(torch.randn(n, 4), turned(np.full(n, 0.7), 1.5, random)) for n in (2000, 500, 4000)]
    found = fit_probe(*sets)
    best = special.i1(1.5) / special.i0(1.5)
    assert found.constant == pytest.approx(best, abs=4 * found.standard_error)
    assert found.constant - 0.03 < found.cosine < found.constant + 0.005


def test_the_test_sentences_choose_nothing():
    random = np.random.default_rng(3)
    angles = random.uniform(0, 2 * np.pi, 300)
    pair = torch.from_numpy(angles[:, None]).float(), turned(angles, 3.0, random)
    wrong = pair[0], -pair[1]
    one, other = (fit_probe(pair, pair, test, passes=3) for test in (pair, wrong))
    assert one.passes == other.passes and one.cosine == pytest.approx(-other.cosine, abs=1e-12)
    assert one.constant == pytest.approx(-other.constant, abs=1e-12)


def test_a_bag_of_words_is_the_mean_over_the_words_alone():
    batch, table = a_batch(), torch.randn(12, 5)
    sentences = [[4, 5, 6], [7, 8], [9], [4, 4, 4, 9, 5], [6, 7, 8]]
    expected = torch.stack([torch.stack([table[word] for word in words]).mean(0) for words in sentences])
    assert torch.allclose(probes.bags(table, batch), expected)


def test_a_code_that_is_linear_in_the_bag_tells_it_and_is_told_by_it():
    vae = a_vae(MeanEmbedding(12, 8)).double()
    found = probe_bag_of_words(vae, a_split(1500), a_split(200, 1), a_split(300, 2))
    for each in (found.code_to_bag, found.bag_to_code):
        assert each.cosine > 0.99 > each.constant + 0.1
    assert (found.sentences, found.train_sentences, found.left_out) == (300, 1500, 0)


def test_of_a_code_that_is_the_same_for_all_nothing_is_learnt_and_to_say_it_is_no_feat():
    vae = a_vae(Nothing())
    found = probe_bag_of_words(vae, a_split(600), a_split(100, 1), a_split(300, 2), passes=3)
    assert found.code_to_bag.cosine == pytest.approx(found.code_to_bag.constant, abs=0.02)
    assert found.bag_to_code.constant == pytest.approx(1) and found.bag_to_code.cosine > 0.99


def test_sentences_without_a_word_have_no_bag_and_are_counted():
    empty = Split.of([[], [4, 5], [6], [], [7, 8, 9]])
    found = probe_bag_of_words(a_vae(), empty, empty, empty, passes=1)
    assert (found.sentences, found.train_sentences, found.left_out) == (3, 3, 4)
    assert "4 without a word left out" in str(found)


# Exchanges.


def outcomes(words: tuple[int, ...], p: Fraction) -> dict[tuple[int, ...], Fraction]:
    """Every result of exchanging neighbours from left to right, with its probability."""
    if len(words) < 2:
        return {words: Fraction(1)}
    first, second, *rest = words
    found: dict[tuple[int, ...], Fraction] = {}
    for end, chance in outcomes(tuple(rest), p).items():
        found[(second, first, *end)] = found.get((second, first, *end), Fraction(0)) + p * chance
    for end, chance in outcomes(words[1:], p).items():
        found[(first, *end)] = found.get((first, *end), Fraction(0)) + (1 - p) * chance
    return found


@pytest.mark.parametrize("p", [Fraction(0), Fraction(3, 10), Fraction(1)])
def test_neighbours_are_exchanged_as_often_as_enumeration_says(p: Fraction):
    count, words = 20_000, (4, 5, 6, 7, 8)
    batch = Batch.collate([words] * count)
    found = Counter(tuple(row) for row in exchange_neighbours(batch, float(p), np.random.default_rng(0)).tolist())
    expected = {(BOS, *words, EOS): chance for words, chance in outcomes(words, p).items()}
    assert set(found) <= {words for words, chance in expected.items() if chance}
    for words, chance in expected.items():
        error = math.sqrt(chance * (1 - chance) / count)
        assert found[words] / count == pytest.approx(float(chance), abs=4.5 * error)


@given(
    sentences=st.lists(st.lists(st.integers(4, 11), min_size=0, max_size=6), min_size=1, max_size=5),
    p=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_an_exchange_of_neighbours_keeps_the_words_and_moves_none_by_more_than_a_place(sentences, p, seed):
    numbered = [[4 + i for i, _ in enumerate(words)] for words in sentences]  # so that each can be followed
    batch = Batch.collate(numbered)
    tokens = exchange_neighbours(batch, p, np.random.default_rng(seed))
    assert torch.equal(batch.tokens, Batch.collate(numbered).tokens)  # the batch itself is left
    for row, words in zip(tokens.tolist(), numbered, strict=True):
        own = row[1 : len(words) + 1]
        assert sorted(own) == words and all(abs(word - 4 - place) <= 1 for place, word in enumerate(own))
        assert row[0] == BOS and row[len(words) + 1] == EOS and set(row[len(words) + 2 :]) <= {PAD}


def test_rows_are_exchanged_as_often_as_enumeration_says_in_all_sentences_alike():
    batch = Batch.collate([[4], [5]])  # three positions: <s>, the word, </s>
    expected: Counter[tuple[int, ...]] = Counter()
    for partners in itertools.product(range(3), repeat=3):
        places = [0, 1, 2]
        for t, partner in enumerate(partners):
            places[t], places[partner] = places[partner], places[t]
        expected[tuple(places)] += 1
    found: Counter[tuple[int, ...]] = Counter()
    for seed in range(2700):
        one, other = exchange_rows(batch, 1.0, np.random.default_rng(seed)).tolist()
        assert [5 if token == 4 else token for token in one] == other
        found[tuple({BOS: 0, 4: 1, EOS: 2}[token] for token in one)] += 1
    for places, ways in expected.items():
        assert found[places] == pytest.approx(100 * ways, abs=4.5 * math.sqrt(100 * ways))
    assert torch.equal(exchange_rows(batch, 0.0, np.random.default_rng(0)), batch.tokens)


# Sensitivity.


def test_an_encoder_that_knows_no_order_feels_no_exchange():
    found = order_sensitivity(a_vae(MeanEmbedding(12, 8)).double(), a_split())
    assert found.cosines == pytest.approx([1.0] * len(found.cosines), abs=1e-13)
    assert found.moved[-1] > 0.5 and found.another_sentence < 0.9
    assert found.standard_errors == pytest.approx([0.0] * len(found.cosines), abs=1e-13)


@pytest.mark.parametrize("how", ["adjacent", "rows"])
def test_a_constant_code_feels_nothing_and_tells_no_two_sentences_apart(how):
    found = order_sensitivity(a_vae(Nothing()), a_split(), how=how)
    assert set(found.cosines) == {1.0} and found.another_sentence == pytest.approx(1)


def test_a_recurrent_encoder_feels_more_exchanges_more():
    found = order_sensitivity(a_vae(), a_split(), probabilities=(0, 0.2, 0.5, 1))
    assert found.cosines[0] == 1 and found.moved[0] == 0 and found.standard_errors[0] == 0
    assert list(found.cosines) == sorted(found.cosines, reverse=True) and found.cosines[1] < 0.9999
    assert list(found.moved) == sorted(found.moved)


def test_the_cosines_are_those_of_sentences_exchanged_by_hand():
    vae, split = a_vae(), Split.of([[4, 5, 6], [7, 8, 9], [10, 11, 4]])
    found = order_sensitivity(vae, split, probabilities=[1])
    with torch.no_grad():
        before = vae.q_z(Batch.collate([[4, 5, 6], [7, 8, 9], [10, 11, 4]])).mean
        after = vae.q_z(Batch.collate([[5, 4, 6], [8, 7, 9], [11, 10, 4]])).mean
    cosines = torch.cosine_similarity(before.double(), after.double()).numpy()
    assert found.cosines[0] == pytest.approx(cosines.mean(), abs=1e-12)
    assert found.standard_errors[0] == pytest.approx(cosines.std(ddof=1) / math.sqrt(3), rel=1e-6)
    assert found.moved == (pytest.approx(2 / 3),)


def test_sentences_of_one_word_are_left_out_and_counted():
    long, short = [[4, 5, 6], [7, 8], [9, 10, 11]], [[4], [5], []]
    vae = a_vae()
    found, alone = (order_sensitivity(vae, Split.of(each)) for each in (long + short, long))
    assert (found.sentences, found.too_short) == (3, 3) and found.cosines == alone.cosines
    assert "3 of fewer than two words left out" in str(found)


def test_the_direction_of_a_vmf_code_is_compared_and_of_a_code_with_classes_the_rest():
    vae = a_vae(name="semi_vae")
    assert probes.vectors(vae, a_batch()).shape == (5, 8)
    vae, batch = a_vae(name="vmf_vae"), a_batch()
    locations = vae.q_z(batch).loc  # pyright: ignore[reportAttributeAccessIssue]
    assert torch.allclose(cosine(probes.vectors(vae, batch), locations), torch.ones(5, dtype=torch.float64))


# On a run.


@pytest.mark.parametrize("name, options", [("ae", {}), ("sa_vae", {}), ("dem_vae", {"variables": 2}), ("semi_vae", {})])
def test_every_vector_code_can_be_probed_and_stays_where_nothing_is_exchanged(tmp_path: Path, name: str, options):
    run = train_tiny(name, tmp_path / "run", epochs=1, **options)
    found = run.order_sensitivity(some_texts(40), probabilities=(0, 1))
    assert found.cosines[0] == 1 > found.cosines[1]


def test_probing_leaves_the_run_and_the_callers_random_numbers_and_is_repeatable(run: Run):
    weights = {name: value.clone() for name, value in run.vae.state_dict().items()}
    numbers = torch.get_rng_state()
    first, again = ((run.probe_bag_of_words(passes=2), run.order_sensitivity()) for _ in range(2))
    assert first == again and first[1] != run.order_sensitivity(seed=1)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(torch.equal(value, weights[name]) for name, value in run.vae.state_dict().items())
    assert all(parameter.grad is None for parameter in run.vae.parameters())


def test_results_print_as_tables_and_go_into_json(run: Run):
    bags, order = run.probe_bag_of_words(passes=1), run.order_sensitivity(probabilities=(0.0, 0.5))
    assert len(str(bags).splitlines()) == 4 and "12 test sentences" in str(bags)
    assert len(str(order).splitlines()) == 5 and "0.5" in str(order)
    assert json.loads(json.dumps(bags.data()))["code_to_bag"]["constant"] == bags.code_to_bag.constant
    assert json.loads(json.dumps(order.data()))["cosines"] == list(order.cosines)
    assert "rows of the batch" in str(run.order_sensitivity(how="rows"))


# Bad input.


@pytest.mark.parametrize("p", [-0.1, 1.5, math.nan])
def test_a_probability_outside_0_to_1(run: Run, p: float):
    with pytest.raises(ValueError, match=rf"{p} came as a probability of exchanging words, but it lies in 0 to 1"):
        run.order_sensitivity(probabilities=(0.5, p))


def test_no_probability_an_unknown_way_and_no_pass(run: Run):
    with pytest.raises(ValueError, match="none came as a probability"):
        run.order_sensitivity(probabilities=())
    with pytest.raises(ValueError, match=r"how='adjacnt' came \(did you mean 'adjacent'\?\)"):
        run.order_sensitivity(how="adjacnt")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="'passes' is 0, but a whole number of at least 1"):
        run.probe_bag_of_words(passes=0)
    with pytest.raises(ValueError, match="unknown split 'tset'"):
        run.order_sensitivity(split="tset")


def test_nothing_to_exchange(run: Run):
    with pytest.raises(ValueError, match="1 of 3 sentences have two words to exchange, but at least 2"):
        run.order_sensitivity(["w1", "w2", "w1 w2"])


@pytest.mark.parametrize("name", ["lstm_lm", "dae"])
def test_a_run_whose_code_is_no_vector(tmp_path: Path, name: str):
    run = train_tiny(name, tmp_path / "run", epochs=1)
    for probed in (run.probe_bag_of_words, run.order_sensitivity):
        with pytest.raises(ValueError, match="this model's code is no vector: it has none, or only classes"):
            probed()


def test_a_run_without_a_test_split(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.txt").write_text("\n".join(some_texts(60)))
    (data / "valid.txt").write_text("\n".join(some_texts(20, 1)))
    run = train_tiny("vae", tmp_path / "run", data, epochs=1)
    for probed in (run.probe_bag_of_words, run.order_sensitivity):
        with pytest.raises(ValueError, match=r"unknown split 'test'.*: the corpus has train, valid"):
            probed()
    assert run.order_sensitivity(split="valid").sentences == 20


def test_a_model_without_a_table_of_words():
    vae = a_vae(Nothing())
    vae.decoder = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="no table of word embeddings"):
        probe_bag_of_words(vae, a_split(), a_split(), a_split())


def test_the_order_of_a_bag_of_words_is_not_asked_for():
    vae = recipes()["g_nvdm"](a_size()).vae
    with pytest.raises(ValueError, match="a bag of words has no order"):
        order_sensitivity(vae, Split.of([[4, 5], [5, 6]]))
