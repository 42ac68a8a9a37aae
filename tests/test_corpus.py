"""Any text becomes the same ids each time, nothing is lost unsaid, and bad input says what to do."""

import gzip
import json
import random
import sys
import tempfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_textvae.corpus import EOS, UNK, Corpus, Split, Vocabulary

TEXTS = [f"word{i % 7} is the {'big' if i % 2 else 'small'} number {i}" for i in range(40)]


def write(path: Path, lines: list[str]) -> Path:
    content = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def folder(path: Path, **files: list[str]) -> Path:
    for name, lines in files.items():
        write(path / f"{name}.txt", lines)
    return path


def labelled(corpus: Corpus, column: str = "label") -> dict[str, str]:
    """Text -> name of its label, over all splits."""
    names = [*corpus.label_names[column], "missing"]
    return {
        text: names[label]
        for split in corpus.splits.values()
        for text, label in zip(split.texts(corpus.vocabulary), split.labels[column], strict=True)
    }


# --- Formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [".txt", ".tsv", ".jsonl", ".txt.gz", ".tsv.gz", ".jsonl.gz"])
def test_every_format_gives_the_same_ids(tmp_path: Path, end: str):
    lines = {
        ".txt": TEXTS,
        ".tsv": [f"{i % 3}\t{text}" for i, text in enumerate(TEXTS)],
        ".jsonl": [json.dumps({"text": text, "label": i % 3}) for i, text in enumerate(TEXTS)],
    }[end.removesuffix(".gz")]
    corpus = Corpus.open(write(tmp_path / ("corpus" + end), lines))
    reference = Corpus.open(TEXTS)
    assert corpus.sha256 == reference.sha256
    assert corpus.name == "corpus"
    assert corpus.splits["train"].tokens.tolist() == reference.splits["train"].tokens.tolist()
    if ".txt" not in end:
        assert corpus.label_names == {"label": ["0", "1", "2"]}
        assert labelled(corpus) == {
            corpus.vocabulary.decode(corpus.vocabulary.encode(text.split())): str(i % 3) for i, text in enumerate(TEXTS)
        }


def test_several_label_columns_of_a_tsv_stand_before_the_text_and_take_names(tmp_path: Path):
    path = write(tmp_path / "questions.tsv", [f"A\tA:{i % 2}\twhat is {i % 5}" for i in range(20)])
    assert list(Corpus.open(path).label_names) == ["label_1", "label_2"]
    corpus = Corpus.open(path, label_columns=["coarse", "fine"])
    assert corpus.label_names == {"coarse": ["A"], "fine": ["A:0", "A:1"]}
    assert Corpus.open(path, label_columns=[]).label_names == {}


def test_fields_of_a_jsonl_are_chosen_and_a_missing_label_is_minus_one(tmp_path: Path):
    rows = [{"text": f"a {i % 4}", "act": i % 2, "emotion": "joy" if i < 30 else None, "score": 0.5} for i in range(40)]
    path = write(tmp_path / "d.jsonl", [json.dumps(row) for row in rows])
    corpus = Corpus.open(path)
    assert corpus.label_names == {"act": ["0", "1"], "emotion": ["joy"]}
    assert sum(int((split.labels["emotion"] == -1).sum()) for split in corpus.splits.values()) == 10
    assert list(Corpus.open(path, label_columns="act").label_names) == ["act"]


def test_a_label_that_appears_late_is_missing_before(tmp_path: Path):
    rows = [{"text": f"unique{i}"} | ({"late": "yes"} if i >= 30 else {}) for i in range(40)]
    corpus = Corpus.open(write(tmp_path / "d.jsonl", [json.dumps(row) for row in rows]))
    train = corpus.splits["train"]
    late = [int(text.removeprefix("unique")) >= 30 for text in train.texts(corpus.vocabulary)]
    assert (train.labels["late"] == np.where(late, 0, -1)).all()


def test_a_field_of_identifiers_is_not_a_label_unless_asked_for(tmp_path: Path):
    path = write(tmp_path / "d.jsonl", [json.dumps({"text": "a b", "id": f"n{i}"}) for i in range(1100)])
    corpus = Corpus.open(path)
    assert corpus.label_names == {}
    assert any("'id'" in note and "label_columns" in note for note in corpus.notes)
    assert len(Corpus.open(path, label_columns=["id"]).label_names["id"]) == 1100


