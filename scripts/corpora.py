"""Corpora as their sources have them, made into folders that `--data` takes.

    python scripts/corpora.py NAME SOURCE OUTPUT

NAME         what SOURCE holds, each file also as .gz                       labels in OUTPUT
dailydialog  train, validation and test .jsonl, a dialogue a line           act, emotion
yelp-short   train, valid and test .txt: 0 or 1, tab, text                  label
yelp13       valid and test .txt: 0 to 4, space, text                       stars
yahoo        train10k, valid1k and test10k .txt: text

OUTPUT gets train, valid and test .jsonl.gz, a sentence a line, with its labels in words. The same source gives the same
bytes. DailyDialog's text is lower-cased and cut into words by the expression of the DEM-VAE protocol (Shi et al. 2020);
the others are cut already. Of yelp13, whose training file is not published with the others, valid becomes the training
split, and the odd and even lines of test become valid and test. Of yahoo's test every tenth line is kept: 1,000
documents.
"""

import gzip
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pyro_textvae.corpus.formats import lines

Record = dict[str, str]


@dataclass(frozen=True)
class Part:
    """Where a split comes from: a file by any of its names, and of its lines every `step`-th from the first one."""

    names: Sequence[str]
    first: int = 1
    step: int = 1


@dataclass(frozen=True)
class Source:
    """How a corpus is read: `records` makes a line into sentences with labels, or raises ValueError or KeyError."""

    parts: Mapping[str, Part]
    ending: str
    expected: str
    records: Callable[[str], Iterator[Record]]


WORD = re.compile(r"\w+|<sil>|[^\w\s]+")
ACTS = {1: "inform", 2: "question", 3: "directive", 4: "commissive"}
EMOTIONS = dict(enumerate(["no emotion", "anger", "disgust", "fear", "happiness", "sadness", "surprise"]))


def words(utterance: str) -> list[str]:
    """Lower-cased words and runs of punctuation.

    >>> words("I'm fine , thanks ...")
    ['i', "'", 'm', 'fine', ',', 'thanks', '...']
    """
    return WORD.findall(utterance.lower())


def utterances(line: str) -> Iterator[Record]:
    """The utterances of a dialogue, each with its act and emotion; empty ones are left out."""
    dialogue = json.loads(line)
    triples = zip(dialogue["utterances"], dialogue["acts"], dialogue["emotions"], strict=True)
    rows = [(" ".join(words(utterance)), ACTS[act], EMOTIONS[emotion]) for utterance, act, emotion in triples]
    return ({"text": text, "act": act, "emotion": emotion} for text, act, emotion in rows if text)


def labelled(column: str, between: str, labels: Mapping[str, str]) -> Callable[[str], Iterator[Record]]:
    """Lines of a label, one character, and a text."""

    def records(line: str) -> Iterator[Record]:
        label, found, text = line.partition(between)
        if not found or "\t" in text or not text.strip():
            raise ValueError("no label and text")
        yield {"text": text, column: labels[label]}

    return records


def documents(line: str) -> Iterator[Record]:
    yield {"text": re.sub(r"\b_UNK\b", "<unk>", line)}


def of_its_own(*names: str) -> dict[str, Part]:
    return {split: Part([name]) for split, name in zip(("train", "valid", "test"), names, strict=True)}


SOURCES = {
    "dailydialog": Source(
        of_its_own("train", "validation", "test") | {"valid": Part(["validation", "valid", "dev"])},
        ".jsonl",
        "JSON with utterances, acts (1 to 4) and emotions (0 to 6), three lists of one length",
        utterances,
    ),
    "yelp-short": Source(
        of_its_own("train", "valid", "test"),
        ".txt",
        "0 or 1, a tab and a text",
        labelled("label", "\t", {"0": "negative", "1": "positive"}),
    ),
    "yelp13": Source(
        {"train": Part(["valid"]), "valid": Part(["test"], step=2), "test": Part(["test"], first=2, step=2)},
        ".txt",
        "0 to 4, a space and a text",
        labelled("stars", " ", {str(n): str(n + 1) for n in range(5)}),
    ),
    "yahoo": Source(
        of_its_own("train10k", "valid1k", "test10k") | {"test": Part(["test10k"], step=10)}, ".txt", "text", documents
    ),
}


def find(folder: Path, part: Part, ending: str) -> Path:
    found = [
        path for name in part.names for end in (ending, f"{ending}.gz") if (path := folder / (name + end)).is_file()
    ]
    if not found:
        first = part.names[0] + ending
        raise FileNotFoundError(f"{folder} has no {first} or {first}.gz: give the folder that holds the source's files")
    return found[0]


def read(path: Path, part: Part, source: Source) -> Iterator[Record]:
    """The sentences of a split; raises ValueError naming the line at fault."""
    for number, line in lines(path):
        if number >= part.first and (number - part.first) % part.step == 0:
            try:
                found = list(source.records(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number}, reads {line!r:.60} ({type(error).__name__}: {error}), but expected was "
                    f"{source.expected}: mend the line or leave it out"
                ) from error
            yield from found


def convert(name: str, folder: Path, output: Path) -> dict[str, int]:
    """Write OUTPUT, and return how many sentences each split has."""
    source, counts = SOURCES[name], {}
    files = {split: find(folder, part, source.ending) for split, part in source.parts.items()}
    output.mkdir(parents=True, exist_ok=True)
    for split, path in files.items():
        target = output / f"{split}.jsonl.gz"
        if target.exists() and any(target.samefile(each) for each in files.values()):
            raise ValueError(f"{target} would be written over its own source: give another output folder")
        # Without a name and a time inside, the same source gives the same bytes.
        with target.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
            counts[split] = 0
            for record in read(path, source.parts[split], source):
                file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
                counts[split] += 1
    return counts


@dataclass
class Arguments:
    name: Annotated[str, tyro.conf.Positional]
    source: Annotated[Path, tyro.conf.Positional]
    output: Annotated[Path, tyro.conf.Positional]


def main(given: Arguments) -> int:
    if given.name not in SOURCES:
        print(f"corpora: unknown corpus {given.name!r}; there are {', '.join(SOURCES)}", file=sys.stderr)
        return 2
    try:
        counts = convert(given.name, given.source, given.output)
    except (OSError, ValueError) as error:
        print(f"corpora: {error}", file=sys.stderr)
        return 1
    print(f"{given.output}: " + ", ".join(f"{n:,} {split}" for split, n in counts.items()) + " sentences")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
