"""train(): from a recipe's name and a corpus to a Run."""

import json
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pyro_textvae import protocols
from pyro_textvae.batch import Batches
from pyro_textvae.checkpoint import FORMAT, read_json, write_json
from pyro_textvae.corpus import NAMED, TOYS, Corpus
from pyro_textvae.errors import did_you_mean
from pyro_textvae.evaluation import CollapseWarning
from pyro_textvae.loop import Diverged, Loop, Training
from pyro_textvae.optim import WITHOUT_EFFECT
from pyro_textvae.options import Kinds, check, kinds_of
from pyro_textvae.posteriors import BatchNormalised, Point
from pyro_textvae.pretraining import AUTOENCODER, adopt, width_of
from pyro_textvae.priors import WithClasses
from pyro_textvae.recipes import Recipe, recipes
from pyro_textvae.run import Run, build
from pyro_textvae.size import OF_ORDER, Size

__all__ = ["Diverged", "Training", "train"]


def train(
    model: str = "dem_vae",
    data: Any = "toy",
    *,
    output: str | Path | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    progress: bool = True,
    training: Training | None = None,
    finish: bool = True,
    protocol: str | None = None,
    init_from: str | Path | None = None,
    **recipe_options: Any,
) -> Run:
    """Train a recipe on a corpus and return the Run.

    model           a recipe's name: `pyro_textvae.recipes()`
    data            "toy" and its variants, a known corpus's name, a .txt, .tsv or .jsonl file (or their .gz), a folder
                    with train, valid and test, a list of texts, or (texts, labels)
    output          the run's directory; default runs/<model>-<data>, numbered
    resume          go on with the run in `output`, exactly where it stopped; a finished one is only opened, or goes
                    on if `epochs` is raised (not with decay="linear", whose rates depend on them, nor past the end
                    that another rule found)
    finish          after training, evaluate the best weights and draw the figures
    protocol        a paper's way of training, "zhu2020", "kim2018", "shi2020" or "xu2018", or of documents "miao2016"
                    or "xu2018_nvdm"; options that are given too win over it
    init_from       "ae": first train an autoencoder (a VAE whose KL has weight 0) in `output`/ae with the same
                    settings, then begin with its encoder and heads of q(z|x), all else drawn anew; or the directory of
                    a run to take these from
    recipe_options  the recipe's own, Size's (hidden=..., latent=...), Training's (batch_size=...) and the corpus's
                    (max_vocabulary=...)

    With progress the verdict is printed; without, one that is not healthy is a CollapseWarning.
    Raises ValueError for wrong names and values, Diverged for a loss that is no number. Ctrl-C saves before it stops.
    """
    given = sorted_options(model, recipe_options)
    expand = None if protocol is None else protocols.protocol(protocol)
    if not (isinstance(seed, int) and seed >= 0):
        raise ValueError(f"'seed' is {seed!r}, but a whole number of at least 0 is needed")
    if resume and output is None:
        raise ValueError("resume=True came without output: name the directory of the run to go on with")
    where = device_of(device)
    if model in recipes().of_bags:
        given["corpus"].setdefault("max_length", None)
    corpus = Corpus.open(data, seed=seed, **given["corpus"])
    if expand is not None:
        of_protocol = sorted_options(model, expand(model, corpus))
        given = {group: of_protocol[group] | options for group, options in given.items()}
    given["recipe"] = with_labels(model, given["recipe"], corpus)
    training = replace(training or Training(), **given["training"])
    if epochs is not None:
        training = replace(training, epochs=epochs)
    directory = _directory(output, model, corpus.name)
    settings = {
        "format": FORMAT,
        "recipe": model,
        "options": recipes().options(model) | given["recipe"],
        "size": {k: v for k, v in asdict(Size(len(corpus.vocabulary), **given["size"])).items() if k != "vocabulary"},
        "training": asdict(training),
        "seed": seed,
        "init_from": _from(directory, init_from),
    }
    with _threads(training), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        recipe = build(model, len(corpus.vocabulary), settings["size"], settings["options"])
        normalised = _check_batches(recipe, corpus, training)
        if not recipe.vae.decoder.ordered:
            _check_documents(corpus)
        elif not corpus.ordered:
            raise ValueError(
                f"{corpus.source}: word counts came, but {model!r} reads words in their order, which counts do not "
                f"have: give text, or train {', '.join(map(repr, sorted(recipes().of_bags)))}"
            )
        _check_components(recipe.vae, corpus, settings["options"])
        width = width_of(recipe.vae)
        if training.watch and not recipe.vae.prior.code:
            raise ValueError(f"watch={training.watch} was asked for, but {model!r} has no code to watch: leave it out")
        if init_from is not None:
            _check_source(model, init_from, width, recipe.vae.decoder.ordered)
            if init_from == "ae" and settings["options"].get("label") is not None:
                raise ValueError(
                    "init_from='ae' was given, but an autoencoder's encoder is told no label and does not fit one that "
                    "is: leave 'init_from' or 'label' out"
                )
        if init_from not in (None, "ae"):
            adopt(recipe.vae, Run(init_from), corpus.vocabulary.words)
        begun = _prepare(directory, settings, corpus, data, resume)
        if init_from == "ae" and not begun:
            ae = train(
                "beta_vae",
                data,
                output=directory / "ae",
                resume=(directory / "ae" / "recipe.json").exists(),
                training=training,
                seed=seed,
                device=device,
                progress=progress,
                finish=False,
                **AUTOENCODER,
                **settings["size"] | {"latent": width, "cell": _cell(recipe.vae.encoder)},
                **given["corpus"],
            )
            adopt(recipe.vae, ae, corpus.vocabulary.words)
        run = Run(directory)
        run.corpus = corpus  # it is open already
        loop = Loop(run, recipe, corpus, training, where, progress, drop_singletons=normalised)
        if begun:
            loop.restore()
        if progress and resume and finish and (why := _nothing_left(directory, begun, loop)):
            tqdm.write(why)
        if progress and not begun:
            tqdm.write(corpus.describe())
        if not loop.done:
            for name in MEASURED:
                (directory / name).unlink(missing_ok=True)
            loop.run()
        if finish and not (directory / MEASURED[-1]).exists():
            _finish(run, corpus, seed, progress)
    return run


