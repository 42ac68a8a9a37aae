"""Documents that come as word counts: .feat files with their vocabulary, and matrices such as CountVectorizer's.

A document becomes its words, each as often as it is counted, in no order that means anything: what reads a corpus reads
it too, and a model of bags of words counts them again.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyro_textvae.corpus.formats import Record, lines
from pyro_textvae.corpus.vocabulary import SPECIALS

VOCABULARIES = ("vocab.new", "vocab.txt", "vocab")
"""Names of the file beside a .feat file that says its words: line n is the word of id n, whatever follows the word."""

LONGEST_DOCUMENT = 1 << 24
"""Words: a count that says more is a mistake, and must not fill the memory."""

_PAIR = re.compile(r"(\d{1,9}):(\d{1,9})", re.ASCII)


def vocabulary_of(path: Path) -> Path:
    """The vocabulary file beside a .feat file; raises FileNotFoundError where there is none."""
    for name in VOCABULARIES:
        if (path.parent / name).is_file():
            return path.parent / name
    raise FileNotFoundError(
        f"{path} holds ids of words, but no vocabulary lies beside it: expected {' or '.join(VOCABULARIES)} in "
        f"{path.parent}, a word a line, line n the word of id n"
    )


def read_vocabulary(path: Path) -> list[str]:
    """The words of a vocabulary file, the first of each line; raises ValueError for blank lines and repeated words."""
    found: dict[str, int] = {}
    for number, line in lines(path):
        word = next(iter(line.split()), "")
        if not word or word in found:
            what = f"has {word!r} again, the word of line {found[word]}" if word else "is blank"
            raise ValueError(
                f"{path}, line {number}, {what}, but line n is the word of id n: give each line a word of its own"
            )
        found[word] = number
    return list(found)


def read_feat(path: Path, wanted: tuple[str, ...] | None) -> Iterator[Record]:
    """Documents `label id:count id:count ...`, a line each, ids from 1 (Miao et al. 2016); blank lines are none.

    Raises ValueError that names the line for one without a label, for what is no pair or comes twice, for an id that
    the vocabulary has not, and for a document without a known word.
    """
    column = _column(path, wanted)
    vocabulary = vocabulary_of(path)
    words = read_vocabulary(vocabulary)
    for number, line in lines(path):
        if not line.strip():
            yield Record([], {})
            continue
        label, *pairs = line.split()
        where = f"{path}, line {number}"
        if ":" in label:
            raise ValueError(f"{where}, begins with {label!r:.40}, but expected label id:count ...: put a label first")
        counts: dict[int, int] = {}
        for pair in pairs:
            match = _PAIR.fullmatch(pair)
            if not match or not int(match[2]):
                raise ValueError(
                    f"{where}, has {pair!r:.40}, but expected id:count, two whole numbers with a count of at least 1"
                )
            word, count = int(match[1]), int(match[2])
            if not 1 <= word <= len(words):
                raise ValueError(
                    f"{where}, has the id {word}, but {vocabulary.name} has the ids 1 to {len(words)}"
                    + (
                        ": ids count from 1, so add 1 to all of them"
                        if word == 0
                        else ": give the vocabulary they are of"
                    )
                )
            if word in counts:
                raise ValueError(f"{where}, counts the id {word} twice: give each id once, with the sum of its counts")
            counts[word] = count
        if sum(counts.values()) > LONGEST_DOCUMENT:
            raise ValueError(
                f"{where}, counts more than {LONGEST_DOCUMENT:,} words, which is no document: mend its counts"
            )
        if not any(words[word - 1] not in SPECIALS for word in counts):
            what = f"no word but {', '.join(words[word - 1] for word in counts)}" if counts else "a label and no word"
            raise ValueError(f"{where}, has {what}: a document needs a known word, so leave the line out")
        document = [words[word - 1] for word, count in counts.items() for _ in range(count)]
        yield Record(document, {column: label} if column else {})


def _column(path: Path, wanted: tuple[str, ...] | None) -> str | None:
    """What the label column is called; None where it was not asked for."""
    if wanted is not None and len(wanted) > 1:
        raise ValueError(f"{path} has 1 label column, but label_columns names {len(wanted)}: {', '.join(wanted)}")
    return next(iter(wanted), None) if wanted is not None else "label"


@dataclass(frozen=True, eq=False)
class Bags:
    """Documents as a matrix of word counts, to be opened as a corpus: `Corpus.open(Bags(counts, words))`.

    counts  (documents, words), whole numbers, dense or scipy's sparse: what scikit-learn's CountVectorizer gives
    words   of the columns, in their order; or word -> column, as its `vocabulary_` says it
    labels  one a document (None: missing), or column -> such labels

    Raises ValueError for counts that are none, for words that do not fit the columns, and for a document without a
    word, naming its row.

    >>> Bags([[2, 0], [1, 1]], ["rose", "red"]).document(0)
    ['rose', 'rose']
    """

    counts: Any
    words: Sequence[str] | np.ndarray | Mapping[str, int]
    labels: Any = None
    _bounds: np.ndarray = field(init=False, repr=False)
    _columns: np.ndarray = field(init=False, repr=False)
    _times: np.ndarray = field(init=False, repr=False)
    _names: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bounds, columns, times, (documents, width) = _compressed(self.counts)
        names = _names(self.words)
        if len(names) != width:
            raise ValueError(f"the counts have {width} columns, but {len(names)} words came: give each column a word")
        if not documents:
            raise ValueError("the counts have no row, but a document is a row: give at least two")
        if not (np.isfinite(times).all() and (times >= 0).all() and (times == np.floor(times)).all()):
            raise ValueError(
                "the counts are not all whole numbers of at least 0: give how often each word occurs, as "
                "CountVectorizer does, not weights such as TfidfVectorizer's"
            )
        known = np.array([name not in SPECIALS for name in names])[columns]
        empty = np.flatnonzero(np.diff(np.append(0, np.cumsum(known))[bounds]) == 0)
        if len(empty):
            some = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
            raise ValueError(
                f"{len(empty)} of {documents} documents have no known word, such as row {some}: leave these rows and "
                "their labels out"
            )
        for name, value in (("_bounds", bounds), ("_columns", columns), ("_times", times.astype(np.int64))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_names", names)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def document(self, row: int) -> list[str]:
        """The words of a document, each as often as it is counted."""
        part = slice(self._bounds[row], self._bounds[row + 1])
        return [self._names[i] for i in np.repeat(self._columns[part], self._times[part])]

    def fingerprint(self) -> str:
        """A digest of counts and words."""
        digest = hashlib.sha256("\n".join(self._names).encode())
        for values in (self._bounds, self._columns, self._times):
            digest.update(np.asarray(values, np.int64).tobytes())
        return digest.hexdigest()


def _compressed(counts: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """A matrix row by row: where each begins, the columns that are not 0, their counts, and the shape."""
    if hasattr(counts, "tocsr"):
        sparse = counts.tocsr(copy=True)
        sparse.sum_duplicates()
        sparse.eliminate_zeros()
        return sparse.indptr.astype(np.int64), sparse.indices, sparse.data, sparse.shape
    dense = np.asarray(counts)
    if dense.ndim != 2 or not (np.issubdtype(dense.dtype, np.number) or dense.dtype == bool):
        raise ValueError(
            f"counts of shape {dense.shape} and type {dense.dtype} came, but they are a matrix of numbers, a row a "
            "document and a column a word"
        )
    rows, columns = np.nonzero(dense)
    return np.searchsorted(rows, np.arange(len(dense) + 1)), columns, dense[rows, columns], dense.shape


def _names(words: Sequence[str] | np.ndarray | Mapping[str, int]) -> list[str]:
    """The words in the order of their columns."""
    if isinstance(words, Mapping):
        if sorted(words.values()) != list(range(len(words))):
            raise ValueError("the columns that 'words' gives are not 0, 1, 2, ...: give each word a column of its own")
        words = sorted(words, key=words.__getitem__)
    names = [str(word) for word in words]
    for name in names:
        if name.split() != [name]:
            raise ValueError(
                f"the word {name!r} is empty or holds white space, which is between words: write it with '_', or count "
                "single words (ngram_range=(1, 1))"
            )
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the word {twice!r} has two columns: add them up")
    return names
