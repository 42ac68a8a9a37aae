"""Corpora become folders that `--data` takes, with their labels, and a line at fault is named."""

import gzip
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from pyro_textvae.corpus import Corpus

SCRIPT = Path(__file__).parents[1] / "scripts" / "corpora.py"
spec = importlib.util.spec_from_file_location("corpora", SCRIPT)
assert spec and spec.loader
corpora = importlib.util.module_from_spec(spec)
sys.modules["corpora"] = corpora  # where its dataclasses look for their annotations
spec.loader.exec_module(corpora)

DIALOGUE = {"utterances": ["What's up ?", "I ’ m fine ...", " "], "acts": [2, 1, 1], "emotions": [0, 4, 0]}
LINES = {
    "dailydialog": json.dumps(DIALOGUE) + "\n",
    "yelp-short": "0\ta dull place .\n1\ta place to love !\n1\ta 1 on my list\n",
    "yelp13": "0 dull\n4 the best\n2 so so\n",
    "yahoo": "".join(f"how ? _UNK _UNKNOWN {n}\n" for n in range(21)),
}


def write(folder: Path, name: str, content: str | None = None, end: str = "") -> Path:
    folder.mkdir()
    source, data = corpora.SOURCES[name], (LINES[name] if content is None else content).encode()
    for part in source.parts.values():
        path = folder / f"{part.names[0]}{source.ending}{end}"
        path.write_bytes(gzip.compress(data) if end else data)
    return folder


def made(name: str, source: Path, output: Path) -> int:
    return corpora.main(corpora.Arguments(name, source, output))


@pytest.mark.parametrize("end", ["", ".gz"])
def test_dialogues_become_utterances_with_act_and_emotion(tmp_path: Path, end: str, capsys: pytest.CaptureFixture):
    assert made("dailydialog", write(tmp_path / "in", "dailydialog", end=end), tmp_path / "out") == 0
    assert "2 train, 2 valid, 2 test sentences" in capsys.readouterr().out
    corpus = Corpus.open(tmp_path / "out")
    assert corpus.label_names == {"act": ["inform", "question"], "emotion": ["happiness", "no emotion"]}
    train = corpus.splits["train"]
    assert train.texts(corpus.vocabulary) == ["what ' s up ?", "i ’ m fine ..."]
    assert train.labels["act"].tolist() == [1, 0]


def test_labelled_lines_become_a_corpus_with_its_label(tmp_path: Path):
    assert made("yelp-short", write(tmp_path / "in", "yelp-short"), tmp_path / "out") == 0
    corpus = Corpus.open(tmp_path / "out")
    assert corpus.label_names == {"label": ["negative", "positive"]}
    train = corpus.splits["train"]
    assert train.texts(corpus.vocabulary) == ["a dull place .", "a place to love !", "a 1 on my list"]
    assert train.labels["label"].tolist() == [0, 1, 1]


def test_yelp13_takes_its_splits_from_two_files(tmp_path: Path):
    assert made("yelp13", write(tmp_path / "in", "yelp13"), tmp_path / "out") == 0
    corpus = Corpus.open(tmp_path / "out")
    texts = {name: split.texts(corpus.vocabulary) for name, split in corpus.splits.items()}
    assert texts == {"train": ["dull", "the best", "so so"], "valid": ["dull", "so so"], "test": ["the best"]}
    assert corpus.label_names == {"stars": ["1", "3", "5"]}


def test_of_yahoo_every_tenth_test_document_is_kept_and_its_unknown_word_is_ours(tmp_path: Path):
    assert made("yahoo", write(tmp_path / "in", "yahoo"), tmp_path / "out") == 0
    with gzip.open(tmp_path / "out" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    assert texts == [f"how ? <unk> _UNKNOWN {n}" for n in (0, 10, 20)]


@pytest.mark.parametrize("name", corpora.SOURCES)
def test_the_same_source_gives_the_same_bytes(name: str, tmp_path: Path):
    source = write(tmp_path / "in", name)
    for out in ("a", "b"):
        corpora.convert(name, source, tmp_path / out)
    assert (tmp_path / "a" / "train.jsonl.gz").read_bytes() == (tmp_path / "b" / "train.jsonl.gz").read_bytes()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        *(("yelp-short", line) for line in ("no label", "2\ta place", "1\t", "1\ta\tplace")),
        *(("yelp13", line) for line in ("5 stars", "3", "good")),
        *(
            ("dailydialog", json.dumps(DIALOGUE | fault))
            for fault in ({"acts": [2]}, {"emotions": [0, 9, 0]}, {"utterances": None})
        ),
        ("dailydialog", "no JSON"),
    ],
)
def test_a_line_at_fault_is_named(name: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert made(name, write(tmp_path / "in", name, LINES[name] + line), tmp_path / "out") == 1
    said, number = capsys.readouterr().err, LINES[name].count("\n") + 1
    assert f"line {number}, reads" in said and corpora.SOURCES[name].expected in said


def test_a_folder_without_the_files_and_an_unknown_name_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert made("dailydialog", tmp_path, tmp_path / "out") == 1
    assert "has no train.jsonl" in capsys.readouterr().err
    assert made("yelp", tmp_path, tmp_path / "out") == 2
    assert "unknown corpus 'yelp'; there are dailydialog" in capsys.readouterr().err


def test_a_source_is_not_written_over(tmp_path: Path):
    source = write(tmp_path / "in", "dailydialog", end=".gz")
    with pytest.raises(ValueError, match="written over its own source"):
        corpora.convert("dailydialog", source, source)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("dailydialog", {"train": 87_159, "valid": 8_069, "test": 7_740}),
        ("yelp-short", {"train": 100_000, "valid": 10_000, "test": 10_000}),
        ("yelp13", {"train": 7_773, "valid": 4_336, "test": 4_335}),
        ("yahoo", {"train": 9_000, "valid": 1_000, "test": 1_000}),
    ],
)
def test_the_real_ones_have_their_sizes(name: str, counts: dict[str, int], data_folder: Path, tmp_path: Path):
    if not (data_folder / name).is_dir():
        pytest.skip(f"no {name} among the real corpora")
    assert corpora.convert(name, data_folder / name, tmp_path) == counts