def test_a_list_of_tokens_is_a_text(tmp_path: Path):
    rows = [json.dumps({"text": text.split()}) for text in TEXTS]
    assert Corpus.open(write(tmp_path / "d.jsonl", rows)).sha256 == Corpus.open(TEXTS).sha256


def test_texts_and_labels_in_memory_are_a_corpus():
    corpus = Corpus.open((TEXTS, {"parity": [i % 2 for i in range(40)], "rare": [None] * 39 + ["x"]}))
    assert corpus.label_names == {"parity": ["0", "1"], "rare": ["x"]}
    assert list(Corpus.open((TEXTS, [i % 2 for i in range(40)])).label_names) == ["label"]


def test_labels_that_are_integers_are_in_their_order():
    corpus = Corpus.open((TEXTS, [str(i % 12) for i in range(40)]))
    assert corpus.label_names["label"] == [str(i) for i in range(12)]


@pytest.mark.parametrize("name", ["valid", "validation", "dev"])
def test_a_folder_gives_its_splits(tmp_path: Path, name: str):
    corpus = Corpus.open(folder(tmp_path, train=["a b", "c d"], **{name: ["a"]}, test=["b b", "c"]))
    assert {split: part["sentences"] for split, part in corpus.counts.items()} == {"train": 2, "valid": 1, "test": 2}
    assert not corpus.notes


def test_a_folder_without_validation_gives_a_tenth_of_train_and_says_so(tmp_path: Path):
    corpus = Corpus.open(folder(tmp_path, train=TEXTS, test=["the big number"]))
    assert corpus.summary()["splits"] == {"train": 36, "valid": 4, "test": 1}
    assert any("no validation file" in note for note in corpus.notes)


def test_only_a_newline_ends_a_line(tmp_path: Path):
    path = write(tmp_path / "d.txt", ["\ufeffa\u2028b", "c\x0bd\r", "e\x85f"])
    split = Corpus.open(path).splits
    assert sum(map(len, split.values())) == 3
    assert "\ufeffa" not in Corpus.open(path).vocabulary


def test_a_txt_with_a_tab_in_every_line_gets_a_note(tmp_path: Path):
    corpus = Corpus.open(write(tmp_path / "d.txt", [f"0\t{text}" for text in TEXTS]))
    assert any(".tsv" in note for note in corpus.notes)


def test_a_header_of_a_tsv_gets_a_note(tmp_path: Path):
    corpus = Corpus.open(write(tmp_path / "d.tsv", ["label\ttext", *(f"0\t{text}" for text in TEXTS)]))
    assert any("header" in note for note in corpus.notes)


# --- Splitting, vocabulary, counts ----------------------------------------------------------------------------------


def test_one_file_is_split_by_seed_and_says_so():
    first, again, other = Corpus.open(TEXTS, seed=1), Corpus.open(TEXTS, seed=1), Corpus.open(TEXTS, seed=2)
    assert first.sha256 == again.sha256 != other.sha256
    assert first.summary()["splits"] == {"train": 32, "valid": 4, "test": 4}
    assert any("split by seed 1: 32 train, 4 valid, 4 test" in note for note in first.notes)
    assert "split by seed 1" in first.describe()


@given(n=st.integers(2, 60), seed=st.integers(0, 5))
def test_a_split_takes_every_sentence_once(n: int, seed: int):
    corpus = Corpus.open([f"same w{i}" for i in range(n)], seed=seed, min_count=1)
    assert sum(len(split) for split in corpus.splits.values()) == n
    assert len(corpus.splits["train"]) and len(corpus.splits["valid"])
    assert sum(split["tokens"] for split in corpus.counts.values()) == 2 * n


def test_the_vocabulary_is_built_on_train_only(tmp_path: Path):
    corpus = Corpus.open(folder(tmp_path, train=["a b", "a c"], valid=["a new word"]))
    assert corpus.vocabulary.words[4:] == ["a", "b", "c"]
    assert corpus.splits["valid"].texts(corpus.vocabulary) == ["a <unk> <unk>"]
    assert corpus.counts["valid"]["unknown"] == 2


def test_the_vocabulary_is_by_frequency_then_alphabet_and_its_cap_counts_the_special_words():
    counts = {"b": 2, "a": 2, "z": 9, "rare": 1}
    assert Vocabulary.from_counts(counts).words[4:] == ["z", "a", "b", "rare"]
    assert len(Vocabulary.from_counts(counts, max_size=6)) == 6
    assert Vocabulary.from_counts(counts, min_count=2).words[4:] == ["z", "a", "b"]


