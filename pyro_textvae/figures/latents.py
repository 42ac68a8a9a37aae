"""The latent space in pictures that cannot flatter: a collapsed run looks collapsed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_textvae.figures.points import Map, Points, pca, raw, read, read_all, tsne
from pyro_textvae.figures.style import (
    BAD,
    COMPONENT_COLOURS,
    FAINT,
    INK,
    LABEL_COLOURS,
    OTHER,
    Groups,
    header,
    new_figure,
    plain,
    state_of,
    told,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pyro_textvae.run import Run

TSNE = "t-SNE"

LEAST_HALF_WIDTH = 2.5
"""Prior standard deviations from the centre of a panel to its edge, at least: 98.8 % of a standard normal are within.
Without it a collapsed code would be magnified until it filled the panel."""


def latent_space(
    run: "Run", split: str = "valid", limit: int = 2000, *, column: str | None = None, variable: int | None = None
) -> "Figure":
    """Posterior means of at most `limit` sentences, by label and by assigned component, with the components' means.

    In more than two dimensions: t-SNE by label, the same t-SNE by component, and a linear view (PCA). t-SNE shows who
    is whose neighbour, and nothing else: left to itself it draws clusters also where every sentence has the same code.
    So it is scaled to the real spread of the codes, all panels share one scale in standard deviations of the prior and
    reach at least 2.5 of them, and beside it stands PCA, whose distances are real. In two dimensions nothing has to be
    embedded: the axes are z1 and z2. Components are crosses, embedded together with the points; ellipses are one
    standard deviation of a component, dashed rings one and two of a prior without components.

    With several discrete variables it shows the one with the highest I(c;x), or `variable`. Points are coloured by the
    first label column, or `column`; without labels and components, by their length. Raises ValueError for a model
    without a code.
    """
    points = read(run, split, limit, column=column, variable=variable)
    found = colourings(points)
    if points.means.shape[1] == 2:
        panels = [(raw(points), each, "") for each in found]
        unit = points.deviation
    else:
        near, linear = tsne(points), pca(points)
        kind = f"PCA, {linear.share:.0%} of the variance"
        panels = [*((near, each, TSNE) for each in found), (linear, found[-1], kind)]
        unit = 1.0
    half = half_width([(None if kind == TSNE else points, where) for where, _, kind in panels], unit)
    figure = new_figure(max(8.8, 4.4 * len(panels)), 5.7, header=0.95)  # room for the subtitle
    shown: list[Any] = []
    for axes, (where, by, kind) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        title = f"by {by.title}" if isinstance(by, Groups) else "by length in words"
        draw_plane(axes, None if kind == TSNE else points, where, by, half, unit)
        if kind == TSNE:
            axes.set_title(f"{title} ({kind})", fontsize=10, color=INK, loc="left")
            _scale_bar(axes)
        else:
            axes.set_title(f"{title} ({kind})" if kind else title, fontsize=10, color=INK, loc="left")
            axes.set_xlabel("z1" if not kind else "how far apart, in prior standard deviations", fontsize=9)
            axes.set_ylabel("z2" if not kind else "", fontsize=9)
        if all(by is not other for other in shown):
            _legend(axes, by)
            shown.append(by)
    header(figure, told(run), describe(run, points), state_of(run))
    return figure


def variables(run: "Run", split: str = "valid", limit: int = 1000, *, most: int = 12) -> "Figure":
    """The latent space of each discrete variable, in PCA on one scale: which of them tell something, and apart.

    At most `most` of them, those with the highest I(c;x) first. Raises ValueError for a model with fewer than two.
    """
    found = read_all(run, split, limit, most=most)
    if found[0].variables < 2:
        raise ValueError(f"this {run.name!r} has no second discrete variable: draw its latent_space")
    maps = [pca(each) for each in found]
    half = half_width(list(zip(found, maps, strict=True)), 1.0)
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure = new_figure(max(8.0, 3.3 * columns), 3.4 * rows + 0.95, header=0.95)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid[len(found) :]:
        axes.set_axis_off()
    for axes, points, where in zip(grid, found, maps, strict=False):
        draw_plane(axes, points, where, colourings(points)[-1], half)
        axes.set_title(f"variable {points.variable}: I(x;c) {points.information:.2f} nats", fontsize=9, loc="left")
    most_told = np.log(len(found[0].components)) if found[0].components is not None else 0.0
    shown = f"{len(found)} of {found[0].variables}" if len(found) < found[0].variables else f"all {len(found)}"
    header(
        figure,
        told(run),
        f"{shown} discrete variables by what each tells of the sentence (at most {most_told:.2f} nats), coloured by\n"
        "component; crosses are the components' means, ellipses one standard deviation; units are the prior's",
        state_of(run),
    )
    return figure


def draw_plane(
    axes: "Axes", points: Points | None, where: Map, by: Any, half: float, unit: float = 1.0, *, small: bool = False
) -> None:
    """Points, component means, and, where `points` are given, what the prior looks like on this plane.

    A small panel has smaller marks, and no words in it.
    """
    _scatter(axes, where, by, small)
    _components(axes, where, half, small)
    plain(axes)
    x, y = _middle(points, where, unit)
    axes.set_xlim(x - half, x + half)
    axes.set_ylim(y - half, y + half)
    axes.set_aspect("equal")
    if not small:
        _say_if_one_dot(axes, where, half)
    if points is not None:
        _prior(axes, points, where, by, unit)


def describe(run: "Run", points: Points) -> str:
    """The numbers that the picture stands on, in two lines."""
    spread = points.spread
    prior = points.deviation**2 * points.means.shape[1]
    facts = [f"variance of posterior means {_number(spread)} (of the prior {_number(prior)})"]
    metrics = run.metrics.get("valid") or (next(iter(run.metrics.values())) if run.metrics else {})
    if "component_pairwise_kl_in_use_nats" in metrics:
        facts.append(f"components in use {metrics['component_pairwise_kl_in_use_nats']:.2f} nats apart")
    if "information_c_nats" in metrics:
        facts.append(f"I(x;c) {metrics['information_c_nats']:.2f} nats")
    if "kl_nats_per_sentence" in metrics:
        facts.append(f"KL {metrics['kl_nats_per_sentence']:.2f} nats a sentence")
    if points.means.shape[1] > 2:
        second = "all panels on one scale: "
        second += "t-SNE has none of its own, so it is drawn as wide as the codes really spread"
    else:
        second = "the two latent dimensions as they are"
    count = f"{len(points.means):,}" + (f" of {points.sentences:,}" if len(points.means) < points.sentences else "")
    second = f"{count} sentences; {second}"
    if points.variables > 1:
        second += f"; discrete variable {points.variable} of {points.variables}, telling {points.information:.2f} nats"
    return "; ".join(facts) + "\n" + second


def _number(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def colourings(points: Points) -> list[Any]:
    """By label, then by component; where there is neither, lengths (N,)."""
    found: list[Any] = []
    if points.labels is not None and (points.labels >= 0).any():
        found.append(Groups.of(points.column, points.labels, points.label_names, LABEL_COLOURS))
    if points.assigned is not None and points.components is not None:
        numbers = [str(k) for k in range(len(points.components))]
        found.append(Groups.of("component", points.assigned, numbers, COMPONENT_COLOURS))
    return found or [points.lengths]


def _scatter(axes: "Axes", where: Map, by: Any, small: bool = False) -> None:
    # In random order: of points drawn group after group, the last group hides the others.
    order = np.random.default_rng(0).permutation(len(where.points))
    x, y = where.points[order].T
    size = 5 if small else 16 if len(order) <= 500 else 9
    if isinstance(by, Groups):
        colours = np.array(by.colours)[by.group[order]]
        axes.scatter(x, y, s=size, c=list(colours), alpha=0.75, linewidths=0, gid="points")
    else:
        drawn = axes.scatter(x, y, s=size, c=by[order], cmap="viridis", alpha=0.75, linewidths=0, gid="points")
        axes.figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.6, aspect=30).set_label("words", fontsize=9)


def _components(axes: "Axes", where: Map, half: float, small: bool = False) -> None:
    """Crosses with their numbers; where several lie on one spot, one label names them all."""
    if where.components is None:
        return
    x, y = where.components.T
    look: dict[str, Any] = {"marker": "X", "c": INK, "edgecolors": "white", "zorder": 5, "gid": "components"}
    axes.scatter(x, y, s=30 if small else 60, linewidths=0.6 if small else 1.0, **look)
    if small:
        return
    name_components(axes, where.components, 0.11 * half)


def name_components(axes: "Axes", places: np.ndarray, near: float) -> None:
    """Write the number of each component beside its place, (K, 2), NaN for one that is not in this panel.

    Those nearer to each other than `near` share a label.
    """
    from matplotlib.patheffects import withStroke

    for members in _together(places, near):
        every = len(members) == len(places)
        text = f"all {len(members)} means" if every else ", ".join(map(str, members[:3]))
        text += ", ..." if len(members) > 3 and not every else ""
        at = places[members].mean(0)
        axes.annotate(
            text,
            (float(at[0]), float(at[1])),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=9,
            fontweight="bold",
            color=INK,
            zorder=6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _together(places: np.ndarray, near: float) -> list[list[int]]:
    """Indices of places that are there, grouped greedily by being nearer than `near` to the first of a group."""
    groups: list[list[int]] = []
    for i in np.flatnonzero(np.isfinite(places).all(-1)).tolist():
        place = places[i]
        home = next((group for group in groups if np.linalg.norm(places[group[0]] - place) < near), None)
        if home is None:
            groups.append([i])
        else:
            home.append(i)
    return groups


def _prior(axes: "Axes", points: Points, where: Map, by: Any, unit: float) -> None:
    """What the prior looks like on this plane: ellipses of its components, or rings, or the outline of the sphere."""
    from matplotlib.patches import Circle, Ellipse

    dashed: dict[str, Any] = {
        "fill": False,
        "edgecolor": FAINT,
        "linewidth": 0.9,
        "linestyle": (0, (4, 3)),
        "zorder": 0,
    }
    if points.on_sphere:
        radius = unit / points.deviation
        axes.add_patch(Circle(where.origin, radius, **dashed))
    elif where.shapes is not None and where.components is not None:
        for k, (at, shape) in enumerate(zip(where.components, where.shapes, strict=True)):
            values, vectors = np.linalg.eigh(shape)
            width, height = 2 * np.sqrt(values.clip(0))
            angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
            colour = _colour_of(by, k)
            axes.add_patch(
                Ellipse(tuple(at), width, height, angle=angle, fill=False, edgecolor=colour, linewidth=1.1, zorder=0)
            )
    else:
        for deviations in (1, 2):
            axes.add_patch(Circle(where.origin, deviations * unit, **dashed))


def _colour_of(by: Any, k: int) -> str:
    if isinstance(by, Groups) and by.title == "component":
        return by.colours[by.names.index(str(k))] if str(k) in by.names else OTHER
    return OTHER


def half_width(drawn: Sequence[tuple[Points | None, Map]], unit: float) -> float:
    """Half the side of all panels: all that is drawn is inside, and 2.5 standard deviations of the prior as well."""
    reach = [np.ptp(_extent(points, where, unit), axis=0).max() / 2 for points, where in drawn]
    return max(LEAST_HALF_WIDTH * unit, 1.06 * max(reach))


def _extent(points: Points | None, where: Map, unit: float) -> np.ndarray:
    """Places that have to be inside a panel, (n, 2): codes, means, and, given points, what is drawn of the prior."""
    places = [where.points]
    if where.components is not None:
        places.append(where.components)
    if points is not None and where.components is not None and where.shapes is not None:
        half = np.sqrt(where.shapes[:, range(2), range(2)])
        places += [where.components - half, where.components + half]
    elif points is not None:
        radius = unit / points.deviation if points.on_sphere else 2 * unit
        places.append(np.array(where.origin) + np.array([[-radius, -radius], [radius, radius]]))
    return np.concatenate(places)


def _middle(points: Points | None, where: Map, unit: float) -> np.ndarray:
    every = _extent(points, where, unit)
    return (every.min(0) + every.max(0)) / 2


DOT = 0.08
"""Of half a panel's side: nine in ten codes nearer than this to their median look like one dot."""


