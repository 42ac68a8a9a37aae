"""The commands: each a function whose signature is its options and whose docstring is its help.

What needs torch is imported when a command runs, so that help does not wait for it.
"""

import inspect
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from pyro_textvae.cli import options
from pyro_textvae.cli.arguments import (
    UNSET,
    Answer,
    AsJson,
    Decoding,
    FailOn,
    MaxLength,
    RunDirectory,
    Seed,
    State,
    Temperature,
    Texts,
    one_thread,
    open_run,
    read_texts,
)
from pyro_textvae.options import describe

if TYPE_CHECKING:
    from pyro_textvae.evaluation import Verdict
    from pyro_textvae.run import Run

FAILED_ON = 3

MANY_UNKNOWN = 0.2
"""Of the words of a text, above which its perplexity speaks of <unk>."""


# Start here.


def demo(*, output: Path = Path("runs/demo"), seed: Seed = 0, modes: bool = False, as_json: AsJson = False) -> Answer:
    """Train four small mixtures side by side: which collapse, which do not, and why.

    On the embedded corpus, in some minutes. Run again, it goes on where it stopped and trains nothing twice.

    Args:
        output: the directory for its runs and pictures
        modes: also two on a corpus where modes collapse although z stays informative; as long again
    """
    from pyro_textvae.demo import EXPERIMENTS, MODES_EXPERIMENTS, demo

    shown = demo(output, seed, experiments=EXPERIMENTS + MODES_EXPERIMENTS if modes else EXPERIMENTS)
    return Answer(shown.text(), shown.data(), as_json)


def recipes(
    name: Annotated[Positional[str | None], arg(metavar="NAME", help_behavior_hint="")] = None,
    *,
    as_json: AsJson = False,
) -> Answer:
    """List the methods that can be trained, or explain one.

    Args:
        name: a recipe, to read all of its documentation and options
    """
    from pyro_textvae.recipes import recipes

    known = recipes()
    about = {
        each: {
            "summary": known.summary(each),
            "documentation": inspect.getdoc(known[each]) or "",
            "options": known.options(each),
        }
        for each in ([name] if name else known)
    }
    if name is None:
        lines = []
        for each, what in about.items():
            lines.append(f"{each:<13} {what['summary']}")
            if what["options"]:
                lines.append(
                    " " * 14 + "  ".join(f"{option}={options.plain(v)}" for option, v in what["options"].items())
                )
        lines += ["", "One of them in full: pyro-textvae recipes dem_vae"]
        return Answer("\n".join(lines), about, as_json)
    lines = [f"{name}: {about[name]['documentation']}"]
    titles = {
        "recipe": "its own options",
        "sizes": "sizes, of every recipe",
        "training": "training, of every recipe",
        "corpus": "corpus, of every recipe",
    }
    for group, known_options in options.every(name).items():
        if known_options:
            lines += ["", f"{titles[group]}:"]
        for option, (kind, default) in known_options.items():
            lines.append(f"  {f'{option}={options.plain(default)}':<32} {describe(kind)}")
    first = next(iter(about[name]["options"].items()), ("hidden", 256))
    lines += ["", f"to change one: pyro-textvae train {name} --set {first[0]}={options.plain(first[1])}"]
    return Answer("\n".join(lines), about, as_json)


