"""Few labels: what is informative is found, what has collapsed is not, and nothing of the run is touched."""

import copy
import csv
import hashlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import some_texts, train_tiny
from tqdm import tqdm

from pyro_textvae.evaluation import Classification, accuracy_table, classification
from pyro_textvae.posteriors import BatchNormalisedMean
from pyro_textvae.run import Run

TOPICS = dict(hidden=32, embedding=16, latent=8, batch_size=64, learning_rate=0.01)
THEMES = [text.split()[0][1:] for text in some_texts()]  # the first word's number: 0 to 9, 10 to 19, 20 to 29
THEMES = [f"theme{int(number) // 10}" for number in THEMES]


@pytest.fixture(scope="module")
def informative(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_tiny("bn_vae", tmp_path_factory.mktemp("runs") / "bn_vae", "toy", epochs=4, **TOPICS)


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = train_tiny("vae", tmp_path_factory.mktemp("runs") / "vae", "toy", epochs=4, **TOPICS)
    assert run.history[-1]["valid_kl_nats_per_sentence"] < 0.01
    return run


@pytest.fixture(scope="module")
def themes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run on texts in memory, whose first words name one of three themes."""
    return train_tiny("bn_vae", tmp_path_factory.mktemp("runs") / "themes", epochs=6, learning_rate=0.02)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine-tuning that only shows that it runs."""
    monkeypatch.setattr(classification, "UPDATES_PER_TURN", 1)
    monkeypatch.setattr(classification, "MOST_TURNS", 2)


# What it finds.


def test_an_informative_code_beats_the_majority_by_far_and_more_labels_do_not_hurt(informative: Run):
    found = informative.classify(counts=(30, 100, 600), seeds=2)
    assert found.test_sentences == 400 and found.chance == 1 / 8
    truth = informative.corpus.splits["test"].labels["topic"]
    often = np.bincount(informative.corpus.splits["train"].labels["topic"]).argmax()
    assert found.majority == (truth == often).mean() < 0.2
    assert found.mean(100) > 0.8
    assert found.mean(30) <= found.mean(100) <= found.mean(600)


def test_draws_of_a_collapsed_code_are_at_chance_though_its_means_keep_a_trace(informative: Run, collapsed: Run):
    asked: dict[str, Any] = dict(counts=(400,), seeds=2)
    draws, means = collapsed.classify(draws=True, **asked), collapsed.classify(**asked)
    assert abs(draws.mean(400) - draws.majority) < 0.06  # three standard errors of a share of 400 sentences
    assert informative.classify(draws=True, **asked).mean(400) > draws.majority + 0.2
    assert draws.majority + 0.1 < means.mean(400) < informative.classify(**asked).mean(400) - 0.1


def test_fine_tuning_teaches_a_collapsed_encoder_what_its_means_lack(collapsed: Run):
    asked: dict[str, Any] = dict(counts=(300,), seeds=1)
    assert collapsed.classify(fine_tuned=True, **asked).mean(300) > collapsed.classify(**asked).mean(300) + 0.15


def test_the_classifier_predicts_texts(informative: Run):
    corpus = informative.corpus
    found = informative.classify(counts=(20, 100), seeds=2)
    test = corpus.splits["test"]
    predicted = found.predict(test.texts(corpus.vocabulary))
    right = [corpus.label_names["topic"][i] for i in test.labels["topic"]]
    assert np.mean([a == b for a, b in zip(predicted, right, strict=True)]) == found.accuracies[100][0]
    with pytest.raises(ValueError, match="have no word that the run's vocabulary knows"):
        found.predict(["xyzzy plugh"])


# What it leaves alone, and what it depends on.


def everything(run: Run) -> dict[str, Any]:
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in run.directory.iterdir()}
    return files | {name: value.clone() for name, value in run.vae.state_dict().items()}


@pytest.mark.parametrize("how", [{}, {"draws": True}, {"fine_tuned": True}], ids=str)
def test_the_run_its_moments_and_the_callers_random_numbers_are_left_bit_for_bit(
    informative: Run, short: None, how: dict[str, Any]
):
    before, numbers = everything(informative), torch.get_rng_state()
    informative.classify(counts=(60,), seeds=2, **how).predict(["cooks stir the soup"])
    after = everything(informative)
    assert before.keys() == after.keys()
    assert any(isinstance(module, BatchNormalisedMean) for module in informative.vae.modules())
    for name, value in before.items():
        assert torch.equal(value, after[name]) if isinstance(value, torch.Tensor) else value == after[name], name
    assert torch.equal(torch.get_rng_state(), numbers)
    assert not any(module.training for module in informative.vae.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in informative.vae.parameters())


