import itertools
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import pyro_textvae
from pyro_textvae import Run, figures
from pyro_textvae.figures import latents, report, style
from pyro_textvae.figures.comparison import names_of
from pyro_textvae.figures.points import Map, Points, a_part, pca, raw, read, tsne

TOPICS = {"food": ("cooks stir the soup", "cooks taste a stew"), "sea": ("sailors tie the rope", "crews steer a ship")}
TEXTS = [text for pair in TOPICS.values() for text in pair] * 12
LABELS = [topic for topic, pair in TOPICS.items() for _ in pair] * 12
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm_lm": ("lstm_lm", {}),
    "ae": ("ae", {"latent": 4}),
    "vae": ("vae", {"latent": 4}),
    "vmf_vae": ("vmf_vae", {"latent": 3}),
    "bn_vae": ("bn_vae", {"latent": 2}),
    "gm_vae": ("gm_vae", {"latent": 4, "components": 3}),
    "plane": ("dem_vae", {"latent": 2, "components": 3}),
    "several": ("dem_vae", {"latent": 3, "components": 3, "variables": 2}),
    "vmf_mixture": ("dem_vae", {"latent": 3, "components": 3, "family": "vmf"}),
}
MIXTURES = ("gm_vae", "plane", "several", "vmf_mixture")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run of each kind, one epoch over two dozen sentences; they keep their texts open."""
    found = {}
    for name, (recipe, options) in RECIPES.items():
        found[name] = a_run(tmp_path_factory.mktemp(name) / name, recipe, (TEXTS, LABELS), **options)
    return found


def a_run(directory: Path, recipe: str, data: Any, **options: Any) -> Run:
    run = pyro_textvae.train(
        recipe, data, output=directory, epochs=1, hidden=8, embedding=8, progress=False, finish=False, **options
    )
    run.__dict__["corpus"] = pyro_textvae.Corpus.open(data)
    run.evaluate("valid")
    return run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarse pictures, and a quarter of the steps of t-SNE, which is scikit-learn's."""
    monkeypatch.setattr(style, "DPI", 40)
    from sklearn.manifold import TSNE

    fit = TSNE.fit_transform

    def shorter(self: Any, X: Any, y: Any = None) -> Any:
        self.max_iter = 250
        return fit(self, X, y)

    monkeypatch.setattr(TSNE, "fit_transform", shorter)


def drawn(figure: Figure, gid: str) -> list[np.ndarray]:
    """Offsets (n, 2) of the scatters of this id, panel after panel."""
    return [
        np.asarray(each.get_offsets()) for axes in figure.axes for each in axes.collections if each.get_gid() == gid
    ]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def words(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts) + (figure.get_suptitle() or "")


# Every kind of run.


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gets_its_pictures_and_its_report(trained: dict[str, Run], name: str):
    run = trained[name]
    written = figures.save_all(run)
    expected = ["training_curves"]
    expected += ["dispersion"] if name in MIXTURES else []
    expected += ["latent_space"] if name != "lstm_lm" else []
    expected += ["variables"] if name == "several" else []
    expected += ["sphere"] if name in ("vmf_vae", "vmf_mixture") else []
    assert [path.name for path in written] == [f"{stem}.png" for stem in expected]
    assert all(path.parent == run.directory / "figures" for path in written)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    text = report.markdown(run)
    assert text.startswith(f"# {run.name} on texts: {run.verdict.state}\n")
    assert all(f"](figures/{path.name})" in text for path in written)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("lstm_lm", 1), ("ae", 3), ("vae", 4), ("gm_vae", 4)],
)
def test_curves_show_what_the_run_has(trained: dict[str, Run], name: str, expected: int):
    figure = figures.training_curves(trained[name])
    assert isinstance(figure, Figure)
    assert len(figure.axes) == expected
    assert all(axes.get_xlabel() == "epoch" for axes in figure.axes)


