"""From records of words to files of ids, in constant memory.

The text is read once: each new word gets the next number, and the numbers go to a file. Once the splits are known and
the words of the training split counted, the numbers are mapped to ids of the vocabulary, some thousand sentences at a
time.
"""

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyro_textvae.corpus.sources import Text
from pyro_textvae.corpus.split import Split
from pyro_textvae.corpus.vocabulary import UNK, Vocabulary

_CHUNK_SENTENCES = 2048  # at 100 words a sentence a few MB of indices at a time
_UNCUT = np.iinfo(np.int32).max  # words: what max_length None means
_MOST_LABELS = 1000  # an unasked-for column with more values than this is an identifier, not a label


class _Numbering(dict[str, int]):
    """Numbers words in the order in which they are first asked for."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


class _Int32File:
    """A file of int32 that grows by a few at a time."""

    def __init__(self, path: Path) -> None:
        self.path, self.count, self._buffer = path, 0, array("i")

    def extend(self, values: Iterable[int]) -> None:
        before = len(self._buffer)
        self._buffer.extend(values)
        self.count += len(self._buffer) - before
        if len(self._buffer) >= 1 << 16:
            self._flush()

    def fill(self, count: int) -> None:
        """Write -1 until there are `count`."""
        while self.count < count:
            self.extend([-1] * min(count - self.count, 1 << 16))

    def _flush(self) -> None:
        with self.path.open("ab") as file:
            self._buffer.tofile(file)
        del self._buffer[:]

    def close(self) -> np.ndarray:
        """Finish the file and map it."""
        self._flush()
        return np.memmap(self.path, np.int32, "r") if self.count else np.zeros(0, np.int32)


@dataclass
class _Part:
    """One part as it was read: provisional word numbers, full lengths, provisional label numbers."""

    tokens: np.ndarray
    lengths: np.ndarray
    labels: dict[str, np.ndarray]
    empty: int


def _read_part(
    split: str,
    text: Text,
    folder: Path,
    options: dict[str, Any],
    words: _Numbering,
    labels: dict[str, _Numbering],
    notes: list[str],
) -> _Part:
    longest, lowercase = options["max_length"] or _UNCUT, options["lowercase"]
    tokens, lengths = _Int32File(folder / f"{split}.read"), _Int32File(folder / f"{split}-lengths.read")
    columns: dict[str, _Int32File] = {}
    empty = 0
    for record in text.parts[split](notes):
        if not record.words:
            empty += 1
            continue
        kept = record.words[:longest]
        tokens.extend(map(words.__getitem__, [word.lower() for word in kept] if lowercase else kept))
        for column, label in record.labels.items():
            numbering = labels.setdefault(column, _Numbering())
            if text.wanted is None and len(numbering) > _MOST_LABELS:
                continue
            if column not in columns:
                columns[column] = _Int32File(folder / f"{split}-label{len(columns)}.read")
            columns[column].fill(lengths.count)
            columns[column].extend((numbering[label],))
        lengths.extend((len(record.words),))
    for column in columns.values():
        column.fill(lengths.count)
    where = text.where.get(split, text.source)
    if not lengths.count:
        what = {"valid": "the validation split", "test": "the test split"}.get(split, "the text")
        raise ValueError(
            f"{what} is empty: {where} has {empty} line(s), none with a word; put sentences into it"
            + ("" if split in ("train", "all") else f", or remove it ({_without(split)})")
        )
    return _Part(tokens.close(), lengths.close(), {c: file.close() for c, file in columns.items()}, empty)


def _without(split: str) -> str:
    return "a tenth of train is then held out" if split == "valid" else "a corpus may have no test split"


def write_ids(text: Text, folder: Path, options: dict[str, Any]) -> None:
    """Read the text and write, in `folder`, the ids of each split and corpus.json, which says what they are.

    For each split: <split>.tokens, int32, all sentences end to end; <split>.offsets, int64, one more than sentences;
    <split>.label<i>, int32, for the i-th label column. Raises ValueError where a split or the vocabulary is empty.
    """
    longest, notes, words, labels = options["max_length"] or _UNCUT, list(text.notes), _Numbering(), {}
    parts = {part: _read_part(part, text, folder, options, words, labels, notes) for part in text.parts}
    chosen = {split: (parts[part], mask) for split, part, mask in _divided(text, parts, options["seed"], notes)}
    for column in [c for c, numbering in labels.items() if text.wanted is None and len(numbering) > _MOST_LABELS]:
        notes.append(
            f"{column!r} has more than {_MOST_LABELS:,} values and was not taken as a label: ask for it with "
            "label_columns if it is one"
        )
        del labels[column]

    frequency = np.zeros(len(words), np.int64)
    for ids, _, _ in _chunks(*chosen["train"], longest):
        frequency += np.bincount(ids, minlength=len(words))
    counts = {word: n for word, n in zip(words, frequency.tolist(), strict=True) if n}
    vocabulary = Vocabulary.from_counts(counts, options["max_vocabulary"], options["min_count"])
    final = np.array(vocabulary.encode(words), np.int32)

    label_names = {column: sorted(numbering, key=_natural) for column, numbering in labels.items()}
    order = {column: {label: i for i, label in enumerate(names)} for column, names in label_names.items()}
    # Each table's last place is for -1, a missing label.
    tables = {c: np.array([*(order[c][label] for label in labels[c]), -1], np.int32) for c in labels}

    digest = hashlib.sha256(json.dumps(vocabulary.words).encode())
    summary: dict[str, dict[str, int]] = {}
    for split, (part, mask) in chosen.items():
        n: dict[str, int] = dict.fromkeys(("sentences", "tokens", "truncated", "empty", "unknown"), 0)
        # What a piece skipped is said once, with train.
        n["empty"] = part.empty if split == "train" or mask.all() else 0
        hashes = hashlib.sha256(), hashlib.sha256()
        with ExitStack() as files:
            ends = ["tokens", "offsets", *(f"label{i}" for i in range(len(tables)))]
            tokens, offsets, *columns = (files.enter_context((folder / f"{split}.{end}").open("wb")) for end in ends)
            np.zeros(1, np.int64).tofile(offsets)
            for read, lengths, indices in _chunks(part, mask, longest):
                ids, bounds = final[read], n["tokens"] + np.cumsum(lengths)
                ids.tofile(tokens)
                bounds.tofile(offsets)
                for file, (column, table) in zip(columns, tables.items(), strict=True):
                    known = part.labels.get(column)
                    (np.full(len(indices), -1, np.int32) if known is None else table[known[indices]]).tofile(file)
                for part_hash, values in zip(hashes, (ids, bounds), strict=True):
                    part_hash.update(values.tobytes())
                n["sentences"] += len(indices)
                n["tokens"] += len(ids)
                n["truncated"] += int((part.lengths[indices] > longest).sum())
                n["unknown"] += int((ids == UNK).sum())
        digest.update("".join([split, *(part_hash.hexdigest() for part_hash in hashes)]).encode())
        summary[split] = n
    for file in folder.glob("*.read"):
        file.unlink()
    entropy = text.entropy
    if entropy is not None and (summary["train"]["unknown"] or any(n["truncated"] for n in summary.values())):
        entropy = None
        notes.append("sentences were cut or words made unknown, so the grammar's entropy is not theirs: it is left out")
    about = {
        "name": text.name,
        "source": text.source,
        "label_names": label_names,
        "counts": summary,
        "sha256": digest.hexdigest(),
        "options": options,
        "entropy": entropy,
        "notes": notes,
        "words": vocabulary.words,
    }
    (folder / "corpus.json").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")


def _chunks(part: _Part, mask: np.ndarray, longest: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Numbers, lengths (cut to `longest`) and indices of the part's sentences under the mask, some at a time."""
    start = 0
    for i in range(0, len(mask), _CHUNK_SENTENCES):
        offsets = np.append(0, np.cumsum(np.minimum(part.lengths[i : i + _CHUNK_SENTENCES], longest), dtype=np.int64))
        indices = np.flatnonzero(mask[i : i + _CHUNK_SENTENCES])
        yield *Split(part.tokens[start : start + offsets[-1]], offsets).gather(indices), i + indices
        start += offsets[-1]


