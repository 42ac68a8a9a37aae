"""Text to token ids: `Corpus.open` reads any text once, and leaves its ids in memory-mapped files.

The text passes through memory a line at a time. What stays is the table of distinct words and some bytes a
sentence, so a corpus larger than memory opens, and trains, in little of it.
"""

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pyro_textvae.corpus.bags import Bags
from pyro_textvae.corpus.ids import is_whole, write_ids
from pyro_textvae.corpus.sources import NAMED, TOYS, Text, find
from pyro_textvae.corpus.split import Split
from pyro_textvae.corpus.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary
from pyro_textvae.errors import did_you_mean

__all__ = ["BOS", "EOS", "NAMED", "PAD", "SPECIALS", "TOYS", "UNK", "Bags", "Corpus", "Split", "Vocabulary"]

LONGEST_SENTENCE = 100
"""Words that a sentence is cut to where nothing else is said."""

_FORMAT_VERSION = 1  # of the cached files: raise it when their meaning changes


@dataclass(eq=False)
class Corpus:
    """A text in splits of token ids, with what was counted while reading it. Made by `Corpus.open`.

    splits has "train" and "valid", and "test" where there is one; label_names gives the names behind the label ids of
    each column; counts gives for each split its sentences, tokens (kept words), truncated (sentences), empty (lines
    skipped) and unknown (kept words that became <unk>, or were it); sha256 is over vocabulary, token ids and sentence
    bounds; entropy is the truth in nats where it is known (toy corpora); notes says aloud what was decided;
    ordered is whether the order of its words means anything, which of word counts it does not.
    """

    name: str
    source: str
    vocabulary: Vocabulary
    splits: dict[str, Split]
    label_names: dict[str, list[str]]
    counts: dict[str, dict[str, int]]
    sha256: str
    options: dict[str, Any]
    entropy: dict[str, float] | None = None
    notes: list[str] = field(default_factory=list)
    ordered: bool = True

    @staticmethod
    def open(
        data: Any = "toy",
        *,
        seed: int = 0,
        max_vocabulary: int | None = 20_000,
        min_count: int = 1,
        max_length: int | Literal["auto"] | None = "auto",
        label_columns: Sequence[str] | None = None,
        lowercase: bool = False,
        cache: str | os.PathLike[str] | None = None,
    ) -> "Corpus":
        """Read `data`, split it where it is not split, and build the vocabulary on its training split.

        `data` is "toy", "toy-acts" or "toy-modes"; a name in NAMED (through the Hugging Face `datasets`); a path to a
        .txt (a sentence a line), .tsv (label, tab, text; more label columns may stand before the text), .jsonl
        ({"text": ..., fields of strings or integers as labels}) or .feat (label id:count ..., beside its vocabulary),
        each also .gz; a folder of such files named train, valid (or validation, dev) and test; a list of texts; (texts,
        labels), the labels a list or a dict of lists; or a matrix of word counts, `Bags`, or {"train": Bags, "test":
        Bags}. A name wins over a path of the same name: write "./toy" for the path.

        One file is split 80/10/10 by `seed`; a folder without a validation file gives a tenth of train. Words are what
        white space separates. `max_vocabulary` counts the four special words. Sentences are cut to their first
        `max_length` words ("auto": 100; None: uncut), and word counts never, since what a cut would leave of a bag is
        arbitrary; lines without a word are skipped; both are counted. `label_columns` names the label columns
        of a .tsv from left to right, and chooses the fields of a .jsonl or named corpus; empty, it takes none.
        The ids lie in a temporary folder that goes with the process, or in `cache`, where the same files with the same
        options are found again. Raises FileNotFoundError or ValueError that names the file, the line and the remedy.
        """
        for name, value in (("min_count", min_count), ("max_length", max_length)):
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{name}={value} came, but at least 1 is needed: give {name}=1 or more")
        if isinstance(label_columns, str):
            label_columns = [label_columns]
        wanted = None if label_columns is None else tuple(label_columns)
        text = find(data, wanted)
        if max_length == "auto":
            max_length = LONGEST_SENTENCE if text.ordered else None
        elif isinstance(max_length, str):
            raise ValueError(f"max_length={max_length!r} came, but it is a number of words, None for uncut, or 'auto'")
        elif max_length is not None and not text.ordered:
            raise ValueError(
                f"max_length={max_length} came, but {text.source} has word counts, of which none are the first: leave "
                "max_length out"
            )
        options = {
            "seed": seed,
            "max_vocabulary": max_vocabulary,
            "min_count": min_count,
            "max_length": max_length,
            "label_columns": None if wanted is None else list(wanted),
            "lowercase": lowercase,
        }
        if cache is None:
            folder = Path(tempfile.mkdtemp(prefix="pyro_textvae-"))
            try:
                write_ids(text, folder, options)
                return _opened(folder, text)
            finally:
                # Where maps outlive their names, a process killed from here on leaves no files behind.
                if os.name == "posix":
                    shutil.rmtree(folder, ignore_errors=True)
                else:
                    atexit.register(shutil.rmtree, folder, ignore_errors=True)
        key = hashlib.sha256(json.dumps([_FORMAT_VERSION, options, text.fingerprint()]).encode()).hexdigest()[:16]
        folder = Path(cache) / f"{text.name}-{key}"
        if not is_whole(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
            try:
                write_ids(text, partial, options)
                shutil.rmtree(folder, ignore_errors=True)
                partial.replace(folder)
            except OSError:
                if not is_whole(folder):  # else another process has just finished the same
                    raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return _opened(folder, text)

    def split(self, name: str) -> Split:
        """A split by its name; raises ValueError for one that the corpus has not."""
        if name not in self.splits:
            raise ValueError(
                f"unknown split {name!r}{did_you_mean(name, self.splits)}: the corpus has {', '.join(self.splits)}"
            )
        return self.splits[name]

    def encode(self, texts: Iterable[str]) -> Split:
        """Encode new texts as this corpus was: same vocabulary, same length, same lower-casing."""
        return Split.from_texts(
            texts, self.vocabulary, max_length=self.options["max_length"], lowercase=self.options["lowercase"]
        )

    def summary(self) -> dict[str, Any]:
        """What a run keeps of its corpus besides the words, ready for JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "vocabulary_size": len(self.vocabulary),
            "splits": {name: len(split) for name, split in self.splits.items()},
            "counts": self.counts,
            "label_names": self.label_names,
            "entropy": self.entropy,
            "notes": self.notes,
            "options": self.options,
        }

    def to_json(self) -> str:
        """The summary and the vocabulary's words, as JSON: enough to encode new texts and to know the corpus again."""
        return json.dumps({**self.summary(), "words": self.vocabulary.words}, ensure_ascii=False, indent=1)

    def describe(self) -> str:
        """What was read, how it was split, and what was truncated, skipped or unknown, in a few lines."""
        words = len(self.vocabulary) - len(SPECIALS)
        lines = [
            f"{self.name}: {words:,} words in the vocabulary (and {len(SPECIALS)} special ones), from {self.source}"
        ]
        longest = self.options["max_length"]
        for name, n in self.counts.items():
            cut = "none cut" if longest is None else f"{n['truncated']:,} sentences cut to {longest} words"
            lines.append(
                f"  {name}: {n['sentences']:,} sentences, {n['tokens']:,} words, of which {n['unknown']:,} unknown "
                f"({n['unknown'] / n['tokens']:.2%}); {cut}; {n['empty']:,} empty lines skipped"
            )
        for column, names in self.label_names.items():
            some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            lines.append(f"  labels {column!r}: {len(names)} ({some})")
        if self.entropy is not None:
            lines += [f"  true entropy, {key.replace('_', ' ')}: {value:.3f}" for key, value in self.entropy.items()]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def _opened(folder: Path, text: Text) -> Corpus:
    about = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    about["source"] = text.source  # the same content may lie elsewhere by now
    vocabulary = Vocabulary(about.pop("words"))
    splits = {}
    for split in about["counts"]:
        labels: dict[str, np.ndarray] = {
            column: np.memmap(folder / f"{split}.label{i}", np.int32, "r")
            for i, column in enumerate(about["label_names"])
        }
        tokens = np.memmap(folder / f"{split}.tokens", np.int32, "r")
        splits[split] = Split(tokens, np.memmap(folder / f"{split}.offsets", np.int64, "r"), labels)
    return Corpus(vocabulary=vocabulary, splits=splits, ordered=text.ordered, **about)
