"""Dialogues become utterances with act and emotion, and a dialogue at fault is named."""

import gzip
import importlib.util
import json
from pathlib import Path

import pytest

from pyro_textvae.corpus import Corpus

SCRIPT = Path(__file__).parents[1] / "scripts" / "dailydialog.py"
spec = importlib.util.spec_from_file_location("dailydialog", SCRIPT)
assert spec and spec.loader
dailydialog = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dailydialog)

DIALOGUE = {"utterances": ["What's up ?", "I ’ m fine ...", " "], "acts": [2, 1, 1], "emotions": [0, 4, 0]}


def write(folder: Path, dialogue: dict, end: str = ".jsonl") -> Path:
    folder.mkdir()
    for split in ("train", "validation", "test"):
        content = (json.dumps(dialogue) + "\n").encode() * 2
        (folder / (split + end)).write_bytes(gzip.compress(content) if end.endswith(".gz") else content)
    return folder


@pytest.mark.parametrize("end", [".jsonl", ".jsonl.gz"])
def test_dialogues_become_utterances_with_act_and_emotion(tmp_path: Path, end: str, capsys: pytest.CaptureFixture):
    assert dailydialog.main([str(write(tmp_path / "in", DIALOGUE, end)), str(tmp_path / "out")]) == 0
    assert "4 train, 4 valid, 4 test utterances" in capsys.readouterr().out
    corpus = Corpus.open(tmp_path / "out")
    assert corpus.label_names == {"act": ["inform", "question"], "emotion": ["happiness", "no emotion"]}
    train = corpus.splits["train"]
    assert train.texts(corpus.vocabulary)[:2] == ["what ' s up ?", "i ’ m fine ..."]
    assert train.labels["act"].tolist() == [1, 0, 1, 0]


def test_the_same_dialogues_give_the_same_bytes(tmp_path: Path):
    source = write(tmp_path / "in", DIALOGUE)
    for out in ("a", "b"):
        dailydialog.convert(source, tmp_path / out)
    assert (tmp_path / "a" / "train.jsonl.gz").read_bytes() == (tmp_path / "b" / "train.jsonl.gz").read_bytes()


@pytest.mark.parametrize("fault", [{"acts": [2]}, {"emotions": [0, 9, 0]}, {"utterances": None}])
def test_a_dialogue_at_fault_is_named_with_its_line(tmp_path: Path, fault: dict, capsys: pytest.CaptureFixture):
    assert dailydialog.main([str(write(tmp_path / "in", DIALOGUE | fault)), str(tmp_path / "out")]) == 1
    assert "train.jsonl, line 1, is no dialogue" in capsys.readouterr().err


def test_a_folder_without_dialogues_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert dailydialog.main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "has no train.jsonl" in capsys.readouterr().err


def test_dailydialog_has_its_size(data_folder: Path, tmp_path: Path):
    if not (data_folder / "dailydialog").is_dir():
        pytest.skip("no dailydialog among the real corpora")
    counts = dailydialog.convert(data_folder / "dailydialog", tmp_path)
    assert counts == {"train": 87_159, "valid": 8_069, "test": 7_740}