def _divided(text: Text, parts: dict[str, _Part], seed: int, notes: list[str]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield each split, the part it comes from, and which of that part's sentences it takes, (N,) bool."""
    for part, read in parts.items():
        n = len(read.lengths)
        if part != "all" and (part != "train" or "valid" in parts):
            yield part, part, np.ones(n, bool)
            continue
        where = text.where.get(part, text.source)
        if n < 2:
            raise ValueError(
                f"{where} has a single sentence, which cannot be split into train and valid: give at least two, one a "
                "line (ten or more for 80/10/10), or a folder with train and valid files"
            )
        tenth = max(1, n // 10)
        held_out = {"valid": tenth, "test": tenth if part == "all" and n > 2 else 0}
        order = np.random.default_rng(seed).permutation(n)
        masks = {"train": np.ones(n, bool)}
        for split, size in held_out.items():
            if size:
                taken, order = order[:size], order[size:]
                masks["train"][taken] = False
                masks[split] = np.zeros(n, bool)
                masks[split][taken] = True
        said = ", ".join(f"{mask.sum():,} {split}" for split, mask in masks.items())
        why = "came in one piece" if part == "all" else "has no validation file beside it"
        notes.append(f"{where} {why} and was split by seed {seed}: {said}")
        for split, mask in masks.items():
            yield split, part, mask


def _natural(label: str) -> tuple[bool, int, str]:
    """Order of labels: integers by value, before words."""
    is_integer = label.removeprefix("-").isdecimal()
    return not is_integer, int(label) if is_integer else 0, label


def is_whole(folder: Path) -> bool:
    """Whether the folder holds what `write_ids` wrote, to the byte count."""
    try:
        about = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        for split, counts in about["counts"].items():
            sizes = {f"{split}.tokens": 4 * counts["tokens"], f"{split}.offsets": 8 * (counts["sentences"] + 1)}
            sizes |= {f"{split}.label{i}": 4 * counts["sentences"] for i in range(len(about["label_names"]))}
            if any((folder / name).stat().st_size != size for name, size in sizes.items()):
                return False
        return True
    except (OSError, json.JSONDecodeError, KeyError):
        return False
