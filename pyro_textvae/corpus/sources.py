"""Where text comes from: the embedded grammar, the Hugging Face hub, files, folders and lists, all read alike."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pyro_textvae.corpus.bags import Bags, read_feat, vocabulary_of
from pyro_textvae.corpus.formats import FORMATS, Record, absent_column, format_of, reader_of, stem_of
from pyro_textvae.corpus.split import checked_texts
from pyro_textvae.errors import did_you_mean

TOYS = ("toy", "toy-acts", "toy-modes")

_SPLIT_FILES = {"train": ("train",), "valid": ("valid", "validation", "dev"), "test": ("test",)}


class _Named(NamedTuple):
    """Where a known corpus lies on the Hugging Face hub, and which of its fields are text and labels."""

    hub: str
    text: str
    labels: tuple[str, ...]


NAMED = {
    "20newsgroups": _Named("SetFit/20_newsgroups", "text", ("label_text",)),
    "ag_news": _Named("fancyzhx/ag_news", "text", ("label",)),
    "dbpedia": _Named("fancyzhx/dbpedia_14", "content", ("label",)),
    "imdb": _Named("stanfordnlp/imdb", "text", ("label",)),
    # Each premise stands three times, each hypothesis once.
    "snli": _Named("stanfordnlp/snli", "hypothesis", ("label",)),
    "trec": _Named("SetFit/TREC-QC", "text", ("label_coarse", "label")),
}


@dataclass
class Text:
    """A text that can be read: for each split it comes in, a function that yields its records and may add notes.

    `ordered` is whether the order of its words means anything; where it does not, documents are never cut.
    """

    name: str
    source: str
    parts: dict[str, Callable[[list[str]], Iterator[Record]]]
    fingerprint: Callable[[], list[str]]
    wanted: tuple[str, ...] | None = None
    where: dict[str, str] = field(default_factory=dict)
    entropy: dict[str, float] | None = None
    notes: list[str] = field(default_factory=list)
    ordered: bool = True

    def part(self, name: str) -> list[Record]:
        """The records of the part of this name, or of the only one there is, those without a word left out.

        Raises ValueError where there are several, none of that name, and where nothing has a word. Notes are warnings.
        """
        if name not in self.parts and len(self.parts) > 1:
            raise ValueError(
                f"{self.source} has {', '.join(self.parts)}, but not {name!r}{did_you_mean(name, self.parts)}"
            )
        notes: list[str] = []
        read = self.parts.get(name) or next(iter(self.parts.values()))
        found = [record for record in read(notes) if record.words]
        for note in notes:
            warnings.warn(note, stacklevel=3)
        if not found:
            raise ValueError(f"{self.source} has no line with a word: put sentences into it")
        return found


def find(data: Any, wanted: tuple[str, ...] | None) -> Text:
    """The text that `data` means; nothing of a file is read yet. `wanted` are the label columns, None for all."""
    if isinstance(data, str) and data in TOYS:
        return _toy(data, wanted)
    if isinstance(data, str) and data in NAMED:
        text = _from_hub(data, wanted)
        if Path(data).exists():
            text.notes.append(f"{data!r} was taken as the known corpus; write './{data}' to read the path of that name")
        return text
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        if path.is_dir():
            return _from_folder(path, wanted)
        if path.exists():
            return _from_file(path, wanted)
        names = [*TOYS, *NAMED]
        if isinstance(data, str) and not path.suffix and path.name == data:
            raise ValueError(
                f"unknown corpus {data!r}{did_you_mean(data, names)}: there is no file or folder of that name, "
                f"and the known corpora are {', '.join(names)}"
            )
        raise FileNotFoundError(
            f"{path} does not exist: expected a .txt, .tsv, .jsonl or .feat file (or .gz), a folder with train and "
            f"valid files, or one of {', '.join(names)}; the current folder is {Path.cwd()}"
        )
    if isinstance(data, Bags):
        return _from_bags({"all": data}, wanted)
    if isinstance(data, Mapping) and data and all(isinstance(part, Bags) for part in data.values()):
        return _from_bags(data, wanted)
    return _from_memory(data, wanted)


def _from_memory(data: Any, wanted: tuple[str, ...] | None, name: str = "texts") -> Text:
    labels: Any = None
    if isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], str):
        data, labels = data
    if not isinstance(data, Iterable) or isinstance(data, bytes | Mapping):
        raise ValueError(
            f"{type(data).__name__} came as data, but expected a corpus's name, a path, a list of texts, "
            "(texts, labels), or counts of words as Bags"
        )
    texts = checked_texts(data)
    columns = _columns(labels, len(texts), wanted)

    def read(notes: list[str]) -> Iterator[Record]:
        for i, text in enumerate(texts):
            yield Record(text.split(), _labels_of(columns, i))

    def fingerprint() -> list[str]:
        content = hashlib.sha256(json.dumps([texts, columns], default=str).encode())
        return [name, content.hexdigest()]

    return Text(name, f"{len(texts):,} texts in memory", {"all": read}, fingerprint, wanted)


def _columns(labels: Any, texts: int, wanted: tuple[str, ...] | None) -> dict[str, list[Any]]:
    """Labels that came with `texts` texts in memory, None, a list or a mapping of lists, as the columns wanted."""
    columns: dict[str, list[Any]] = {}
    if labels is not None:
        columns = {k: list(v) for k, v in labels.items()} if isinstance(labels, Mapping) else {"label": list(labels)}
    for column, values in columns.items():
        if len(values) != texts:
            raise ValueError(
                f"label column {column!r} has {len(values)} labels for {texts} texts: give one a text, None "
                "where it is missing"
            )
    return _chosen(columns, wanted, "the labels given")


def _labels_of(columns: dict[str, list[Any]], i: int) -> dict[str, str]:
    return {column: str(values[i]) for column, values in columns.items() if values[i] is not None}


def _from_bags(parts: Mapping[Any, Bags], wanted: tuple[str, ...] | None) -> Text:
    unknown = [name for name in parts if name not in (*_SPLIT_FILES, "all")]
    if unknown or not parts.keys() & {"train", "all"} or len({"all", "train"} & parts.keys()) > 1:
        raise ValueError(
            f"documents came as {', '.join(map(repr, parts))}, but expected 'train' and, beside it, 'valid' and 'test'"
        )
    columns = {name: _columns(part.labels, len(part), wanted) for name, part in parts.items()}

    def reader(name: str) -> Callable[[list[str]], Iterator[Record]]:
        def read(notes: list[str]) -> Iterator[Record]:
            for i in range(len(parts[name])):
                yield Record(parts[name].document(i), _labels_of(columns[name], i))

        return read

    def fingerprint() -> list[str]:
        labels = hashlib.sha256(json.dumps(columns, default=str).encode()).hexdigest()
        return ["bags", labels, *(f"{name} {part.fingerprint()}" for name, part in parts.items())]

    return Text(
        "bags",
        f"{sum(map(len, parts.values())):,} bags of words in memory",
        {name: reader(name) for name in parts},
        fingerprint,
        wanted,
        ordered=False,
    )


def _chosen(columns: dict[str, Any], wanted: tuple[str, ...] | None, where: str) -> dict[str, Any]:
    if wanted is None:
        return columns
    for column in wanted:
        if column not in columns:
            raise absent_column(column, columns, where)
    return {column: columns[column] for column in wanted}


def _toy(name: str, wanted: tuple[str, ...] | None) -> Text:
    # The generator's own seed stays fixed, so that runs of several seeds are runs on one corpus.
    from pyro_textvae.toy import generate

    generated = generate(name)
    text = _from_memory((generated.texts, generated.labels), wanted, name)
    text.source = f"the embedded grammar {name!r}"
    text.entropy = {key: float(nats) for key, nats in generated.entropy.items()}
    return text


def _from_hub(name: str, wanted: tuple[str, ...] | None) -> Text:
    known = NAMED[name]
    try:
        load_dataset = import_module("datasets").load_dataset
    except (ImportError, AttributeError) as error:  # a folder named datasets imports too, as an empty module
        raise ImportError(
            f"the corpus {name!r} is read with the Hugging Face library `datasets`, which is not installed: "
            "pip install 'pyro-textvae[data]', or give a path to a file of your own"
        ) from error
    try:
        loaded = load_dataset(known.hub)
    except Exception as error:  # offline it raises one of several kinds, by its version and that of its HTTP library
        raise ConnectionError(
            f"the corpus {name!r} ({known.hub} on the Hugging Face hub) could not be loaded: {error}. The first time "
            "needs a network; after that it comes from the library's own cache. Offline, give a path, or data='toy'"
        ) from error
    parts = {split: s for split, names in _SPLIT_FILES.items() for s in names if s in loaded}
    if "train" not in parts:
        raise ValueError(f"{known.hub} has no train split, only {', '.join(loaded)}: give a path to a file instead")
    for column in (known.text, *(known.labels if wanted is None else wanted)):
        if column not in loaded["train"].features:
            raise absent_column(column, loaded["train"].features, f"{known.hub}")
    columns = known.labels if wanted is None else wanted

    def reader(split: str) -> Callable[[list[str]], Iterator[Record]]:
        def read(notes: list[str]) -> Iterator[Record]:
            names = {c: getattr(loaded[split].features[c], "names", None) for c in columns}
            for row in loaded[split]:
                labels = {c: _hub_label(row[c], names[c]) for c in columns}
                yield Record(str(row[known.text]).split(), {c: v for c, v in labels.items() if v is not None})

        return read

    def fingerprint() -> list[str]:
        return [known.hub, *(str(getattr(loaded[s], "_fingerprint", len(loaded[s]))) for s in parts.values())]

    return Text(
        name,
        f"{known.hub} on the Hugging Face hub",
        {split: reader(s) for split, s in parts.items()},
        fingerprint,
        wanted,
        {split: f"{known.hub}[{s}]" for split, s in parts.items()},
    )


def _hub_label(value: Any, names: list[str] | None) -> str | None:
    if names is not None and isinstance(value, int):
        return names[value] if value >= 0 else None  # -1 is the hub's mark of a missing label
    return None if value is None else str(value)


def _reader(path: Path, wanted: tuple[str, ...] | None) -> Callable[[list[str]], Iterator[Record]]:
    return (lambda notes: read_feat(path, wanted)) if _is_feat(path) else reader_of(path, wanted)


def _is_feat(path: Path) -> bool:
    return format_of(path) == ".feat"


def _from_file(path: Path, wanted: tuple[str, ...] | None) -> Text:
    return Text(
        stem_of(path),
        str(path),
        {"all": _reader(path, wanted)},
        lambda: _hashes([path]),
        wanted,
        {"all": str(path)},
        ordered=not _is_feat(path),
    )


def _from_folder(folder: Path, wanted: tuple[str, ...] | None) -> Text:
    files: dict[str, Path] = {}
    for split, stems in _SPLIT_FILES.items():
        found = [p for p in sorted(folder.iterdir()) if format_of(p) in FORMATS and stem_of(p) in stems]
        if len(found) > 1:
            raise ValueError(
                f"{folder} has {len(found)} files for {split}: {', '.join(p.name for p in found)}; leave one of them"
            )
        if found:
            files[split] = found[0]
    if "train" not in files:
        there = sorted(p.name for p in folder.iterdir())
        some = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
        raise FileNotFoundError(
            f"{folder} has no train file, but {some or 'nothing'}: expected train.txt, train.tsv, train.jsonl or "
            "train.feat (or .gz) and, beside it, valid and test; or give the path of one file"
        )
    if len({_is_feat(path) for path in files.values()}) > 1:
        raise ValueError(
            f"{folder} has word counts beside text ({', '.join(path.name for path in files.values())}): give all of "
            "them in one kind"
        )
    return Text(
        folder.resolve().name,
        f"{folder} ({', '.join(p.name for p in files.values())})",
        {split: _reader(path, wanted) for split, path in files.items()},
        lambda: _hashes(files.values()),
        wanted,
        {split: str(path) for split, path in files.items()},
        ordered=not _is_feat(files["train"]),
    )


def _hashes(paths: Iterable[Path]) -> list[str]:
    hashes = []
    paths = list(paths)
    for path in [*paths, *{vocabulary_of(path) for path in paths if _is_feat(path)}]:
        with path.open("rb") as file:
            hashes += [path.name, hashlib.file_digest(file, "sha256").hexdigest()]
    return hashes
