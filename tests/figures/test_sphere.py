"""Codes on the sphere: the projection against its formula, the circles against the distribution's own quantile."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tiny import train_tiny

import pyro_textvae
from pyro_textvae import Run, figures
from pyro_textvae.figures.points import read
from pyro_textvae.figures.sphere import circle, frame_of, project

TEXTS = ["cooks stir the soup", "cooks taste a stew", "sailors tie the rope", "crews steer a ship"] * 12
LABELS = ["food", "food", "sea", "sea"] * 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A vMF mixture in three dimensions; it keeps its texts open."""
    directory = tmp_path_factory.mktemp("sphere")
    made = train_tiny("dem_vae", directory, (TEXTS, LABELS), family="vmf", latent=3, components=4, epochs=1)
    made.__dict__["corpus"] = pyro_textvae.Corpus.open((TEXTS, LABELS))
    return made


def uniform(count: int) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((count, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_each_direction_is_on_one_half_at_lamberts_radius():
    directions, frame = uniform(500), np.eye(3)
    front, back = project(directions, frame, False), project(directions, frame, True)
    assert (np.isfinite(front[:, 0]) ^ np.isfinite(back[:, 0])).all()
    angle = np.arccos(directions[:, 2])
    radius = np.where(
        np.isfinite(front[:, 0]), np.sqrt(2) * np.sin(angle / 2), np.sqrt(2) * np.sin((np.pi - angle) / 2)
    )
    there = np.where(np.isfinite(front), front, back)
    np.testing.assert_allclose(np.linalg.norm(there, axis=1), radius, atol=1e-9)


def test_equal_areas_stay_equal():
    front = project(uniform(40_000), np.eye(3), False)
    squared = np.sort((front[np.isfinite(front[:, 0])] ** 2).sum(1))  # uniform on a disc: r^2 is uniform
    assert np.abs(squared - np.linspace(0, 1, len(squared))).max() < 0.02


def test_the_other_half_is_seen_from_behind():
    # Someone behind the sphere has what was at the right at the left, and what was up still up.
    behind = np.array([0.6, 0.0, -0.8])
    assert project(behind, np.eye(3), True)[0] < 0
    assert project(np.array([0.0, 0.6, -0.8]), np.eye(3), True)[1] > 0


def test_a_circle_keeps_its_angle_and_goes_all_around():
    for centre in uniform(5):
        around = circle(centre, 0.3)
        np.testing.assert_allclose(around @ centre, 0.3, atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(around, axis=1), 1, atol=1e-9)
        np.testing.assert_allclose(around[:-1].mean(0), 0.3 * centre, atol=1e-9)


def test_the_circle_of_a_component_holds_half_of_it(run: Run):
    # On the sphere in 3-D the cosine w has the density of exp(k w) on [-1, 1].
    k = float(cast(Any, run.vae.prior).concentration)
    median = 1 + np.log(1 - 0.5 * (1 - np.exp(-2 * k))) / k
    caps = read(run).caps
    assert caps is not None and caps.shape == (4,)
    np.testing.assert_allclose(caps, median, atol=0.02)  # of 2000 draws: four standard errors


def test_the_viewer_looks_along_what_most_codes_point_to(run: Run):
    points = read(run, "train")
    frame = frame_of(points)
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(frame) == pytest.approx(1)
    assert (points.means @ frame[2]).mean() >= 0


def test_every_sentence_and_component_is_on_one_of_the_halves_by_label_and_by_component(run: Run):
    figure = figures.sphere(run, "train")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.split(":")[0] for title in titles] == ["by label", "by label", "by component", "by component"]
    for row in (figure.axes[:2], figure.axes[2:]):
        for gid, count in (("points", len(run.corpus.splits["train"])), ("components", 4)):
            drawn = [np.asarray(c.get_offsets()) for axes in row for c in axes.collections if c.get_gid() == gid]
            assert sum(map(len, drawn)) == count
            assert np.linalg.norm(np.concatenate(drawn), axis=1).max() <= 1 + 1e-9


def test_a_sphere_without_components_is_drawn_and_one_in_other_dimensions_is_not(tmp_path: Path):
    made = train_tiny("vmf_vae", tmp_path / "three", (TEXTS, LABELS), latent=3, epochs=1)
    made.__dict__["corpus"] = pyro_textvae.Corpus.open((TEXTS, LABELS))
    assert len(figures.sphere(made).axes) == 2
    for recipe, where in (("vmf_vae", "a sphere"), ("vae", "no sphere")):
        other = train_tiny(recipe, tmp_path / recipe, (TEXTS, LABELS), epochs=1)
        other.__dict__["corpus"] = pyro_textvae.Corpus.open((TEXTS, LABELS))
        with pytest.raises(ValueError, match=f"has codes on {where}, in 4 dimensions, .* draw its latent_space"):
            figures.sphere(other)
