"""Several runs side by side: their latent spaces on one scale, and their metrics in one table."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyro_textvae.figures import latents
from pyro_textvae.figures.points import pca, read
from pyro_textvae.figures.style import INK, Groups, colour_of_state, corpus_of, entropy_of, header, new_figure, state_of
from pyro_textvae.optim import WITHOUT_EFFECT
from pyro_textvae.recipes import recipes
from pyro_textvae.shown import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyro_textvae.run import Run


def compare(runs: "Sequence[Run] | Mapping[str, Run]", split: str = "valid", limit: int = 2000) -> "Figure":
    """The latent spaces of several runs with their components' means, each in PCA, all on one scale.

    The scale is each run's own prior standard deviation, because a decoder does not care how large z is: what can be
    compared is how much of its prior a run's codes fill. Of several discrete variables one is shown, that with the
    highest I(c;x). Coloured by label, so that it shows at a glance whether a run found the labels; by component where
    there are none. Runs are named by a mapping's keys, else by their recipe and the options that are not its defaults.
    """
    named = {name: run for name, run in names_of(runs).items() if run.vae.prior.code}
    if not named:
        raise ValueError("none of the runs has a code to picture: give at least one VAE, or use compare_table")
    found = {name: read(run, split, limit) for name, run in named.items()}
    maps = {name: pca(points) for name, points in found.items()}
    half = latents.half_width([(found[name], maps[name]) for name in named], 1.0)
    columns = min(2 if len(named) in (2, 4) else 3, len(named))
    rows = -(-len(named) // columns)
    title = {name: textwrap.wrap(name, 42) for name in named}
    lines = max(map(len, title.values()))  # in all titles, so that the panels stay level
    figure = new_figure(4.3 * columns + 1.5, (4.7 + 0.2 * lines) * rows + 0.75)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid[len(named) :]:
        axes.set_axis_off()
    legends: dict[tuple[str, ...], Groups] = {}
    for axes, (name, run) in zip(grid, named.items(), strict=False):
        points, where = found[name], maps[name]
        by = latents.colourings(points)[0]
        if isinstance(by, Groups):
            legends[tuple(by.names)] = by
        latents.draw_plane(axes, points, where, by, half)
        state = state_of(run)
        above = "\n".join([*[""] * (lines - len(title[name])), *title[name], state])
        axes.set_title(above, fontsize=10.5, fontweight="bold", color=colour_of_state(state), loc="left")
        axes.set_xlabel("   ".join(facts(valid_metrics(run))), fontsize=8.5, color=INK)
    if len(legends) == 1:  # else each panel has colours of its own, and none speaks for the others
        by = next(iter(legends.values()))
        figure.legend(
            handles=latents.handles(by), title=by.title, loc="outside right center", frameon=False, fontsize=9
        )
    mixtures = any(points.components is not None for points in found.values())
    header(
        figure,
        "Do the codes fill the prior" + (", and do the components stay apart?" if mixtures else "?"),
        f"on {split}: posterior means"
        + (" of the variable whose c tells most" if any(points.variables > 1 for points in found.values()) else "")
        + (", and the components' means as crosses," if mixtures else "")
        + " in PCA; units are each prior's standard deviation",
    )
    return figure


def facts(metrics: Mapping[str, float]) -> list[str]:
    """What a latent picture stands on, in a few words each."""
    wanted = (
        ("kl_nats_per_sentence", "KL {:.2f}"),
        ("information_c_nats", "I(x;c) {:.2f}"),
        ("component_pairwise_kl_in_use_nats", "components {:.2f} apart (nats)"),
    )
    return [text.format(metrics[name]) for name, text in wanted if name in metrics]


COLUMNS: dict[str, str] = {
    "kl_nats_per_sentence": "KL",
    "mutual_information_aggregate_nats": "I(x;z)",
    "information_c_nats": "I(x;c)",
    "dispersion_nats_per_sentence": "dispersion",
    "component_spread": "spread",
    "component_pairwise_kl_in_use_nats": "components apart",
    "active_units": "active units",
    "nll_elbo_nats_per_sentence": "NLL (ELBO)",
    "nll_importance_weighted_nats_per_sentence": "NLL (IW)",
    "nll_importance_tempered_nats_per_sentence": "NLL (IW, tempered)",
}


def compare_table(runs: "Sequence[Run] | Mapping[str, Run]", split: str = "valid") -> str:
    """The metrics of several runs as a Markdown table, a run a line; nats a sentence but for spread and active units.

    Homogeneity stands beside its chance floor. Metrics that no run has are left out; a run without one has a dash.
    Below the table stands what else the runs differ in: sizes, training and corpus, in the order of the rows.
    """
    named = names_of(runs)
    metrics = {name: run.metrics.get(split, {}) for name, run in named.items()}
    present = [name for name in COLUMNS if any(name in each for each in metrics.values())]
    labels = sorted(
        {
            name
            for each in metrics.values()
            for name in each
            if name.startswith("homogeneity_") and f"{name}_chance" in each and not _of_one_variable(name)
        }
    )
    floors = {name: entropy_of(run) for name, run in named.items()}
    head = ["run", "verdict", *(COLUMNS[name] for name in present)]
    if any(floor is not None for floor in floors.values()):
        head.append("true entropy")
    head += [name.replace("_", " ") + " (chance)" for name in labels]
    body = []
    for name, run in named.items():
        each = metrics[name]
        cells = [name, state_of(run), *(_cell(each, metric) for metric in present)]
        if "true entropy" in head:
            cells.append("-" if floors[name] is None else f"{floors[name]:.2f}")
        cells += [
            f"{each[metric]:.2f} ({each[metric + '_chance']:.2f})" if metric in each else "-" for metric in labels
        ]
        body.append(cells)
    return "\n".join([*markdown(head, body, right=range(2, len(head))), *_other_differences(list(named.values()))])


def _other_differences(runs: "Sequence[Run]") -> list[str]:
    """Lines on settings that are not those of all runs and stand in no name: sizes, training, seed, corpus."""
    settings = [run.recipe["size"] | run.recipe["training"] | {"seed": run.recipe["seed"]} for run in runs]
    values = {name: [each.get(name) for each in settings] for name in dict.fromkeys(itertools.chain(*settings))}
    differing = [
        f"{name} {', '.join(map(str, each))}"
        for name, each in values.items()
        if name not in WITHOUT_EFFECT and any(value != each[0] for value in each)
    ]
    lines = [f"They differ in {'; '.join(differing)} (in the order of the rows)."] if differing else []
    if len({corpus_of(run)["sha256"] for run in runs}) > 1:
        lines.append("Their texts or vocabularies differ, so that their nats a sentence do not compare.")
    return ["", *lines] if lines else []


def _of_one_variable(name: str) -> bool:
    """homogeneity_topic_c0: of one discrete variable, not of all together."""
    stem, _, tail = name.rpartition("_c")
    return bool(stem) and tail.isdigit()


def _cell(metrics: dict[str, float], name: str) -> str:
    if name not in metrics:
        return "-"
    return f"{metrics[name]:.0f}" if name == "active_units" else f"{metrics[name]:.2f}"


def names_of(runs: "Sequence[Run] | Mapping[str, Run]") -> "dict[str, Run]":
    """Runs by a name each: recipe, options that are not its defaults; where needed corpus and directory, too."""
    if isinstance(runs, Mapping):
        return dict(runs)
    where = [run.directory.resolve() for run in runs]
    for run, place in zip(runs, where, strict=True):
        if where.count(place) > 1:
            raise ValueError(f"the run {run.directory} came {where.count(place)} times: give each once")
    names = [called(run) for run in runs]
    corpora = [corpus_of(run)["name"] for run in runs]
    if len(set(corpora)) > 1:
        names = [f"{name} on {corpus}" for name, corpus in zip(names, corpora, strict=True)]
    # The same recipe twice is told apart by the directory's name, and where that is the same too by its path.
    for directories in ([run.directory.name for run in runs], [str(run.directory) for run in runs]):
        full = [
            name if names.count(name) == 1 else f"{name} ({directory})"
            for name, directory in zip(names, directories, strict=True)
        ]
        if len(set(full)) == len(full):
            break
    return dict(zip(full, runs, strict=True))


def called(run: "Run") -> str:
    """ "gm_vae, mutual_information=1.0"."""
    changed = changed_options(run)
    return ", ".join([run.name, *(f"{name}={value}" for name, value in changed.items())])


def changed_options(run: "Run") -> dict[str, object]:
    """The recipe's own options that are not its defaults; all of them, of a recipe that is not known here."""
    known = recipes().options(run.name) if run.name in recipes() else {}
    return {name: value for name, value in run.recipe["options"].items() if name not in known or known[name] != value}


def valid_metrics(run: "Run") -> dict[str, float]:
    return run.metrics.get("valid") or next(iter(run.metrics.values()), {})