def test_fine_tuning_shows_how_far_it_is(themes: Run, short: None, monkeypatch: pytest.MonkeyPatch):
    bars: list[Any] = []

    class Bar(tqdm):  # as on a terminal
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"disable": False, "file": io.StringIO()})
            bars.append(self)

    monkeypatch.setattr(classification, "tqdm", Bar)
    themes.classify(some_texts(), THEMES, counts=(40,), seeds=1, fine_tuned=True)
    fits, how_long, final = bars
    assert (fits.n, fits.total) == (1, 1)
    assert how_long.desc.startswith("fine-tuning, 32 labels") and 0 < how_long.n <= how_long.total
    assert final.desc.startswith("fine-tuning, 40 labels") and 0 < final.n == final.total


def test_fine_tuning_moves_the_encoder_but_not_the_running_moments(
    themes: Run, short: None, monkeypatch: pytest.MonkeyPatch
):
    tuned: list[Any] = []
    watched = SimpleNamespace(deepcopy=lambda part: tuned.append(copy.deepcopy(part)) or tuned[-1])
    monkeypatch.setattr(classification, "copy", watched)
    themes.classify(some_texts(), THEMES, counts=(40,), seeds=1, fine_tuned=True)
    encoder, posterior = tuned[-2:]
    assert not torch.equal(encoder.embedding.weight, themes.vae.encoder.embedding.weight)  # pyright: ignore
    kept, own = dict(posterior.named_buffers()), dict(themes.vae.posterior.named_buffers())
    assert "normalise.running_mean" in kept
    assert all(torch.equal(kept[name], own[name]) for name in own)


@pytest.mark.parametrize("how", [{}, {"draws": True}, {"fine_tuned": True}], ids=str)
def test_the_same_seeds_give_the_same_result(themes: Run, short: None, how: dict[str, Any]):
    first, again = (themes.classify(some_texts(), THEMES, counts=(12, 40), seeds=1, **how) for _ in range(2))
    assert first == again and first.predict(some_texts()) == again.predict(some_texts())
    assert len(set(themes.classify(some_texts(), THEMES, counts=6, seeds=4).accuracies[6])) > 1


@pytest.mark.parametrize("how", [{}, {"fine_tuned": True}], ids=str)
def test_nothing_is_chosen_on_the_held_out_labels(themes: Run, short: None, how: dict[str, Any]):
    texts, held = some_texts(), some_texts(60, seed=5)
    right = [f"theme{int(text.split()[0][1:]) // 10}" for text in held]
    wrong = [{"theme0": "theme1", "theme1": "theme2", "theme2": "theme0"}[theme] for theme in right]
    asked: dict[str, Any] = dict(counts=(30,), seeds=1, **how)
    one, other = (themes.classify(texts, THEMES, test=(held, labels), **asked) for labels in (right, wrong))
    assert one.predict(held) == other.predict(held)
    assert one.accuracies != other.accuracies


@pytest.mark.parametrize("name, options", [("ae", {}), ("vmf_vae", {}), ("dem_vae", {"variables": 2})])
@pytest.mark.parametrize("fine_tuned", [False, True])
def test_every_kind_of_code_can_be_classified(
    tmp_path: Path, short: None, name: str, options: dict[str, int], fine_tuned: bool
):
    run = train_tiny(name, tmp_path / "run", epochs=1, **options)
    found = run.classify(some_texts(), THEMES, counts=(60,), seeds=1, fine_tuned=fine_tuned)
    assert found.method == ("fine-tuned" if fine_tuned else "frozen") and 0 <= found.mean(60) <= 1
    assert set(found.predict(["w1 w2", "w21"])) <= set(THEMES)


# The draw of the labelled subset.


@given(st.lists(st.integers(0, 4), min_size=5, max_size=60), st.integers(0, 3), st.data())
def test_a_subset_has_every_class_no_sentence_twice_and_lies_in_the_larger_one(
    labels: list[int], seed: int, data: st.DataObject
):
    known = np.array(labels)
    classes = len(set(labels))
    more = data.draw(st.integers(classes, len(labels)))
    fewer = data.draw(st.integers(classes, more))
    small, large = (classification.draw_subset(known, count, seed) for count in (fewer, more))
    assert len(set(small.tolist())) == fewer and set(known[small]) == set(labels)
    assert large[:fewer].tolist() == small.tolist()


