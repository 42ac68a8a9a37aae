"""What methods pay for: reconstruction and KL in one bar each."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyro_textvae.errors import did_you_mean
from pyro_textvae.figures.comparison import names_of
from pyro_textvae.figures.style import BAD, INK, LABEL_COLOURS, corpus_of, entropy_of, header, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyro_textvae.run import Run

RECONSTRUCTION, KL = LABEL_COLOURS[4], LABEL_COLOURS[2]
PARTS = ("reconstruction_nats_per_sentence", "kl_nats_per_sentence")
PERPLEXITY = {"sentences": "perplexity_elbo", "documents": "perplexity_corpus_elbo"}


def tradeoff(runs: "Sequence[Run] | Mapping[str, Run | Mapping[str, float]]", split: str = "test") -> "Figure":
    """NLL (ELBO) of several runs as bars of reconstruction and KL, the perplexity at their ends (Xu & Durrett 2018,
    Figure 4).

    The KL counts in full, whatever weight it had in training, so each bar is as long as the bound. A mapping may have
    metrics in place of a run, as `run.evaluate()` gives them. Where the entropy of the corpus is known, it is a line.
    Of document models the perplexity is that over the corpus.

    Raises ValueError where nothing came, for a run that is not evaluated on `split` or has no KL (an autoencoder), for
    runs on different corpora, and for models of sentences beside those of documents.
    """
    found, of = _measured(runs, split)
    opened = [each for each in (runs.values() if isinstance(runs, Mapping) else runs) if not isinstance(each, Mapping)]
    if len({corpus_of(run)["sha256"] for run in opened}) > 1:
        raise ValueError("the runs were trained on different corpora: their NLLs do not compare")
    figure = new_figure(8.6, 1.75 + 0.42 * len(found))
    axes = figure.subplots()
    plain(axes)
    places = range(len(found))
    reconstruction, kl, _ = zip(*found.values(), strict=True)
    axes.barh(places, reconstruction, height=0.68, color=RECONSTRUCTION, label="reconstruction")
    axes.barh(places, kl, left=reconstruction, height=0.68, color=KL, label="KL")
    longest = max(a + b for a, b in zip(reconstruction, kl, strict=True))
    for place, (a, b, number) in enumerate(found.values()):
        text = f"{a + b:.2f} = {a:.2f} + {b:.2f}   perplexity {shown(number)}"
        axes.annotate(
            text, (a + b, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8, color=INK
        )
    floor = entropy_of(opened[0]) if opened else None
    if floor is not None:
        axes.axvline(floor, color=BAD, linewidth=1.0, linestyle=(0, (6, 3)), label=f"true entropy {floor:.2f}")
    axes.set_yticks(places, list(found), fontsize=9)
    axes.set_xlim(0, longest * 1.55)  # room for the numbers
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= longest * 1.02])
    axes.invert_yaxis()
    axes.set_xlabel(f"nats a {of.removesuffix('s')}", fontsize=9)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8.5, ncols=3, borderaxespad=0.2)
    header(
        figure, "What is paid: reconstruction and KL", f"on {split}; the KL with weight 1, whatever training gave it"
    )
    return figure


def shown(number: float) -> str:
    """A perplexity, to three digits or to the unit."""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:,.0f}"


def _measured(
    runs: "Sequence[Run] | Mapping[str, Run | Mapping[str, float]]", split: str
) -> tuple[dict[str, tuple[float, ...]], str]:
    """Reconstruction, KL and perplexity of each, by name, and what they are of: "sentences" or "documents"."""
    if not runs:
        raise ValueError("no run came, but a picture needs at least one")
    named = names_of(runs)  # pyright: ignore[reportArgumentType]
    kinds = {
        name: _kind(each if isinstance(each, Mapping) else each.metrics.get(split, {})) for name, each in named.items()
    }
    if len(set(kinds.values())) > 1:
        raise ValueError(
            f"{' and '.join(f'{name!r} is of {kind}' for name, kind in kinds.items())}: a sentence is paid for in its "
            "order and with its end, a document without, so their nats do not compare; give one kind"
        )
    (of,) = set(kinds.values())
    names = (*PARTS, PERPLEXITY[of])
    found: dict[str, tuple[float, ...]] = {}
    for name, each in named.items():
        if isinstance(each, Mapping):
            missing = [metric for metric in names if metric not in each]
            if missing:
                raise ValueError(f"the metrics of {name!r} have no {missing[0]!r}{did_you_mean(missing[0], each)}")
            found[name] = tuple(each[metric] for metric in names)
        else:
            found[name] = tuple(each.metric(metric, split) for metric in names)
    return found, of


def _kind(metrics: Mapping[str, float]) -> str:
    return "documents" if PERPLEXITY["documents"] in metrics else "sentences"