def train(
    model: Annotated[Positional[str], arg(metavar="RECIPE")] = "dem_vae",
    *,
    data: str = "toy",
    output: Annotated[Path | None, UNSET] = None,
    epochs: Annotated[int | None, UNSET] = None,
    seed: int = 0,
    device: str = "auto",
    resume: Annotated[bool, UNSET] = False,
    protocol: Annotated[str | None, UNSET] = None,
    init_from: Annotated[str | None, UNSET] = None,
    settings: Annotated[
        UseAppendAction[tuple[str, ...]], arg(name="set", metavar="NAME=VALUE", help_behavior_hint="")
    ] = (),
    fail_on: FailOn = None,
    as_json: AsJson = False,
) -> Answer:
    """Train a recipe on a text, evaluate it, draw its pictures and judge it.

    For example: pyro-textvae train dem_vae --data reviews.txt --output runs/reviews --set dispersion=0.8

    Args:
        model: what to train; 'pyro-textvae recipes' lists them
        data: toy, toy-acts or toy-modes (embedded); a .txt (a sentence a line), .tsv (label, tab, text), .jsonl or
            .feat (word counts) file, or their .gz; a folder with train, valid and test of those; or a known corpus's
            name
        output: a new directory for the run; without one it goes to runs/RECIPE-DATA
        epochs: passes over the training text (default: 20)
        seed: of initial weights, order of batches, noise and the split of the text
        device: auto, cpu, cuda or cuda:1
        resume: go on with the unfinished run in --output, exactly where it stopped
        protocol: a paper's way of training: zhu2020, kim2018, shi2020, xu2018, or of documents miao2016 or
            xu2018_nvdm. What --set and --epochs give wins over it
        init_from: begin with an encoder that was trained before: 'ae' trains an autoencoder first, a directory of a
            run takes that run's
        settings: an option of the recipe, the sizes, the training or the corpus; as often as needed.
            'pyro-textvae recipes RECIPE' lists them
    """
    given = options.parse(settings, model)
    from pyro_textvae.training import train

    run = train(
        model,
        data,
        output=output,
        epochs=epochs,
        seed=seed,
        device=device,
        resume=resume,
        protocol=protocol,
        init_from=init_from,
        **given,
    )
    where = run.directory
    text = "\n".join(
        [
            f"run      {where}",
            f"verdict  {run.verdict.state}",
            f"report   {where / 'report.md'}",
            f"metrics  {where / 'evaluation.json'}",
            f"figures  {where / 'figures'}",
            f"next     pyro-textvae sample {where}",
        ]
    )
    about = {"run": str(where), "recipe": run.name, "verdict": _verdict_data(run.verdict), "metrics": run.metrics}
    return _judged(text, about, run.verdict, fail_on, as_json)


def table(
    name: Annotated[Positional[str], arg(metavar="TABLE")],
    *,
    data: str = "toy",
    output: Annotated[Path | None, UNSET] = None,
    budget: str = "small",
    protocol: Annotated[str | None, UNSET] = None,
    rows: Annotated[str | None, UNSET] = None,
    seeds: Annotated[int | None, UNSET] = None,
    samples: Annotated[int | None, UNSET] = None,
    epochs: Annotated[int | None, UNSET] = None,
    device: str = "auto",
    settings: Annotated[
        UseAppendAction[tuple[str, ...]], arg(name="set", metavar="NAME=VALUE", help_behavior_hint="")
    ] = (),
    as_json: AsJson = False,
) -> Answer:
    """Train and measure every method of a published table, side by side.

    For example: pyro-textvae table zhu2020 --data reviews/ --output runs/reviews-table --budget small

    zhu2020 is the language-modelling table of the BN-VAE paper, zhu2020-labels its classification with few labels;
    shi2020-ptb and shi2020-dialog are the tables of the DEM-VAE paper; xu2018-ptb and xu2018-yelp are the NVRNN's of
    the spherical paper, xu2018-concentrations its sweep and xu2018-20ng its document models'. Stopped and called
    again, it goes on where it was and trains nothing twice. It writes table.md, table.csv and, but for xu2018-20ng,
    table.png, with the paper's numbers beside ours.

    Args:
        name: which table: one of those above
        data: a folder with train, valid and test; or whatever 'train' takes that has a test split
        output: the directory of the table and its runs; without one it goes to runs/TABLE
        budget: how large and how long: smoke (does it work? in minutes), small (for a CPU), paper (for a GPU)
        protocol: how all of it is optimised: modern (AdamW; the default) or the paper's own: zhu2020, shi2020, xu2018,
            of xu2018-20ng xu2018_nvdm
        rows: only these, with commas between: "VAE,BN-VAE (0.7)"
        seeds: runs of each row; by default 3 of the rows that matter most and 1 of the others
        samples: importance samples of the NLL, or labelled subsets (default: the budget's)
        epochs: passes over the training text (default: the budget's)
        device: auto, cpu, cuda or cuda:1
        settings: a size or an option of the training or the corpus, for all rows: --set hidden=64
    """
    given = options.parse(settings, "vae")
    if epochs is not None:
        given["epochs"] = epochs
    one_thread()
    from pyro_textvae.tables import table

    result = table(
        name,
        data,
        Path("runs") / name if output is None else output,
        budget=budget,
        protocol=protocol,
        rows=None if rows is None else [row.strip() for row in rows.split(",")],
        seeds=seeds,
        samples=samples,
        device=device,
        **given,
    )
    warning = f"failed: {len(result.failed)} runs diverged; called again, they are tried again" if result.failed else ""
    return Answer(result.text(), result.data(), as_json, 1 if result.failed else 0, warning)