def test_a_subset_is_uniform_where_a_uniform_draw_has_every_class():
    labels = np.arange(1000) % 2
    for seed in range(5):
        uniform = np.random.default_rng(seed).permutation(1000)[:100]
        assert set(classification.draw_subset(labels, 100, seed)) == set(uniform)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_folds_spread_every_class_evenly(labels: list[int]):
    fold = classification.folds(np.array(labels))
    for name in set(labels):
        sizes = np.bincount(fold[np.array(labels) == name], minlength=classification.FOLDS)
        assert sizes.max() - sizes.min() <= 1


# Texts of one's own.


def test_labels_of_any_kind_are_taken_and_missing_ones_left_out(themes: Run):
    texts, numbers = some_texts(), [int(theme[-1]) for theme in THEMES]
    expected = themes.classify(texts, numbers, seeds=1)
    assert list(expected.accuracies) == [96] and expected.test_sentences == 24  # 120 less a fifth: fewer than 100
    for labels in (np.array(numbers), np.array(numbers, np.int8), torch.tensor(numbers)):
        assert themes.classify(np.array(texts), labels, seeds=1).accuracies == expected.accuracies  # pyright: ignore
    gaps: list[Any] = [None if n % 4 == 0 else float("nan") if n % 4 == 1 else label for n, label in enumerate(numbers)]
    test = (texts[:30], gaps[:30])
    found = themes.classify(texts, gaps, test=test, seeds=1)
    assert list(found.accuracies) == [60] and found.test_sentences == 14 and set(found.classes) == {0, 1, 2}
    assert set(found.predict(texts)) <= {0, 1, 2} and json.dumps(found.data())


def test_a_label_a_class_is_enough_to_begin_with(themes: Run):
    found = themes.classify(some_texts(), THEMES, counts=(3, 4), seeds=4)
    assert list(found.accuracies) == [3, 4] and min(found.accuracies[3]) >= 0


def test_a_seldom_class_does_not_stop_the_others(themes: Run):
    labels = ["seldom", *THEMES[1:]]
    found = themes.classify(some_texts(), labels, test=(some_texts(), labels), counts=(60,), seeds=2)
    assert found.mean(60) > found.majority


# How it is shown.


def a_result(accuracies: dict[int, tuple[float, ...]]) -> Classification:
    return Classification("topic", ("a", "b"), "frozen", accuracies, 0.5, 400, lambda texts: np.zeros(len(texts)))


def test_it_prints_as_a_table_and_goes_into_json():
    found = a_result({100: (0.6, 0.7, 0.8), 1000: (0.9, 0.9, 0.9)})
    assert str(found).splitlines() == [
        "frozen: 'topic', 2 classes, 400 held-out sentences, 3 seeds",
        "  labels  accuracy",
        "     100  0.700 ± 0.100",
        "   1,000  0.900 ± 0.000",
        "majority  0.500",
        "  chance  0.500",
    ]
    data = json.loads(json.dumps(found.data()))
    row = data["accuracy"][0]
    assert row["labels"] == 100 and row["seeds"] == [0.6, 0.7, 0.8]
    assert (row["mean"], row["standard_deviation"]) == pytest.approx((0.7, 0.1))
    alone = a_result({100: (0.6,)})
    assert alone.standard_deviation(100) is None and "0.600\n" in str(alone) and "1 seed\n" in str(alone)


def test_several_runs_are_rows_and_numbers_of_labels_are_columns():
    results = {"ae": a_result({100: (0.6, 0.8), 1000: (0.9, 0.9)}), "vae": a_result({100: (0.5, 0.6)})}
    assert accuracy_table(results).splitlines() == [
        "|  | method | majority | 100 | 1,000 |",
        "|---|---|---:|---:|---:|",
        "| ae | frozen | 0.500 | 0.700 ± 0.141 | 0.900 ± 0.000 |",
        "| vae | frozen | 0.500 | 0.550 ± 0.071 | - |",
    ]
    rows = list(csv.DictReader(io.StringIO(accuracy_table(results, "csv"))))
    assert [(row["name"], row["labels"]) for row in rows] == [("ae", "100"), ("ae", "1000"), ("vae", "100")]
    assert float(rows[2]["accuracy_mean"]) == pytest.approx(0.55) and float(rows[2]["accuracy_majority"]) == 0.5