def test_special_words_in_the_text_do_not_become_special_ids():
    vocabulary = Vocabulary.from_counts({"a": 1, "<unk>": 5, "</s>": 3})
    assert len(vocabulary) == 5
    assert vocabulary.encode(["a", "<unk>", "</s>", "<pad>", "<s>"]) == [4, UNK, UNK, UNK, UNK]


@given(st.lists(st.sampled_from(["a", "b", "c", "ünï", "<unk>"]), min_size=1))
def test_known_words_survive_encoding(words: list[str]):
    vocabulary = Vocabulary.from_counts(dict.fromkeys(["a", "b", "c", "ünï"], 1))
    assert vocabulary.decode(vocabulary.encode(words)) == " ".join(words)
    assert vocabulary.decode([*vocabulary.encode(words), EOS, 4]) == " ".join(words)


def test_a_vocabulary_is_saved_and_loaded(tmp_path: Path):
    vocabulary = Vocabulary.from_counts({"a": 1, "ünï": 2})
    vocabulary.save(tmp_path / "words.json")
    assert Vocabulary.load(tmp_path / "words.json") == vocabulary
    (tmp_path / "words.json").write_text('["<pad>", "<s>"')
    with pytest.raises(ValueError, match="not the JSON list of words"):
        Vocabulary.load(tmp_path / "words.json")
    (tmp_path / "words.json").write_text('["a", "b"]')
    with pytest.raises(ValueError, match="first four"):
        Vocabulary.load(tmp_path / "words.json")


def test_truncated_and_empty_and_unknown_are_counted_and_said(tmp_path: Path):
    path = folder(tmp_path, train=["a b c d", "a b", "", "  ", "a"], valid=["a b x d e", ""])
    corpus = Corpus.open(path, max_length=3)
    assert corpus.counts == {
        "train": {"sentences": 3, "tokens": 6, "truncated": 1, "empty": 2, "unknown": 0},
        "valid": {"sentences": 1, "tokens": 3, "truncated": 1, "empty": 1, "unknown": 1},
    }
    assert corpus.splits["valid"].texts(corpus.vocabulary) == ["a b <unk>"]
    for said in ("1 sentences cut to 3 words", "2 empty lines skipped", "1 unknown"):
        assert said in corpus.describe()


def test_lowercase_joins_words():
    assert Corpus.open(["The the THE"] * 4, lowercase=True).vocabulary.words[4:] == ["the"]


def test_new_texts_are_encoded_as_the_corpus_was():
    corpus = Corpus.open(["The cat sat", "a dog sat"] * 20, lowercase=True, max_length=2)
    split = corpus.encode(["THE CAT SAT", "", "A zebra"])
    assert split.texts(corpus.vocabulary) == ["the cat", "", "a <unk>"]
    assert split.lengths.tolist() == [2, 0, 2]
    with pytest.raises(ValueError, match="one string"):
        corpus.encode("the cat")
    with pytest.raises(ValueError, match="text 1 is int"):
        corpus.encode(["the cat", 3])  # type: ignore[list-item]


def test_a_split_gives_single_sentences_and_several():
    split = Split(np.array([4, 5, 6, 7, 8], np.int32), np.array([0, 2, 2, 5]))
    assert [split.ids(i).tolist() for i in (0, 1, -1)] == [[4, 5], [], [6, 7, 8]]
    flat, lengths = split.gather(np.array([2, 1, 0]))
    assert (flat.tolist(), lengths.tolist()) == ([6, 7, 8, 4, 5], [3, 0, 2])


def test_a_split_of_ids_has_them_as_they_came_empty_sentences_too():
    split = Split.of([[4, 5], np.array([], np.int32), np.array([6])])
    assert [split.ids(i).tolist() for i in range(3)] == [[4, 5], [], [6]] and split.tokens.dtype == np.int32
    for nothing in (Split.of([]), Split.of([[]])):
        assert nothing.tokens.shape == (0,) and nothing.tokens.dtype == np.int32
    assert (len(Split.of([])), len(Split.of([[]]))) == (0, 1)


def test_the_summary_is_json_and_the_words_travel_with_it():
    corpus = Corpus.open((TEXTS, [i % 2 for i in range(40)]))
    kept = json.loads(corpus.to_json())
    assert Vocabulary(kept.pop("words")) == corpus.vocabulary
    assert kept == corpus.summary()
    assert {"name", "source", "sha256", "counts", "label_names", "splits", "entropy", "options"} <= kept.keys()