def _nothing_left(directory: Path, begun: bool, loop: Loop) -> str:
    """What to tell someone who asked to go on with a run where there is nothing to go on with; or ""."""
    if not begun:
        return f"{directory} holds no training to go on with: it begins now"
    if not loop.done:
        return ""
    finished = f"{directory} is finished (epochs: {len(loop.rows)})"
    # The rates of a linear decay depend on how many epochs are planned; a run short of them was stopped by its rule.
    if loop.training.decay == "linear" or len(loop.rows) < loop.training.epochs:
        return f"{finished}: to train for longer, begin a new run with other settings"
    return f"{finished}: to go on with it, give more epochs"


MEASUREMENT = "table_measurement.json"
"""What a table has measured of a run."""

MEASURED = (MEASUREMENT, "generation.json", "evaluation.json", "report.md")
"""What speaks of weights that more training replaces; the last of what `_finish` leaves is last."""


def _finish(run: Run, corpus: Corpus, seed: int, progress: bool) -> None:
    """Evaluate the best weights on what was held out, draw the figures and write the report."""
    for split in ("valid", "test"):
        if split in corpus.splits:
            run.evaluate(split, seed=seed)
    run.figures()
    run.report()
    if progress:
        tqdm.write(f"{run.name}: {run.verdict}\n  {run.directory / 'report.md'}")
    elif run.verdict.state not in ("healthy", "no code"):
        warnings.warn(f"{run.directory}: {run.verdict}", CollapseWarning, stacklevel=3)


def _from(directory: Path, init_from: str | Path | None) -> str | None:
    """Where a run's encoder comes from, as seen from its directory: both may be moved together."""
    return None if init_from is None else "ae" if init_from == "ae" else os.path.relpath(init_from, directory)