# Bad input, before anything is fitted.


@pytest.mark.parametrize(
    "texts, labels, options, message",
    [
        (None, THEMES, {}, "without texts: pass classify"),
        (some_texts(), None, {}, "texts came without labels: pass classify"),
        (some_texts(), THEMES[:-1], {}, "119 labels came for 120 texts: give one a text"),
        (some_texts(), THEMES, {"column": "theme"}, "'column' is of the run's corpus, but texts came"),
        (some_texts(), THEMES, {"counts": (2,)}, "2 labels were asked for, but there are 3 classes: each needs"),
        (some_texts(), THEMES, {"counts": (50, 97)}, "97 labels were asked for, but 96 training sentences have one"),
        (some_texts(), THEMES, {"counts": ()}, "'counts' is empty"),
        (some_texts(), THEMES, {"counts": (10.5,)}, "'counts' has 10.5, but a number of labels is a whole number"),
        (some_texts(), THEMES, {"seeds": 0}, "'seeds' is 0, but a whole number of at least 1"),
        (some_texts(), THEMES, {"draws": True, "fine_tuned": True}, "'draws' is for a frozen encoder"),
        (some_texts(), ["a"] * 120, {}, "of 1 class.*, but it takes two"),
        (some_texts(), [None] * 120, {}, "the 0 labelled training sentences are of 0 class"),
        (some_texts(), THEMES, {"test": some_texts()}, r"a pair is expected: test=\(texts, labels\)"),
        (some_texts(), THEMES, {"test": (["w1"], ["theme9"])}, "the test labels have 'theme9', which no training"),
        (some_texts(), THEMES, {"test": (["w1"], [None])}, "no held-out sentence has a label"),
        (some_texts(), THEMES, {"test": (["w1"], [])}, "0 labels came for 1 texts"),
        ("w1", ["theme0"], {}, "one string came where a list of texts was expected"),
        ([], [], {}, "an empty list came"),
        ([1], ["theme0"], {}, "text 0 is int 1, but texts are strings"),
        ([*some_texts()[:-1], "xyzzy plugh"], THEMES, {}, "1 of 120 texts have no word.* such as number 120"),
        (some_texts(), THEMES, {"test": (["xyzzy"], ["theme0"])}, "1 of 1 texts have no word"),
        (THEMES, some_texts(), {}, "different labels, and 3 different texts: texts come first"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_mistake_is_said_before_anything_is_fitted(
    themes: Run, monkeypatch: pytest.MonkeyPatch, texts: Any, labels: Any, options: dict[str, Any], message: str
):
    monkeypatch.setattr(classification, "in_order", lambda *_: pytest.fail("something was encoded"))
    with pytest.raises(ValueError, match=message):
        themes.classify(texts, labels, **options)


def test_label_columns_of_the_corpus_are_named(tmp_path: Path):
    (tmp_path / "bare.txt").write_text("\n".join(some_texts()))
    with pytest.raises(ValueError, match=r"the corpus 'bare' has no label column, .*: pass classify\(texts, labels\)"):
        train_tiny("vae", tmp_path / "bare", tmp_path / "bare.txt", epochs=1).classify()
    lines = [f"{theme}\t{len(text.split()) % 2}\t{text}" for theme, text in zip(THEMES, some_texts(), strict=True)]
    (tmp_path / "two.tsv").write_text("\n".join(lines))
    run = train_tiny("vae", tmp_path / "two", tmp_path / "two.tsv", epochs=1, label_columns=["theme", "odd"])
    with pytest.raises(ValueError, match=r"2 label columns, theme, odd: name one, column=\.\.\."):
        run.classify()
    with pytest.raises(ValueError, match=r"unknown label column 'thme' \(did you mean 'theme'\?\): the corpus has"):
        run.classify(column="thme")
    assert run.classify(column="odd", counts=20, seeds=1).classes == ("0", "1")


def test_a_run_without_a_code_and_texts_that_are_gone_say_what_to_do(themes: Run, tmp_path: Path):
    with pytest.raises(ValueError, match="a 'lstm_lm' has no code: encode, interpolate and classify need"):
        train_tiny("lstm_lm", tmp_path / "run", epochs=1).classify(some_texts(), THEMES)
    with pytest.raises(ValueError, match=r"trained on texts in memory, .* classify\(texts, labels\)"):
        Run(themes.directory).classify()
