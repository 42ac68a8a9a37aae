"""Both perplexities, and what document models are compared with."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, special
from sklearn.decomposition import LatentDirichletAllocation
from torch.distributions import Dirichlet, kl_divergence

from pyro_textvae.corpus import UNK, Bags, Corpus, Split, Vocabulary
from pyro_textvae.evaluation import evaluate
from pyro_textvae.evaluation.documents import WordCounts, lda, lda_bound, unigram
from pyro_textvae.evaluation.likelihood import perplexities
from pyro_textvae.recipes import recipes
from pyro_textvae.size import Size
from pyro_textvae.vae import TextVAE

V = 10
DOCUMENTS = [[4, 5, 4], [6, 7, 8, 9, 9], [4], [8, 6, UNK, 5], [9, 4, 4, 4, 5, 6, 7, 8]]
LENGTHS = np.array([3, 5, 1, 3, 8])  # known words


def rough(name: str, latent: int, **options: Any) -> TextVAE:
    vae = recipes()[name](Size(V, hidden=6, latent=latent), **options).vae.double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            # A guide that is nearly the same for all documents: importance weights then vary little.
            scale = 0.1 if name.startswith(("encoder", "posterior")) else 0.7
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return vae.eval()


def by_hand(nll: np.ndarray) -> tuple[float, float]:
    return math.exp(nll.sum() / LENGTHS.sum()), math.exp((nll / LENGTHS).mean())


# Perplexities


def test_the_two_perplexities_weigh_words_alike_or_documents_alike():
    nll = np.array([2.0, 3.0, 9.0, 1.0, 30.0])
    found = perplexities(torch.from_numpy(nll), torch.from_numpy(LENGTHS), "elbo", ordered=False)
    assert found == {
        "perplexity_corpus_elbo": pytest.approx(by_hand(nll)[0]),
        "perplexity_per_document_elbo": pytest.approx(by_hand(nll)[1]),
    }
    assert by_hand(nll)[0] != pytest.approx(by_hand(nll)[1], rel=0.1)
    assert perplexities(torch.from_numpy(nll), torch.from_numpy(LENGTHS), "elbo", ordered=True) == {
        "perplexity_elbo": pytest.approx(by_hand(nll)[0])
    }


def log_likelihood_by_hand(vae: TextVAE, code: np.ndarray) -> np.ndarray:
    """log p(x|z) at one code, (documents,)."""
    with torch.no_grad():
        z = torch.from_numpy(code)[None]
        logits = vae.decoder.word_logits(vae.decoder.hidden(z))[0].numpy()  # pyright: ignore[reportCallIssue]
    log_p: np.ndarray = np.asarray(logits - np.asarray(special.logsumexp(logits)))
    return np.array([sum(log_p[word - 4] for word in each if word > UNK) for each in DOCUMENTS])


def test_both_perplexities_of_g_nvdm_close_in_on_those_by_quadrature_over_a_latent_of_one_number():
    vae = rough("g_nvdm", latent=1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    log_p = np.stack([log_likelihood_by_hand(vae, np.array([z])) for z in nodes])
    nll = -np.asarray(special.logsumexp(log_p + np.log(weights / weights.sum())[:, None], axis=0))
    found = evaluate(vae, Split.of(DOCUMENTS), importance_samples=20_000)
    corpus, per_document = by_hand(nll)
    assert found["perplexity_corpus_importance_weighted"] == pytest.approx(corpus, rel=3e-3)
    assert found["perplexity_per_document_importance_weighted"] == pytest.approx(per_document, rel=3e-3)
    elbos = [evaluate(vae, Split.of(DOCUMENTS), seed=seed) for seed in range(40)]
    for kind, exact in (("corpus", corpus), ("per_document", per_document)):
        assert np.mean([np.log(each[f"perplexity_{kind}_elbo"]) for each in elbos]) > np.log(exact) + 0.01


def test_both_perplexities_of_v_nvdm_close_in_on_those_by_quadrature_over_the_circle():
    vae = rough("v_nvdm", latent=2, concentration=1.0)
    angles = np.arange(400) * 2 * np.pi / 400
    log_p = np.stack([log_likelihood_by_hand(vae, np.array([np.cos(a), np.sin(a)])) for a in angles])
    corpus, per_document = by_hand(np.log(400) - np.asarray(special.logsumexp(log_p, axis=0)))
    found = evaluate(vae, Split.of(DOCUMENTS), importance_samples=20_000)
    assert found["perplexity_corpus_importance_weighted"] == pytest.approx(corpus, rel=3e-3)
    assert found["perplexity_per_document_importance_weighted"] == pytest.approx(per_document, rel=3e-3)


@pytest.mark.parametrize("autoregressive", [True, False])
def test_both_perplexities_of_fdarn_close_in_on_the_sums_over_every_code(autoregressive):
    vae = rough("fdarn", latent=3, autoregressive=autoregressive)
    codes = np.array([[(i >> k) & 1 for k in range(3)] for i in range(8)], float)
    prior = vae.prior.log_prob(torch.from_numpy(codes)).detach().numpy()
    log_p = np.stack([log_likelihood_by_hand(vae, code) for code in codes]) + prior[:, None]
    corpus, per_document = by_hand(-np.asarray(special.logsumexp(log_p, axis=0)))
    found = evaluate(vae, Split.of(DOCUMENTS), importance_samples=20_000)
    assert found["perplexity_corpus_importance_weighted"] == pytest.approx(corpus, rel=5e-3)
    assert found["perplexity_per_document_importance_weighted"] == pytest.approx(per_document, rel=5e-3)


def test_a_document_without_a_known_word_has_no_perplexity():
    with pytest.raises(ValueError, match="1 of 3 documents have no known word, so that they have no perplexity"):
        evaluate(rough("g_nvdm", latent=2), Split.of([[4, 5], [UNK, UNK], [6]]))


# Unigram


def test_the_unigram_perplexities_are_those_by_hand():
    train = Split.of([[4, 4, 5, 6], [7, 8, 9, UNK]])
    p = {word: n / 7 for word, n in {4: 2, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1}.items()}
    nll = np.array([-sum(math.log(p[word]) for word in each if word > UNK) for each in DOCUMENTS])
    found = unigram(train, Split.of(DOCUMENTS), V)
    assert found == {
        "perplexity_corpus_exact": pytest.approx(by_hand(nll)[0]),
        "perplexity_per_document_exact": pytest.approx(by_hand(nll)[1]),
    }


def test_a_word_that_training_never_saw_needs_smoothing():
    train = Split.of([[4, 5, 6, 7, 8]])
    with pytest.raises(ValueError, match=r"1 words of the test documents never come in training.*give smoothing"):
        unigram(train, Split.of(DOCUMENTS), V)
    smoothed = unigram(train, Split.of([[9]]), V, smoothing=1.0)
    assert smoothed["perplexity_corpus_exact"] == pytest.approx(11)
    with pytest.raises(ValueError, match="smoothing=-1 came"):
        unigram(train, train, V, smoothing=-1)


def test_the_unigram_perplexities_of_the_twenty_newsgroups(data_folder):
    corpus = Corpus.open(data_folder / "20ng")
    both = [corpus.splits[name] for name in ("train", "valid")]
    offsets = np.concatenate([both[0].offsets, both[0].offsets[-1] + both[1].offsets[1:]])
    train = Split(np.concatenate([each.tokens for each in both]), offsets)
    found = unigram(train, corpus.splits["test"], len(corpus.vocabulary))
    assert round(found["perplexity_corpus_exact"], 2) == 1205.37
    assert round(found["perplexity_per_document_exact"], 2) == 1205.73


# LDA


def test_counts_are_those_of_the_split():
    counts = WordCounts.of(Split.of(DOCUMENTS), V)
    dense = np.zeros(counts.shape, int)
    dense[counts.document, counts.word] = counts.count
    assert dense.tolist() == [
        [2, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 2],
        [1, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 1, 0],
        [3, 1, 1, 1, 1, 1],
    ]
    assert counts.lengths().tolist() == LENGTHS.tolist()


def test_the_bound_of_lda_lies_just_below_the_integral_over_its_shares():
    """Of two topics the shares are one number, and p(document) an integral over it."""
    random = np.random.default_rng(0)
    topic = random.dirichlet(np.full(6, 0.5), 2)
    prior = np.array([0.7, 1.3])
    counts = WordCounts.of(Split.of(DOCUMENTS), V)
    nodes, weights = special.roots_jacobi(200, prior[1] - 1, prior[0] - 1)
    share = np.stack([(nodes + 1) / 2, (1 - nodes) / 2], 1)  # (200, 2)
    log_word = np.log(share @ topic)
    exact = [
        special.logsumexp(log_word[:, [word - 4 for word in each if word > UNK]].sum(1), b=weights / weights.sum())
        for each in DOCUMENTS
    ]
    bound = lda_bound(torch.from_numpy(topic), torch.from_numpy(prior), counts).numpy()
    assert (bound < exact).all()
    assert (np.array(exact) - bound).max() < 0.4


def test_no_gamma_has_a_higher_bound_than_the_one_that_coordinate_ascent_finds():
    random = np.random.default_rng(1)
    topic, prior = torch.from_numpy(random.dirichlet(np.full(6, 0.5), 3)), torch.tensor([0.7, 1.3, 0.2]).double()
    found = lda_bound(topic, prior, WordCounts.of(Split.of(DOCUMENTS), V))

    def cost(log_gamma: np.ndarray, document: list[int]) -> float:
        gamma = torch.from_numpy(np.exp(log_gamma))
        share = torch.exp(torch.digamma(gamma) - torch.digamma(gamma.sum()))
        said = sum(torch.log(share @ topic[:, word - 4]) for word in document if word > UNK)
        return float(kl_divergence(Dirichlet(gamma), Dirichlet(prior)) - said)

    for document, value in zip(DOCUMENTS, found.tolist(), strict=True):
        starts = [np.zeros(3), np.log([5.0, 0.5, 0.5]), np.log([0.5, 5.0, 0.5]), np.log([0.5, 0.5, 5.0])]
        best = max(-optimize.minimize(cost, start, (document,)).fun for start in starts)
        assert best - 0.3 < value < best + 1e-6  # it is a local maximum
        assert value > -cost(np.zeros(3), document)
    assert len(found) == len(DOCUMENTS)


def test_a_matrix_and_a_vocabulary_are_no_split_and_no_number():
    split = Split.of(DOCUMENTS)
    for compare in (unigram, lda):
        with pytest.raises(ValueError, match="documents came as ndarray, but a split of a corpus is expected"):
            compare(np.ones((3, 6)), split, V)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match=r"vocabulary came as Vocabulary, but it is a number.*len\(corpus"):
            compare(split, split, Vocabulary.from_counts({"a": 1}))  # pyright: ignore[reportArgumentType]


def test_the_bound_of_lda_is_the_same_in_pieces(monkeypatch):
    from pyro_textvae.evaluation import documents

    topic, prior = torch.full((3, 6), 1 / 6).double(), torch.full((3,), 0.3).double()
    topic[0, 0] += 0.1
    topic /= topic.sum(1, keepdim=True)
    counts = WordCounts.of(Split.of(DOCUMENTS), V)
    whole = lda_bound(topic, prior, counts)
    for cells in (1, 5, 9):
        monkeypatch.setattr(documents, "CELLS_AT_ONCE", cells)
        torch.testing.assert_close(lda_bound(topic, prior, counts), whole, rtol=1e-4, atol=1e-4)


def topical(documents: int, seed: int) -> list[list[int]]:
    """Each of one of two topics, with disjoint words."""
    random = np.random.default_rng(seed)
    return [random.choice([4, 5, 6] if i % 2 else [7, 8, 9], 20).tolist() for i in range(documents)]


def test_lda_finds_topics_that_a_unigram_misses_and_its_bound_is_near_scikit_learns():
    train, test = Split.of(topical(200, 0)), Split.of(topical(60, 1))
    found = lda(train, test, V, topics=2, passes=5)
    assert 3 < found["perplexity_corpus_elbo"] < 4 < 5.9 < unigram(train, test, V)["perplexity_corpus_exact"]
    assert found["perplexity_per_document_elbo"] == pytest.approx(found["perplexity_corpus_elbo"])  # of equal lengths
    counts = [WordCounts.of(each, V) for each in (train, test)]
    dense = [np.zeros(each.shape) for each in counts]
    for matrix, each in zip(dense, counts, strict=True):
        matrix[each.document, each.word] = each.count
    theirs = LatentDirichletAllocation(2, learning_method="online", max_iter=5, random_state=0).fit(dense[0])
    assert found["perplexity_corpus_elbo"] == pytest.approx(theirs.perplexity(dense[1]), rel=0.1)
    with pytest.raises(ValueError, match="topics=0 came, but a whole number of at least 1"):
        lda(train, test, V, topics=0)


def test_a_bag_model_too_beats_the_unigram_on_documents_of_two_topics(tmp_path):
    from tiny import train_tiny

    words = [f"w{i}" for i in range(6)]
    matrices = [np.zeros((n, 6), int) for n in (200, 60)]
    for matrix, seed in zip(matrices, (0, 1), strict=True):
        for row, document in enumerate(topical(len(matrix), seed)):
            np.add.at(matrix[row], np.array(document) - 4, 1)
    data = {"train": Bags(matrices[0], words), "test": Bags(matrices[1], words)}
    run = train_tiny("g_nvdm", tmp_path, data, epochs=25, learning_rate=0.02, hidden=16, latent=2)
    found = run.evaluate("test", samples=200)
    assert 3 < found["perplexity_corpus_importance_weighted"] <= found["perplexity_corpus_elbo"] * 1.01 < 4.3
