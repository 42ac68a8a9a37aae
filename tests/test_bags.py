"""Corpora that come as word counts."""

import gzip
import re
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from pyro_textvae.corpus import Bags, Corpus

DOCUMENTS = ["2 1:2 3:1", "1 2:1", "10 3:3 1:1 2:2", "2 4:1"]
WORDS = ["rose 9", "red 7", "is 5", "thorn 1"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vocab.new").write_text("\n".join(WORDS) + "\n")
    (tmp_path / "train.feat").write_text("\n".join(DOCUMENTS) + "\n")
    (tmp_path / "valid.feat").write_text("1 1:1\n")
    with gzip.open(tmp_path / "test.feat.gz", "wt") as file:
        file.write("2 4:2\n\n10 2:1 1:1\n")
    return tmp_path


def test_a_feat_file_is_documents_of_words_each_as_often_as_it_is_counted(folder):
    corpus = Corpus.open(folder)
    texts = [sorted(text.split()) for text in corpus.splits["train"].texts(corpus.vocabulary)]
    assert texts == [
        ["is", "rose", "rose"],
        ["red"],
        ["is", "is", "is", "red", "red", "rose"],
        ["thorn"],
    ]
    assert corpus.label_names == {"label": ["1", "2", "10"]}
    assert corpus.splits["train"].labels["label"].tolist() == [1, 0, 2, 1]
    assert corpus.counts["test"] == {"sentences": 2, "tokens": 4, "truncated": 0, "empty": 1, "unknown": 0}
    assert corpus.options["max_length"] is None
    assert "none cut" in corpus.describe()
    assert f"{len(corpus.vocabulary) - 4} words in the vocabulary (and 4 special" in corpus.describe()


def test_a_single_feat_file_is_split_and_its_label_column_is_named_or_left_out(folder):
    (folder / "all.feat").write_text("\n".join(DOCUMENTS * 5) + "\n")
    corpus = Corpus.open(folder / "all.feat", label_columns=["group"])
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 16, "valid": 2, "test": 2}
    assert list(corpus.label_names) == ["group"]
    assert Corpus.open(folder / "all.feat", label_columns=[]).label_names == {}


def test_without_a_validation_file_a_tenth_of_the_training_documents_is_held_out_and_none_of_the_test_ones(folder):
    (folder / "valid.feat").unlink()
    (folder / "train.feat").write_text("\n".join(f"1 1:{n}" for n in range(1, 41)) + "\n")
    corpus = Corpus.open(folder)
    held = corpus.splits["valid"].lengths
    assert len(held) == 4 and len(corpus.splits["train"]) == 36 and len(corpus.splits["test"]) == 2
    assert sorted([*held, *corpus.splits["train"].lengths]) == list(range(1, 41))


def test_documents_of_counts_are_never_cut(folder):
    (folder / "train.feat").write_text("1 1:4741\n2 2:1\n")
    assert Corpus.open(folder).splits["train"].lengths.tolist() == [4741, 1]
    with pytest.raises(ValueError, match=r"max_length=50 came, but .* has word counts, of which none are the first"):
        Corpus.open(folder, max_length=50)