def _say_if_one_dot(axes: "Axes", where: Map, half: float) -> None:
    from matplotlib.patheffects import withStroke

    x, y = np.median(where.points, 0)
    if np.quantile(np.linalg.norm(where.points - (x, y), axis=1), 0.9) > DOT * half:
        return
    low, high = axes.get_ylim()
    axes.annotate(
        f"all {len(where.points):,} sentences are in this dot",
        (float(x), float(y)),
        xytext=(0.5, 0.92 if y < low + 0.7 * (high - low) else 0.08),
        textcoords="axes fraction",
        ha="center",
        va="center",
        fontsize=10,
        color=BAD,
        arrowprops={"arrowstyle": "->", "color": BAD, "shrinkB": 8},
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=7,
    )


def _scale_bar(axes: "Axes") -> None:
    """t-SNE has no axes; what it is drawn to scale with is one bar."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color("#DDDDDD")
    left, right = axes.get_xlim()
    start = (right + left - 1) / 2
    below: Any = axes.get_xaxis_transform()
    axes.plot([start, start + 1], [-0.04, -0.04], transform=below, color=INK, linewidth=2.5, clip_on=False, gid="scale")
    axes.set_xlabel("who is near whom; the bar is 1 prior standard deviation", fontsize=9, labelpad=16)


def handles(by: Groups) -> list[Any]:
    """What a legend of the groups is made of."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], marker="o", linestyle="", markersize=6, color=colour, label=name)
        for name, colour in zip(by.names, by.colours, strict=True)
    ]


def _legend(axes: "Axes", by: Any) -> None:
    if not isinstance(by, Groups):
        return
    axes.legend(
        handles=handles(by),
        title=by.title,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        ncols=5 if max(map(len, by.names)) <= 3 else 3,
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        columnspacing=1.0,
        handletextpad=0.1,
    )