def test_the_curve_of_the_nll_is_that_of_the_history(trained: dict[str, Run]):
    run = trained["gm_vae"]
    axes = figures.training_curves(run).axes[0]
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}
    assert lines["valid"].tolist() == [row["valid_nll_elbo_nats_per_sentence"] for row in run.history]
    assert lines["train"].tolist() == [-row["train_elbo"] for row in run.history]


def test_a_known_entropy_is_drawn_as_a_floor(trained: dict[str, Run], monkeypatch: pytest.MonkeyPatch):
    run = trained["vae"]
    lines = figures.training_curves(run).axes[0].get_lines()
    assert not any(str(line.get_label()).startswith("true entropy") for line in lines)
    monkeypatch.setattr("pyro_textvae.figures.curves.entropy_of", lambda _: 3.25)
    lines = figures.training_curves(run).axes[0].get_lines()
    (floor,) = [line for line in lines if line.get_label() == "true entropy 3.25"]
    assert set(np.asarray(floor.get_ydata())) == {3.25}


def test_the_title_is_the_verdict(trained: dict[str, Run]):
    for name in ("vae", "lstm_lm"):
        run = trained[name]
        assert figures.training_curves(run).get_suptitle() == f"{run.name} on texts: {run.verdict.state}"


def test_a_run_without_epochs_or_components_says_what_to_draw_instead(trained: dict[str, Run]):
    with pytest.raises(ValueError, match=r"'vae' has no components .* draw its training_curves"):
        figures.dispersion(trained["vae"])
    with pytest.raises(ValueError, match="'lstm_lm' has no code to picture"):
        figures.latent_space(trained["lstm_lm"])
    with pytest.raises(ValueError, match="no second discrete variable: draw its latent_space"):
        figures.variables(trained["gm_vae"])


# The latent space.


def test_a_mixture_is_shown_by_label_by_component_and_in_pca(trained: dict[str, Run]):
    run = trained["gm_vae"]
    figure = figures.latent_space(run, "train")
    assert titles(figure)[:2] == ["by label (t-SNE)", "by component (t-SNE)"]
    assert titles(figure)[2].startswith("by component (PCA, ")
    points, crosses = drawn(figure, "points"), drawn(figure, "components")
    assert [each.shape for each in points] == [(len(run.corpus.splits["train"]), 2)] * 3
    assert [each.shape for each in crosses] == [(3, 2)] * 3
    assert "variance of posterior means" in words(figure)


