"""The demo with runs too small to learn anything: what is trained, what is used again, what is shown."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyro_textvae import demo as module
from pyro_textvae.demo import EXPERIMENTS, MODES_EXPERIMENTS, Experiment, Shown, demo
from pyro_textvae.recipes import recipes

SMALL = {"epochs": 1, "batch_size": 256, "hidden": 8, "embedding": 8, "latent": 2}
SMALLER = (Experiment("gm_vae", "gm_vae", "toy", SMALL), Experiment("dem_vae", "dem_vae", "toy", SMALL))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return demo(tmp_path_factory.mktemp("demo"), seed=1, experiments=SMALLER, progress=False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, shown: Shown) -> list[dict[str, Any]]:
    """What train() would have been called with; it gives a run that is there."""
    calls: list[dict[str, Any]] = []

    def train(model: str, data: str, **options: Any):
        calls.append({"model": model, "data": data} | options)
        return shown.runs[0]

    monkeypatch.setattr(module, "train", train)
    return calls


def test_the_demo_shows_a_row_a_run_and_where_everything_is(shown: Shown):
    text = shown.text()
    for run in shown.runs:
        assert str(run.directory) in text and run.verdict.state in text
    assert len(shown.pictures) == 1 and shown.pictures[0].stat().st_size > 1000 and str(shown.pictures[0]) in text
    assert "true entropy is 13.2" in text and "topic" in text
    assert len(json.loads(json.dumps(shown.data()))["runs"]) == 2


def test_finished_runs_are_used_again(shown: Shown, asked: list[Any], capsys: pytest.CaptureFixture[str]):
    again = demo(shown.output, seed=1, experiments=SMALLER)
    assert not asked and again.text() == shown.text()
    assert capsys.readouterr().out.count("used again") == 2


def test_an_unfinished_run_goes_on(shown: Shown, asked: list[Any]):
    report = shown.runs[1].directory / "report.md"
    kept = report.read_text()
    report.unlink()
    demo(shown.output, seed=1, experiments=SMALLER, progress=False)
    report.write_text(kept)
    assert [(call["output"], call["resume"]) for call in asked] == [(shown.runs[1].directory, True)]


@pytest.mark.parametrize("changed", [{"latent": 3}, {"epochs": 2}, {"components": 5}])
def test_a_changed_setting_is_trained_anew_beside_the_old_run(shown: Shown, asked: list[Any], changed: dict[str, Any]):
    experiment = replace(SMALLER[0], options=SMALL | changed)
    demo(shown.output, seed=1, experiments=(experiment,), progress=False)
    assert [(call["output"].name, call["resume"]) for call in asked] == [("toy-gm_vae-2", False)]


def test_another_seed_is_another_run(shown: Shown, asked: list[Any]):
    demo(shown.output, seed=2, experiments=SMALLER[:1], progress=False)
    assert asked[0]["output"].name == "toy-gm_vae-2" and asked[0]["seed"] == 2


def test_an_output_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        demo(tmp_path / "file")


def test_the_experiments_differ_in_dispersion_and_mutual_information_alone():
    for corpus in ("toy", "toy-modes"):
        settings = []
        for experiment in EXPERIMENTS + MODES_EXPERIMENTS:
            if experiment.corpus == corpus:
                every = {"dispersion": 0.0} | recipes().options(experiment.recipe) | experiment.options
                settings.append(every)
        alike = [{k: v for k, v in s.items() if k not in ("dispersion", "mutual_information")} for s in settings]
        common = set.intersection(*map(set, alike))
        assert all(each[name] == alike[0][name] for each in alike for name in common)
        pairs = [(s["dispersion"] > 0, s["mutual_information"] > 0) for s in settings]
        assert len(pairs) == len(set(pairs)) and (False, False) in pairs and (True, False) in pairs