@pytest.mark.parametrize("name", ["toy", "toy-acts", "toy-modes"])
def test_the_embedded_corpora_open_with_labels_and_their_true_entropy(name: str):
    corpus = Corpus.open(name)
    assert corpus.name == name and set(corpus.splits) == {"train", "valid", "test"}
    assert corpus.entropy and all(nats > 0 for nats in corpus.entropy.values())
    assert corpus.label_names and "entropy" in corpus.describe()
    assert corpus.sha256 == Corpus.open(name).sha256


# --- On disk --------------------------------------------------------------------------------------------------------


def test_the_ids_are_memory_mapped_and_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    corpus = Corpus.open(TEXTS)
    assert isinstance(corpus.splits["train"].tokens, np.memmap)
    assert corpus.splits["train"].tokens.dtype == np.int32
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError):
        Corpus.open(["one"])
    assert list(tmp_path.iterdir()) == []


def test_a_cache_is_used_again_and_made_again_when_it_is_damaged_or_the_text_changes(tmp_path: Path):
    source, cache = write(tmp_path / "d.txt", TEXTS), tmp_path / "cache"
    first = Corpus.open(source, cache=cache)
    (made,) = cache.iterdir()
    stamp = (made / "corpus.json").stat().st_mtime_ns
    second = Corpus.open(source, cache=cache)
    assert (second.sha256, second.summary()) == (first.sha256, first.summary())
    assert (made / "corpus.json").stat().st_mtime_ns == stamp
    tokens = second.splits["train"].tokens.tolist()  # now: the damage below is to the very file that is mapped
    (made / "train.tokens").write_bytes(b"\0" * 8)
    assert Corpus.open(source, cache=cache).splits["train"].tokens.tolist() == tokens
    write(source, TEXTS[:-1])
    assert Corpus.open(source, cache=cache).sha256 != first.sha256
    Corpus.open(source, cache=cache, max_length=2)
    assert len(list(cache.iterdir())) == 3


