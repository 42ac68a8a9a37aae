"""Labelled lines become a corpus with a label column, and a line at fault is named."""

import gzip
import importlib.util
from pathlib import Path

import pytest

from pyro_textvae.corpus import Corpus

SCRIPT = Path(__file__).parents[1] / "scripts" / "yelp_short.py"
spec = importlib.util.spec_from_file_location("yelp_short", SCRIPT)
assert spec and spec.loader
yelp_short = importlib.util.module_from_spec(spec)
spec.loader.exec_module(yelp_short)

LINES = "0\ta dull place .\n1\ta place to love !\n1\ta 1 on my list\n"


def write(folder: Path, content: str = LINES, end: str = ".txt") -> Path:
    folder.mkdir()
    for split in ("train", "valid", "test"):
        data = content.encode()
        (folder / (split + end)).write_bytes(gzip.compress(data) if end.endswith(".gz") else data)
    return folder


@pytest.mark.parametrize("end", [".txt", ".txt.gz"])
def test_lines_become_a_corpus_with_its_label(tmp_path: Path, end: str, capsys: pytest.CaptureFixture):
    assert yelp_short.main([str(write(tmp_path / "in", end=end)), str(tmp_path / "out")]) == 0
    assert "3 train, 3 valid, 3 test sentences" in capsys.readouterr().out
    corpus = Corpus.open(tmp_path / "out")
    assert corpus.label_names == {"label": ["negative", "positive"]}
    train = corpus.splits["train"]
    assert train.texts(corpus.vocabulary) == ["a dull place .", "a place to love !", "a 1 on my list"]
    assert train.labels["label"].tolist() == [0, 1, 1]


def test_the_same_lines_give_the_same_bytes(tmp_path: Path):
    source = write(tmp_path / "in")
    for out in ("a", "b"):
        yelp_short.convert(source, tmp_path / out)
    assert (tmp_path / "a" / "train.tsv.gz").read_bytes() == (tmp_path / "b" / "train.tsv.gz").read_bytes()


@pytest.mark.parametrize("line", ["no label", "2\ta place", "1\t", "1\ta\tplace"])
def test_a_line_at_fault_is_named(tmp_path: Path, line: str, capsys: pytest.CaptureFixture):
    assert yelp_short.main([str(write(tmp_path / "in", LINES + line)), str(tmp_path / "out")]) == 1
    assert "train.txt, line 4, reads" in capsys.readouterr().err


def test_a_folder_without_splits_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert yelp_short.main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "has no train.txt" in capsys.readouterr().err


def test_yelp_short_has_its_size_and_its_balance(data_folder: Path, tmp_path: Path):
    if not (data_folder / "yelp-short").is_dir():
        pytest.skip("no yelp-short among the real corpora")
    assert yelp_short.convert(data_folder / "yelp-short", tmp_path) == {
        "train": 100_000,
        "valid": 10_000,
        "test": 10_000,
    }
    with gzip.open(tmp_path / "test.tsv.gz", "rt", encoding="utf-8") as file:
        assert sum(line.startswith("positive\t") for line in file) == 5929
