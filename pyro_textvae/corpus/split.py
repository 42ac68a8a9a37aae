"""The sentences of one split as one array of ids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pyro_textvae.corpus.vocabulary import UNK, Vocabulary


@dataclass(eq=False)
class Split:
    """The sentences of one split, end to end.

    tokens is (all words,) int32, words only: no <s>, no </s>; offsets is (N + 1,) int64, sentence i being
    tokens[offsets[i]:offsets[i + 1]]; a label column is (N,) int32, -1 where the sentence has no label.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    labels: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Words per sentence, (N,) int32."""
        return np.diff(self.offsets).astype(np.int32)

    def ids(self, i: int) -> np.ndarray:
        """Word ids of sentence i (negative i counts from the end), (words,) int32."""
        i = range(len(self))[i]
        return np.asarray(self.tokens[self.offsets[i] : self.offsets[i + 1]])

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Word ids of the sentences `indices`, end to end, and how many words each has: (words,) int32, (B,) int64."""
        starts = np.asarray(self.offsets[indices])
        lengths = np.asarray(self.offsets[indices + 1]) - starts
        flat = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        return np.asarray(self.tokens[flat]), lengths

    def take(self, indices: np.ndarray) -> "Split":
        """The sentences `indices`, in that order, with their labels, as a split of their own, in memory."""
        flat, lengths = self.gather(indices)
        labels = {column: np.asarray(values[indices]) for column, values in self.labels.items()}
        return Split(flat, np.append(0, np.cumsum(lengths)), labels)

    @property
    def unknown_share(self) -> float:
        """The share of its words that the vocabulary does not know; 0 of a split without words."""
        return float((self.tokens == UNK).mean()) if len(self.tokens) else 0.0

    def without_known_words(self) -> np.ndarray:
        """Which sentences have no word that the vocabulary knows: as bags, they are empty."""
        known = np.append(0, np.cumsum(self.tokens > UNK))[self.offsets]
        return np.flatnonzero(np.diff(known) == 0)

    def texts(self, vocabulary: Vocabulary, indices: Iterable[int] | None = None) -> list[str]:
        """Text of the sentences (all of them by default), as the model sees it: truncated, with <unk>."""
        return [vocabulary.decode(self.ids(i)) for i in (range(len(self)) if indices is None else indices)]

    @classmethod
    def of(cls, sentences: Iterable[np.ndarray | Sequence[int]]) -> "Split":
        """Sentences given as word ids, in memory, without labels; one of no words is a sentence too."""
        rows = [np.asarray(row, np.int32) for row in sentences]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return cls(np.concatenate(rows) if rows else np.zeros(0, np.int32), offsets)

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], vocabulary: Vocabulary, *, max_length: int | None = 100, lowercase: bool = False
    ) -> "Split":
        """Encode new texts as the corpus was encoded (max_length None: uncut); an empty text stays, of no words."""
        return cls.of(
            vocabulary.encode((text.lower() if lowercase else text).split()[:max_length])
            for text in checked_texts(texts)
        )


def checked_texts(texts: Iterable[Any]) -> list[str]:
    if isinstance(texts, str):
        raise ValueError("one string came where a list of texts was expected: give [text]")
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"text {i} is {type(text).__name__} {text!r:.40}, but texts are strings with white space between words"
            )
    return texts