# Is it good? Has it collapsed?


def verdict(run: RunDirectory, *, fail_on: FailOn = None, as_json: AsJson = False) -> Answer:
    """Say whether a run is healthy or has collapsed, why, and what to try."""
    judged = _verdict_of(open_run(run))
    return _judged(str(judged), _verdict_data(judged), judged, fail_on, as_json)


def evaluate(
    run: RunDirectory,
    *,
    split: str = "test",
    samples: int = 0,
    tempered: int = 0,
    swaps: Annotated[tuple[int, ...], arg(metavar="N", help_behavior_hint="")] = (),
    bleu: Annotated[str | None, UNSET] = None,
    bleu_from: str = "mean",
    data: Annotated[str | None, UNSET] = None,
    batch_size: int = 64,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> Answer:
    """Measure a run: likelihood, KL, information, active units, clusters against labels.

    Args:
        split: train, valid or test of the corpus it was trained on
        samples: importance samples for the tighter bound, 500 for a paper; 0 leaves it out
        tempered: samples for a bound tighter still, drawn from the posterior, flatter ones and the prior: 20, say
        swaps: also measure reconstruction after so many pairs of words were swapped in what is encoded: --swaps 1 2 4
        bleu: also measure BLEU of reconstructions, decoded by greedy, beam or sample; needs sacrebleu
        bleu_from: decode the 'mean' of the posterior, or a z 'drawn' from it
        data: a file or folder of your own instead, as 'train' takes it, read in the run's words: the labels of a .tsv
            or .jsonl go to a model that is told one; - is standard input, a sentence a line
        batch_size: sentences at a time
    """
    opened = open_run(run)
    if data == "-" and opened.told_label is not None:
        raise ValueError(
            f"{run} is told the label {opened.told_label!r} of each sentence, which standard input does not say: give "
            "a .tsv or .jsonl file that has it"
        )
    measured = opened.evaluate(
        split,
        samples=samples,
        tempered=tempered,
        swaps=swaps,
        bleu=bleu,  # pyright: ignore[reportArgumentType]
        bleu_from=bleu_from,  # pyright: ignore[reportArgumentType]
        seed=seed,
        data=read_texts() if data == "-" else data,
        batch_size=batch_size,
    )
    width = max(map(len, measured), default=0)
    notes = []
    if any(name.startswith("reconstruction_bleu_") and number == 0 for name, number in measured.items()):
        notes.append(
            "note: BLEU is 0 because not one run of four words was decoded right (it is not smoothed); on few "
            "sentences this says little"
        )
    if (unknown := measured.get("unknown_words_share", 0.0)) > MANY_UNKNOWN:
        notes.append(
            f"note: {unknown:.0%} of the words are unknown to the run, which reads and predicts them all as <unk>: the "
            "text may be cased or cut into words otherwise than what it was trained on"
        )
    text = "\n".join(f"{name:<{width}}  {number:.4f}" for name, number in measured.items())
    return Answer(text, measured, as_json, warning="\n".join(notes))


def generation(
    run: RunDirectory,
    *,
    split: str = "test",
    measures: Annotated[tuple[str, ...], arg(metavar="MEASURE", help_behavior_hint="")] = (),
    sentences: int = 10_000,
    decoding: Decoding = "sample",
    temperature: Temperature = 1.0,
    max_length: Annotated[int | None, UNSET] = None,
    self_bleu_sentences: int = 500,
    epochs: int = 10,
    language_model: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="")] = None,
    redrawn: bool = True,
    device: str = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> Answer:
    """Compare the text that a run writes with real text: perplexities, words, diversity.

    Args:
        split: what language models are measured on
        measures: reverse_perplexity forward_perplexity word_kl distinct self_bleu (default: all; the last needs
            sacrebleu)
        sentences: how many to generate; the published figures took 43,000
        max_length: most words of a sentence (default: as the corpus was cut)
        self_bleu_sentences: how many of them self-BLEU compares with each other
        epochs: passes of each language model over its text
        language_model: a run of lstm_lm on the same corpus, which spares training one for the forward perplexity
        redrawn: measure beside it as many training sentences, drawn with replacement (one language model more)
        device: auto, cpu, cuda or cuda:1
    """
    opened = open_run(run)
    from pyro_textvae.evaluation import LanguageModelBudget
    from pyro_textvae.evaluation.generated import MEASURES
    from pyro_textvae.training import device_of

    opened.vae.to(device_of(device))
    found = opened.evaluate_generation(
        split,
        measures=measures or MEASURES,
        sentences=sentences,
        decoding=decoding,  # pyright: ignore[reportArgumentType]
        temperature=temperature,
        max_length=max_length,
        self_bleu_sentences=self_bleu_sentences,
        budget=LanguageModelBudget(epochs=epochs),
        language_model=None if language_model is None else open_run(language_model),
        redrawn=redrawn,
        seed=seed,
    )
    return Answer(str(found), found.data(), as_json)


