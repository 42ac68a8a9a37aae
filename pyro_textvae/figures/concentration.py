"""What a concentration means: its cosine and KL in each dimension, exactly, and the perplexity that it led to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.distributions import kl_divergence

from pyro_textvae.distributions import HypersphericalUniform, VonMisesFisher
from pyro_textvae.errors import did_you_mean
from pyro_textvae.figures.curves import HEIGHT, WIDTH
from pyro_textvae.figures.style import FAINT, INK, LABEL_COLOURS, corpus_of, header, new_figure, plain
from pyro_textvae.figures.sweep import MARKERS
from pyro_textvae.figures.tradeoff import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyro_textvae.run import Run

DIMENSIONS = (25, 100)
CONCENTRATIONS = tuple(range(5, 266, 20))
"""Of Xu & Durrett 2018, Figure 3."""


@dataclass(frozen=True)
class Concentrated:
    """What vMF(., concentration) on the unit sphere of R^dimension is.

    mean_cosine       E[mu . z], which is the length of the mean too
    kl_nats           KL to the uniform distribution
    kl_as_released    what the code of Xu & Durrett 2018 charges in its place (a formula of Guu et al. 2018): just the
                      KL two dimensions higher
    """

    dimension: int
    concentration: float
    mean_cosine: float
    kl_nats: float
    kl_as_released: float


def concentrated(dimension: int, concentrations: Sequence[float]) -> list[Concentrated]:
    """Cosine and KLs of each concentration, by their formulas, in float64.

    >>> [row] = concentrated(25, [25.0])
    >>> print(f"{row.mean_cosine:.4f} {row.kl_nats:.3f} {row.kl_as_released:.3f}")
    0.6242 6.091 6.008
    """
    given = torch.tensor([float(k) for k in concentrations], dtype=torch.float64)

    def vmf(d: int) -> VonMisesFisher:
        return VonMisesFisher(torch.eye(1, d, dtype=torch.float64).expand(len(given), -1), given)

    exact, released = (kl_divergence(vmf(d), HypersphericalUniform(d)) for d in (dimension, dimension + 2))
    columns = (given, vmf(dimension).mean_cosine, exact, released)
    return [Concentrated(dimension, *row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def concentration(dimensions: Sequence[int] = DIMENSIONS, concentrations: Sequence[float] = CONCENTRATIONS) -> "Figure":
    """Mean cosine and KL against the concentration, and one against the other (Xu & Durrett 2018, Figure 3).

    Nothing is drawn at random. Thin lines are the KL that the paper's code charges. A dot is one of `concentrations`.
    """
    if not dimensions or not concentrations:
        raise ValueError("a dimension and a concentration are needed at least, as in concentration((25, 100), (5, 25))")
    for name, given, least in (("dimension", dimensions, 2), ("concentration", concentrations, 0)):
        if wrong := [each for each in given if not least <= each < math.inf]:
            raise ValueError(f"{name} {wrong[0]!r} came, but each is at least {least} and finite")
    figure = new_figure(WIDTH * 3, HEIGHT + 0.2)
    left, middle, right = figure.subplots(1, 3)
    fine = np.linspace(0, max(concentrations), 400).tolist()
    for number, dimension in enumerate(dimensions):
        colour, marker = LABEL_COLOURS[number % len(LABEL_COLOURS)], MARKERS[number % len(MARKERS)]
        line, dots = (concentrated(dimension, given) for given in (fine, concentrations))
        label = f"D = {dimension}"
        for axes, x, y in (
            (left, "concentration", "mean_cosine"),
            (middle, "concentration", "kl_nats"),
            (right, "mean_cosine", "kl_nats"),
        ):
            of_line, of_dots = ([[getattr(row, name) for row in rows] for name in (x, y)] for rows in (line, dots))
            axes.plot(*of_line, color=colour, linewidth=1.8, label=label)
            axes.plot(*of_dots, color=colour, marker=marker, markersize=4.5, linestyle="", gid="concentrations")
        released = [row.kl_as_released for row in line]
        middle.plot(fine, released, color=colour, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1, gid="as released")
        for row in dots[:: max(1, len(dots) // 4)]:
            right.annotate(
                f"{row.concentration:g}", (row.mean_cosine, row.kl_nats), xytext=(-4, 4), textcoords="offset points",
                fontsize=7.5, color=INK, ha="right", va="bottom",
            )  # fmt: skip
    for axes, x, y in (
        (left, "concentration", "mean cosine with the mode"),
        (middle, "concentration", "KL to the uniform distribution, nats"),
        (right, "mean cosine with the mode", "KL to the uniform distribution, nats"),
    ):
        plain(axes)
        axes.set_xlabel(x, fontsize=9)
        axes.set_ylabel(y, fontsize=9)
        axes.set_ylim(0)
    left.set_ylim(0, 1)
    middle.plot([], [], color=FAINT, linewidth=0.8, linestyle=(0, (4, 2)), label="as released")
    middle.legend(frameon=False, fontsize=8.5)
    right.set_xlim(0, 1)
    header(
        figure,
        "What a concentration costs, and how near to its mode it stays",
        "exact; dashed, what the code of Xu & Durrett (2018) charges, which is the KL in D + 2; numbers are "
        "concentrations",
    )
    return figure


def perplexity_map(
    columns: "Mapping[str, Sequence[Run] | Mapping[float, float]]",
    option: str = "concentration",
    split: str = "test",
    metric: str = "perplexity_elbo",
) -> "Figure":
    """Perplexity by concentration (rows) and setting (columns); the darker, the nearer to the best of its column
    (Xu & Durrett 2018, Figure 6).

    Columns are settings by their names: the runs of each, which differ in `option` (those that share it, as over seeds,
    are averaged), or {concentration: perplexity}. A column's runs share a corpus; columns need not. The best of each
    column is in bold; what no run has is empty.

    Raises ValueError where nothing came, for a run without the option or not evaluated on `split`, and for runs of one
    column on different corpora.
    """
    table = {name: _column(name, runs, option, split, metric) for name, runs in columns.items()}
    if not table:
        raise ValueError("no column came: give {name of a setting: its runs, ...}")
    rows = sorted({value for column in table.values() for value in column})
    numbers = np.array([[column.get(row, math.nan) for column in table.values()] for row in rows])
    best = np.nanmin(numbers, 0)
    ratio = numbers / best
    figure = new_figure(2.6 + 1.25 * len(table), 2.0 + 0.42 * len(rows), header=0.95)
    axes = figure.subplots()
    most = max(1.02, float(np.nanmax(ratio)))
    image = axes.imshow(np.log(ratio), cmap="Blues_r", vmin=0, vmax=1.25 * math.log(most), aspect="auto")
    for (i, j), number in np.ndenumerate(numbers):
        if math.isnan(number):
            continue
        dark = ratio[i, j] < most**0.55
        weight = "bold" if number == best[j] else "normal"
        axes.text(
            j, i, shown(number), ha="center", va="center", fontsize=9, color="white" if dark else INK, fontweight=weight
        )
    axes.set_xticks(range(len(table)), list(table), fontsize=9)
    axes.set_yticks(range(len(rows)), [f"{row:g}" for row in rows], fontsize=9)
    axes.set_ylabel(option, fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    ticks = np.linspace(1, most, 3)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, ticks=np.log(ticks).tolist())
    bar.ax.set_ylim(0, math.log(most))
    bar.ax.set_yticklabels([f"{tick:.3g}" for tick in ticks])
    bar.ax.tick_params(labelsize=8, length=0)
    bar.set_label("times the column's best", fontsize=8)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue, reportArgumentType]
    header(
        figure, f"Perplexity by {option}", f"{metric} on {split}; darker is nearer\nto the best of its column, in bold"
    )
    return figure


def _column(
    name: str, runs: "Sequence[Run] | Mapping[float, float]", option: str, split: str, metric: str
) -> dict[float, float]:
    if not runs:
        raise ValueError(f"the column {name!r} is empty: give its runs, or leave it out")
    if isinstance(runs, Mapping):
        return dict(runs)
    if len({corpus_of(run)["sha256"] for run in runs}) > 1:
        raise ValueError(f"the runs of {name!r} were trained on different corpora: their perplexities do not compare")
    found: dict[float, list[float]] = {}
    for run in runs:
        options = run.recipe["options"]
        if option not in options:
            raise ValueError(
                f"{run.directory}, a {run.name!r}, has no option {option!r}{did_you_mean(option, options)}"
            )
        found.setdefault(options[option], []).append(run.metric(metric, split))
    return {value: sum(each) / len(each) for value, each in found.items()}
