"""A sweep over directories that hold the numbers of a run, and no weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyro_textvae import Run, figures
from pyro_textvae.checkpoint import FORMAT

METRICS = ("dispersion_nats_per_sentence", "information_c_nats", "nll_elbo_nats_per_sentence")


@pytest.fixture
def a_run(tmp_path: Path):
    """Make the files of a run whose metrics are `numbers`."""
    made = []

    def make(numbers: tuple[float, ...] | None, seed: int = 0, corpus: str = "a", **options: Any) -> Run:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        options = {"dispersion": 0.8, "mutual_information": 0.0} | options
        recipe = {"format": FORMAT, "recipe": "dgm_vae", "options": options, "size": {"hidden": 8}, "seed": seed}
        (folder / "recipe.json").write_text(json.dumps(recipe | {"training": {"epochs": 1}}))
        about = {"name": "toy", "sha256": corpus, "entropy": {"nats_per_sentence": 13.0}}
        (folder / "corpus.json").write_text(json.dumps(about))
        if numbers is not None:
            (folder / "evaluation.json").write_text(json.dumps({"valid": dict(zip(METRICS, numbers, strict=False))}))
        made.append(folder)
        return Run(folder)

    return make


def test_lines_are_means_over_seeds_and_dots_are_runs(a_run):
    runs = [
        a_run((0.1, 0.2, 14.0), dispersion=0.0),
        a_run((0.5, 0.4, 14.2), dispersion=0.8),
        a_run((0.7, 0.6, 14.4), dispersion=0.8, seed=1),
    ]
    figure = figures.sweep(runs)
    for axes, expected in zip(figure.axes, ([0.1, 0.6], [0.2, 0.5], [14.0, 14.3]), strict=True):
        (line,) = [
            each
            for each in axes.get_lines()
            if len(np.asarray(each.get_xdata())) == 2 and "_" not in str(each.get_label())[:1]
        ]
        assert np.asarray(line.get_xdata()).tolist() == [0.0, 0.8]
        assert np.asarray(line.get_ydata()).tolist() == pytest.approx(expected)
        assert sum(len(np.asarray(each.get_offsets())) for each in axes.collections if each.get_gid() == "runs") == 3
        assert axes.get_xlabel() == "dispersion"
    assert "true entropy 13.00" in [text.get_text() for text in figure.axes[2].texts]


def test_runs_that_differ_in_something_else_too_are_lines_of_their_own(a_run):
    runs = [a_run((0.1, 0.2, 14.0), dispersion=d, mutual_information=m) for d in (0.0, 1.0) for m in (0.0, 1.0)]
    labels = figures.sweep(runs).axes[0].get_legend_handles_labels()[1]
    assert labels == ["mutual_information=0.0", "mutual_information=1.0"]


@pytest.mark.parametrize(
    ("runs", "option", "message"),
    [
        ([], "dispersion", "no run came"),
        ([{}, {}], "dispersion", "'dispersion' is 0.8 in all runs, but a sweep needs two values"),
        ([{}, {}], "dispersoin", r"no option 'dispersoin' \(did you mean 'dispersion'\?\); it has dispersion"),
        ([{"dispersion": None}], "dispersion", "'dispersion' is None in .*, but a sweep is over numbers"),
        ([{}, {"dispersion": 0.1, "corpus": "b"}], "dispersion", "trained on different corpora"),
        ([{"numbers": None}], "dispersion", "split 'valid' has not been evaluated"),
        ([{"numbers": (1.0,)}], "dispersion", "has no information_c_nats: a sweep is over runs of a mixture"),
    ],
)
def test_what_is_no_sweep(a_run, runs, option, message):
    made = [a_run(**{"numbers": (0.1, 0.2, 14.0)} | each) for each in runs]
    with pytest.raises(ValueError, match=message):
        figures.sweep(made, option)