def report(run: RunDirectory, *, as_json: AsJson = False) -> Answer:
    """Write a run's report: verdict, metrics, samples and pictures on one page."""
    path = open_run(run).report()
    return Answer(str(path), {"report": str(path)}, as_json)


def figures(run: RunDirectory, *, as_json: AsJson = False) -> Answer:
    """Draw a run's pictures anew."""
    paths = [str(path) for path in open_run(run).figures()]
    return Answer("\n".join(paths), {"figures": paths}, as_json)


def compare(
    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN", help="directories of runs, two or more")],
    *,
    output: Annotated[Path | None, UNSET] = None,
    against: Annotated[str | None, UNSET] = None,
    as_json: AsJson = False,
) -> Answer:
    """Put runs side by side, as a table and as a picture, by their validation splits.

    Args:
        output: a file for the picture, such as compare.png or compare.pdf
        against: an option in which the runs of a mixture differ, such as dispersion: the picture then is of dispersion,
            information and NLL against it
    """
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} run came, but it takes two to compare: name their directories")
    if against is not None and output is None:
        raise ValueError(f"--against {against} came, but no file for its picture: add --output sweep.png")
    opened = [open_run(each) for each in runs]
    from pyro_textvae import figures

    text = figures.compare_table(opened)
    text += "\n\non the validation split, in nats a sentence but for spread and active units"
    about: dict[str, Any] = {
        str(run.directory): {"recipe": run.name, "verdict": _verdict_data(_verdict_of(run)), "metrics": run.metrics}
        for run in opened
    }
    if output is not None:
        drawn = figures.compare(opened) if against is None else figures.sweep(opened, against)
        drawn.savefig(output)
        text += f"\n\npicture: {output}"
    return Answer(text, about, as_json)


def classify(
    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN", help="directories of runs, one or more")],
    *,
    column: Annotated[str | None, UNSET] = None,
    counts: Annotated[tuple[int, ...], arg(metavar="COUNT", help_behavior_hint="")] = (),
    seeds: int = 5,
    fine_tuned: bool = False,
    draws: bool = False,
    output: Annotated[Path | None, UNSET] = None,
    as_json: AsJson = False,
) -> Answer:
    """Predict a label from the codes of few labelled texts; of several runs, a table.

    For example: pyro-textvae classify runs/reviews --counts 100 1000

    Args:
        column: the label column of the run's corpus; not needed where it has one
        counts: numbers of labels (default: those of 100, 500, 1000, 2000 and 10000 that there are labels for)
        seeds: how many labelled subsets are drawn of each size
        fine_tuned: train the encoder too, not only a logistic regression on its posterior means
        draws: classify one draw from each posterior in place of its mean; a collapsed one is then at chance
        output: a file for the table, .md or .csv
    """
    if not runs:
        raise ValueError("no run came: name the directory of at least one")
    if output is not None and output.suffix not in (".md", ".csv"):
        raise ValueError(f"--output {output} came, but the table is written to a .md or a .csv file")
    from pyro_textvae.evaluation import accuracy_table
    from pyro_textvae.figures.comparison import names_of

    named = names_of([open_run(each) for each in runs])
    found = {
        name: run.classify(column=column, counts=counts or None, seeds=seeds, fine_tuned=fine_tuned, draws=draws)
        for name, run in named.items()
    }
    if output is not None:
        output.write_text(accuracy_table(found, "csv" if output.suffix == ".csv" else "markdown") + "\n")
    if len(runs) == 1:
        (one,) = found.values()
        return Answer(str(one), one.data(), as_json)
    about = {str(run.directory): found[name].data() for name, run in named.items()}
    return Answer(accuracy_table(found), about, as_json)


