"""What document models are compared with: the unigram distribution, and latent Dirichlet allocation.

Both by the two perplexities of `likelihood.perplexities`, over known words, without </s>.
"""

from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_textvae.corpus import SPECIALS, UNK, Split
from pyro_textvae.evaluation.likelihood import perplexities

CELLS_AT_ONCE = 1 << 16
"""Of a count matrix, in inference for LDA: with 50 topics 26 MB in float64."""

MOST_ROUNDS, LEAST_CHANGE = 200, 1e-4
"""Of inference for LDA: rounds at most, and the mean change of a document's parameters at which it stops."""


class WordCounts(NamedTuple):
    """How often each document has each word, what is not 0 alone, document after document.

    document  (C,) of each count; word (C,) its column, the word's id less the special ones; count (C,)
    shape     documents, words
    """

    document: np.ndarray
    word: np.ndarray
    count: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, split: Split, vocabulary: int) -> "WordCounts":
        """The known words of a split; `vocabulary` is V, special words counted.

        Raises ValueError for what is no split of ids, such as a matrix, and for a vocabulary that is no number.
        """
        if not isinstance(split, Split):
            raise ValueError(
                f"documents came as {type(split).__name__}, but a split of a corpus is expected: of a matrix of counts "
                "corpus = Corpus.open(Bags(counts, words)), then corpus.splits['train'] and ['test']"
            )
        if not isinstance(vocabulary, Integral):
            raise ValueError(
                f"vocabulary came as {type(vocabulary).__name__}, but it is a number, how many words there are, the "
                "special ones counted: len(corpus.vocabulary)"
            )
        tokens, lengths = split.gather(np.arange(len(split)))
        document = np.repeat(np.arange(len(split), dtype=np.int64), lengths)
        known, width = tokens > UNK, vocabulary - len(SPECIALS)
        place = document[known] * width + (tokens[known] - len(SPECIALS))
        place, count = np.unique(place, return_counts=True)
        return cls(place // width, place % width, count, (len(split), width))

    def per_document(self, values: np.ndarray) -> np.ndarray:
        """Sum of values (C,) over each document's counts, (documents,)."""
        return np.bincount(self.document, values, self.shape[0])

    def lengths(self) -> Tensor:
        """Words of each document, (documents,), float64."""
        return torch.from_numpy(self.per_document(self.count))


def unigram(train: Split, test: Split, vocabulary: int, smoothing: float = 0.0) -> dict[str, float]:
    """Perplexities of the words of `test` at their frequencies in `train`: exact, there being nothing to bound.

    `train` and `test` are splits of one corpus, `vocabulary` is its len(corpus.vocabulary). `smoothing` is added to
    every count. Raises ValueError where a word of test never comes in train and there is none.
    """
    if not 0 <= smoothing < float("inf"):
        raise ValueError(f"smoothing={smoothing!r} came, but what is added to every count is 0 or more")
    seen, asked = WordCounts.of(train, vocabulary), WordCounts.of(test, vocabulary)
    frequency = np.bincount(seen.word, seen.count, seen.shape[1]) + smoothing
    unseen = np.unique(asked.word[frequency[asked.word] == 0])
    if len(unseen):
        raise ValueError(
            f"{len(unseen)} words of the test documents never come in training, so their probability is 0: give "
            "smoothing, such as 1.0"
        )
    cost = asked.per_document(-asked.count * np.log(frequency[asked.word] / frequency.sum()))
    return perplexities(torch.from_numpy(cost), asked.lengths(), "exact", ordered=False)


def lda(
    train: Split, test: Split, vocabulary: int, topics: int = 50, passes: int = 10, seed: int = 0
) -> dict[str, float]:
    """Perplexities of `test` under latent Dirichlet allocation fitted to `train`, by its variational bound.

    scikit-learn's LatentDirichletAllocation, online, with its own priors (1 / topics), in `passes` over the training
    documents. The bound is the ELBO of each test document given the topics at their posterior means (`lda_bound`), not
    that of scikit-learn's `perplexity`, which counts what the topics cost as well, and no document by itself.
    """
    from scipy.sparse import csr_array
    from sklearn.decomposition import LatentDirichletAllocation

    for name, value in (("topics", topics), ("passes", passes)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r} came, but a whole number of at least 1 is needed")
    seen, asked = WordCounts.of(train, vocabulary), WordCounts.of(test, vocabulary)
    model = LatentDirichletAllocation(topics, learning_method="online", max_iter=passes, random_state=seed)
    model.fit(csr_array((seen.count.astype(float), (seen.document, seen.word)), shape=seen.shape))
    topic = model.components_ / model.components_.sum(1, keepdims=True)
    cost = -lda_bound(torch.from_numpy(topic), torch.full((topics,), 1 / topics, dtype=torch.float64), asked)
    return perplexities(cost, asked.lengths(), "elbo", ordered=False)


def lda_bound(topic: Tensor, prior: Tensor, counts: WordCounts) -> Tensor:
    """The variational bound on log p(words of a document) given the topics, nats: (documents,), float64.

    topic (K, words) are p(word|topic), prior (K,) the Dirichlet's of a document's shares theta. With q(theta) =
    Dirichlet(gamma) and each word's topic given q's best, it is

        sum over words of count log sum_k exp(E log theta_k) p(word|k)  -  KL(Dirichlet(gamma) || Dirichlet(prior))

    at a gamma found by coordinate ascent (Blei, Ng and Jordan 2003): whatever gamma, a lower bound.
    """
    bounds = []
    starts = np.searchsorted(counts.document, np.arange(counts.shape[0] + 1))
    first = 0
    while first < counts.shape[0]:
        end = max(first + 1, int(np.searchsorted(starts, starts[first] + CELLS_AT_ONCE, "right")) - 1)
        cells = slice(starts[first], starts[end])
        document = torch.from_numpy(counts.document[cells] - first)
        word, count = torch.from_numpy(counts.word[cells]), torch.from_numpy(counts.count[cells]).double()
        bounds.append(_bound_of_some(topic.T[word], prior, document, count, end - first))
        first = end
    return torch.cat(bounds)


def _bound_of_some(likelihood: Tensor, prior: Tensor, document: Tensor, count: Tensor, documents: int) -> Tensor:
    """`lda_bound` of documents whose cells have the likelihoods p(word|k), (C, K)."""
    nothing = torch.zeros(documents, dtype=torch.float64)
    gamma = prior + (nothing.index_add(0, document, count) / len(prior))[:, None]  # (documents, K)
    for _ in range(MOST_ROUNDS):
        share = _mean_log(gamma).exp()
        of_word = (share[document] * likelihood).sum(-1)
        said = torch.zeros_like(gamma).index_add(0, document, (count / of_word)[:, None] * likelihood)
        before, gamma = gamma, prior + share * said
        if (gamma - before).abs().mean() < LEAST_CHANGE:
            break
    mean_log = _mean_log(gamma)
    of_word = (mean_log.exp()[document] * likelihood).sum(-1)
    kl = _log_normaliser(prior) - _log_normaliser(gamma) + ((gamma - prior) * mean_log).sum(-1)
    return nothing.index_add(0, document, count * of_word.log()) - kl


def _mean_log(gamma: Tensor) -> Tensor:
    """E log theta under Dirichlet(gamma)."""
    return torch.digamma(gamma) - torch.digamma(gamma.sum(-1, keepdim=True))


def _log_normaliser(gamma: Tensor) -> Tensor:
    return torch.lgamma(gamma).sum(-1) - torch.lgamma(gamma.sum(-1))