def test_memory_does_not_grow_with_the_text(tmp_path: Path):
    """Four times the text may cost what is kept a sentence, some bytes, but not what the text weighs."""
    draw = random.Random(0)
    words = [f"w{i}" for i in range(500)]
    peaks, sizes = [], []
    for i, sentences in enumerate((10_000, 40_000)):
        path = tmp_path / f"{i}.txt"
        path.write_text("".join(" ".join(draw.choices(words, k=30)) + "\n" for _ in range(sentences)))
        tracemalloc.start()
        corpus = Corpus.open(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(path.stat().st_size)
        assert sum(part["tokens"] for part in corpus.counts.values()) == 30 * sentences
    assert sizes[1] > 5e6 and peaks[1] < 4e6
    assert peaks[1] - peaks[0] < 0.1 * (sizes[1] - sizes[0])


# --- Bad input ------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt does not exist: expected a \.txt"):
        Corpus.open(tmp_path / "nowhere.txt")


@pytest.mark.parametrize("content", ["", "\n  \n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: str):
    (tmp_path / "d.txt").write_text(content)
    with pytest.raises(ValueError, match=r"the text is empty: .*d\.txt has \d line"):
        Corpus.open(tmp_path / "d.txt")


def test_a_binary_file_is_an_error_with_its_line(tmp_path: Path):
    (tmp_path / "d.txt").write_bytes(b"a b\nc\0d\n")
    with pytest.raises(ValueError, match=r"d\.txt, line 2, has a zero byte.*expected UTF-8"):
        Corpus.open(tmp_path / "d.txt")


def test_bytes_that_are_not_utf8_are_an_error_with_their_line(tmp_path: Path):
    (tmp_path / "d.txt").write_bytes("fine\ncafé\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"d\.txt, line 2, is not UTF-8 \(byte 0xe9 at column 4\).*iconv"):
        Corpus.open(tmp_path / "d.txt")


def test_a_line_that_never_ends_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyro_textvae.corpus.formats._LONGEST_LINE", 100)
    with pytest.raises(ValueError, match=r"d\.txt, line 1, is longer than 100 bytes"):
        Corpus.open(write(tmp_path / "d.txt", ["word " * 30]))


def test_a_tsv_line_without_a_tab_is_an_error_with_its_line(tmp_path: Path):
    with pytest.raises(ValueError, match=r"d\.tsv, line 3, has no tab, but expected label, tab, text"):
        Corpus.open(write(tmp_path / "d.tsv", ["0\ta b", "", "a b c"]))


def test_a_tsv_line_with_another_number_of_tabs_is_an_error_with_its_line(tmp_path: Path):
    with pytest.raises(ValueError, match=r"d\.tsv, line 2, has 2 tab\(s\), but the first line has 1"):
        Corpus.open(write(tmp_path / "d.tsv", ["0\ta b", "0\tx\ta b"]))


def test_a_jsonl_line_that_is_not_json_is_an_error_with_its_line(tmp_path: Path):
    with pytest.raises(ValueError, match=r"d\.jsonl, line 2, is not JSON"):
        Corpus.open(write(tmp_path / "d.jsonl", ['{"text": "a"}', "{text: a}"]))


@pytest.mark.parametrize("row", ['{"sentence": "a"}', '["a"]', '{"text": 3}', '{"text": [1]}'])
def test_a_jsonl_line_without_text_is_an_error_with_its_line(tmp_path: Path, row: str):
    with pytest.raises(ValueError, match=r'd\.jsonl, line 2, has .*expected a field "text"'):
        Corpus.open(write(tmp_path / "d.jsonl", ['{"text": "a"}', row]))


def test_a_label_column_that_is_absent_is_named_with_those_that_are_there(tmp_path: Path):
    jsonl = write(tmp_path / "d.jsonl", [json.dumps({"text": "a", "emotion": 1})] * 4)
    with pytest.raises(ValueError, match=r"no label column 'emotoin' \(did you mean 'emotion'\?\) in .*d\.jsonl"):
        Corpus.open(jsonl, label_columns=["emotoin"])
    with pytest.raises(ValueError, match=r"has 1 label column\(s\) before the text, but label_columns names 2"):
        Corpus.open(write(tmp_path / "d.tsv", ["0\ta"] * 4), label_columns=["a", "b"])
    with pytest.raises(ValueError, match=r"a \.txt has none"):
        Corpus.open(write(tmp_path / "d.txt", ["a"] * 4), label_columns=["act"])
    with pytest.raises(ValueError, match="no label column 'topic'"):
        Corpus.open((["a"] * 4, {"act": [1] * 4}), label_columns=["topic"])


def test_a_label_that_is_no_word_and_no_integer_is_an_error_when_asked_for(tmp_path: Path):
    with pytest.raises(ValueError, match=r"line 1: the label 'act' is \[1\]"):
        Corpus.open(write(tmp_path / "d.jsonl", ['{"text": "a", "act": [1]}']), label_columns=["act"])


def test_labels_and_texts_of_different_numbers_are_an_error():
    with pytest.raises(ValueError, match="'label' has 1 labels for 2 texts"):
        Corpus.open((["a", "b"], ["x"]))


def test_a_vocabulary_that_would_be_empty_is_an_error():
    with pytest.raises(ValueError, match=r"vocabulary would be empty: min_count is 99.*occurs \d+ times"):
        Corpus.open(TEXTS, min_count=99)
    with pytest.raises(ValueError, match="4 places are for"):
        Corpus.open(TEXTS, max_vocabulary=4)


@pytest.mark.parametrize(("name", "said"), [("valid", "the validation split"), ("test", "the test split")])
def test_a_split_without_a_sentence_is_an_error(tmp_path: Path, name: str, said: str):
    parts = {"train": ["a b"] * 3, "valid": ["a"]} | {name: [""]}
    with pytest.raises(ValueError, match=rf"{said} is empty: .*{name}\.txt has 1 line.*or remove it"):
        Corpus.open(folder(tmp_path, **parts))


def test_a_single_sentence_cannot_be_split(tmp_path: Path):
    with pytest.raises(ValueError, match=r"d\.txt has a single sentence.*at least two"):
        Corpus.open(write(tmp_path / "d.txt", ["", "only one"]))


def test_an_unknown_corpus_gets_a_did_you_mean():
    with pytest.raises(ValueError, match=r"unknown corpus 'toy-mode' \(did you mean 'toy-modes'\?\)"):
        Corpus.open("toy-mode")
    with pytest.raises(ValueError, match=r"unknown corpus 'ag_new' \(did you mean 'ag_news'\?\)"):
        Corpus.open("ag_new")


def test_an_unknown_extension_is_an_error_with_the_known_ones(tmp_path: Path):
    with pytest.raises(ValueError, match=r"d\.csv ends in '\.csv', but expected \.txt, \.tsv, \.jsonl"):
        Corpus.open(write(tmp_path / "d.csv", ["a"]))


def test_a_folder_without_train_is_an_error_that_says_what_is_there(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"has no train file, but nothing: expected train\.txt"):
        Corpus.open(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no train file, but test\.txt, valid\.txt"):
        Corpus.open(folder(tmp_path, valid=["a"], test=["a"]))


def test_a_folder_with_two_files_for_a_split_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match=r"2 files for valid: dev\.txt, valid\.txt"):
        Corpus.open(folder(tmp_path, train=["a"], valid=["a"], dev=["a"]))


def test_a_truncated_gzip_file_is_an_error(tmp_path: Path):
    path = write(tmp_path / "d.txt.gz", [f"{text} {random.Random(i).random()}" for i, text in enumerate(TEXTS)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"d\.txt\.gz is a damaged or truncated gzip file"):
        Corpus.open(path)


def test_a_name_that_does_not_say_gzip_or_says_it_wrongly_is_an_error(tmp_path: Path):
    (tmp_path / "d.txt").write_bytes(gzip.compress(b"a\n"))
    with pytest.raises(ValueError, match=r"rename it to d\.txt\.gz"):
        Corpus.open(tmp_path / "d.txt")
    (tmp_path / "e.txt.gz").write_bytes(b"a\nb\n")
    with pytest.raises(ValueError, match=r"named \.gz but is not gzip"):
        Corpus.open(tmp_path / "e.txt.gz")


@pytest.mark.parametrize("option", ["min_count", "max_length"])
def test_an_option_below_one_is_an_error(option: str):
    with pytest.raises(ValueError, match=f"{option}=0 came"):
        Corpus.open(TEXTS, **{option: 0})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("data", [3, b"a b", {"a": 1}])
def test_data_of_another_kind_are_an_error(data: object):
    with pytest.raises(ValueError, match="expected a corpus's name, a path, a list of texts"):
        Corpus.open(data)


# --- Named corpora --------------------------------------------------------------------------------------------------


class Rows(list):
    def __init__(self, rows: list[dict], **features: list[str] | None) -> None:
        super().__init__(rows)
        self.features = {name: SimpleNamespace(names=names) for name, names in features.items()}


def test_a_named_corpus_comes_through_the_hub_with_names_for_its_labels(monkeypatch: pytest.MonkeyPatch):
    rows = [{"text": f"news\nof {i}", "label": i % 3 - 1} for i in range(20)]
    hub = {split: Rows(rows, text=None, label=["World", "Sports"]) for split in ("train", "test")}
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda name: hub))
    corpus = Corpus.open("ag_news")
    assert corpus.summary()["splits"] == {"train": 18, "valid": 2, "test": 20}
    assert corpus.label_names == {"label": ["Sports", "World"]}
    assert (corpus.splits["test"].labels["label"] == [[-1, 1, 0][i % 3] for i in range(20)]).all()
    with pytest.raises(ValueError, match="no label column 'lable'"):
        Corpus.open("ag_news", label_columns=["lable"])


def test_a_named_corpus_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'pyro-textvae\[data\]'"):
        Corpus.open("ag_news")


def test_a_named_corpus_offline_says_so(monkeypatch: pytest.MonkeyPatch):
    def load_dataset(name: str) -> None:
        raise ConnectionError("Couldn't reach the hub")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(ConnectionError, match=r"'ag_news'.*Couldn't reach the hub.*Offline, give a path"):
        Corpus.open("ag_news")


# --- Real text ------------------------------------------------------------------------------------------------------


def test_penn_treebank_has_the_sizes_of_the_papers(data_folder: Path):
    if not (data_folder / "ptb").is_dir():
        pytest.skip("no ptb among the real corpora")
    corpus = Corpus.open(data_folder / "ptb")
    sizes = {split: (n["sentences"], n["tokens"], n["unknown"]) for split, n in corpus.counts.items()}
    assert sizes == {
        "train": (42_068, 887_521, 45_020),
        "valid": (3_370, 70_390, 3_485),
        "test": (3_761, 78_669, 4_794),
    }
    assert len(corpus.vocabulary) == 9_998 + 4  # 9,999 types with <unk>


def test_a_toy_corpus_that_was_altered_has_no_entropy_to_be_read_against():
    assert Corpus.open("toy").entropy is not None
    for corpus in (Corpus.open("toy", max_vocabulary=50), Corpus.open("toy", max_length=6)):
        assert corpus.entropy is None and any("entropy is not theirs" in note for note in corpus.notes)