def _check_source(model: str, init_from: str | Path, width: int, ordered: bool) -> None:
    if not width:
        raise ValueError(f"init_from={str(init_from)!r} was given, but {model!r} has no encoder to begin with")
    if init_from == "ae" and not ordered:
        raise ValueError(
            f"init_from='ae' was given, but that autoencoder reads words in their order, and {model!r} a bag of them: "
            "leave it out, or give the directory of a run of a bag"
        )
    if init_from != "ae" and not (Path(init_from) / "recipe.json").exists():
        raise ValueError(
            f"init_from is {str(init_from)!r}, which is no run: give 'ae', or the directory of a run (one with a "
            "recipe.json)"
        )


def with_labels(model: str, options: dict[str, Any], corpus: Corpus) -> dict[str, Any]:
    """A recipe's options with what its label columns ask of the corpus.

    The column `supervised` says how many components there are, and `label` in which shares its classes come. Raises
    ValueError for a column, of these or in `supervised_z`, that cannot be told or learnt: unknown, of fewer than two
    classes, of more than a variable of z has, or with a sentence that has no label (of the training split, or, for
    `label`, of any that is measured).
    """
    of_z = partial(_columns_of_z, default=recipes().options(model).get("classes", 0))
    for name, added in (("label", _shares), ("supervised", _components), ("supervised_z", of_z)):
        if options.get(name) is not None:
            options = options | added(options, corpus)
    return options


def _shares(options: dict[str, Any], corpus: Corpus) -> dict[str, Any]:
    """The shares of the classes of the label that encoder and decoder are told."""
    column = options["label"]
    _check_column("label", column, corpus)
    for name, split in corpus.splits.items():
        missing = int((split.labels[column] < 0).sum())
        if missing:
            raise ValueError(
                f"label={column!r} has no label for {missing} of {len(split)} sentences of {name!r}, but encoder and "
                "decoder are told each one's: label them, leave them out, or train without 'label'"
            )
    counts = np.bincount(corpus.splits["train"].labels[column], minlength=len(corpus.label_names[column]))
    shares = [round(float(share), 6) for share in counts / counts.sum()]
    if options.get("label_shares") is not None and list(options["label_shares"]) != shares:
        raise ValueError(
            f"'label_shares' is {options['label_shares']}, but the classes of {column!r} come in the shares {shares}: "
            "leave 'label_shares' out"
        )
    return {"label_shares": shares}


def _check_column(option: str, column: Any, corpus: Corpus) -> None:
    if column not in corpus.label_names:
        raise ValueError(
            f"{option}={column!r} is no label column of this corpus{did_you_mean(str(column), corpus.label_names)}: it "
            f"has {', '.join(map(repr, corpus.label_names)) or 'none'}"
        )
    if len(corpus.label_names[column]) < 2:
        raise ValueError(
            f"{option}={column!r} has one class alone, which tells nothing: take another column, or train without "
            f"{option!r}"
        )


def _classes_of(option: str, column: Any, corpus: Corpus) -> int:
    """How many classes a label column has that a discrete variable is to tell; every training sentence has one."""
    _check_column(option, column, corpus)
    labels = corpus.splits["train"].labels[column]
    missing = int((labels < 0).sum())
    if missing:
        raise ValueError(
            f"{option}={column!r} has no label for {missing} of {len(labels)} training sentences, but each must tell "
            f"its own: label them, leave them out, or train without {option!r}"
        )
    return len(corpus.label_names[column])


def _columns_of_z(options: dict[str, Any], corpus: Corpus, default: int) -> dict[str, Any]:
    of_z, most = options["supervised_z"], options.get("classes", default)
    of_z = [of_z] if isinstance(of_z, str) else list(of_z)
    for column in of_z:
        classes = _classes_of("supervised_z", column, corpus)
        if classes > most:
            raise ValueError(
                f"supervised_z={column!r} has {classes} classes, but a variable of z has 'classes' {most}: give "
                f"classes={classes} or more"
            )
    return {"supervised_z": of_z}


def _components(options: dict[str, Any], corpus: Corpus) -> dict[str, Any]:
    column = options["supervised"]
    classes = _classes_of("supervised", column, corpus)
    if options.get("components", classes) != classes:
        raise ValueError(
            f"'components' is {options['components']}, but the label {column!r}, observed as c, has {classes} classes: "
            "leave 'components' out"
        )
    return {"components": classes}