def test_text_is_cut_as_before_and_left_uncut_where_that_is_asked_for(tmp_path):
    (tmp_path / "long.txt").write_text("\n".join(["a b " * 80] * 10))
    asked: list[dict[str, Any]] = [{}, {"max_length": None}, {"max_length": 7}, {"max_length": "auto"}]
    lengths = [int(Corpus.open(tmp_path / "long.txt", **given).splits["train"].lengths.max()) for given in asked]
    assert lengths == [100, 160, 7, 100]
    corpus = Corpus.open(tmp_path / "long.txt", max_length=None)
    assert corpus.encode(["a " * 300]).lengths.tolist() == [300]
    with pytest.raises(ValueError, match="max_length='all' came, but it is a number of words, None for uncut, or"):
        Corpus.open(tmp_path / "long.txt", max_length="all")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1:2 3:1", "line 2, begins with '1:2', but expected label id:count ...: put a label first"),
        ("7", "line 2, has a label and no word: a document needs a known word, so leave the line out"),
        ("7 1:2 3", "line 2, has '3', but expected id:count, two whole numbers with a count of at least 1"),
        ("7 1:0", "line 2, has '1:0', but expected id:count"),
        ("7 1:-2", "line 2, has '1:-2', but expected id:count"),
        ("7 1:2.5", "line 2, has '1:2.5', but expected id:count"),
        ("7 1:2:3", "line 2, has '1:2:3', but expected id:count"),
        ("7 rose:2", "line 2, has 'rose:2', but expected id:count"),
        ("7 0:1", "line 2, has the id 0, but vocab.new has the ids 1 to 4: ids count from 1, so add 1 to all"),
        ("7 5:1", "line 2, has the id 5, but vocab.new has the ids 1 to 4: give the vocabulary they are of"),
        ("7 1:1 1:2", "line 2, counts the id 1 twice: give each id once, with the sum of its counts"),
        ("7 1:99999999", "line 2, counts more than 16,777,216 words, which is no document"),
        ("7 1:99999999999999999999", "line 2, has '1:99999999999999999999', but expected id:count"),
    ],
)
def test_a_malformed_document_is_refused_by_path_and_line(folder, line, message):
    (folder / "train.feat").write_text(f"1 1:1\n{line}\n2 2:1\n")
    with pytest.raises(ValueError, match=re.escape(f"train.feat, {message}")):
        Corpus.open(folder)


def test_a_document_whose_only_words_are_marks_of_the_unknown_is_refused(folder):
    (folder / "vocab.new").write_text("rose\nred\nis\n<unk>\n")
    with pytest.raises(ValueError, match=r"train\.feat, line 4, has no word but <unk>: a document needs a known word"):
        Corpus.open(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rose\n\nis\nthorn\n", r"vocab\.new, line 2, is blank, but line n is the word of id n"),
        ("rose\nred\nrose\nthorn\n", r"vocab\.new, line 3, has 'rose' again, the word of line 1"),
    ],
)
def test_a_vocabulary_whose_lines_are_not_a_word_each_is_refused_by_path_and_line(folder, words, message):
    (folder / "vocab.new").write_text(words)
    with pytest.raises(ValueError, match=message):
        Corpus.open(folder)


def test_ids_without_a_vocabulary_are_refused_with_where_it_should_lie(folder):
    (folder / "vocab.new").unlink()
    with pytest.raises(FileNotFoundError, match=r"no vocabulary lies beside it: expected vocab\.new or vocab\.txt"):
        Corpus.open(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    assert len(Corpus.open(folder).vocabulary) == 4 + 4


def test_counts_and_text_in_one_folder_are_refused(folder):
    (folder / "valid.feat").unlink()
    (folder / "valid.txt").write_text("red rose\n")
    with pytest.raises(ValueError, match=r"has word counts beside text \(train.feat, valid.txt, test.feat.gz\)"):
        Corpus.open(folder)


def test_a_changed_vocabulary_is_another_corpus_for_the_cache(folder, tmp_path):
    first = Corpus.open(folder, cache=tmp_path / "cache")
    (folder / "vocab.new").write_text("\n".join(["lily", *WORDS[1:]]))
    second = Corpus.open(folder, cache=tmp_path / "cache")
    assert "rose" in first.vocabulary and "rose" not in second.vocabulary and "lily" in second.vocabulary


# Matrices of counts.

TEXTS = ["rose is a rose", "red rose", "thorn is red", "a thorn a thorn a thorn"] * 3


@pytest.mark.parametrize("dense", [True, False])
def test_what_a_count_vectorizer_gives_is_a_corpus(dense):
    vectorizer = CountVectorizer(token_pattern=r"\S+")
    counts: Any = vectorizer.fit_transform(TEXTS)
    for words in (vectorizer.get_feature_names_out(), vectorizer.vocabulary_):
        corpus = Corpus.open(Bags(counts.toarray() if dense else counts, words, [len(text) % 2 for text in TEXTS]))
        found = [text for split in corpus.splits.values() for text in split.texts(corpus.vocabulary)]
        assert sorted(sorted(text.split()) for text in found) == sorted(sorted(text.split()) for text in TEXTS)
        assert corpus.label_names == {"label": ["0", "1"]}
        assert corpus.options["max_length"] is None


def test_matrices_may_come_already_split():
    words = ["rose", "red"]
    corpus = Corpus.open({"train": Bags([[1, 2]] * 20, words), "test": Bags([[0, 3]], words)})
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 18, "valid": 2, "test": 1}
    assert corpus.splits["test"].texts(corpus.vocabulary) == ["red red red"]
    with pytest.raises(ValueError, match="documents came as 'tset', 'train', but expected 'train' and"):
        Corpus.open({"tset": Bags([[1, 2]], words), "train": Bags([[1, 2]], words)})


