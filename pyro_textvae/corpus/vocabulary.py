"""Words and their ids."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")


class Vocabulary:
    """Words and their ids: the four of SPECIALS first, then words by frequency.

    A word of the text that reads "<unk>" is the unknown word. One that reads "<pad>", "<s>" or "</s>" is unknown
    too: as an id of its own it would end the sentence in the middle.

    >>> vocabulary = Vocabulary.from_counts({"a": 2, "is": 1, "rose": 2})
    >>> vocabulary.encode("a red rose".split())
    [4, 3, 5]
    >>> vocabulary.decode([1, 4, 3, 5, 2, 0])
    'a <unk> rose'
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._ids = {word: i for i, word in enumerate(self.words) if i >= UNK}
        if tuple(self.words[: len(SPECIALS)]) != SPECIALS or len(self._ids) != len(self.words) - UNK:
            raise ValueError(
                f"a vocabulary of {len(self.words)} words starting {self.words[:4]} came, but the first four must be "
                f"{list(SPECIALS)} and no word may stand twice: build it with Vocabulary.from_counts"
            )

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], max_size: int | None = None, min_count: int = 1) -> "Vocabulary":
        """Take the most frequent words that occur at least `min_count` times, ties in alphabetical order.

        `max_size` is the size of the whole, the four special words included: len(vocabulary) <= max_size.
        Raises ValueError when no word is left.
        """
        if max_size is not None and max_size <= len(SPECIALS):
            raise ValueError(
                f"a vocabulary of at most {max_size} came, but {len(SPECIALS)} places are for {', '.join(SPECIALS)}: "
                f"give max_vocabulary of {len(SPECIALS) + 1} or more"
            )
        known = [(word, n) for word, n in counts.items() if word not in SPECIALS]
        kept = sorted((pair for pair in known if pair[1] >= min_count), key=lambda pair: (-pair[1], pair[0]))
        if not kept:
            most = max((n for _, n in known), default=0)
            raise ValueError(
                f"the vocabulary would be empty: min_count is {min_count}, but the most frequent of {len(known)} words "
                f"occurs {most} times: give a min_count of at most {max(most, 1)}, or more text"
            )
        room = None if max_size is None else max_size - len(SPECIALS)
        return cls([*SPECIALS, *(word for word, _ in kept[:room])])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def encode(self, words: Iterable[str]) -> list[int]:
        """Ids of the words, UNK where one is not known; <s> and </s> are not added."""
        return [self._ids.get(word, UNK) for word in words]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids: <pad> and <s> are dropped, and </s> ends it."""
        words = []
        for i in ids:
            if i == EOS:
                break
            if i not in (PAD, BOS):
                words.append(self.words[int(i)])
        return " ".join(words)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the words as a JSON list, whole or not at all."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(self.words, ensure_ascii=False, indent=0), encoding="utf-8")
        os.replace(partial, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read what `save` wrote. Raises ValueError where the file is not a list of words."""
        try:
            words = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not the JSON list of words that Vocabulary.save writes: {error}") from error
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{path} is JSON, but not a list of words: expected what Vocabulary.save writes")
        return cls(words)
