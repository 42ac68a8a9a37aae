"""Yelp sentiment sentences as a folder that `--data` takes, with the label column "label": negative or positive.

    python scripts/yelp_short.py SOURCE OUTPUT

SOURCE holds train, valid and test .txt(.gz), a sentence a line: 0 or 1, tab, text (the "Yelp sampled" of Zhu et al.
2020). OUTPUT gets train, valid and test .tsv.gz, the label in words; the text is cut into words already and stays.
"""

import argparse
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

from pyro_textvae.corpus.formats import lines

LABELS = {"0": "negative", "1": "positive"}
SPLITS = ("train", "valid", "test")


def sentences(path: Path) -> Iterator[tuple[str, str]]:
    """Label and text of each line; raises ValueError naming the line at fault."""
    for number, line in lines(path):
        label, tab, text = line.partition("\t")
        if not tab or label not in LABELS or "\t" in text or not text.strip():
            raise ValueError(f"{path}, line {number}, reads {line!r:.60}, but 0 or 1, a tab and a text are expected")
        yield LABELS[label], text


def convert(source: Path, output: Path) -> dict[str, int]:
    """Write OUTPUT, and return how many sentences each split has."""
    files = {}
    for split in SPLITS:
        found = [path for end in (".txt", ".txt.gz") if (path := source / (split + end)).is_file()]
        if not found:
            raise FileNotFoundError(
                f"{source} has no {split}.txt or {split}.txt.gz: give the folder with the three labelled splits"
            )
        files[split] = found[0]
    output.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, path in files.items():
        # Without a name and a time inside, the same sentences give the same bytes.
        with (output / f"{split}.tsv.gz").open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
            counts[split] = 0
            for label, text in sentences(path):
                file.write(f"{label}\t{text}\n".encode())
                counts[split] += 1
    return counts


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with train, valid and test .txt or .txt.gz")
    parser.add_argument("output", type=Path, help="folder to write, made if it is not there")
    given = parser.parse_args(arguments)
    try:
        counts = convert(given.source, given.output)
    except (OSError, ValueError) as error:
        print(f"yelp_short: {error}", file=sys.stderr)
        return 1
    said = ", ".join(f"{n:,} {split}" for split, n in counts.items())
    print(f"{given.output}: {said} sentences, with the label column 'label'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