def _cell(encoder: nn.Module) -> str:
    return "lstm" if any(isinstance(module, nn.LSTM) for module in encoder.modules()) else "gru"


def options_of(model: str) -> dict[str, Kinds]:
    """The options of train() for a recipe, by what understands them: group -> name -> (type, default)."""
    _, *own = kinds_of(recipes()[model]).items()  # the first is the Size
    unread = ("vocabulary", *(OF_ORDER if model in recipes().of_bags else ()))
    return {
        "recipe": dict(own),
        "size": {name: what for name, what in kinds_of(Size).items() if name not in unread},
        "training": kinds_of(Training),
        "corpus": {name: what for name, what in kinds_of(Corpus.open).items() if name not in ("data", "seed")},
    }


def sorted_options(model: str, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give each option to what understands it, the recipe's own first.

    Raises ValueError for one that nothing does, and for a value that is not of the option's type.
    """
    known = options_of(model)
    every = [name for names in known.values() for name in names]
    given: dict[str, dict[str, Any]] = {group: {} for group in known}
    for name, value in options.items():
        group = next((group for group, names in known.items() if name in names), None)
        if group is None:
            owners = [other for other in recipes() if name in recipes().options(other)]
            if owners:
                hint = f"; {', '.join(owners)} {'has' if len(owners) == 1 else 'have'} it"
            elif name in OF_ORDER:
                hint = ", which is of models that read words in their order"
            else:
                hint = did_you_mean(name, every)
            raise ValueError(
                f"{model!r} has no option {name!r}{hint}. Its own options: {', '.join(known['recipe']) or 'none'}; "
                f"sizes: {', '.join(known['size'])}; training: {', '.join(known['training'])}; corpus: "
                f"{', '.join(known['corpus'])}"
            )
        check(name, value, *known[group][name])
        given[group][name] = value
    return given


def device_of(name: str) -> torch.device:
    """The device of this name, "auto" being a GPU where there is one; raises ValueError where there is none such."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}: use 'auto', 'cpu', 'cuda' or 'cuda:1'")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={name!r} was asked for, but this torch ({torch.__version__}) finds no CUDA device: use "
            "device='auto' or 'cpu', or install a CUDA build of torch"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={name!r} was asked for, but there are {torch.cuda.device_count()} CUDA devices, counted from 0"
        )
    return device


@contextmanager
def _threads(training: Training) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if training.threads == "auto" else training.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _directory(output: str | Path | None, model: str, corpus: str) -> Path:
    if output is not None:
        return Path(output)
    stem = Path("runs") / f"{model}-{corpus}"
    directory, number = stem, 1
    while directory.exists():
        number += 1
        directory = stem.with_name(f"{stem.name}-{number}")
    return directory


def _check_batches(recipe: Recipe, corpus: Corpus, training: Training) -> bool:
    """Whether the posterior is batch-normalised, which takes no batch of one sentence; refuse what leaves no other.

    Refuse as well what no batch can give to a term of the objective.
    """
    vae = recipe.vae
    for term in recipe.objective.terms:
        term.check_batches(min(training.batch_size, len(corpus.splits["train"])))
    if training.select == "elbo" and isinstance(getattr(vae, "posterior", None), Point):
        raise ValueError("select='elbo' was asked for, but an autoencoder has no ELBO: use select='loss'")
    if not any(isinstance(module, BatchNormalised) for module in vae.modules()):
        return False
    if training.batch_size < 2:
        raise ValueError("batch_size=1 was asked for, but a batch-normalised posterior needs at least 2 sentences")
    split = corpus.splits["train"]
    if not len(Batches(split, training.batch_size, batching=training.batching, drop_singletons=True)):
        raise ValueError(
            f"a batch-normalised posterior needs batches of at least 2 sentences, but the {len(split)} training "
            "sentence(s) give none: add sentences"
            + (' or leave batching="exact" out, since no two have one length' if training.batching == "exact" else "")
        )
    return True