@pytest.mark.parametrize(
    ("counts", "words", "message"),
    [
        ([[1, 0], [0, 0], [0, 0]], "ab", "2 of 3 documents have no known word, such as row 1, 2: leave these rows"),
        ([[1, 0.5]], "ab", "not all whole numbers of at least 0: give how often each word occurs, as CountVectorizer"),
        ([[1, -1]], "ab", "not all whole numbers of at least 0"),
        ([[1, np.nan]], "ab", "not all whole numbers of at least 0"),
        ([[1, 2]], "abc", "the counts have 2 columns, but 3 words came: give each column a word"),
        ([1, 2], "ab", r"counts of shape \(2,\) and type int64 came, but they are a matrix of numbers"),
        ([["a", "b"]], "ab", "came, but they are a matrix of numbers"),
        (np.zeros((0, 2)), "ab", "the counts have no row"),
        ([[1, 2]], ["a", "new york"], "the word 'new york' is empty or holds white space"),
        ([[1, 2]], ["a", ""], "the word '' is empty or holds white space"),
        ([[1, 2]], "aa", "the word 'a' has two columns: add them up"),
        ([[1, 2]], {"a": 0, "b": 2}, "the columns that 'words' gives are not 0, 1, 2"),
    ],
)
def test_a_matrix_that_is_none_of_counts_is_refused(counts, words, message):
    words = words if isinstance(words, dict) else list(words)
    with pytest.raises(ValueError, match=message):
        Bags(counts, words)


def test_counts_that_a_sparse_matrix_holds_in_parts_are_added_up():
    parts = sparse.coo_array(([1, 2, 1, 0], ([0, 0, 1, 1], [1, 1, 0, 1])), shape=(2, 2))
    bags = Bags(parts, ["rose", "red"])
    assert [bags.document(row) for row in (0, 1)] == [["red"] * 3, ["rose"]]


def test_labels_of_another_number_than_documents_are_refused():
    with pytest.raises(ValueError, match="label column 'label' has 1 labels for 2 texts"):
        Corpus.open(Bags([[1], [2]], ["rose"], ["x"]))


def test_the_twenty_newsgroups_of_nvdm_open_as_their_readme_counts_them(data_folder):
    corpus = Corpus.open(data_folder / "20ng")
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 10_142,
        "valid": 1_126,
        "test": 7_505,
    }
    assert sum(int(corpus.splits[name].lengths.sum()) for name in ("train", "valid")) == 1_128_881
    assert int(corpus.splits["test"].lengths.sum()) == 720_898
    assert corpus.splits["test"].lengths.max() == 4306 and len(corpus.vocabulary) == 2004
    assert all(n["unknown"] == n["truncated"] == 0 for n in corpus.counts.values())
