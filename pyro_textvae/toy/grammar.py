"""Probabilistic grammars whose sentences have a known probability: frames of independent slots.

A grammar is a weighted set of frames; a frame is a row of slots; a slot is a distribution over phrases, one
of which may be empty; an `Echo` repeats what an earlier slot of its frame said. So p(x) is a sum over
derivations of products, and where no sentence has two derivations, the entropy is a sum in closed form.
Everything is in nats. A sentence's end is part of its probability: the numbers compare with a language
model's that predicts </s>.
"""

import itertools
import math
import random
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

Phrase = tuple[str, ...]


def _entropy(probabilities: Iterable[float]) -> float:
    return -math.fsum(p * math.log(p) for p in probabilities if p > 0.0)


@dataclass(frozen=True)
class Slot:
    """A distribution over phrases. `column` names the label it plants and `values` the label of each phrase."""

    phrases: tuple[Phrase, ...]
    probabilities: tuple[float, ...]
    column: str | None = None
    values: tuple[str, ...] = ()

    @staticmethod
    def of(
        phrases: Sequence[str], *, zipf: bool = False, column: str | None = None, values: Sequence[str] = ()
    ) -> "Slot":
        """Uniform over `phrases`, or, under `zipf`, p(rank r) proportional to 1/(r + 3), r from 0."""
        weights = [1.0 / (rank + 3) if zipf else 1.0 for rank in range(len(phrases))]
        total = math.fsum(weights)
        return Slot(
            tuple(tuple(phrase.split()) for phrase in phrases),
            tuple(weight / total for weight in weights),
            column,
            tuple(values) or (tuple(phrases) if column else ()),
        )

    def optional(self, probability: float) -> "Slot":
        """The same slot, filled with `probability` and empty otherwise."""
        return Slot(((), *self.phrases), (1.0 - probability, *(probability * p for p in self.probabilities)))

    @cached_property
    def entropy(self) -> float:
        return _entropy(self.probabilities)

    @cached_property
    def words(self) -> float:
        """Expected number of words."""
        return math.fsum(p * len(phrase) for p, phrase in zip(self.probabilities, self.phrases, strict=True))

    @cached_property
    def cumulative(self) -> list[float]:
        return list(itertools.accumulate(self.probabilities))


@dataclass(frozen=True)
class Echo:
    """Repeats the phrase of the frame's slot number `slot`."""

    slot: int


@dataclass(frozen=True)
class Frame:
    """A row of slots, its probability, and the labels that all its sentences have."""

    probability: float
    labels: Mapping[str, str]
    slots: tuple[Slot | Echo, ...]

    @cached_property
    def own(self) -> list[Slot]:
        """The slots without the echoes, which add words and no choice."""
        return [slot for slot in self.slots if isinstance(slot, Slot)]

    @cached_property
    def first_words(self) -> frozenset[str]:
        """Every word that one of its sentences begins with."""
        words: set[str] = set()
        for slot in self.own:  # an echo repeats an earlier slot: while that may be empty, so is the echo
            words.update(phrase[0] for phrase in slot.phrases if phrase)
            if () not in slot.phrases:
                break
        return frozenset(words)

    def slot(self, position: int) -> Slot:
        """The slot at `position`, or the one that the echo there repeats."""
        slot = self.slots[position]
        if isinstance(slot, Echo):
            slot = self.slots[slot.slot]
            assert isinstance(slot, Slot)  # an echo of an echo is never written
        return slot


_PART = re.compile(r"(?P<word>[a-z]+)|\{(?P<echo>=)?(?P<name>[a-z_]+)(?P<optional>\?)?\}")


def frame(
    template: str,
    slots: Mapping[str, Slot],
    labels: Mapping[str, str],
    *,
    probability: float = 1.0,
    optional: float = 0.5,
) -> Frame:
    """Read a frame from "{agents} {adverb?} {verb} the {object}".

    {name} is a slot, {name?} one filled with probability `optional`, {=name} repeats the slot of that name,
    and every other word is itself.
    """
    row: list[Slot | Echo] = []
    seen: dict[str, int] = {}
    for item in template.split():
        match = _PART.fullmatch(item)
        if match is None:
            raise ValueError(f"template item {item!r} is neither a lower-case word nor {{name}}, {{name?}}, {{=name}}")
        name = match["name"]
        if name is None:
            row.append(Slot.of([item]))
        elif match["echo"]:
            row.append(Echo(seen[name]))
        else:
            seen[name] = len(row)
            row.append(slots[name].optional(optional) if match["optional"] else slots[name])
    return Frame(probability, dict(labels), tuple(row))