def _check_documents(corpus: Corpus) -> None:
    """Refuse a corpus with a document that has no known word: a bag of nothing."""
    for name, split in corpus.splits.items():
        empty = split.without_known_words()
        if len(empty):
            some = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
            raise ValueError(
                f"{len(empty)} of {len(split)} {name} documents of {corpus.source} have no word that the vocabulary "
                f"knows (counted from 0: {some}), and a bag of none says nothing: leave them out, or give a smaller "
                "min_count or a larger max_vocabulary"
            )


def _check_components(vae: nn.Module, corpus: Corpus, options: dict[str, Any]) -> None:
    """Refuse more classes of a discrete variable than there are sentences to give to them."""
    prior, sentences = getattr(vae, "prior", None), len(corpus.splits["train"])
    if isinstance(prior, WithClasses) and prior.components > sentences:
        name = "components" if "components" in options else "classes"
        raise ValueError(
            f"{name!r} is {prior.components}, but the corpus has {sentences} training sentence(s): some would have "
            f"none to learn from. Take fewer {name}, or more text"
        )


# What stands in a directory before recipe.json does, should the process be killed there.
_BEFORE_RECIPE = ("corpus.json", "vocabulary.json")


def _prepare(directory: Path, settings: dict[str, Any], corpus: Corpus, data: Any, resume: bool) -> bool:
    """Make the directory, or check that the run in it may go on; True if there is something to go on with."""
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"output {directory} is a file, but a run is a directory: name one that is new or empty")
    versions = {name: version(name) for name in ("torch", "pyro-ppl", "numpy")} | {"python": platform.python_version()}
    try:
        settings = json.loads(json.dumps(settings))
    except TypeError as error:
        raise ValueError(
            f"the options of {settings['recipe']!r} cannot be written to recipe.json ({error}): give numbers, strings, "
            "lists and the like"
        ) from error
    if not (directory / "recipe.json").exists():
        there = {path.name.removesuffix(".part") for path in directory.iterdir()} if directory.exists() else set()
        if there - {*_BEFORE_RECIPE, "recipe.json"}:
            raise ValueError(
                f"output directory {directory} is not empty and holds no run: name one that is new or empty"
            )
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / "vocabulary.json", corpus.vocabulary.words)
        write_json(directory / "corpus.json", corpus.summary() | {"data": _source(data)})
        write_json(directory / "recipe.json", settings | {"versions": versions})
        return False
    if not resume:
        raise ValueError(
            f"output directory {directory} holds another run ({read_json(directory / 'recipe.json').get('recipe')!r}): "
            "pass resume=True to go on with it, or name another directory"
        )
    before = Run(directory).recipe
    before = before | {"training": asdict(Training()) | before["training"]}  # it may be of before an option was there
    free: set[str] = set(WITHOUT_EFFECT)
    if settings["training"]["decay"] != "linear":  # whose rates depend on how many epochs are planned
        free.add("epochs")
    differing = [
        f"{group} {name}".rstrip() + f": {_get(before, group, name)!r} then, {_get(settings, group, name)!r} now"
        for group in ("recipe", "options", "size", "training", "seed", "init_from")
        for name in (settings[group] if isinstance(settings[group], dict) else [""])
        if _get(before, group, name) != _get(settings, group, name) and name not in free
    ]
    if read_json(directory / "corpus.json")["sha256"] != corpus.sha256:
        differing.append("the corpus, which is another text or read otherwise (a seed that splits it included)")
    if differing:
        raise ValueError(
            f"{directory} cannot be resumed, its settings differ: {'; '.join(differing)}. Give those that "
            "it had, or name another output"
        )
    if before["training"] != settings["training"]:
        write_json(directory / "recipe.json", before | {"training": settings["training"]})
    return (directory / "last.safetensors").exists()


def _source(data: Any) -> str | None:
    """What opens the corpus again: a name, an absolute path, or None for texts in memory."""
    if not isinstance(data, str | Path):
        return None
    return str(Path(data).resolve()) if Path(data).exists() and data not in TOYS and data not in NAMED else str(data)


def _get(settings: dict[str, Any], group: str, name: str) -> Any:
    value = settings.get(group)
    return value.get(name) if isinstance(value, dict) else value