def probe(
    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN", help="directories of runs, one or more")],
    *,
    p: Annotated[tuple[float, ...], arg(metavar="P", help_behavior_hint="")] = (),
    how: str = "adjacent",
    passes: int = 10,
    output: Annotated[Path | None, UNSET] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> Answer:
    """Measure what a code holds of the words of the test split, and of their order.

    For example: pyro-textvae probe runs/vae runs/vmf --p 0.1 0.5 1 --output order.png

    Args:
        p: probabilities of exchanging two neighbouring words (default: 0 0.1 0.2 0.4 0.6 0.8 1)
        how: adjacent, or rows: positions at random of a whole batch, as the code of Xu & Durrett 2018 does
        passes: of the probes of the bag of words over the training split
        output: a file for the picture of the order of words, such as order.png or order.pdf
    """
    if not runs:
        raise ValueError("no run came: name the directory of at least one")
    from pyro_textvae import figures
    from pyro_textvae.evaluation.probes import PROBABILITIES
    from pyro_textvae.figures.comparison import names_of

    named = names_of([open_run(each) for each in runs])
    order = {
        name: run.order_sensitivity(probabilities=p or PROBABILITIES, how=how, seed=seed)  # pyright: ignore
        for name, run in named.items()
    }
    bags = {name: run.probe_bag_of_words(passes=passes, seed=seed) for name, run in named.items()}
    text = "\n\n".join(f"{name}\n{bags[name]}\n{order[name]}" for name in named)
    if output is not None:
        figures.order_sensitivity(order).savefig(output)
        text += f"\n\npicture: {output}"
    about = {
        str(run.directory): {"bag_of_words": bags[name].data(), "order": order[name].data()}
        for name, run in named.items()
    }
    return Answer(text, about, as_json)


# Texts and codes.


def sample(
    run: RunDirectory,
    *,
    count: int = 10,
    component: Annotated[int | None, UNSET] = None,
    variable: Annotated[int | None, UNSET] = None,
    label: Annotated[str | None, UNSET] = None,
    decoding: Decoding = "sample",
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    max_length: MaxLength = 40,
    as_json: AsJson = False,
) -> Answer:
    """Write new texts, from the whole prior or from one component of a mixture.

    Args:
        count: how many
        component: the number of the component, from 0
        variable: the discrete variable that it is a component of, from 0; without it, of every variable
        label: the class to write of, for a model that is told a label; without it, drawn as often as each comes
    """
    texts = open_run(run).sample(
        count,
        component,
        variable=variable,
        label=label,
        decoding=decoding,  # pyright: ignore[reportArgumentType]  (it says itself which are known)
        temperature=temperature,
        seed=seed,
        max_length=max_length,
    )
    return Answer("\n".join(texts), texts, as_json)


def components(
    run: RunDirectory,
    *,
    split: str = "valid",
    words: int = 8,
    sentences: int = 3,
    samples: int = 3,
    seed: Seed = 0,
    data: Annotated[str | None, UNSET] = None,
    as_json: AsJson = False,
) -> Answer:
    """Say what each component of a mixture is about: its words, sentences and samples.

    Args:
        split: of the run's corpus, by which they are described
        words: how many words to list, those it has most more often than the other components
        sentences: how many of the nearest sentences
        samples: how many new sentences
        data: a file or folder of sentences instead, as 'train' takes it
    """
    opened = open_run(run)
    found = opened.describe_components(split, words=words, sentences=sentences, samples=samples, seed=seed, data=data)
    judged = opened.verdict if opened.metrics else None
    warned = [] if judged is None or judged.state == "healthy" else [f"{judged.state}: {judged.reasons[0]}"]
    return Answer("\n\n".join([*warned, str(found)]), found.data(), as_json)


def topics(
    run: RunDirectory,
    *,
    split: str = "train",
    words: int = 10,
    data: Annotated[str | None, UNSET] = None,
    as_json: AsJson = False,
) -> Answer:
    """Say what each number of a document model's code is about: its words and their NPMI.

    Args:
        split: of the run's corpus, in whose documents they occur together or do not
        words: how many of each topic
        data: a file or folder of documents instead, as 'train' takes it
    """
    found = open_run(run).describe_topics(split, words=words, data=data)
    return Answer(str(found), found.data(), as_json)


def encode(
    run: RunDirectory,
    texts: Texts = (),
    *,
    label: Annotated[str | None, UNSET] = None,
    output: Annotated[Path | None, UNSET] = None,
    as_json: AsJson = False,
) -> Answer:
    """Turn texts into codes: the means of their posteriors, as JSON or into an .npy file.

    Args:
        label: the class of all these texts, for a model that is told a label
        output: a file for the codes, an array (texts, dimensions): .npy or .json; without one they are printed as JSON
    """
    import numpy as np

    if output is not None and output.suffix not in (".npy", ".json"):
        raise ValueError(f"--output {output} came, but codes are written to a .npy or a .json file")
    given = read_texts(texts)
    codes = open_run(run).encode(given, labels=None if label is None else [label] * len(given))
    if output is None:
        return Answer(json.dumps(codes.tolist()), codes.tolist(), as_json)
    if output.suffix == ".npy":
        np.save(output, codes)
    else:
        output.write_text(json.dumps(codes.tolist()) + "\n")
    text = f"{codes.shape[0]} codes of {codes.shape[1]} numbers: {output}"
    return Answer(text, {"output": str(output), "shape": list(codes.shape)}, as_json)


def assign(run: RunDirectory, texts: Texts = (), *, as_json: AsJson = False) -> Answer:
    """Say which component of a mixture each text belongs to."""
    given = read_texts(texts)
    components = open_run(run).assign(given).tolist()
    lines = [f"{options.plain(component)}\t{text}" for component, text in zip(components, given, strict=True)]
    about = [{"text": text, "component": component} for component, text in zip(components, given, strict=True)]
    return Answer("\n".join(lines), about, as_json)


def reconstruct(
    run: RunDirectory,
    texts: Texts = (),
    *,
    label: Annotated[str | None, UNSET] = None,
    decoding: Decoding = "greedy",
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    max_length: MaxLength = 40,
    as_json: AsJson = False,
) -> Answer:
    """Encode texts and write them again from their codes: what the code has kept.

    Args:
        label: the class of all these texts, for a model that is told a label
    """
    given = read_texts(texts)
    again = open_run(run).reconstruct(
        given,
        labels=None if label is None else [label] * len(given),
        decoding=decoding,  # pyright: ignore[reportArgumentType]
        temperature=temperature,
        seed=seed,
        max_length=max_length,
    )
    about = [{"text": text, "reconstruction": back} for text, back in zip(given, again, strict=True)]
    return Answer("\n".join(again), about, as_json)


def interpolate(
    run: RunDirectory,
    a: Annotated[Positional[str], arg(metavar="A", help="the first text, in quotes; or a component")],
    b: Annotated[Positional[str], arg(metavar="B", help="the second text, in quotes; or a component")],
    *,
    components: bool = False,
    variable: Annotated[int | None, UNSET] = None,
    label: Annotated[str | None, UNSET] = None,
    steps: int = 7,
    seed: Seed = 0,
    max_length: MaxLength = 40,
    as_json: AsJson = False,
) -> Answer:
    """Walk from one text or component to another, and write what lies between.

    Args:
        components: A and B are numbers of components, from 0, and the walk is between their means
        variable: the discrete variable that they are components of, from 0; without it, of every variable
        label: the class of both texts and of all between, for a model that is told a label
        steps: texts on the way, both ends counted
    """
    ends: list[str | int] = [_component(end) for end in (a, b)] if components else [a, b]
    texts = open_run(run).interpolate(
        ends[0], ends[1], steps, variable=variable, label=label, seed=seed, max_length=max_length
    )
    return Answer("\n".join(texts), texts, as_json)


# What they share.


def _component(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"--components came, so A and B are numbers of components, from 0, but {text!r} is none")
    return int(text)


def _judged(text: str, about: dict[str, Any], judged: "Verdict", fail_on: State | None, as_json: bool) -> Answer:
    failed = fail_on is not None and (
        fail_on == judged.state.replace(" ", "-")
        or (fail_on == "collapse" and judged.state.endswith("collapse"))
        or (fail_on == "unhealthy" and judged.state != "healthy")
    )
    warning = f"failed: the verdict is {judged.state}, and --fail-on is {fail_on}" if failed else ""
    return Answer(text, about, as_json, FAILED_ON if failed else 0, warning)


def _verdict_of(run: "Run") -> "Verdict":
    """A run's verdict; one that was never evaluated, as after Ctrl-C, is told what to type."""
    if not run.metrics:
        directory = shlex.quote(str(run.directory))
        raise ValueError(
            f"{run.directory} has not been evaluated, as where training was stopped: go on with the 'train' command "
            "that began it and --resume, or have it judged as it is, after: "
            f"pyro-textvae evaluate {directory} --split valid"
        )
    return run.verdict


def _verdict_data(judged: "Verdict") -> dict[str, Any]:
    return {"state": judged.state, "reasons": list(judged.reasons), "advice": judged.advice}
