"""What is kept of every epoch, and the pictures that are made of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import train_tiny

import pyro_textvae
from pyro_textvae import Run, figures
from pyro_textvae.checkpoint import load_tensors
from pyro_textvae.figures import latents
from pyro_textvae.figures.points import pca, read, watched

TEXTS = ["cooks stir the soup", "cooks taste a stew", "sailors tie the rope", "crews steer a ship"] * 12
LABELS = ["food", "food", "sea", "sea"] * 12
MIXTURE: dict[str, Any] = dict(components=3, variables=2, watch=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A mixture that was watched for three epochs; it keeps its texts open."""
    made = train_tiny("dem_vae", tmp_path_factory.mktemp("watched"), (TEXTS, LABELS), epochs=3, **MIXTURE)
    made.__dict__["corpus"] = pyro_textvae.Corpus.open((TEXTS, LABELS))
    return made


def panels(figure):
    return [axes for axes in figure.axes if axes.collections]


def test_the_codes_that_were_kept_are_those_of_the_epochs_weights(run: Run):
    kept = watched(run)
    assert list(kept) == [0, 1, 2, 3]
    _, state = load_tensors(run.directory / "best.safetensors")
    for variable, then in enumerate(kept[state["epoch"]]):
        now = read(run, "valid", limit=4, variable=variable)
        np.testing.assert_allclose(then.means, now.means, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(then.components, now.components, rtol=1e-5)  # pyright: ignore
        np.testing.assert_allclose(then.shapes, now.shapes, rtol=1e-5)  # pyright: ignore
        assert then.labels is not None and now.labels is not None
        assert then.labels.tolist() == now.labels.tolist() and then.label_names == now.label_names
        assert then.information == pytest.approx(now.information, abs=1e-5)


def test_to_watch_changes_nothing_that_is_learnt(run: Run, tmp_path: Path):
    unwatched = train_tiny("dem_vae", tmp_path, (TEXTS, LABELS), epochs=3, **MIXTURE | {"watch": 0})
    there, _ = load_tensors(run.directory / "last.safetensors")
    here, _ = load_tensors(unwatched.directory / "last.safetensors")
    assert all(torch.equal(there[name], here[name]) for name in there)
    assert not (unwatched.directory / "watched").exists()


def test_a_run_that_goes_on_keeps_what_it_would_have_kept_at_once(run: Run, tmp_path: Path):
    train_tiny("dem_vae", tmp_path, (TEXTS, LABELS), epochs=1, **MIXTURE)
    resumed = train_tiny("dem_vae", tmp_path, (TEXTS, LABELS), epochs=3, resume=True, **MIXTURE)
    for epoch in range(4):
        there, here = (
            load_tensors(each.directory / f"watched/epoch-{epoch:04d}.safetensors")[0] for each in (run, resumed)
        )
        assert there.keys() == here.keys() and all(torch.equal(there[name], here[name]) for name in there)


def test_training_is_shown_epoch_by_epoch_on_one_scale_in_one_plane(run: Run):
    figure = figures.through_training(run, epochs=[0, 1, 3])
    shown = panels(figure)
    assert [axes.get_title(loc="left") for axes in shown] == ["before training", "epoch 1", "epoch 3"]
    assert len({round(float(np.ptp(axes.get_xlim())), 9) for axes in shown}) == 1
    row = run.history[-1]
    assert f"KL {row['valid_kl_nats_per_sentence']:.2f}" in shown[-1].get_xlabel()
    kept = watched(run)
    variable = int(np.argmax([each.information for each in kept[3]]))
    every = [kept[epoch][variable] for epoch in (0, 1, 3)]
    for axes, points in zip(shown, every, strict=True):
        (dots,) = [np.asarray(each.get_offsets()) for each in axes.collections if each.get_gid() == "points"]
        expected = pca(points, every).points
        assert sorted(dots[:, 0]) == pytest.approx(sorted(expected[:, 0]))


def test_early_epochs_are_shown_closer_together(run: Run, monkeypatch: pytest.MonkeyPatch):
    last = watched(run)[3]
    monkeypatch.setattr("pyro_textvae.figures.watching.watched", lambda _: dict.fromkeys(range(26), last))
    titles = [axes.get_title(loc="left") for axes in panels(figures.through_training(run, epochs=6))]
    assert titles == ["before training", *(f"epoch {epoch}" for epoch in (2, 6, 12, 18, 25))]


def test_runs_are_rows_and_need_no_texts(run: Run):
    again = Run(run.directory)  # opened anew, a run of texts in memory has none
    figure = figures.through_training({"a": again, "b": again}, epochs=2, by="component")
    shown = panels(figure)
    assert len(shown) == 4
    assert [axes.get_ylabel().splitlines()[0] for axes in (shown[0], shown[2])] == ["a", "b"]


def test_labels_of_another_column_are_those_of_the_sentences_that_were_kept(run: Run, monkeypatch: pytest.MonkeyPatch):
    seen = []
    colourings = latents.colourings
    monkeypatch.setattr(latents, "colourings", lambda points: seen.append(points) or colourings(points))
    figures.through_training(run)
    default = seen[-1].labels.tolist()
    figures.through_training(run, by="label")
    assert seen[-1].labels.tolist() == default and seen[-1].column == "label"


def test_one_space_is_seen_from_one_side():
    from test_figures import some_points

    a = some_points(1.0, 1.0)
    b = replace(a, means=0.5 * a.means[::-1] + 3.0)
    one, other = pca(a, [a, b]), pca(b, [a, b])
    np.testing.assert_allclose(np.diff(other.points[::-1], axis=0), 0.5 * np.diff(one.points, axis=0), atol=1e-9)
    assert one.share <= 1 and other.share == pytest.approx(one.share)


def test_pictures_of_training_are_among_a_runs_own(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyro_textvae.figures.style.DPI", 40)
    assert "through_training.png" in [path.name for path in figures.save_all(run)]


def test_a_run_that_kept_nothing_says_how_to_keep_it(run: Run, tmp_path: Path):
    unwatched = train_tiny("vae", tmp_path, epochs=1)
    with pytest.raises(ValueError, match="kept no codes of its epochs: train it with watch=500"):
        figures.through_training(unwatched)
    with pytest.raises(ValueError, match=r"epochs \[7\] were not kept by .*: there are 0, 1, 2, 3"):
        figures.through_training(run, epochs=[0, 7])
    with pytest.raises(ValueError, match="epochs=0 came, but a picture shows at least 1"):
        figures.through_training(run, epochs=0)
    with pytest.raises(ValueError, match=r"by='lable' came \(did you mean 'label'\?\), .* a label column: label"):
        figures.through_training(run, by="lable")


@pytest.mark.parametrize("watch", [-1, 2.5, True, "all"])
def test_a_wrong_number_of_sentences_to_watch(tmp_path: Path, watch):
    with pytest.raises(ValueError, match=r"'watch' is .*, but a whole number"):
        train_tiny("vae", tmp_path, epochs=1, watch=watch)


def test_a_language_model_has_nothing_to_watch(tmp_path: Path):
    with pytest.raises(ValueError, match="watch=5 was asked for, but 'lstm_lm' has no code to watch"):
        train_tiny("lstm_lm", tmp_path, epochs=1, watch=5)
