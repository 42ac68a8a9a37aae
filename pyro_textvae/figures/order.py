"""How far codes turn when neighbouring words change places: a curve a run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pyro_textvae.evaluation import OrderSensitivity
from pyro_textvae.figures.style import FAINT, LABEL_COLOURS, header, new_figure, plain
from pyro_textvae.figures.sweep import MARKERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def order_sensitivity(measured: Mapping[str, OrderSensitivity]) -> "Figure":
    """Cosine of the codes before and after an exchange of words, by its probability (Xu & Durrett 2018, Figure 5).

    A name for each of what `run.order_sensitivity()` gave. Bands are two standard errors. Beside each name stands the
    cosine of two different sentences, and where the axis reaches so far it is a dashed line: a curve near it has lost
    its sentence; and where it is itself near 1, as of many a collapsed posterior, codes hardly depend on any sentence.

    Raises ValueError where nothing came, and where words were not exchanged in one and the same way.
    """
    if not measured:
        raise ValueError("nothing came to draw: give {name: run.order_sensitivity(), ...}")
    for name, each in measured.items():
        if not isinstance(each, OrderSensitivity):
            raise ValueError(
                f"{name!r} is {type(each).__name__}, but what was measured is drawn: give {{{name!r}: "
                "run.order_sensitivity()}"
            )
    if len(ways := sorted({each.how for each in measured.values()})) > 1:
        raise ValueError(f"words were exchanged in different ways, {' and '.join(ways)}: measure all in one of them")
    figure = new_figure(8.2, 4.6)
    axes = figure.subplots()
    plain(axes)
    bands = [zip(each.cosines, each.standard_errors, strict=True) for each in measured.values()]
    lowest = min(cosine - 2 * error for band in bands for cosine, error in band)
    axes.set_ylim(lowest - 0.12 * max(1 - lowest, 0.01), 1 + 0.06 * max(1 - lowest, 0.01))
    for number, (name, each) in enumerate(measured.items()):
        colour, marker = LABEL_COLOURS[number % len(LABEL_COLOURS)], MARKERS[number % len(MARKERS)]
        order = np.argsort(each.probabilities)
        p, means, errors = (np.array(x)[order] for x in (each.probabilities, each.cosines, each.standard_errors))
        axes.fill_between(p, means - 2 * errors, means + 2 * errors, color=colour, alpha=0.18, linewidth=0)
        label = f"{name}\n(two sentences: {each.another_sentence:.2f})"
        axes.plot(p, means, color=colour, marker=marker, markersize=5, linewidth=1.8, label=label, zorder=3)
        axes.axhline(each.another_sentence, color=colour, linestyle=(0, (5, 3)), linewidth=1.0, zorder=1)
    axes.axhline(1, color=FAINT, linewidth=0.7, zorder=0)
    axes.set_xlabel("probability of an exchange", fontsize=9)
    axes.set_ylabel("cosine with the code before", fontsize=9)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8.5, handlelength=2.2, borderaxespad=0
    )
    (how,) = ways
    counts = sorted({each.sentences for each in measured.values()})
    sentences = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    header(
        figure,
        "How far codes turn when " + ("neighbours change places" if how == "adjacent" else "positions are mixed"),
        f"mean over {sentences} sentences of two words or more; bands are two standard errors",
    )
    return figure
