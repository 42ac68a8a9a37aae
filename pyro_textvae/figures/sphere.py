"""Codes on the sphere in three dimensions: both of its halves, so that nothing hides behind it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_textvae.figures.latents import colourings, handles, name_components
from pyro_textvae.figures.points import Points, read
from pyro_textvae.figures.style import FAINT, INK, OTHER, Groups, header, new_figure, state_of, told

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pyro_textvae.run import Run

NEAR = 0.12
"""Of the disc's radius: components nearer than this share a label."""


def sphere(
    run: "Run", split: str = "valid", limit: int = 2000, *, column: str | None = None, variable: int | None = None
) -> "Figure":
    """Directions of the posterior means of at most `limit` sentences on the sphere in 3-D, with the components' means.

    Two discs are the two halves of the sphere, each seen from outside, in Lambert's projection: equal areas on the
    sphere are equal areas in the picture, so a uniform prior looks uniform, and clusters as dense as they are. Around
    each component's mean runs the circle that half of the component lies in. Rows are by label and by component.

    Raises ValueError for a model whose codes do not lie on a sphere in three dimensions.
    """
    points = read(run, split, limit, column=column, variable=variable)
    if not points.on_sphere or points.means.shape[1] != 3:
        where = "a sphere" if points.on_sphere else "no sphere"
        raise ValueError(
            f"this {run.name!r} has codes on {where}, in {points.means.shape[1]} dimensions, but the picture is of "
            "one in 3: draw its latent_space, or train 'vmf_vae' or 'dem_vae' with family='vmf' and latent=3"
        )
    frame = frame_of(points)
    found = colourings(points)
    figure = new_figure(10.2, 4.6 * len(found) + 0.95, header=0.95)
    for row, by in zip(figure.subplots(len(found), 2, squeeze=False), found, strict=True):
        for axes, back in zip(row, (False, True), strict=True):
            _draw(axes, points, by, frame, back)
            side = "the other half, seen from behind" if back else "one half"
            what = f"by {by.title}" if isinstance(by, Groups) else "by length in words"
            axes.set_title(f"{what}: {side}", fontsize=10, color=INK, loc="left")
        if isinstance(by, Groups):
            row[1].legend(
                handles=handles(by), title=by.title, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False,
                fontsize=9, title_fontsize=9, handletextpad=0.1,
            )  # fmt: skip
    circles = "; circles hold half of a component" if points.components is not None else ""
    header(
        figure,
        told(run),
        f"{len(points.means):,} sentences at the directions of their posterior means; equal areas on the sphere are "
        f"equal here;\ngrey rings are 30 degrees apart{circles}",
        state_of(run),
    )
    return figure


def frame_of(points: Points) -> np.ndarray:
    """Right, up, and towards the viewer, (3, 3): the axis along which codes and component means mostly lie.

    Seen so, fewest of them are at the rim, where the two halves meet. Most codes are in front.
    """
    directions = _unit(points.means)
    moments = directions.T @ directions / len(directions)
    if points.components is not None:
        components = _unit(points.components)
        moments = moments + components.T @ components / len(components)
    _, axes = np.linalg.eigh(moments)
    view = axes[:, -1] * (1 if (directions @ axes[:, -1]).mean() >= 0 else -1)
    right = axes[:, 1]
    return np.stack([right, np.cross(view, right), view])


def project(directions: np.ndarray, frame: np.ndarray, back: bool) -> np.ndarray:
    """Unit vectors (..., 3) to places (..., 2) in the unit disc of one half; NaN for those of the other half.

    Lambert's azimuthal equal-area projection: a direction at the angle t from the centre is at sqrt(2) sin(t / 2).
    """
    x, y, towards = np.moveaxis(directions @ frame.T, -1, 0)
    if back:
        x, towards = -x, -towards
    inside = towards >= 0
    scale = 1 / np.sqrt(1 + np.where(inside, towards, 0))
    return np.where(inside[..., None], np.stack([x * scale, y * scale], -1), np.nan)


def circle(centre: np.ndarray, cosine: float, points: int = 181) -> np.ndarray:
    """Unit vectors (points, 3) at one angle from a unit vector, all around it."""
    first = np.eye(3)[np.abs(centre).argmin()]
    first = _unit(first - (first @ centre) * centre)
    turn = np.linspace(0, 2 * np.pi, points)[:, None]
    around = np.cos(turn) * first + np.sin(turn) * np.cross(centre, first)
    return cosine * centre + np.sqrt(max(0.0, 1 - cosine**2)) * around


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)


def _draw(axes: "Axes", points: Points, by: Any, frame: np.ndarray, back: bool) -> None:
    from matplotlib.patches import Circle

    for degrees in (30, 60, 90):
        radius = np.sqrt(2) * np.sin(np.radians(degrees) / 2)
        colour, width = (FAINT, 1.0) if degrees == 90 else ("#DDDDDD", 0.7)
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=colour, linewidth=width, zorder=0))
    axes.set_xlim(-1.06, 1.06)
    axes.set_ylim(-1.06, 1.06)
    axes.set_aspect("equal")
    axes.set_axis_off()
    order = np.random.default_rng(0).permutation(len(points.means))  # else the last group hides the others
    x, y = project(_unit(points.means), frame, back)[order].T
    here = np.isfinite(x)
    look: dict[str, Any] = {"s": 16 if len(order) <= 500 else 9, "alpha": 0.75, "linewidths": 0, "gid": "points"}
    if isinstance(by, Groups):
        axes.scatter(x[here], y[here], c=list(np.array(by.colours)[by.group[order]][here]), **look)
    else:
        drawn = axes.scatter(x[here], y[here], c=by[order][here], vmin=by.min(), vmax=by.max(), cmap="viridis", **look)
        axes.figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.6, aspect=30).set_label("words", fontsize=9)
    if points.components is None or points.caps is None:
        return
    for k, (direction, cosine) in enumerate(zip(_unit(points.components), points.caps, strict=True)):
        named = isinstance(by, Groups) and by.title == "component"
        colour = by.colours[by.names.index(str(k))] if named and str(k) in by.names else OTHER
        rim = project(circle(direction, float(cosine)), frame, back)
        axes.plot(*rim.T, color=colour, linewidth=1.1, zorder=1)
    at = project(_unit(points.components), frame, back)
    x, y = at[np.isfinite(at[:, 0])].T
    axes.scatter(x, y, marker="X", s=60, c=INK, edgecolors="white", linewidths=1.0, zorder=5, gid="components")
    name_components(axes, at, NEAR)
