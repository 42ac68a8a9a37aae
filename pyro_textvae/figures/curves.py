"""Training in curves: what is paid, what is learnt, and whether the components stay apart."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyro_textvae.evaluation.collapse import MERGED_KL
from pyro_textvae.evaluation.verdict import IGNORED_GAP
from pyro_textvae.figures.style import (
    BAD,
    FAINT,
    INK,
    LABEL_COLOURS,
    entropy_of,
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

BLUE, ORANGE, GREEN, PINK = LABEL_COLOURS[:4]
WIDTH, HEIGHT = 3.9, 3.9


def training_curves(run: "Run") -> "Figure":
    """NLL, KL of each site, information and active units over epochs; of a language model its NLL alone.

    Solid lines are the validation split, dashed ones the training split, measured while the weights still moved (and
    with dropout, where there is any). Where the entropy of the corpus is known it is the floor of every NLL.
    """
    rows = run.history
    if not rows:
        raise ValueError(f"{run.directory} has no finished epoch to draw: train it first")
    has = set().union(*rows)
    panels = [_nll]
    if "valid_kl_z_nats_per_sentence" in has:
        panels.append(_kl)
    if {"valid_shuffled_z_gap_nats_per_sentence", "valid_mutual_information_aggregate_nats"} & has:
        panels.append(_information)
    if "valid_active_units" in has:
        panels.append(_active)
    figure = new_figure(max(WIDTH * len(panels), 5.6), HEIGHT)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _frame(axes, rows)
        panel(axes, rows, run)
    best = int(run.best["epoch"])
    header(figure, told(run), f"{len(rows)} epochs, the best weights after epoch {best} (dotted)", state_of(run))
    for axes in figure.axes:
        axes.axvline(best, color=FAINT, linewidth=0.8, linestyle=":", zorder=0)
    return figure


def dispersion(run: "Run") -> "Figure":
    """Whether a mixture's components stay apart, over epochs: what mode collapse looks like, and too much dispersion.

    Raises ValueError for a run without a mixture.
    """
    rows = run.history
    if not any("valid_dispersion_nats_per_sentence" in row for row in rows):
        raise ValueError(
            f"a {run.name!r} has no components to disperse, or no finished epoch: draw its training_curves"
        )
    figure = new_figure(WIDTH * 4, HEIGHT)
    cost, spread, apart, used = figure.subplots(1, 4)
    for axes in figure.axes:
        _frame(axes, rows)
    _line(cost, rows, "valid_dispersion_nats_per_sentence", "valid", BLUE)
    _line(cost, rows, "train_dispersion", "train", BLUE, dashed=True)
    _finish(cost, "Dispersion: what mixing costs", "nats a sentence")

    _line(spread, rows, "valid_component_spread", "means of the components", ORANGE)
    _line(spread, rows, "valid_posterior_spread", "codes of the sentences", BLUE)
    _finish(spread, "Spread in the latent space", "variance, summed over dimensions")

    name = "valid_component_pairwise_kl_in_use_nats"
    values = [max(row[name], 1e-6) for row in rows if name in row]
    _line(apart, rows, name, "two components in use", GREEN, least=1e-6)
    apart.set_yscale("log")
    apart.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    apart.set_ylim(min(*values, MERGED_KL) / 3, max(*values, MERGED_KL) * 3)
    _floor(apart, MERGED_KL, f"merged below {MERGED_KL}")
    _finish(apart, "How far components lie apart", "KL, nats (logarithmic)", from_zero=False)

    components = rows[-1].get("valid_components", 0.0)
    _line(used, rows, "valid_components_in_use", "in use", PINK)
    _finish(used, f"Components in use, of {components:.0f}", "exp of the entropy of q(c)")
    used.set_ylim(0, components * 1.06)
    header(figure, told(run), _dispersion_in_words(rows[-1]), state_of(run))
    return figure


def _dispersion_in_words(row: dict[str, float]) -> str:
    return (
        f"at the end: dispersion {row['valid_dispersion_nats_per_sentence']:.3f} nats, components "
        f"{row['valid_component_pairwise_kl_in_use_nats']:.2f} nats apart, their means' variance "
        f"{row['valid_component_spread']:.3f} beside the codes' {row['valid_posterior_spread']:.2f}"
    )


def _nll(axes: "Axes", rows: Sequence[dict[str, float]], run: "Run") -> None:
    bound = any("valid_nll_elbo_nats_per_sentence" in row for row in rows)
    if bound:
        _line(axes, rows, "valid_nll_elbo_nats_per_sentence", "valid", BLUE)
        _line(axes, rows, "train_elbo", "train", BLUE, dashed=True, sign=-1)
    else:
        _line(axes, rows, "valid_reconstruction_nats_per_sentence", "valid", BLUE)
        _line(axes, rows, "train_reconstruction", "train", BLUE, dashed=True)
    entropy = entropy_of(run)
    if entropy is not None and bound:
        _floor(axes, entropy, f"true entropy {entropy:.2f}")
    _finish(axes, "NLL (ELBO): lower is better" if bound else "Reconstruction", "nats a sentence", from_zero=False)


def _kl(axes: "Axes", rows: Sequence[dict[str, float]], run: "Run") -> None:
    for site, colour in (("z", BLUE), ("c", ORANGE)):
        _line(axes, rows, f"valid_kl_{site}_nats_per_sentence", f"of {site}, valid", colour)
        _line(axes, rows, f"train_kl_{site}", f"of {site}, train", colour, dashed=True)
    floor = rows[-1].get("valid_kl_floor_nats_per_sentence")
    if floor is not None:
        _floor(axes, floor, f"floor by construction {floor:.2f}")
    _finish(axes, "KL: what the code costs", "nats a sentence", reach=1.0)


def _information(axes: "Axes", rows: Sequence[dict[str, float]], run: "Run") -> None:
    _line(axes, rows, "valid_shuffled_z_gap_nats_per_sentence", "what a wrong code costs", GREEN)
    cap = rows[-1].get("valid_mutual_information_sentences")
    at_most = f" (at most {math.log(cap):.1f})" if cap else ""
    _line(axes, rows, "valid_mutual_information_aggregate_nats", f"I(x;z){at_most}", BLUE)
    _line(axes, rows, "valid_information_c_nats", "I(x;c)" + _most_of_c(rows[-1]), ORANGE)
    _floor(axes, IGNORED_GAP, f"wrong code below {IGNORED_GAP}: ignored")
    _finish(axes, "Information: what the code tells", "nats", reach=1.0)


def _most_of_c(row: dict[str, float]) -> str:
    if "valid_components" not in row:
        return ""
    return f" (at most {row['valid_discrete_variables'] * math.log(row['valid_components']):.1f})"


def _active(axes: "Axes", rows: Sequence[dict[str, float]], run: "Run") -> None:
    from matplotlib.ticker import MaxNLocator

    dimensions = rows[-1]["valid_latent_dimensions"]
    _line(axes, rows, "valid_active_units", "active", PINK)
    _finish(axes, f"Active units, of {dimensions:.0f}", "dimensions")
    axes.set_ylim(0, dimensions * 1.06)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _frame(axes: "Axes", rows: Sequence[dict[str, float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    plain(axes)
    axes.set_xlabel("epoch", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.set_xlim(0.5, max(row["epoch"] for row in rows) + 0.5)


def _line(
    axes: "Axes",
    rows: Sequence[dict[str, float]],
    name: str,
    label: str,
    colour: str,
    *,
    dashed: bool = False,
    sign: float = 1.0,
    least: float = -math.inf,
) -> None:
    found = [(row["epoch"], max(sign * row[name], least)) for row in rows if math.isfinite(row.get(name, math.nan))]
    if not found:
        return
    style: dict[str, Any] = {"linewidth": 1.2, "linestyle": "--"} if dashed else {"linewidth": 2.0}
    marker: Any = "o" if len(found) < 30 and not dashed else None
    axes.plot(*zip(*found, strict=True), color=colour, label=label, marker=marker, markersize=3.5, **style)


def _floor(axes: "Axes", value: float, text: str) -> None:
    axes.axhline(value, color=BAD, linewidth=1.0, linestyle=(0, (6, 3)), zorder=1, label=text)


def _finish(axes: "Axes", title: str, unit: str, from_zero: bool = True, reach: float = 0.05) -> None:
    """Title, unit and legend. The axis reaches at least `reach`: noise about zero is to look like zero."""
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_ylabel(unit, fontsize=9)
    if from_zero:
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0.0) if low < -0.05 * high else 0.0, max(high, reach))
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(frameon=False, fontsize=8, loc="best", handlelength=1.8)
