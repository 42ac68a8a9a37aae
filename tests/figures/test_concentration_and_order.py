"""Pictures of probes, of what is paid, and of concentrations: what is drawn is what was measured."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from pyro_textvae import Run, figures
from pyro_textvae.checkpoint import FORMAT
from pyro_textvae.evaluation import OrderSensitivity
from pyro_textvae.figures import concentrated


def measured(cosines: tuple[float, ...] = (0.9, 1.0, 0.8), **changes: Any) -> OrderSensitivity:
    p, errors = (0.5, 0.0, 1.0), (0.01, 0.0, 0.02)
    found = OrderSensitivity("adjacent", p, cosines, errors, moved=p, another_sentence=0.1, sentences=9, too_short=0)
    return replace(found, **changes)


@pytest.fixture
def a_run(tmp_path: Path):
    """Make the files of a run with these metrics on test."""

    def make(
        reconstruction: float = 10.0, kl: float | None = 2.0, perplexity: float = 8.0, corpus: str = "a", **options: Any
    ) -> Run:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        recipe = {"format": FORMAT, "recipe": "vmf_vae", "options": options, "size": {}, "seed": 0, "training": {}}
        (folder / "recipe.json").write_text(json.dumps(recipe))
        about = {"name": "toy", "sha256": corpus, "entropy": {"nats_per_sentence": 11.5}}
        (folder / "corpus.json").write_text(json.dumps(about))
        metrics = {"reconstruction_nats_per_sentence": reconstruction, "perplexity_elbo": perplexity}
        metrics |= {} if kl is None else {"kl_nats_per_sentence": kl}
        (folder / "evaluation.json").write_text(json.dumps({"test": metrics}))
        return Run(folder)

    return make


# The order of words.


def test_a_curve_a_run_in_order_of_probability_with_the_floor_beside_its_name():
    figure = figures.order_sensitivity({"one": measured(), "other": measured((0.7, 1.0, 0.6), another_sentence=0.65)})
    (axes,) = figure.axes
    curves = [line for line in axes.get_lines() if str(line.get_label()).startswith(("one", "other"))]
    assert [np.asarray(line.get_xdata()).tolist() for line in curves] == [[0.0, 0.5, 1.0]] * 2
    assert [np.asarray(line.get_ydata()).tolist() for line in curves] == [[1.0, 0.9, 0.8], [1.0, 0.7, 0.6]]
    assert "two sentences: 0.10" in str(curves[0].get_label()) and "0.65" in str(curves[1].get_label())
    lowest = axes.get_ylim()[0]
    assert 0.1 < lowest < 0.6  # the axis is of the curves; the other floor is within its reach
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    assert band[:, 1].min() == pytest.approx(0.8 - 2 * 0.02)


def test_nothing_to_draw_and_two_ways_of_exchange():
    with pytest.raises(ValueError, match="nothing came to draw"):
        figures.order_sensitivity({})
    with pytest.raises(ValueError, match="different ways, adjacent and rows"):
        figures.order_sensitivity({"one": measured(), "other": measured(how="rows")})
    with pytest.raises(ValueError, match=r"'a' is str, but what was measured is drawn: give \{'a': run\.order_sens"):
        figures.order_sensitivity({"a": "a run"})  # pyright: ignore[reportArgumentType]


def test_no_band_is_cut():
    wide = measured((0.999, 1.0, 0.998), standard_errors=(0.001, 0.0, 0.01))
    (axes,) = figures.order_sensitivity({"one": wide}).axes
    assert axes.get_ylim()[0] < 0.998 - 2 * 0.01


# What is paid.


def test_bars_are_reconstruction_and_kl_end_to_end(a_run):
    metrics = {
        "reconstruction_nats_per_sentence": 12.0,
        "kl_nats_per_sentence": 0.5,
        "perplexity_elbo": 123.4,
    }
    figure = figures.tradeoff({"a run": a_run(), "metrics": metrics})
    (axes,) = figure.axes
    reconstruction, kl = axes.containers
    assert [bar.get_width() for bar in reconstruction] == [10.0, 12.0]  # pyright: ignore
    assert [(bar.get_x(), bar.get_width()) for bar in kl] == [(10.0, 2.0), (12.0, 0.5)]  # pyright: ignore
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a run", "metrics"]
    said = [text.get_text() for text in axes.texts]
    assert said == ["12.00 = 10.00 + 2.00   perplexity 8.00", "12.50 = 12.00 + 0.50   perplexity 123"]
    assert "true entropy 11.50" in [line.get_label() for line in axes.get_lines()]


def test_documents_have_their_perplexity_per_corpus_and_are_not_mixed_with_sentences(a_run):
    document = {
        "reconstruction_nats_per_sentence": 600.0,
        "kl_nats_per_sentence": 20.0,
        "perplexity_corpus_elbo": 900.0,
    }
    (axes,) = figures.tradeoff({"a": document, "b": document}).axes
    assert axes.texts[0].get_text() == "620.00 = 600.00 + 20.00   perplexity 900"
    assert axes.get_xlabel() == "nats a document"
    with pytest.raises(
        ValueError, match=r"'a' is of sentences and 'b' is of documents: .* so their nats do not compare"
    ):
        figures.tradeoff({"a": a_run(), "b": document})


def test_what_has_no_bars(a_run):
    with pytest.raises(ValueError, match="no run came"):
        figures.tradeoff([])
    with pytest.raises(ValueError, match="unknown metric 'kl_nats_per_sentence'"):
        figures.tradeoff([a_run(kl=None)])
    with pytest.raises(ValueError, match="split 'valid' has not been evaluated"):
        figures.tradeoff([a_run()], split="valid")
    with pytest.raises(ValueError, match="different corpora"):
        figures.tradeoff({"a": a_run(), "b": a_run(corpus="b")})
    with pytest.raises(ValueError, match="metrics of 'a' have no 'kl_nats_per_sentence'"):
        figures.tradeoff({"a": {"reconstruction_nats_per_sentence": 1.0}})


# Concentrations.


def log_bessel(order: float, k: float) -> float:
    return math.log(special.ive(order, k)) + k


@pytest.mark.parametrize("d", [2, 5, 25, 100])
@pytest.mark.parametrize("k", [0.5, 5.0, 25.0, 105.0, 265.0])
def test_cosine_and_both_kls_are_scipys(d: int, k: float):
    (row,) = concentrated(d, [k])
    ratio = special.ive(d / 2, k) / special.ive(d / 2 - 1, k)
    log_area = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
    log_c = (d / 2 - 1) * math.log(k) - d / 2 * math.log(2 * math.pi) - log_bessel(d / 2 - 1, k)
    assert row.mean_cosine == pytest.approx(ratio, rel=1e-12)
    assert row.kl_nats == pytest.approx(k * ratio + log_c + log_area, rel=1e-9, abs=1e-11)
    # The formula of Guu et al. 2018, term by term.
    upper, middle = special.ive(d / 2 + 1, k), special.ive(d / 2, k)
    released = k * ((upper + middle * d / (2 * k)) / middle - d / (2 * k)) + d / 2 * math.log(k)
    released -= log_bessel(d / 2, k) + math.lgamma(d / 2 + 1) + d / 2 * math.log(2)
    assert row.kl_as_released == pytest.approx(released, rel=1e-9, abs=1e-11)


def test_the_lines_are_exact_and_as_released_and_dots_are_the_concentrations():
    figure = figures.concentration((3, 10), (1, 20, 40))
    left, middle, right = figure.axes
    for axes, x, y in (
        (left, "concentration", "mean_cosine"),
        (middle, "concentration", "kl_nats"),
        (right, "mean_cosine", "kl_nats"),
    ):
        dots = [line for line in axes.get_lines() if line.get_gid() == "concentrations"]
        for line, dimension in zip(dots, (3, 10), strict=True):
            rows = concentrated(dimension, (1, 20, 40))
            expected = [[getattr(row, name) for row in rows] for name in (x, y)]
            assert np.array(line.get_data()).tolist() == expected
    released = [line for line in middle.get_lines() if line.get_gid() == "as released"]
    for line, dimension in zip(released, (3, 10), strict=True):
        k, kl = np.array(line.get_data())
        assert kl.tolist() == [row.kl_as_released for row in concentrated(dimension, k.tolist())]
    with pytest.raises(ValueError, match="a dimension and a concentration are needed"):
        figures.concentration(())
    with pytest.raises(ValueError, match="concentration -1 came, but each is at least 0"):
        figures.concentration((25,), (5, -1))
    with pytest.raises(ValueError, match="dimension 1 came, but each is at least 2"):
        figures.concentration((1,))


# The heat map.


def test_cells_are_means_over_seeds_shaded_by_their_columns_best(a_run):
    runs = [
        a_run(perplexity=20.0, concentration=5.0),
        a_run(perplexity=30.0, concentration=5.0),
        a_run(perplexity=10.0, concentration=50.0),
    ]
    figure = figures.perplexity_map({"runs": runs, "numbers": {50: 300.0, 100: 200.0}})
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["5", "50", "100"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["runs", "numbers"]
    shades = np.exp(np.ma.filled(np.ma.asarray(axes.images[0].get_array()), np.nan))
    assert np.allclose(shades, [[2.5, np.nan], [1.0, 1.5], [np.nan, 1.0]], equal_nan=True)
    said = {text.get_position(): (text.get_text(), text.get_fontweight()) for text in axes.texts}
    assert said == {
        (0, 0): ("25.0", "normal"),
        (0, 1): ("10.0", "bold"),
        (1, 1): ("300", "normal"),
        (1, 2): ("200", "bold"),
    }


def test_what_is_no_map(a_run):
    with pytest.raises(ValueError, match="no column came"):
        figures.perplexity_map({})
    with pytest.raises(ValueError, match="the column 'a' is empty"):
        figures.perplexity_map({"a": []})
    with pytest.raises(ValueError, match=r"no option 'concentation' \(did you mean 'concentration'\?\)"):
        figures.perplexity_map({"a": [a_run(concentration=5.0)]}, "concentation")
    with pytest.raises(ValueError, match="the runs of 'a' were trained on different corpora"):
        figures.perplexity_map({"a": [a_run(concentration=5.0), a_run(concentration=6.0, corpus="b")]})
    with pytest.raises(ValueError, match="split 'valid' has not been evaluated"):
        figures.perplexity_map({"a": [a_run(concentration=5.0)]}, split="valid")
