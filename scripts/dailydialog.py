"""DailyDialog as single utterances: a folder that `--data` takes, with label columns act and emotion.

    python scripts/dailydialog.py SOURCE OUTPUT

SOURCE holds train, validation and test .jsonl(.gz), a dialogue a line: {"utterances": [...], "acts": [...],
"emotions": [...]}. OUTPUT gets train, valid and test .jsonl.gz, an utterance a line: {"text", "act", "emotion"}, the
text lower-cased and cut into words by the expression of the DEM-VAE protocol (Shi et al. 2020).
"""

import argparse
import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pyro_textvae.corpus.formats import lines

WORD = re.compile(r"\w+|<sil>|[^\w\s]+")
ACTS = {1: "inform", 2: "question", 3: "directive", 4: "commissive"}
EMOTIONS = dict(enumerate(["no emotion", "anger", "disgust", "fear", "happiness", "sadness", "surprise"]))
SPLITS = {"train": ("train",), "valid": ("validation", "valid", "dev"), "test": ("test",)}


def words(utterance: str) -> list[str]:
    """Lower-cased words and runs of punctuation.

    >>> words("I'm fine , thanks ...")
    ['i', "'", 'm', 'fine', ',', 'thanks', '...']
    """
    return WORD.findall(utterance.lower())


def utterances(path: Path) -> Iterator[dict[str, str]]:
    """Text, act and emotion of each utterance of a file of dialogues; raises ValueError naming the line at fault."""
    for number, line in lines(path):
        try:
            dialogue = json.loads(line)
            triples = zip(dialogue["utterances"], dialogue["acts"], dialogue["emotions"], strict=True)
            rows = [(words(utterance), ACTS[act], EMOTIONS[emotion]) for utterance, act, emotion in triples]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}, is no dialogue ({type(error).__name__}: {error}): expected JSON with "
                "utterances, acts (1 to 4) and emotions (0 to 6), three lists of one length; leave the line out"
            ) from error
        for text, act, emotion in rows:
            if text:
                yield {"text": " ".join(text), "act": act, "emotion": emotion}


def convert(source: Path, output: Path) -> dict[str, int]:
    """Write OUTPUT, and return how many utterances each split has."""
    files = {}
    for split, names in SPLITS.items():
        found = [p for name in names for end in (".jsonl", ".jsonl.gz") if (p := source / (name + end)).is_file()]
        if not found:
            raise FileNotFoundError(
                f"{source} has no {names[0]}.jsonl or {names[0]}.jsonl.gz: give the folder with DailyDialog's dialogues"
            )
        files[split] = found[0]
    output.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, path in files.items():
        target = output / f"{split}.jsonl.gz"
        if target.exists() and target.samefile(path):
            raise ValueError(f"{target} would be written over its own source: give another output folder")
        # Without a name and a time inside, the same dialogues give the same bytes.
        with target.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
            counts[split] = 0
            for row in utterances(path):
                file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
                counts[split] += 1
    return counts


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with train, validation and test .jsonl or .jsonl.gz")
    parser.add_argument("output", type=Path, help="folder to write, made if it is not there")
    given = parser.parse_args(arguments)
    try:
        counts = convert(given.source, given.output)
    except (OSError, ValueError) as error:
        print(f"dailydialog: {error}", file=sys.stderr)
        return 1
    said = ", ".join(f"{n:,} {split}" for split, n in counts.items())
    print(f"{given.output}: {said} utterances, with labels act and emotion")
    return 0


if __name__ == "__main__":
    sys.exit(main())