class Grammar:
    """A weighted set of frames: samples, exact log p(x), exact entropy, exact size of the language.

    `entropy`, `label_entropy` as a mutual information, and `size` hold where every sentence has one
    derivation; tests prove that of each variant. `log_probability` holds always: it sums over derivations.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        total = math.fsum(frame.probability for frame in frames)
        self.frames = tuple(Frame(frame.probability / total, frame.labels, frame.slots) for frame in frames)
        self._cumulative = list(itertools.accumulate(frame.probability for frame in self.frames))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the planted labels, in the order of the first frame."""
        first = self.frames[0]
        return (*first.labels, *(slot.column for slot in first.own if slot.column))

    @cached_property
    def lexicon(self) -> frozenset[str]:
        """Every word that some sentence has."""
        return frozenset(
            word for frame in self.frames for slot in frame.own for phrase in slot.phrases for word in phrase
        )

    @cached_property
    def size(self) -> int:
        """Number of distinct sentences."""
        return sum(math.prod(len(slot.phrases) for slot in frame.own) for frame in self.frames)

    @cached_property
    def entropy(self) -> float:
        """Entropy of the distribution over sentences, in nats per sentence."""
        inside = math.fsum(frame.probability * math.fsum(slot.entropy for slot in frame.own) for frame in self.frames)
        return _entropy(frame.probability for frame in self.frames) + inside

    @cached_property
    def words_per_sentence(self) -> float:
        """Expected number of words, without </s>."""
        return math.fsum(
            frame.probability * frame.slot(position).words
            for frame in self.frames
            for position in range(len(frame.slots))
        )

    def label_entropy(self, *columns: str) -> float:
        """Joint entropy in nats of these labels: their mutual information with the sentence, which fixes them."""
        joint: dict[tuple[str, ...], float] = {}
        for frame in self.frames:
            choices = []
            for column in columns:
                if column in frame.labels:
                    choices.append([(frame.labels[column], 1.0)])
                else:
                    slot = next(slot for slot in frame.own if slot.column == column)
                    choices.append(list(zip(slot.values, slot.probabilities, strict=True)))
            for combination in itertools.product(*choices):
                key = tuple(value for value, _ in combination)
                joint[key] = joint.get(key, 0.0) + frame.probability * math.prod(p for _, p in combination)
        return _entropy(joint.values())

    def sample(self, random_state: random.Random) -> tuple[str, dict[str, str]]:
        """A sentence and its labels. Only `Random.random` is drawn from: its stream is the same in every Python."""
        row = self.frames[self._draw(self._cumulative, random_state)]
        return self._say(row, [self._draw(slot.cumulative, random_state) for slot in row.own])

    def enumerate(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Every derivation's sentence, labels and probability: for small grammars, in tests."""
        for row in self.frames:
            for choices in itertools.product(*(range(len(slot.phrases)) for slot in row.own)):
                chosen = (slot.probabilities[choice] for slot, choice in zip(row.own, choices, strict=True))
                yield *self._say(row, choices), row.probability * math.prod(chosen)

    @staticmethod
    def _say(row: Frame, choices: Iterable[int]) -> tuple[str, dict[str, str]]:
        """The sentence and the labels of one choice for each of the frame's own slots."""
        remaining = iter(choices)
        labels = dict(row.labels)
        said: list[Phrase] = []
        for slot in row.slots:
            if isinstance(slot, Echo):
                said.append(said[slot.slot])
                continue
            choice = next(remaining)
            said.append(slot.phrases[choice])
            if slot.column:
                labels[slot.column] = slot.values[choice]
        return " ".join(word for phrase in said for word in phrase), labels

    @staticmethod
    def _draw(cumulative: list[float], random_state: random.Random) -> int:
        # The last cumulative probability may round below one, so the index is held inside.
        return min(bisect_right(cumulative, random_state.random() * cumulative[-1]), len(cumulative) - 1)

    def log_probability(self, text: str) -> float:
        """log p(text) in nats, summed over derivations; -inf for what is not in the language."""
        words = tuple(text.split())
        # Most frames of a grammar of hundreds begin with other words: to go into them would be most of the time.
        frames = [frame for frame in self.frames if not words or words[0] in frame.first_words]
        total = math.fsum(frame.probability * self._inside(frame, words, 0, ()) for frame in frames)
        return math.log(total) if total > 0.0 else -math.inf

    def _inside(self, frame: Frame, words: Phrase, start: int, said: tuple[Phrase, ...]) -> float:
        """Probability that the slots after those already `said` produce words[start:]."""
        position = len(said)
        if position == len(frame.slots):
            return 1.0 if start == len(words) else 0.0
        slot = frame.slots[position]
        if isinstance(slot, Echo):
            options: Iterable[tuple[Phrase, float]] = [(said[slot.slot], 1.0)]
        else:
            options = zip(slot.phrases, slot.probabilities, strict=True)
        return math.fsum(
            p * self._inside(frame, words, start + len(phrase), (*said, phrase))
            for phrase, p in options
            if words[start : start + len(phrase)] == phrase
        )
