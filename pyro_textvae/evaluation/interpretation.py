"""What the components of a mixture or the classes of a discrete code are about: their size, words, nearest sentences
and samples."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pyro_textvae.corpus import UNK, Split, Vocabulary
from pyro_textvae.evaluation.clusters import assign
from pyro_textvae.evaluation.codes import Codes, evaluating
from pyro_textvae.evaluation.generation import write
from pyro_textvae.priors import Mixture, WithClasses
from pyro_textvae.vae import TextVAE

PRIOR_WORDS = 1000.0
"""Words that each side of a comparison is taken to have said already, with the frequencies of all sentences: rare words
have to be said that much more often by a component before they count as its own."""

SCORES = (
    "A word's score says how surely the component has it more often than all others together: a z-score of log odds, "
    "where 2 is seldom chance."
)


@dataclass(frozen=True)
class Component:
    """One class of one discrete variable.

    share    of the sentences, whose likeliest class it is
    words    those it has most more often than the others, with the z-score of the difference, the greatest first
    nearest  the sentences whose posterior mean has the greatest density under a mixture's component, or that have the
             class of a discrete code with the greatest probability
    samples  new sentences, drawn with this class and the other variables free
    """

    variable: int
    number: int
    share: float
    words: list[tuple[str, float]]
    nearest: list[str]
    samples: list[str]

    def __str__(self) -> str:
        name = f"component {self.number}" if self.variable == 0 else f"variable {self.variable}, class {self.number}"
        used = f"{self.share:.1%} of the sentences" if self.share else "no sentence's likeliest"
        words = ", ".join(f"{word} ({score:.1f})" for word, score in self.words)
        lines = [f"{name}: {used}", f"  words    {words or '-'}"]
        lines += [f"  nearest  {text}" for text in self.nearest] + [f"  sample   {text}" for text in self.samples]
        return "\n".join(lines)


class Components(list[Component]):
    """The components of a mixture, variable after variable; prints as a page."""

    def __str__(self) -> str:
        scored = any(each.words for each in self)
        return "\n\n".join([*([SCORES] if scored else []), *map(str, self)])

    def data(self) -> list[dict[str, Any]]:
        """For JSON."""
        return [asdict(component) for component in self]


def describe_components(
    vae: TextVAE,
    vocabulary: Vocabulary,
    split: Split,
    *,
    words: int = 8,
    sentences: int = 3,
    samples: int = 3,
    seed: int = 0,
    max_length: int = 40,
) -> Components:
    """Describe every component by a split; with M variables, each for itself."""
    assert isinstance(vae.prior, WithClasses)
    with evaluating(vae, seed):
        codes = Codes.read(vae, split)
        assert codes.assignment is not None
        M, K = vae.prior.variables, vae.prior.components
        weights = codes.assignment.double().cpu().numpy()  # (N, M, K)
        likeliest = assign(codes.assignment)  # (N, M)
        order = codes.index.cpu().numpy()
        nearness = (
            _log_density(vae, codes.means)
            if isinstance(vae.prior, Mixture)
            else codes.assignment.movedim((0, 2), (2, 0))
        )
        tokens, lengths = split.gather(order)
        sentence = np.repeat(np.arange(len(order)), lengths)
        found = Components()
        for m in range(M):
            scores = log_odds(weights[:, m], tokens, sentence, len(vocabulary))  # (K, V)
            for k in range(K):
                near = nearness[k, m].topk(min(sentences, len(order))).indices.cpu().numpy()
                codes = vae.decoder.condition_freely(vae.prior.sample(samples, k, m))
                drawn = write(vae.decoder, codes, "sample", max_length) if samples else []
                found.append(
                    Component(
                        variable=m,
                        number=k,
                        share=float((likeliest[:, m] == k).mean()),
                        words=_best(scores[k], vocabulary, words),
                        nearest=split.texts(vocabulary, (int(i) for i in order[near])),
                        samples=[vocabulary.decode(ids) for ids in drawn],
                    )
                )
    return found


def log_odds(weights: np.ndarray, tokens: np.ndarray, sentence: np.ndarray, vocabulary: int) -> np.ndarray:
    """z-scores (K, V) of how much more often each class says each word than all others together.

    weights are q(c|x) (N, K); tokens (T,) the words of all sentences and sentence (T,) the one that each is in. With a
    Dirichlet prior that has the frequencies of all sentences, the log odds of a word in a class less those elsewhere,
    over their standard deviation (Monroe, Colaresi and Quinn 2008, "Fightin' Words").
    """
    said = np.stack([np.bincount(tokens, weight[sentence], vocabulary) for weight in weights.T])  # (K, V)
    every = said.sum(0)
    prior = PRIOR_WORDS * every / every.sum()
    spoken = every > 0
    scores = np.zeros_like(said)
    inside, outside = said[:, spoken] + prior[spoken], (every - said)[:, spoken] + prior[spoken]
    odds = [np.log(side) - np.log(side.sum(1, keepdims=True) - side) for side in (inside, outside)]
    scores[:, spoken] = (odds[0] - odds[1]) / np.sqrt(1 / inside + 1 / outside)
    return scores


def _best(scores: np.ndarray, vocabulary: Vocabulary, words: int) -> list[tuple[str, float]]:
    order = [i for i in np.argsort(-scores, kind="stable") if i > UNK and scores[i] > 0][:words]
    return [(vocabulary.words[i], float(scores[i])) for i in order]


def _log_density(vae: TextVAE, means: Tensor) -> Tensor:
    """log p(z|c) of posterior means (N, M D) under every component: (K, M, N)."""
    assert isinstance(vae.prior, Mixture)
    z = vae.prior.on_support(means).unflatten(-1, (vae.prior.variables, -1)).movedim(-2, 0)  # (M, N, D)
    return vae.prior.log_prob_of_each(z)
