"""What each number of a document model's code is about: the words that it makes more probable, and whether these
occur together."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch

from pyro_textvae.corpus import SPECIALS, Split, Vocabulary
from pyro_textvae.decoders import BagOfWordsDecoder
from pyro_textvae.evaluation.codes import evaluating
from pyro_textvae.evaluation.documents import WordCounts
from pyro_textvae.vae import TextVAE


@dataclass(frozen=True)
class Topic:
    """One number of the code.

    words     those whose logits rise most along it, with by how much, the greatest first
    opposite  those whose logits fall most: the topic of its negative values (of a binary one, what it takes away)
    npmi      how surely the `words` occur in the same documents: `npmi`
    """

    number: int
    words: list[tuple[str, float]]
    opposite: list[tuple[str, float]]
    npmi: float

    def __str__(self) -> str:
        listed = [", ".join(word for word, _ in words) for words in (self.words, self.opposite)]
        return f"topic {self.number}: NPMI {self.npmi:.3f}\n  words     {listed[0]}\n  opposite  {listed[1]}"


CHANCE_SETS = 200
"""Of words drawn at random, over which the NPMI by chance is taken."""


class Topics(list[Topic]):
    """The topics of a model, one a number of its code; prints as a page.

    npmi_chance  the mean NPMI of as many words drawn at random from those of all topics. Frequent words share documents
                 whatever they mean, so a topic coheres by what it has above this
    """

    def __init__(self, topics: Iterable[Topic], npmi_chance: float) -> None:
        super().__init__(topics)
        self.npmi_chance = npmi_chance

    @property
    def npmi(self) -> float:
        """The mean over topics."""
        return float(np.mean([topic.npmi for topic in self]))

    def __str__(self) -> str:
        return "\n\n".join([*map(str, self), f"mean NPMI: {self.npmi:.3f} ({self.npmi_chance:.3f} by chance)"])

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "npmi": self.npmi,
            "npmi_chance": self.npmi_chance,
            "topics": [asdict(topic) for topic in self],
        }


def describe_topics(vae: TextVAE, vocabulary: Vocabulary, split: Split, words: int = 10) -> Topics:
    """The `words` words of every number of the code, or all where fewer are known, and their NPMI over a split.

    Raises ValueError for a decoder of sentences, which has no probability of a word by itself, and for fewer than 2.
    """
    need_topics(vae)
    known = len(vocabulary) - len(SPECIALS)
    if min(words, known) < 2:
        raise ValueError(
            f"words={words} came, of {known} that are known, but a topic has at least 2, to occur together"
        )
    words = min(words, known)
    weights = loadings(vae)
    order = np.argsort(-weights, axis=1, kind="stable")
    picked, draw = np.unique(order[:, :words]), np.random.default_rng(0)
    random = [draw.choice(picked, words, replace=False) for _ in range(CHANCE_SETS)]
    coherent = npmi(np.concatenate([order[:, :words], random]), split, len(vocabulary))

    def named(number: int, chosen: np.ndarray) -> list[tuple[str, float]]:
        return [(vocabulary.words[i + len(SPECIALS)], float(weights[number, i])) for i in chosen]

    topics = (
        Topic(number, named(number, each[:words]), named(number, each[::-1][:words]), float(coherent[number]))
        for number, each in enumerate(order)
    )
    return Topics(topics, float(coherent[len(order) :].mean()))


def need_topics(vae: TextVAE) -> None:
    if vae.decoder.ordered:
        raise ValueError("topics are those of a model of bags of words, such as 'g_nvdm': this one predicts sentences")


def loadings(vae: TextVAE) -> np.ndarray:
    """By how much each number of the code raises each word's logit, (code, V - 4).

    Half the difference between the logits at 1 and at -1 of that number, the others 0: of a linear decoder its weights,
    and of another defined on a sphere as well. The mean over the words is taken off, which no probability knows of.
    """
    decoder = cast(BagOfWordsDecoder, vae.decoder)
    with evaluating(vae, 0):
        ends = torch.eye(decoder.code, device=next(vae.parameters()).device)
        up, down = (decoder.word_logits(decoder.hidden(sign * ends)).double() for sign in (1, -1))
        weights = (up - down) / 2
        return (weights - weights.mean(-1, keepdim=True)).cpu().numpy()


def npmi(topics: Sequence[Sequence[int]] | np.ndarray, split: Split, vocabulary: int) -> np.ndarray:
    """Normalised pointwise mutual information of each topic's words, the mean over their pairs: (topics,).

    With p the shares of the split's documents that have a word, or both of two (Bouma 2009; Lau et al. 2014):

        npmi(v, w) = log(p(v, w) / (p(v) p(w))) / -log p(v, w)

    from -1, never together, over 0, as often as by chance, to 1, never apart; 0 where both are in every document.
    Topics are rows of words, each its id less the special ones.
    """
    topics = np.asarray(topics)
    counts = WordCounts.of(split, vocabulary)
    words, place = np.unique(topics, return_inverse=True)
    place = place.reshape(topics.shape)
    column = np.full(counts.shape[1], -1)
    column[words] = np.arange(len(words))
    wanted = column[counts.word] >= 0
    present = np.zeros((counts.shape[0], len(words)), np.float32)
    present[counts.document[wanted], column[counts.word[wanted]]] = 1
    together = (present.T @ present).astype(float) / counts.shape[0]  # (words, words), p of one on the diagonal
    scores = [[_npmi_of_pair(together, i, j) for i, j in itertools.combinations(each, 2)] for each in place]
    return np.array(scores).mean(1)


def _npmi_of_pair(together: np.ndarray, i: int, j: int) -> float:
    both, one, other = together[i, j], together[i, i], together[j, j]
    if both == 0:
        return -1.0
    return 0.0 if both == 1 else float(np.log(both / (one * other)) / -np.log(both))
