import math

import numpy as np
import pytest
import torch
from tiny import some_texts, train_tiny

from pyro_textvae.evaluation import interpretation
from pyro_textvae.evaluation.interpretation import log_odds
from pyro_textvae.run import Run


@pytest.fixture(scope="module")
def mixture(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("mixture")
    (folder / "texts.txt").write_text("\n".join(some_texts()))
    return train_tiny("dem_vae", folder / "run", folder / "texts.txt", variables=2, components=3, epochs=3)


def test_log_odds_are_those_of_the_formula():
    """Two classes, three words; the first sentence is wholly of class 0, the second of class 1 by three quarters."""
    weights = np.array([[1.0, 0.0], [0.25, 0.75]])
    tokens, sentence = np.array([4, 4, 5, 6, 5]), np.array([0, 0, 0, 1, 1])
    scores = log_odds(weights, tokens, sentence, 7)
    inside = {4: 2.0, 5: 1.25, 6: 0.25}
    every = {4: 2.0, 5: 2.0, 6: 1.0}
    prior = {word: interpretation.PRIOR_WORDS * n / 5 for word, n in every.items()}
    for word in (4, 5, 6):
        a, b = inside[word] + prior[word], every[word] - inside[word] + prior[word]
        total = interpretation.PRIOR_WORDS + np.array([3.5, 1.5])
        odds = math.log(a / (total[0] - a)) - math.log(b / (total[1] - b))
        assert scores[0, word] == pytest.approx(odds / math.sqrt(1 / a + 1 / b))
        assert scores[1, word] == pytest.approx(-scores[0, word])
    assert not scores[:, :4].any()  # what nobody says


def test_the_words_of_a_class_are_those_that_it_says():
    random = np.random.default_rng(0)
    kinds = random.integers(0, 3, 600)
    tokens = np.concatenate([np.append(random.integers(4, 14, 5), 14 + kind) for kind in kinds])  # shared, and its own
    scores = log_odds(np.eye(3)[kinds], tokens, np.repeat(np.arange(600), 6), 17)
    assert scores.argmax(1).tolist() == [14, 15, 16]
    assert np.abs(scores[:, 4:14]).max() < 0.3 * scores.max()


def test_a_class_that_nobody_uses_has_no_word_that_stands_out():
    scores = log_odds(np.array([[1.0, 0.0]] * 4), np.array([4, 5, 4, 5]), np.arange(4), 6)
    assert np.isfinite(scores).all() and np.abs(scores).max() < 1e-9


def test_every_class_of_every_variable_is_described(mixture):
    found = mixture.describe_components(words=4, sentences=2, samples=1)
    assert [(each.variable, each.number) for each in found] == [(m, k) for m in range(2) for k in range(3)]
    for m in range(2):
        assert sum(each.share for each in found if each.variable == m) == pytest.approx(1)
    for each in found:
        assert len(each.nearest) == 2 and len(each.samples) == 1 and len(each.words) <= 4
        scores = [score for _, score in each.words]
        assert scores == sorted(scores, reverse=True) and all(score > 0 for score in scores)
        assert {word for word, _ in each.words} <= set(mixture.vocabulary.words[4:])
    assert str(found).count("nearest") == 12 and "variable 1, class 2" in str(found)
    assert found.data()[0]["share"] == found[0].share
    assert str(found) == str(mixture.describe_components(words=4, sentences=2, samples=1))


def test_components_are_described_by_texts_of_ones_own(mixture):
    asked = {"words": 4, "sentences": 2, "samples": 1}
    texts = mixture.corpus.splits["valid"].texts(mixture.vocabulary)
    assert mixture.describe_components(data=texts, **asked) == mixture.describe_components(**asked)
    few = mixture.describe_components(data=texts[:5], sentences=1)
    assert {each.nearest[0] for each in few} <= set(texts[:5])
    with pytest.raises(ValueError, match="1 of 3 texts have no word that the run's vocabulary knows, such as number 2"):
        mixture.describe_components(data=[texts[0], "qwerty asdf", texts[1]])


def test_the_nearest_sentences_are_those_of_the_greatest_density(mixture):
    found = mixture.describe_components(sentences=1, samples=0)
    texts = mixture.corpus.splits["valid"].texts(mixture.vocabulary)
    z = torch.from_numpy(mixture.encode(texts)).unflatten(-1, (2, -1))  # (N, M, D)
    for each in found:
        prior = mixture.vae.prior
        component = torch.distributions.Normal(
            prior.mean[each.variable, each.number], (0.5 * prior.log_variance[each.variable, each.number]).exp()
        )
        density = component.log_prob(z[:, each.variable]).sum(-1)
        assert density[texts.index(each.nearest[0])] >= density.max() - 1e-4


def test_a_component_of_one_variable_leaves_the_others_free(mixture):
    prior = mixture.vae.prior
    torch.manual_seed(0)
    with torch.no_grad():
        prior.mean.copy_(100.0 * torch.arange(6).reshape(2, 3, 1))  # a component can be told from its mean
        z = prior.sample(200, 2, variable=1).unflatten(-1, (2, -1))
    assert ((z[:, 1] / 100).round() == 5).all()
    assert (z[:, 0, 0] / 100).round().unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"component": 3}, "component=3, but the components are 0 to 2"),
        ({"component": 1, "variable": 2}, "variable=2, but the variables are 0 to 1"),
        ({"variable": 1}, "variable=1 came without a component"),
    ],
)
def test_a_component_that_is_not_there_is_refused(mixture, wrong, message):
    with pytest.raises(ValueError, match=message):
        mixture.sample(1, **wrong)


def test_what_has_no_components_cannot_be_described(tmp_path, mixture):
    with pytest.raises(ValueError, match=r"no components|train a mixture"):
        train_tiny("vae", tmp_path, epochs=1).describe_components()
    with pytest.raises(ValueError, match="words=-1 came"):
        mixture.describe_components(words=-1)
    with pytest.raises(ValueError, match="unknown split 'vaild'"):
        mixture.describe_components("vaild")
