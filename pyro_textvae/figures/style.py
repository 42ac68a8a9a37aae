"""What all pictures share: colours that colour-blind readers can tell apart, a figure without pyplot, and its header.

No picture touches pyplot: a figure that pyplot does not know leaves no global state, and needs no display.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_textvae.evaluation import judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pyro_textvae.run import Run

DPI = 150
NOTEBOOK_DPI = 100
"""A notebook keeps its pictures inside, where each dot is paid for in its every version."""

LABEL_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe & Ito (2008): eight colours, distinct under protanopia, deuteranopia and tritanopia."""

COMPONENT_COLOURS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#222222"),
)
"""Tol's muted scheme (nine colours) and near-black; other than the labels', so that none seems to mean the other."""

OTHER = "#BBBBBB"
INK, FAINT = "#222222", "#888888"
GOOD, BAD, NEITHER = "#00694A", "#B03A00", "#444444"


def new_figure(width: float, height: float, header: float = 0.75) -> "Figure":
    """An empty figure in inches, laid out by itself below a header of `header` inches; shown by notebooks as it is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0.005, 0.005, 0.99, 1 - header / height), w_pad=0.08, h_pad=0.06, wspace=0.02, hspace=0.05)
    # Where a notebook displays the figure, pyplot or not.
    figure._repr_png_ = partial(_png, figure, NOTEBOOK_DPI)  # pyright: ignore[reportAttributeAccessIssue]
    return figure


def _png(figure: "Figure", dpi: int) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=dpi)
    return written.getvalue()


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_png(figure, DPI))
    return path


def header(figure: "Figure", title: str, subtitle: str = "", state: str = "") -> None:
    """The verdict above the picture, in the colour of good or bad news, and the numbers behind it in a line below."""
    width, height = figure.get_size_inches()
    colour = colour_of_state(state)
    figure.suptitle(
        title, x=0.12 / width, y=1 - 0.10 / height, ha="left", va="top", fontsize=13, fontweight="bold", color=colour
    ).set_in_layout(False)
    figure.text(
        0.12 / width, 1 - 0.40 / height, subtitle, ha="left", va="top", fontsize=9, color=INK, linespacing=1.35
    ).set_in_layout(False)


def colour_of_state(state: str) -> str:
    return GOOD if state == "healthy" else NEITHER if state in ("", "no code", "not evaluated") else BAD


def plain(axes: "Axes") -> None:
    """Two thin spines, small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8, color=FAINT)


def state_of(run: "Run") -> str:
    """The state that the run's verdict names; of a run that is not evaluated yet, the one after its last epoch."""
    if run.metrics:
        return run.verdict.state
    if not run.history:
        return "not evaluated"
    last = run.history[-1]
    return judge({name.removeprefix("valid_"): last[name] for name in last if name.startswith("valid_")}).state


def told(run: "Run") -> str:
    """ "gm_vae on toy: mode collapse"."""
    return f"{run.name} on {corpus_of(run)['name']}: {state_of(run)}"


def corpus_of(run: "Run") -> dict[str, Any]:
    """What corpus.json says; reading it does not need the texts."""
    import json

    return json.loads((run.directory / "corpus.json").read_text(encoding="utf-8"))


def entropy_of(run: "Run") -> float | None:
    """True entropy of the corpus, nats a sentence, where it is known."""
    return (corpus_of(run).get("entropy") or {}).get("nats_per_sentence")


@dataclass(frozen=True)
class Groups:
    """A colour for each of N points by the group it is in: the most frequent groups, then "other".

    group is (N,), an index into names and colours.
    """

    title: str
    group: np.ndarray
    names: list[str]
    colours: list[str]

    @classmethod
    def of(cls, title: str, ids: np.ndarray, names: Sequence[str], palette: Sequence[str]) -> "Groups":
        """ids (N,) are indices of names, or -1 for none. As many groups are named as the palette has colours."""
        count = np.bincount(ids[ids >= 0], minlength=len(names))
        # Stable, so that ties keep the order of the names; then back in that order, so a group keeps its colour.
        frequent = np.sort(np.argsort(-count, kind="stable")[: len(palette)])
        frequent = [int(i) for i in frequent if count[i]]
        shown = [names[i] for i in frequent]
        # By position among all names where there are colours enough: component 3 has one colour in all pictures.
        colours = [palette[i] if len(names) <= len(palette) else palette[j] for j, i in enumerate(frequent)]
        group = np.full(len(ids), len(shown))
        for j, i in enumerate(frequent):
            group[ids == i] = j
        rest = (group == len(shown)) & (ids >= 0)
        if rest.any():
            shown, colours = [*shown, "other"], [*colours, OTHER]
        if (ids < 0).any():
            group[ids < 0] = len(shown)
            shown, colours = [*shown, "none"], [*colours, "#DDDDDD"]
        return cls(title, group, shown, colours)
