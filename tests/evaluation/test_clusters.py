import math

import numpy as np
import pytest
import torch
from scipy.special import xlogy
from scipy.stats import entropy

from pyro_textvae.evaluation.clusters import agreement, assign, drawn, joint


def test_a_code_that_names_the_label_is_homogeneous_under_any_numbering():
    labels = np.repeat(np.arange(4), 25)
    for code in (labels, 3 - labels):
        found = agreement(labels, code)
        assert found is not None
        homogeneity, chance, adjusted = found
        assert homogeneity == pytest.approx(1) and adjusted == pytest.approx(1) and chance < 0.1


def test_a_code_that_is_always_the_same_says_nothing():
    found = agreement(np.repeat(np.arange(4), 25), np.zeros(100, int))
    assert found is not None
    assert found == pytest.approx((0, 0, 0), abs=1e-9)


def test_homogeneity_is_one_less_the_conditional_entropy_over_the_entropy():
    labels = np.array([0] * 30 + [1] * 30)
    code = np.array([0] * 30 + [0] * 10 + [1] * 20)  # code 0: 30 and 10, code 1: 20
    conditional = 40 / 60 * -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    found = agreement(labels, code)
    assert found is not None and found[0] == pytest.approx(1 - conditional / math.log(2))


# Label counts of DailyDialog's test split, and what random ids score on them (counted on the corpus).
ACTS = (3534, 2210, 1278, 718)
EMOTIONS = (6321, 118, 47, 17, 1019, 102, 116)


@pytest.mark.parametrize(
    ("counts", "ids", "floor"), [(ACTS, 125, 0.020), (EMOTIONS, 125, 0.074), (ACTS, 5, 0.001), (EMOTIONS, 5, 0.002)]
)
def test_random_ids_score_the_known_chance_floor_and_no_adjusted_information(
    counts: tuple[int, ...], ids: int, floor: float
):
    labels = np.repeat(np.arange(len(counts)), counts)
    code = np.random.default_rng(0).integers(ids, size=len(labels))
    found = agreement(labels, code, permutations=40)
    assert found is not None
    homogeneity, chance, adjusted = found
    assert chance == pytest.approx(floor, abs=max(0.001, 0.06 * floor))
    assert homogeneity == pytest.approx(chance, abs=0.15 * floor + 0.002)
    assert adjusted == pytest.approx(0, abs=0.005)


def test_adjusted_mutual_information_is_the_excess_over_shuffled_codes_as_a_share_of_the_most():
    random = np.random.default_rng(0)
    labels = random.integers(3, size=60)
    code = np.where(random.random(60) < 0.5, labels, random.integers(8, size=60))

    def information(a: np.ndarray, b: np.ndarray) -> float:
        both = np.histogram2d(a, b, bins=(np.arange(4), np.arange(9)))[0] / len(a)
        apart = both.sum(1, keepdims=True) * both.sum(0, keepdims=True)
        return float(xlogy(both, both / np.where(apart > 0, apart, 1)).sum())

    entropies = [entropy(np.bincount(ids)) for ids in (labels, code)]
    shuffled = [information(labels, random.permutation(code)) for _ in range(4000)]
    chance, most = float(np.mean(shuffled)), float(np.mean(entropies))
    found = agreement(labels, code)
    assert found is not None
    assert found[0] == pytest.approx(information(labels, code) / entropies[0])
    assert found[1] == pytest.approx(chance / entropies[0], rel=0.2)
    assert found[2] == pytest.approx((information(labels, code) - chance) / (most - chance), abs=0.005)


def test_the_chance_floor_is_the_same_for_the_same_seed():
    random = np.random.default_rng(0)
    labels, code = random.integers(3, size=200), random.integers(10, size=200)
    assert agreement(labels, code, seed=1) == agreement(labels, code, seed=1)


def test_sentences_without_a_label_are_left_out():
    labels, code = np.array([0, 0, 1, 1, -1, -1]), np.array([0, 0, 1, 1, 0, 1])
    found = agreement(labels, code)
    assert found is not None and found[0] == pytest.approx(1)


def test_a_column_of_one_label_has_nothing_to_find():
    assert agreement(np.array([2, 2, -1]), np.array([0, 1, 1])) is None


def test_a_code_as_varied_as_the_sentences_scores_no_better_than_chance_and_warns_of_nothing():
    found = agreement(np.arange(50) % 3, np.arange(50))
    assert found is not None
    homogeneity, chance, adjusted = found
    assert homogeneity == pytest.approx(1) and chance == pytest.approx(1) and adjusted == pytest.approx(0, abs=1e-6)


def test_the_code_of_a_sentence_is_the_most_probable_component_of_each_variable():
    q = torch.tensor([[[0.1, 0.9], [0.8, 0.2]], [[0.6, 0.4], [0.3, 0.7]]])
    assert assign(q).tolist() == [[1, 0], [0, 1]]


def test_joint_ids_tell_apart_just_the_codes_that_differ_even_with_thirty_variables():
    code = np.random.default_rng(0).integers(8, size=(20, 30))
    code[7] = code[3]
    code[9] = code[3]
    code[9, -1] = (code[3, -1] + 1) % 8
    ids = joint(code)
    assert ids.shape == (20,) and ids[7] == ids[3] != ids[9] and len(set(ids)) == 19


def test_a_drawn_code_does_not_find_what_only_the_likeliest_component_knows():
    labels = np.arange(3000) % 3
    sure, unsure = torch.full((2, 3000, 1, 3), 1 / 3)
    sure[torch.arange(3000), 0, torch.from_numpy(labels)] = 1.0
    sure = sure / sure.sum(-1, keepdim=True)  # 0.6 and twice 0.2
    unsure[torch.arange(3000), 0, torch.from_numpy(labels)] += 1e-3  # I(c;x) is 1e-6 nats
    for q, told in ((sure, 1 + (0.6 * math.log(0.6) + 0.4 * math.log(0.2)) / math.log(3)), (unsure, 0.0)):
        likeliest = agreement(labels, joint(assign(q)))
        of_draws = agreement(labels, joint(drawn(q, seed=0)))
        assert likeliest is not None and likeliest[0] == pytest.approx(1)
        assert of_draws is not None and of_draws[0] == pytest.approx(told, abs=0.02)
