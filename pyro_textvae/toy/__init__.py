"""The embedded corpus: sentences of a small grammar of ours, with planted labels and a known entropy.

No real corpus says what the best possible NLL on it is; this one does, exactly. See `grammar` for the
mathematics, `lexicon` for the words and `variants` for the sentences.
"""

import random
from collections import Counter
from dataclasses import dataclass
from functools import cache

from pyro_textvae.errors import did_you_mean
from pyro_textvae.toy.grammar import Grammar
from pyro_textvae.toy.variants import KNOWN

__all__ = ["VARIANTS", "Generated", "generate", "language", "log_probability"]

VARIANTS: dict[str, str] = {name: variant.description for name, variant in KNOWN.items()}
"""Name of each variant, and a line that says what it is for."""


@dataclass(frozen=True)
class Generated:
    """Sentences of the grammar, their planted labels, and what is exactly known of their distribution.

    texts: N sentences, their words separated by single spaces. labels: column -> N values.
    entropy: of the grammar's distribution over sentences, not of this sample:
        nats_per_sentence              the floor of every NLL per sentence (in expectation)
        nats_per_token                 the same per predicted token, </s> counted; exp of it is the least perplexity
        nats_per_sentence_given_topic  what is left when the label is known, and so for each column and for all
    language_size: how many distinct sentences the grammar has.
    """

    variant: str
    seed: int
    texts: list[str]
    labels: dict[str, list[str]]
    entropy: dict[str, float]
    language_size: int

    def describe(self) -> str:
        """Several readable lines: what was drawn, from how many, with which labels and which entropy."""
        lengths = [len(text.split()) for text in self.texts]
        words = {word for text in self.texts for word in text.split()}
        lines = [
            f"{self.variant}: {VARIANTS[self.variant]}",
            f"{len(self.texts):,} sentences (seed {self.seed}), {len(set(self.texts)):,} distinct, "
            f"of {self.language_size:,} that the grammar has",
            f"{len(words):,} distinct words, {min(lengths)} to {max(lengths)} a sentence, "
            f"{sum(lengths) / len(lengths):.1f} on average",
        ]
        for column, values in self.labels.items():
            counts = Counter(values)
            lines.append(
                f"label {column}: {len(counts)} values, {min(counts.values()):,} to {max(counts.values()):,} sentences"
            )
        lines += [f"entropy {name}: {value:.4f}" for name, value in self.entropy.items()]
        return "\n".join(lines)


@cache
def language(variant: str = "toy") -> Grammar:
    """The grammar of a variant. Raises ValueError for an unknown name."""
    if variant not in KNOWN:
        raise ValueError(
            f"there is no embedded corpus {variant!r}{did_you_mean(variant, KNOWN)}: "
            f"the known ones are {', '.join(KNOWN)}"
        )
    return KNOWN[variant].grammar()


def log_probability(text: str, variant: str = "toy") -> float:
    """The true log p(text) under the variant's grammar, in nats; -inf for what the grammar cannot say.

    >>> round(log_probability("cooks stir the soup"), 2)
    -14.65
    >>> log_probability("cooks stir the wound")
    -inf
    """
    return language(variant).log_probability(text)


def generate(variant: str = "toy", sentences: int | None = None, seed: int = 0) -> Generated:
    """Draw `sentences` independent sentences (by default the variant's own number), the same for the same seed.

    Raises ValueError for an unknown variant and for fewer than one sentence.
    """
    known = language(variant)
    if sentences is None:
        sentences = KNOWN[variant].settings.sentences
    if sentences < 1:
        raise ValueError(f"'sentences' is {sentences}, but a corpus needs at least 1: leave it out for the default")
    # A string, because Random takes the absolute value of a number: seeds 1 and -1 would be one.
    random_state = random.Random(f"{variant} {seed}")
    drawn = [known.sample(random_state) for _ in range(sentences)]
    return Generated(
        variant=variant,
        seed=seed,
        texts=[text for text, _ in drawn],
        labels={column: [labels[column] for _, labels in drawn] for column in known.columns},
        entropy=_entropy(known),
        language_size=known.size,
    )


def _entropy(known: Grammar) -> dict[str, float]:
    groups: list[tuple[str, ...]] = [(column,) for column in known.columns]
    if len(groups) > 1:
        groups.append(known.columns)
    given = {
        f"nats_per_sentence_given_{'_and_'.join(columns)}": known.entropy - known.label_entropy(*columns)
        for columns in groups
    }
    return {
        "nats_per_sentence": known.entropy,
        "nats_per_token": known.entropy / (known.words_per_sentence + 1),
        **given,
    }
