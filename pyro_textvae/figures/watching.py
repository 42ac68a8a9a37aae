"""The latent space epoch after epoch, so that a collapse can be watched."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pyro_textvae.errors import did_you_mean
from pyro_textvae.figures import latents
from pyro_textvae.figures.comparison import facts, names_of
from pyro_textvae.figures.points import Points, a_part, pca, watched
from pyro_textvae.figures.style import INK, Groups, colour_of_state, header, new_figure, state_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyro_textvae.run import Run

PANEL = 2.5
"""Inches: the side of one small panel."""

ACROSS = 6
"""Panels in a row."""


def through_training(
    runs: "Run | Sequence[Run] | Mapping[str, Run]",
    epochs: int | Sequence[int] = ACROSS,
    *,
    by: str | None = None,
) -> "Figure":
    """The latent space of a run at several epochs, or of several runs, a row each: codes and components, on one scale.

    The runs need to have been trained with `watch`: the sentences are those that it kept, the same at each epoch.
    `epochs` says how many are shown, the early ones closer together, as components merge early; or which. Epoch 0 is
    before training. All panels of a run show one plane, the one in which its epochs together vary most (PCA), so that
    nothing turns between them; units are the prior's standard deviation at that epoch. With several discrete variables
    it is the one that tells most at the end.

    Points are coloured by the first label column or, where there is none, by their likeliest component; or as `by`
    says, "component" or the name of a label column (which needs the run's texts). Raises ValueError for a run that kept
    nothing, and for an epoch that was not kept.
    """
    named = names_of([runs] if hasattr(runs, "directory") else runs)  # pyright: ignore[reportArgumentType]
    shown = {name: _chosen(run, epochs) for name, run in named.items()}
    if by not in (None, "component"):
        shown = {name: _labelled(named[name], each, by) for name, each in shown.items()}
    maps = {
        name: {epoch: pca(points, list(each.values())) for epoch, points in each.items()}
        for name, each in shown.items()
    }
    every = [(shown[name][epoch], where) for name, each in maps.items() for epoch, where in each.items()]
    half = latents.half_width(every, 1.0)
    columns = min(ACROSS, max(map(len, shown.values())))
    deep = {name: -(-len(each) // columns) for name, each in shown.items()}  # rows of panels
    figure = new_figure(max(PANEL * columns + 1.3, 7.5), (PANEL + 0.75) * sum(deep.values()) + 0.75)
    grid = figure.subplots(sum(deep.values()), columns, squeeze=False)
    legends: dict[tuple[str, ...], Groups] = {}
    row = 0
    for name, run in named.items():
        panels = grid[row : row + deep[name]].flatten()
        row += deep[name]
        rows = {int(each["epoch"]): _valid(each) for each in run.history}
        for axes in panels[len(shown[name]) :]:
            axes.set_axis_off()
        for axes, (epoch, points) in zip(panels, shown[name].items(), strict=False):
            colours = latents.colourings(points)[-1 if by == "component" else 0]
            if isinstance(colours, Groups):
                legends[tuple(colours.names)] = colours
            latents.draw_plane(axes, points, maps[name][epoch], colours, half, small=True)
            axes.set_title(f"epoch {epoch}" if epoch else "before training", fontsize=9, color=INK, loc="left")
            axes.set_xlabel("\n".join(_lines(rows.get(epoch, {}))), fontsize=8, color=INK)
        state = state_of(run)
        panels[0].set_ylabel(
            "\n".join([*textwrap.wrap(name, 26), state]), fontsize=9.5, fontweight="bold", color=colour_of_state(state)
        )
    if len({by.title for by in legends.values()}) == 1:  # else no colour speaks for all panels
        by_all = _merged(list(legends.values()))
        figure.legend(
            handles=latents.handles(by_all), title=by_all.title, loc="outside right center", frameon=False, fontsize=9
        )
    header(
        figure,
        "Do the components stay apart as training goes on?",
        "the same validation sentences at each epoch, and the components' means as crosses, in one plane of a run "
        "(PCA); units are the prior's standard deviation",
    )
    return figure


def _chosen(run: "Run", epochs: int | Sequence[int]) -> dict[int, Points]:
    """The points of the epochs to be shown, of the discrete variable that tells most at the end."""
    kept = watched(run)
    if isinstance(epochs, int):
        if epochs < 1:
            raise ValueError(f"epochs={epochs} came, but a picture shows at least 1")
        numbers = np.array(list(kept))
        steps = np.linspace(0, 1, epochs) ** 1.5 if epochs > 1 else np.ones(1)
        chosen = sorted({int(numbers[round(step * (len(numbers) - 1))]) for step in steps})
    else:
        chosen = list(epochs)
        missing = [epoch for epoch in chosen if epoch not in kept]
        if missing or not chosen:
            raise ValueError(
                f"epochs {missing} were not kept by {run.directory}: there are {', '.join(map(str, kept))}"
            )
    last = kept[max(kept)]
    variable = max(range(len(last)), key=lambda m: last[m].information)
    return {epoch: kept[epoch][variable] for epoch in chosen}


def _labelled(run: "Run", shown: dict[int, Points], column: str) -> dict[int, Points]:
    """The same points with the labels of another column."""
    names = run.corpus.label_names
    if column not in names:
        near = did_you_mean(column, [*names, "component"])
        raise ValueError(
            f"by={column!r} came{near}, but points are coloured by 'component' or by a label column: "
            f"{', '.join(names) or 'the corpus has none'}"
        )
    part = a_part(run.corpus.split("valid"), len(next(iter(shown.values())).means))
    told = {"labels": np.asarray(part.labels[column]), "column": column, "label_names": list(names[column])}
    return {epoch: replace(points, **told) for epoch, points in shown.items()}


def _merged(found: Sequence[Groups]) -> Groups:
    """The groups of all panels: a component may be in use at some epochs alone. Numbers come in their order."""
    colours = {name: colour for by in found for name, colour in zip(by.names, by.colours, strict=True)}
    names = sorted(colours, key=int) if all(map(str.isdecimal, colours)) else list(colours)
    return Groups(found[0].title, np.zeros(0, int), names, [colours[name] for name in names])


def _valid(row: dict[str, float]) -> dict[str, float]:
    return {name.removeprefix("valid_"): value for name, value in row.items() if name.startswith("valid_")}


def _lines(metrics: dict[str, float]) -> list[str]:
    """The facts in two lines, the last of them by itself; as many lines where there are none, so that panels align."""
    known = facts(metrics)
    return ["   ".join(known[:2]), *(known[2:] or [""])]
