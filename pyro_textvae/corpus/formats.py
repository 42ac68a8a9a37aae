"""Files of text, read a line at a time: .txt, .tsv and .jsonl, each also .gz. (Of .feat: bags.py.)"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pyro_textvae.errors import did_you_mean

FORMATS = (".txt", ".tsv", ".jsonl", ".feat")

_LONGEST_LINE = 1 << 24  # bytes: past this it is not a sentence, and it must not fill the memory


class Record(NamedTuple):
    words: list[str]
    labels: Mapping[str, str]


def format_of(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def stem_of(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem


def reader_of(path: Path, wanted: tuple[str, ...] | None) -> Callable[[list[str]], Iterator[Record]]:
    kind = format_of(path)
    if kind == ".txt":
        if wanted:
            raise ValueError(
                f"label columns {', '.join(wanted)} were asked of {path}, but a .txt has none: give a .tsv "
                "(label, tab, text) or a .jsonl"
            )
        return lambda notes: _read_txt(path, notes)
    if kind == ".tsv":
        return lambda notes: _read_tsv(path, wanted, notes)
    if kind == ".jsonl":
        return lambda notes: _read_jsonl(path, wanted)
    raise ValueError(
        f"{path} ends in {kind or 'nothing'!r}, but expected {', '.join(FORMATS)}, or one of them with .gz: rename it, "
        "or convert it to a sentence a line"
    )


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line. Lines end at \\n alone: other characters that look like one stay in the text."""
    with path.open("rb") as file:
        start = file.read(2)
    if path.suffix == ".gz" and start not in (b"\x1f\x8b", b""):
        raise ValueError(f"{path} is named .gz but is not gzip: remove the .gz from its name, or compress it")
    if path.suffix != ".gz" and start == b"\x1f\x8b":
        raise ValueError(f"{path} is gzip, but its name does not say so: rename it to {path.name}.gz")
    number = 0
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        try:
            while raw := stream.readline(_LONGEST_LINE + 1):
                number += 1
                if b"\0" in raw:
                    raise ValueError(
                        f"{path}, line {number}, has a zero byte, so it is binary or UTF-16, but expected UTF-8 text: "
                        "convert it (iconv -f UTF-16 -t UTF-8), or give another file"
                    )
                if len(raw) > _LONGEST_LINE:
                    raise ValueError(
                        f"{path}, line {number}, is longer than {_LONGEST_LINE:,} bytes, but a line is one sentence: "
                        "cut the text into sentences first"
                    )
                try:
                    text = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{path}, line {number}, is not UTF-8 (byte {raw[error.start]:#04x} at column {error.start + 1}"
                        "): convert the file, for example iconv -f LATIN1 -t UTF-8"
                    ) from error
                yield number, (text.removeprefix("\ufeff") if number == 1 else text).rstrip("\r\n")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path} is a damaged or truncated gzip file (after line {number}: {error}): copy or download it again"
            ) from error


def _read_txt(path: Path, notes: list[str]) -> Iterator[Record]:
    sentences = tabs = 0
    for _, line in lines(path):
        words = line.split()
        sentences += bool(words)
        tabs += "\t" in line
        yield Record(words, {})
    if sentences and tabs == sentences:
        notes.append(
            f"every line of {path} has a tab, but as a .txt all of it is taken as text: rename it to .tsv if labels "
            "stand before the tab"
        )


def _read_tsv(path: Path, wanted: tuple[str, ...] | None, notes: list[str]) -> Iterator[Record]:
    columns: list[str] | None = None
    for number, line in lines(path):
        if not line.strip():
            yield Record([], {})
            continue
        *labels, text = line.split("\t")
        if not labels:
            raise ValueError(
                f"{path}, line {number}, has no tab, but expected label, tab, text: {line!r:.60}; name the file .txt "
                "if it has no labels"
            )
        if columns is None:
            columns = ["label"] if len(labels) == 1 else [f"label_{i}" for i in range(1, len(labels) + 1)]
            if wanted and len(wanted) != len(columns):
                raise ValueError(
                    f"{path} has {len(columns)} label column(s) before the text, but label_columns names "
                    f"{len(wanted)}: {', '.join(wanted)}; name each from left to right, or none"
                )
            columns = list(wanted) if wanted else columns
            if text.strip().lower() in ("text", "sentence"):
                notes.append(
                    f"the first line of {path} reads {line!r:.60} and was taken as a sentence: remove a header"
                )
        if len(labels) != len(columns):
            raise ValueError(
                f"{path}, line {number}, has {len(labels)} tab(s), but the first line has {len(columns)}: a text may "
                "hold no tab, and every line as many labels"
            )
        labels = {} if wanted == () else {c: label.strip() for c, label in zip(columns, labels, strict=True)}
        yield Record(text.split(), {c: label for c, label in labels.items() if label})


def _read_jsonl(path: Path, wanted: tuple[str, ...] | None) -> Iterator[Record]:
    fields: dict[str, None] = {}
    for number, line in lines(path):
        if not line.strip():
            yield Record([], {})
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f'{path}, line {number}, is not JSON ({error}): expected {{"text": "...", "label": "..."}} on each line'
            ) from error
        text = row.get("text") if isinstance(row, dict) else None
        if isinstance(text, list) and all(isinstance(word, str) for word in text):
            words = [part for word in text for part in word.split()]
        elif isinstance(text, str):
            words = text.split()
        else:
            what = f"fields {', '.join(row)}" if isinstance(row, dict) else f"a {type(row).__name__}"
            raise ValueError(
                f'{path}, line {number}, has {what}, but expected a field "text" with a string or a list of words: '
                "rename the field that holds the sentence"
            )
        if wanted is None:
            labels = {c: _label(value) for c, value in row.items() if c != "text"}
        else:
            fields |= dict.fromkeys(row)
            labels = {}
            for c in wanted:
                labels[c] = _label(row.get(c))
                if labels[c] is None and row.get(c) is not None:
                    raise ValueError(
                        f"{path}, line {number}: the label {c!r} is {row[c]!r:.40}, but expected a string or an "
                        "integer: convert it, or leave it out of label_columns"
                    )
        yield Record(words, {c: label for c, label in labels.items() if label is not None})
    for column in wanted or ():
        if fields and column not in fields:
            raise absent_column(column, fields.keys() - {"text"}, str(path))


def _label(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else None


def absent_column(column: str, present: Iterable[str], where: str) -> ValueError:
    present = sorted(present)
    return ValueError(
        f"there is no label column {column!r}{did_you_mean(column, present)} in {where}: "
        f"there {'are ' + ', '.join(present) if present else 'is none'}; choose with label_columns"
    )