def test_two_dimensions_are_drawn_as_they_are_with_an_ellipse_for_each_component(trained: dict[str, Run]):
    run = trained["plane"]
    figure = figures.latent_space(run, "train")
    assert titles(figure) == ["by label", "by component"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["z1", "z1"]
    means = run.encode(run.corpus.splits["train"].texts(run.vocabulary))
    for points in drawn(figure, "points"):
        np.testing.assert_allclose(sorted(points[:, 0]), sorted(means[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(drawn(figure, "components")[0], run.vae.prior.means()[0].detach(), rtol=1e-5)  # pyright: ignore
    assert [len(axes.patches) for axes in figure.axes] == [3, 3]


def test_one_variable_of_several_is_shown_and_named(trained: dict[str, Run]):
    run = trained["several"]
    assert drawn(figures.latent_space(run), "components")[0].shape == (3, 2)
    assert "variable 1 of 2" in words(figures.latent_space(run, variable=1))
    with pytest.raises(ValueError, match="variable=2, but the discrete variables are 0 to 1"):
        figures.latent_space(run, variable=2)
    figure = figures.variables(run)
    assert sorted(title[:10] for title in titles(figure)) == ["variable 0", "variable 1"]
    told = [read(run, variable=m).information for m in range(2)]
    assert titles(figure)[0].startswith(f"variable {np.argmax(told)}")


def test_no_more_sentences_are_drawn_than_the_limit_and_always_the_same(trained: dict[str, Run]):
    run = trained["vae"]
    first, again = (figures.latent_space(run, "train", limit=12) for _ in range(2))
    assert [len(each) for each in drawn(first, "points")] == [12, 12]
    for a, b in zip(drawn(first, "points"), drawn(again, "points"), strict=True):
        np.testing.assert_array_equal(a, b)
    assert f"12 of {len(run.corpus.splits['train'])} sentences" in words(first)
    with pytest.raises(ValueError, match="limit=0 came"):
        figures.latent_space(run, limit=0)


def test_labels_and_lengths_stay_with_their_sentences(trained: dict[str, Run]):
    run = trained["vae"]
    points = read(run, "train", 10)
    part = a_part(run.corpus.splits["train"], 10)
    texts = part.texts(run.vocabulary)
    np.testing.assert_allclose(points.means, run.encode(texts), rtol=1e-4, atol=1e-6)
    assert points.labels is not None
    for text, label, length in zip(texts, points.labels, points.lengths, strict=True):
        assert text in TOPICS[points.label_names[label]]
        assert length == len(text.split())


def test_without_labels_and_components_points_are_coloured_by_length(tmp_path: Path):
    run = a_run(tmp_path / "run", "vae", TEXTS, latent=3)
    figure = figures.latent_space(run, "train")
    assert titles(figure)[0] == "by length in words (t-SNE)"
    assert figure.axes[-1].get_xlabel() == "words"


def test_an_unknown_split_or_column_is_answered_with_those_there_are(trained: dict[str, Run]):
    with pytest.raises(ValueError, match=r"unknown split 'vaild' .did you mean 'valid'"):
        figures.latent_space(trained["vae"], "vaild")
    with pytest.raises(ValueError, match=r"unknown label column 'labels' .did you mean 'label'"):
        figures.latent_space(trained["vae"], column="labels")


# What must not flatter.


def some_points(spread: float, apart: float, *, sentences: int = 60, dimensions: int = 5) -> Points:
    """Codes in three groups, and three component means, around a prior of deviation 1."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((3, dimensions))
    assigned = np.arange(sentences) % 3
    means = spread * (centres[assigned] + 0.1 * random.standard_normal((sentences, dimensions)))
    return Points(
        means=means,
        components=apart * centres,
        shapes=np.stack([np.eye(dimensions)] * 3),
        caps=None,
        assigned=assigned,
        deviation=1.0,
        on_sphere=False,
        labels=None,
        column="",
        label_names=[],
        lengths=np.full(sentences, 4),
        sentences=sentences,
        variable=0,
        variables=1,
        information=0.0,
    )


def test_tsne_is_drawn_as_wide_as_the_codes_spread():
    for spread in (1e-3, 1.0):
        points = some_points(spread, spread)
        there = tsne(points)
        assert there.components is not None and points.components is not None
        rows = np.concatenate([there.points, there.components])
        true = np.concatenate([points.means, points.components])
        assert rows.var(0).sum() == pytest.approx(true.var(0).sum())


def test_the_codes_of_a_collapsed_run_are_a_dot_in_every_panel():
    for spread, a_dot in ((1e-3, True), (1.0, False)):
        points = some_points(spread, spread)
        maps = [tsne(points), pca(points)]
        half = latents.half_width([(None, maps[0]), (points, maps[1])], 1.0)
        assert half >= latents.LEAST_HALF_WIDTH
        figure = style.new_figure(6, 4)
        for axes, where in zip(figure.subplots(1, 2), maps, strict=True):
            latents.draw_plane(axes, None, where, latents.colourings(points)[-1], half)
            assert np.ptp(axes.get_xlim()) == pytest.approx(2 * half)
            assert any("in this dot" in text.get_text() for text in axes.texts) == a_dot
            assert any("all 3 means" in text.get_text() for text in axes.texts) == a_dot


def test_equal_codes_and_a_handful_of_codes_need_no_tsne():
    for points in (some_points(0.0, 0.0), some_points(1.0, 1.0, sentences=4)):
        there = tsne(points)
        assert np.isfinite(there.points).all()
        np.testing.assert_array_equal(there.points, pca(points).points)


@pytest.mark.parametrize("count", [1, 2, 9, 10, 13])
def test_fewer_sentences_than_a_perplexity_or_than_components_are_drawn(trained: dict[str, Run], count: int):
    for name in ("vae", "gm_vae", "vmf_mixture"):
        figure = figures.latent_space(trained[name], "train", limit=count)
        assert [len(each) for each in drawn(figure, "points")] == [count] * len(figure.axes)
        assert all(np.isfinite(each).all() for each in drawn(figure, "points") + drawn(figure, "components"))


def test_a_component_that_no_sentence_has_is_still_drawn():
    points = some_points(1.0, 1.0)
    unused = replace(points, assigned=np.zeros(60, int))
    axes = style.new_figure(4, 4).subplots()
    latents.draw_plane(axes, unused, pca(unused), latents.colourings(unused)[-1], 3.0)
    assert latents.colourings(unused)[-1].names == ["0"]
    (crosses,) = [each.get_offsets() for each in axes.collections if each.get_gid() == "components"]
    assert len(np.asarray(crosses)) == 3
    assert sorted({style.OTHER, style.COMPONENT_COLOURS[0]}) == sorted({patch_colour(patch) for patch in axes.patches})


def patch_colour(patch: Any) -> str:
    from matplotlib.colors import to_hex

    return to_hex(patch.get_edgecolor()).upper()


def test_component_means_are_embedded_together_with_the_codes():
    # Each mean stands in its group: embedded together it lands among its codes, in whatever map.
    points = some_points(1.0, 1.0)
    for there in (tsne(points), pca(points), raw(some_points(1.0, 1.0, dimensions=2))):
        assert there.components is not None and points.assigned is not None
        for k, mean in enumerate(there.components):
            centres = [there.points[points.assigned == j].mean(0) for j in range(3)]
            assert np.argmin([np.linalg.norm(mean - centre) for centre in centres]) == k


def test_pca_shows_components_that_lie_where_no_code_is():
    points = some_points(0.1, 20.0)
    there = pca(points)
    assert there.components is not None
    assert np.linalg.norm(there.components - there.components.mean(0), axis=1).max() > 10
    assert there.share <= 1


def test_pca_keeps_distances_in_units_of_the_prior():
    points = some_points(1.0, 1.0, dimensions=2)
    narrow = Points(**{**points.__dict__, "deviation": 0.5})
    there = pca(narrow)
    true = np.linalg.norm(points.means[0] - points.means[1]) / 0.5
    assert np.linalg.norm(there.points[0] - there.points[1]) == pytest.approx(true)
    assert there.share == pytest.approx(1.0)
    np.testing.assert_allclose(np.linalg.norm(there.origin), np.linalg.norm(points.means.mean(0)) / 0.5)


def test_one_dimension_is_drawn_on_a_line():
    there = pca(some_points(1.0, 1.0, dimensions=1))
    assert there.points.shape == (60, 2)
    assert not there.points[:, 1].any()


def test_all_that_is_drawn_of_the_prior_is_inside_the_panel():
    points = some_points(0.1, 3.0)
    where = pca(points)
    half = latents.half_width([(points, where)], 1.0)
    axes = style.new_figure(4, 4).subplots()
    latents.draw_plane(axes, points, where, latents.colourings(points)[-1], half)
    for patch in axes.patches:
        box = patch.get_path().transformed(patch.get_patch_transform()).get_extents()
        assert box.x0 >= axes.get_xlim()[0] and box.x1 <= axes.get_xlim()[1]
        assert box.y0 >= axes.get_ylim()[0] and box.y1 <= axes.get_ylim()[1]


# Colours.


def test_the_most_frequent_groups_have_colours_and_the_rest_is_other():
    names = [f"topic {i}" for i in range(12)]
    ids = np.repeat(np.arange(12), np.arange(1, 13))
    groups = style.Groups.of("topic", np.append(ids, -1), names, style.LABEL_COLOURS)
    assert groups.names == [*names[4:], "other", "none"]
    shown = Counter(groups.names[i] for i in groups.group)
    assert shown["topic 11"] == 12 and shown["other"] == 1 + 2 + 3 + 4 and shown["none"] == 1
    assert len(set(groups.colours)) == 10


def test_a_component_has_its_colour_whichever_are_in_use():
    groups = style.Groups.of("component", np.array([3, 3, 7]), list(map(str, range(10))), style.COMPONENT_COLOURS)
    assert groups.names == ["3", "7"]
    assert groups.colours == [style.COMPONENT_COLOURS[3], style.COMPONENT_COLOURS[7]]


@pytest.mark.parametrize("palette", [style.LABEL_COLOURS, style.COMPONENT_COLOURS])
@pytest.mark.parametrize("kind", ["normal", "protan", "deutan"])
def test_no_two_colours_of_a_palette_look_alike_to_colour_blind_readers(palette: tuple[str, ...], kind: str):
    # Matrices for linear RGB: Vienot, Brettel & Mollon 1999; distances in CIE Lab, where some 2 is just noticeable.
    see = {
        "normal": np.eye(3),
        "protan": np.array([[0.1124, 0.8876, 0.0], [0.1124, 0.8876, 0.0], [0.0040, -0.0040, 1.0]]),
        "deutan": np.array([[0.2928, 0.7072, 0.0], [0.2928, 0.7072, 0.0], [-0.0223, 0.0223, 1.0]]),
    }[kind]
    seen = [lab(see @ linear(to_rgb(colour))) for colour in (*palette, style.OTHER)]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 9


def linear(rgb: Any) -> np.ndarray:
    value = np.asarray(rgb)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.clip(to_xyz @ rgb, 0, None) / to_xyz.sum(1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Several runs.


def test_runs_are_compared_on_one_scale_under_their_verdicts(trained: dict[str, Run]):
    runs = [trained[name] for name in ("gm_vae", "plane", "lstm_lm")]
    figure = figures.compare(runs)
    assert len(drawn(figure, "points")) == len(drawn(figure, "components")) == 2  # a language model has no code
    widths = {round(float(np.ptp(axes.get_xlim())), 6) for axes in figure.axes}
    assert len(widths) == 1
    assert all(run.verdict.state in title for run, title in zip(runs, titles(figure), strict=False))
    assert figures.compare({"a name of mine": runs[0]}).axes[0].get_title(loc="left").startswith("a name of mine")
    assert "do the components stay apart?" in figure.get_suptitle() and "on valid: " in figure.texts[-1].get_text()
    assert "of the variable" not in figure.texts[-1].get_text()
    several = figures.compare([trained["several"]]).texts[-1].get_text()
    assert "posterior means of the variable whose c tells most, and" in several
    plain = figures.compare([trained["vae"]])
    assert plain.get_suptitle() == "Do the codes fill the prior?" and "crosses" not in plain.texts[-1].get_text()
    with pytest.raises(ValueError, match="none of the runs has a code"):
        figures.compare([trained["lstm_lm"]])


def test_the_table_has_a_line_a_run_and_the_chance_beside_the_homogeneity(
    trained: dict[str, Run], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pyro_textvae.figures.comparison.entropy_of", lambda _: 1.5)
    runs = [trained[name] for name in ("gm_vae", "vae", "lstm_lm")]
    monkeypatch.setattr(
        Run,
        "metrics",
        property(
            lambda run: {
                "valid": {"kl_nats_per_sentence": 0.25, "latent_dimensions": 0.0}
                | ({"homogeneity_label": 0.5, "homogeneity_label_chance": 0.125} if run.name == "gm_vae" else {})
            }
        ),
    )
    lines = figures.compare_table(runs).split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["run", "verdict", "KL", "true entropy", "homogeneity label (chance)"]
    assert cells[2] == ["gm_vae, components=3", "no code", "0.25", "1.50", "0.50 (0.12)"]
    assert cells[3] == ["vae", "no code", "0.25", "1.50", "-"]
    assert {len(each) for each in cells} == {5}


def test_what_else_compared_runs_differ_in_stands_below_the_table(tmp_path: Path, trained: dict[str, Run]):
    same = a_run(tmp_path / "same", "vae", (TEXTS, LABELS), latent=4)
    assert "differ" not in figures.compare_table([trained["vae"], same])
    faster = a_run(tmp_path / "faster", "vae", TEXTS[:20], latent=4, learning_rate=0.25, batch_size=16, seed=7)
    told = figures.compare_table([same, faster]).split("\n\n")[1]
    assert told == (
        "They differ in batch_size 32, 16; learning_rate None, 0.25; seed 0, 7 (in the order of the rows).\n"
        "Their texts or vocabularies differ, so that their nats a sentence do not compare."
    )


def test_two_runs_of_one_recipe_are_told_apart_by_their_directories(tmp_path: Path, trained: dict[str, Run]):
    again = a_run(tmp_path / "again", "vae", TEXTS, latent=3)
    assert set(names_of([trained["vae"], again])) == {"vae (vae)", "vae (again)"}
    elsewhere = a_run(tmp_path / "another" / "again", "vae", TEXTS, latent=3)
    paths = [tmp_path / "again", tmp_path / "another" / "again"]
    assert set(names_of([again, elsewhere])) == {f"vae ({path})" for path in paths}
    with pytest.raises(ValueError, match=r"the run .*again came 2 times: give each once"):
        names_of([again, Run(tmp_path / "another" / ".." / "again")])


# The report.


def test_the_report_says_the_verdict_first_and_how_to_reproduce_last(trained: dict[str, Run]):
    run = trained["gm_vae"]
    text = report.markdown(run)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[0].endswith(run.verdict.state)
    assert headings[-1] == "## How to reproduce"
    assert text.index(run.verdict.reasons[0]) < text.index("## What was trained")
    assert run.verdict.advice in text
    assert "`kl_nats_per_sentence`" in text and "components=3" in text
    assert str(run.directory) not in text  # what names a folder of one machine helps nobody else


def test_every_component_has_its_share_words_and_samples_in_the_report(trained: dict[str, Run]):
    for name, tables in (("gm_vae", 1), ("several", 2)):
        text = report.markdown(trained[name])
        rows = [line for line in text.splitlines() if line.startswith(("| 0 |", "| 1 |", "| 2 |"))]
        assert len(rows) == 3 * tables
        assert all(row.count("<br>") == 2 for row in rows)
        assert text.count("most frequent label") == tables
        shares = [float(row.split("|")[2].strip().rstrip("%")) for row in rows]
        assert sum(shares) == pytest.approx(100 * tables, abs=0.5)


def test_the_call_in_the_report_makes_the_same_run(tmp_path: Path):
    run = pyro_textvae.train(
        "dem_vae", "toy", output=tmp_path / "a", epochs=1, hidden=8, embedding=8, latent=3, components=3,
        batch_size=256, progress=False, finish=False, seed=3,
    )  # fmt: skip
    space: dict[str, Any] = {"pyro_textvae": pyro_textvae}
    elsewhere = f"    output={str(tmp_path / 'b')!r}, progress=False, finish=False)"
    exec(report.call(run).removesuffix(")") + elsewhere, space)
    assert space["run"].recipe == run.recipe
    assert space["run"].history[0]["valid_loss"] == run.history[0]["valid_loss"]


def test_the_command_in_the_report_gives_the_same_options(tmp_path: Path, trained: dict[str, Run]):
    import json
    import shlex

    from pyro_textvae.cli import options

    run = trained["gm_vae"]
    about = style.corpus_of(run)
    (tmp_path / "corpus.json").write_text(json.dumps(about | {"data": "my texts.txt"}))
    (tmp_path / "recipe.json").write_text(json.dumps(run.recipe))
    words = shlex.split(report.command(Run(tmp_path)).replace("\\\n", " "))
    assert words[:5] == ["pyro-textvae", "train", "gm_vae", "--data", "my texts.txt"]
    settings = [after for before, after in itertools.pairwise(words) if before == "--set"]
    given = options.parse(settings, "gm_vae")
    assert given["components"] == 3 and given["decay"] == "none" and given["patience"] is None
    with pytest.raises(ValueError, match="texts in memory"):
        report.command(run)


def test_words_are_over_represented_only_where_they_surely_are():
    inside, outside = Counter({1: 50, 2: 50, 3: 1}), Counter({1: 500, 4: 450, 3: 9})
    assert report.over_represented(inside, outside, 3) == [2]
    assert report.over_represented(Counter({1: 30, 2: 70}), Counter({1: 300, 2: 700}), 5) == []
    assert report.over_represented(Counter(), outside, 3) == []


def test_words_that_markdown_would_swallow_are_escaped():
    assert report._escaped("a|b <unk> *c* `d` _e_") == r"a\|b &lt;unk> \*c\* \`d\` \_e\_"


# What is left behind.


def test_no_pyplot_state_is_touched_and_nothing_is_imported_before_it_is_needed(trained: dict[str, Run]):
    code = (
        "import sys, pyro_textvae, pyro_textvae.figures as f\n"
        "assert not {'matplotlib', 'sklearn'} & set(sys.modules)\n"
        f"f.save_all(pyro_textvae.load({str(trained['lstm_lm'].directory)!r}))\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    root = Path(__file__).parents[2]
    paths = f"import sys; sys.path[:0] = {[str(root), str(root / 'distributions')]!r}\n"
    child = subprocess.run([sys.executable, "-c", paths + code], capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stderr


def test_pictures_leave_the_model_and_the_random_numbers_as_they_were(trained: dict[str, Run]):
    import torch

    run = trained["several"]
    run.vae.train()
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # pyright: ignore
    figures.latent_space(run)
    report.markdown(run)
    assert run.vae.training
    run.vae.eval()
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(numbers, np.random.get_state()[1])  # pyright: ignore


def test_a_notebook_shows_the_figure_itself(trained: dict[str, Run]):
    figure: Any = figures.training_curves(trained["lstm_lm"])
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["gm_vae", "several"])
def test_a_components_words_are_words_of_the_corpus(trained: dict[str, Run], kind: str):
    run = trained[kind]
    rows = [line for line in report.markdown(run).splitlines() if "<br>" in line]
    cells = [row.split(" | ")[-2] for row in rows]
    assert len(cells) >= run.metrics["valid"]["components"] if run.metrics else cells
    assert all(word in run.vocabulary for cell in cells if cell != "none stand out" for word in cell.split(", "))


def test_texts_that_are_gone_leave_the_latent_pictures_out_and_say_so(trained: dict[str, Run]):
    run = Run(trained["gm_vae"].directory)
    with pytest.warns(UserWarning, match="does not keep its texts"):
        written = figures.save_all(run)
    assert [path.stem for path in written] == ["training_curves", "dispersion"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "## Components" not in report.markdown(run)


def test_a_map_of_two_dimensions_is_left_as_it_is():
    points = some_points(1.0, 1.0, dimensions=2)
    there = raw(points)
    assert isinstance(there, Map)
    np.testing.assert_array_equal(there.points, points.means)
