"""A sweep: what one option of a method does, over runs that differ in it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_textvae.errors import did_you_mean
from pyro_textvae.figures.curves import HEIGHT, WIDTH
from pyro_textvae.figures.style import BAD, INK, LABEL_COLOURS, corpus_of, entropy_of, header, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyro_textvae.run import Run

PANELS: dict[str, tuple[str, str]] = {
    "dispersion_nats_per_sentence": ("Dispersion of the components", "nats a sentence"),
    "information_c_nats": ("I(x;c): what the component tells", "nats"),
    "nll_elbo_nats_per_sentence": ("NLL (ELBO): lower is better", "nats a sentence"),
}
MARKERS = ("o", "D", "s", "^", "v", "P", "X", "*")


def sweep(runs: "Sequence[Run]", option: str = "dispersion", split: str = "valid") -> "Figure":
    """Dispersion, mutual information and NLL against one numeric option of the recipe, such as beta, `dispersion`.

    Runs that have all other settings alike make one line, of their means over seeds; each run is a dot. Lines are
    named by the settings in which they differ. Where the entropy of the corpus is known, it is the floor of the NLL.

    Raises ValueError for a run that has not been evaluated on `split`, has no such option or has no components, for
    runs on different corpora, and where the option has one value alone.
    """
    if not runs:
        raise ValueError("no run came, but a sweep needs at least two")
    for run in runs:
        _check(run, option, split)
    if len({corpus_of(run)["sha256"] for run in runs}) > 1:
        raise ValueError("the runs were trained on different corpora: their NLLs do not compare")
    if len({run.recipe["options"][option] for run in runs}) < 2:
        value = runs[0].recipe["options"][option]
        raise ValueError(f"{option!r} is {value} in all runs, but a sweep needs two values of it or more")
    lines = _lines(runs, option)
    figure = new_figure(WIDTH * len(PANELS), HEIGHT)
    for axes, (metric, (title, unit)) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        plain(axes)
        for number, (name, members) in enumerate(lines.items()):
            colour, marker = LABEL_COLOURS[number % len(LABEL_COLOURS)], MARKERS[number % len(MARKERS)]
            values: dict[float, list[float]] = {}
            for run in members:
                values.setdefault(run.recipe["options"][option], []).append(run.metric(metric, split))
            x = sorted(values)
            axes.plot(x, [np.mean(values[each]) for each in x], color=colour, linewidth=2.0, label=name, zorder=2)
            dots = [(each, value) for each in x for value in values[each]]
            axes.scatter(
                *zip(*dots, strict=True), color=colour, marker=marker, s=24, zorder=3, gid="runs", edgecolors="white",
                linewidths=0.5,
            )  # fmt: skip
        if metric.startswith("nll") and (entropy := entropy_of(runs[0])) is not None:
            axes.axhline(entropy, color=BAD, linewidth=1.0, linestyle=(0, (6, 3)), zorder=1)
            axes.annotate(
                f"true entropy {entropy:.2f}", (1, entropy), xycoords=axes.get_yaxis_transform(), xytext=(0, 3),
                textcoords="offset points", ha="right", fontsize=8, color=BAD,
            )  # fmt: skip
        else:
            axes.set_ylim(0, max(axes.get_ylim()[1], 0.1))
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.set_xlabel(option, fontsize=9)
        axes.set_ylabel(unit, fontsize=9)
    if len(lines) > 1:
        figure.axes[0].legend(frameon=False, fontsize=8, handlelength=1.8)
    recipes = ", ".join(dict.fromkeys(run.name for run in runs))
    seeds = len({run.recipe["seed"] for run in runs})
    header(
        figure,
        f"What {option!r} does: {recipes} on {corpus_of(runs[0])['name']}",
        f"{len(runs)} runs, each a dot, on {split}" + (f"; lines are means over {seeds} seeds" if seeds > 1 else ""),
    )
    return figure


def _check(run: "Run", option: str, split: str) -> None:
    options = run.recipe["options"]
    if option not in options:
        raise ValueError(
            f"{run.directory}, a {run.name!r}, has no option {option!r}{did_you_mean(option, options)}; it has "
            f"{', '.join(options) or 'none'}"
        )
    value = options[option]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{option!r} is {value!r} in {run.directory}, but a sweep is over numbers")
    missing = [metric for metric in PANELS if metric not in run.metrics.get(split, {})]
    if split in run.metrics and missing:
        raise ValueError(f"{run.directory}, a {run.name!r}, has no {missing[0]}: a sweep is over runs of a mixture")
    for metric in PANELS:
        run.metric(metric, split)


def _lines(runs: "Sequence[Run]", option: str) -> "dict[str, list[Run]]":
    """Runs that differ in nothing but the option and the seed, by a name that says in what lines differ."""
    settings: list[dict[str, Any]] = []
    for run in runs:
        other = {name: value for name, value in run.recipe["options"].items() if name != option}
        settings.append({"recipe": run.name} | other | run.recipe["size"] | run.recipe["training"])
    names = list(dict.fromkeys(name for each in settings for name in each))
    differing = [name for name in names if len({repr(each.get(name)) for each in settings}) > 1]
    lines: dict[str, list[Run]] = {}
    for run, each in zip(runs, settings, strict=True):
        own = [str(each[name]) if name == "recipe" else f"{name}={each[name]}" for name in differing if name in each]
        lines.setdefault(", ".join(own) or run.name, []).append(run)
    return lines
