"""Methods side by side: what each pays in NLL, and what its code tells, to the decoder and to a classifier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_textvae.figures.style import FAINT, INK, LABEL_COLOURS, header, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "D", "s", "^")
LINES = ("--", ":", "-.", (0, (8, 2)))
GAP = 9.0
"""Pixels between a point and its name, at 100 dots an inch."""


@dataclass(frozen=True)
class Method:
    """A point: nats a sentence, and what that is seen against, each with its standard deviation (None of one seed).

    told is None for a language model, of whose code nothing can be told; it becomes a line.
    """

    name: str
    nll: tuple[float, float | None]
    told: tuple[float, float | None] | None
    group: str = ""


def nll_against(
    methods: Sequence[Method], against: tuple[str, str], about: str = "", *, logarithmic: bool = False
) -> "Figure":
    """NLL over what `against` names (the axis, and the title), one named point a method; bars are standard deviations.

    Groups have a colour and a marker each, of which a legend tells where there are several. The axis is `logarithmic`
    where it is asked to be and what it shows spans a decade. Raises ValueError where there is no method.
    """
    if not methods:
        raise ValueError("no method came, but a picture needs at least one")
    points = [each for each in methods if each.told is not None]
    axis, title = against
    figure = new_figure(9.2, 6.6)
    axes = figure.subplots()
    plain(axes)
    groups = list(dict.fromkeys(each.group for each in points))
    for each in points:
        assert each.told is not None
        number = groups.index(each.group) % len(MARKERS)
        (x, x_bar), (y, y_bar) = each.told, each.nll
        point = axes.errorbar(
            [x],
            [y],
            xerr=None if x_bar is None else [x_bar],
            yerr=None if y_bar is None else [y_bar],
            fmt=MARKERS[number],
            markersize=7,
            color=LABEL_COLOURS[number],
            markeredgecolor="white",
            markeredgewidth=0.6,
            elinewidth=1.1,
            capsize=2.5,
            zorder=5,
            label=each.group if points.index(each) == [p.group for p in points].index(each.group) else None,
        )
        for bar in (*point.lines[1], *point.lines[2]):
            bar.set_zorder(2)  # under the names, as the marker is over them
    for style, each in zip(cycle(LINES), [each for each in methods if each.told is None], strict=False):
        axes.axhline(each.nll[0], color=INK, linewidth=1.0, linestyle=style, label=f"{each.name}, without a code")
    told = [each.told[0] for each in points if each.told is not None]
    if logarithmic and told and max(told) > 10 * min(told):
        axes.set_xscale("log")
    axes.margins(x=0.08, y=0.08)
    axes.set_xlabel(axis, fontsize=9.5, color=INK)
    axes.set_ylabel("NLL (importance-weighted), nats a sentence", fontsize=9.5, color=INK)
    axes.grid(color="#EEEEEE", linewidth=0.7)
    axes.set_axisbelow(True)
    if len(axes.get_legend_handles_labels()[1]) > bool(points):  # one group of points needs no name
        axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="#DDDDDD", fontsize=8.5)
    header(figure, title, about + "; bars: standard deviation over seeds")
    _name(figure, axes, points)
    return figure


Points = Sequence[tuple[int, float, float | None]]
"""(labels, accuracy in percent, its standard deviation)."""


def accuracy_by_labels(panels: Mapping[str, Mapping[str, Points]], majority: float, about: str = "") -> "Figure":
    """Accuracy over the number of labels: a panel for each way to classify, a line for each method.

    Raises ValueError where there is no method.
    """
    if not any(any(lines.values()) for lines in panels.values()):
        raise ValueError("no accuracy came, but a picture needs at least one")
    figure = new_figure(10.5, 4.6)
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (panel, lines) in zip(every, panels.items(), strict=True):
        plain(axes)
        counts = sorted({count for points in lines.values() for count, *_ in points})
        for number, (name, points) in enumerate(lines.items()):
            colour, turn = LABEL_COLOURS[number % len(LABEL_COLOURS)], number // len(LABEL_COLOURS)
            axes.errorbar(
                [count for count, *_ in points],
                [mean for _, mean, _ in points],
                yerr=[deviation or 0.0 for *_, deviation in points],
                fmt=("-", "--", ":")[turn % 3] + MARKERS[number % len(MARKERS)],
                color=colour,
                markersize=4.5,
                linewidth=1.3,
                elinewidth=0.9,
                capsize=2,
                label=name,
            )
        axes.axhline(majority, color=FAINT, linewidth=0.9, linestyle="--", label="majority class")
        axes.set_xscale("log")
        axes.set_xticks(
            counts, [f"{count // 1000}k" if count >= 1000 else str(count) for count in counts], fontsize=8.5
        )
        axes.minorticks_off()
        axes.set_title(panel, fontsize=10, color=INK, loc="left")
        axes.set_xlabel("labels", fontsize=9.5, color=INK)
        axes.grid(axis="y", color="#EEEEEE", linewidth=0.7)
        axes.set_axisbelow(True)
    every[0].set_ylabel("accuracy, percent", fontsize=9.5, color=INK)
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8.5)
    header(
        figure,
        "What a few labels find in the code",
        about + "; bars: standard deviation over labelled subsets and seeds",
    )
    return figure


def _name(figure: "Figure", axes: "Axes", points: Sequence[Method]) -> None:
    """Write each point's name beside it, names pushed apart where they would overlap, then with a line to the point."""
    if not points:
        return
    from matplotlib.patheffects import withStroke

    figure.draw_without_rendering()  # so that the layout stands, and places in pixels are known
    scale = figure.dpi / 100
    told = np.array([(*point.told, point.nll[0]) for point in points if point.told is not None], float)
    at = axes.transData.transform(told[:, [0, 2]])
    bars = axes.transData.transform(np.stack([told[:, 0] + np.nan_to_num(told[:, 1]), told[:, 2]], 1)) - at
    frame = axes.get_window_extent()
    halo = [withStroke(linewidth=2.5, foreground="white")]
    look: dict[str, Any] = dict(fontsize=8.5, color=INK, va="center", ha="left", zorder=4, path_effects=halo)
    texts = [axes.text(0, 0, point.name, **look) for point in points]
    sizes = np.array([(box.width, box.height) for box in (text.get_window_extent() for text in texts)])
    aside = np.maximum(GAP * scale, bars[:, 0] + 4 * scale)
    place = np.stack([at[:, 0] + aside, at[:, 1]], 1)  # left end, middle height
    beyond = place[:, 0] + sizes[:, 0] > frame.x1
    place[beyond, 0] = (at[:, 0] - aside - sizes[:, 0])[beyond]
    lowest, highest = frame.y0 + sizes[:, 1] / 2, frame.y1 - sizes[:, 1] / 2
    half = 5.0 * scale  # of a marker
    for _ in range(400):
        moved = np.zeros(len(points))
        for i in range(len(points)):
            for j in range(len(points)):
                if i == j:
                    continue
                # Another's name: both give way. Another's marker: the name alone does.
                for x0, x1, y, high, share in (
                    (place[j, 0], place[j, 0] + sizes[j, 0], place[j, 1], sizes[j, 1] / 2, 0.5),
                    (at[j, 0] - half, at[j, 0] + half, at[j, 1], half, 1.0),
                ):
                    apart = place[i, 1] - y
                    overlap = sizes[i, 1] / 2 + high - abs(apart)
                    if overlap > 0 and place[i, 0] < x1 and x0 < place[i, 0] + sizes[i, 0]:
                        up = apart > 0 or (apart == 0 and i > j)
                        moved[i] += (overlap + 0.1) * share * (1 if up else -1)
        if not moved.any():
            break
        place[:, 1] = np.clip(place[:, 1] + 0.5 * moved, lowest, highest)
    back = axes.transData.inverted()
    for text, point, where, (width, _) in zip(texts, at, place, sizes, strict=True):
        text.set_position(tuple(back.transform(where)))
        text.set_in_layout(False)
        if abs(where[1] - point[1]) > 6 * scale:
            near = where[0] if where[0] > point[0] else where[0] + width
            ends = back.transform([point, (near, where[1])])
            axes.plot(ends[:, 0], ends[:, 1], color=FAINT, linewidth=0.7, zorder=1, scalex=False, scaley=False)
