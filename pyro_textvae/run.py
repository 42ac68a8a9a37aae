"""Run: the directory that training leaves, opened again.

    recipe.json       the recipe, its options, sizes, training settings, versions
    corpus.json       what the corpus was: source, options, counts, checksum
    vocabulary.json   words in the order of their ids
    best.safetensors  weights of the best epoch: the lowest validation loss of those after the objective's schedules
    last.safetensors  weights, optimiser, random numbers and place in the data: what resuming needs
    metrics.jsonl     a row an epoch
    evaluation.json   metrics of the best weights, by split
    generation.json   how the text that they write compares with real text, and how that was measured
    figures/          pictures
    watched/          codes and components at every epoch (watch=...)
    report.md         verdict, metrics, samples and pictures on one page
    ae/               the run of the autoencoder that it began with (init_from="ae")

Nothing in it is a pickle: opening a run of somebody else runs no code of theirs.
"""

import hashlib
import json
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_textvae.batch import Batch
from pyro_textvae.checkpoint import FORMAT, load_tensors, read_json, write_atomically, write_json
from pyro_textvae.corpus import Bags, Corpus, Split, Vocabulary
from pyro_textvae.corpus.sources import find
from pyro_textvae.errors import did_you_mean
from pyro_textvae.evaluation import (
    BagOfWordsProbe,
    Classification,
    Generation,
    LanguageModelBudget,
    OrderSensitivity,
    Verdict,
    classification,
    evaluate,
    evaluate_generation,
    generated,
    generation,
    judge,
    probes,
    train_longer,
)
from pyro_textvae.evaluation.codes import classes_of, draw_codes, evaluating, mean_code, on_sphere, variables_of
from pyro_textvae.evaluation.generation import Decoding
from pyro_textvae.evaluation.interpretation import Components, describe_components
from pyro_textvae.evaluation.reconstruction import From
from pyro_textvae.evaluation.topics import Topics, describe_topics, need_topics
from pyro_textvae.priors import Mixture, WithClasses
from pyro_textvae.recipes import Recipe, recipes
from pyro_textvae.size import Size
from pyro_textvae.terms import RELEASED_DRAWS
from pyro_textvae.vae import TextVAE


def build(recipe: str, vocabulary: int, size: dict[str, Any], options: dict[str, Any]) -> Recipe:
    """Build a known recipe from JSON-able settings."""
    return recipes()[recipe](Size(vocabulary=vocabulary, **size), **options)


SELECTED_BY = {"loss": "valid_loss", "elbo": "valid_nll_elbo_nats_per_sentence"}
"""What `Training.select` says -> the column of the history whose least value marks the best epoch."""


def best_of(rows: Sequence[dict[str, float]], select: str) -> dict[str, float]:
    """The row of the epoch whose weights are kept as the best: the first with the lowest validation loss.

    Of epochs by whose end every weight of the objective had reached its final value: weights from before were made by
    another objective, even if the loss, always taken with the final ones, is low. A cycle has reached it once it first
    rose, though it falls again. Of all epochs, where none got so far.
    Rows that do not say whether it had (older versions) count, since then all did.
    """
    ended = [row for row in rows if row.get("schedules_ended", True)]
    return min(ended or rows, key=lambda row: row[SELECTED_BY[select]])


class Run:
    """A trained text VAE with its corpus, metrics and pictures.

    Texts go in and come out as strings, words separated by spaces.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        if not (self.directory / "recipe.json").exists():
            raise FileNotFoundError(
                f"{self.directory} is not the directory of a run: it has no recipe.json; a run's directory is what "
                "train(output=...) wrote"
            )
        self.recipe: dict[str, Any] = read_json(self.directory / "recipe.json")
        if self.recipe.get("format") != FORMAT:
            raise ValueError(
                f"{self.directory} was written in format {self.recipe.get('format')!r}, but this version of "
                f"pyro_textvae reads format {FORMAT}: open it with the version that wrote it"
            )

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe["recipe"]

    @property
    def told_label(self) -> str | None:
        """The label column that encoder and decoder are told, if any."""
        return self.recipe["options"].get("label")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.load(self.directory / "vocabulary.json")

    @cached_property
    def vae(self) -> TextVAE:
        """The model with its best weights, in evaluation mode on the CPU."""
        tensors, _ = self.tensors("best.safetensors")
        if self.name not in recipes():
            raise ValueError(
                f"{self.directory} is a run of the recipe {self.name!r}, which is not known here"
                f"{did_you_mean(self.name, recipes())}: first import the file that defines it under @recipe"
            )
        with torch.random.fork_rng(devices=[]):  # building draws weights, which these replace
            vae = build(self.name, len(self.vocabulary), self.recipe["size"], self.recipe["options"]).vae
        try:
            vae.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(
                f"{self.directory / 'best.safetensors'} does not fit what {self.name!r} builds: the recipe was changed "
                f"since, or the file is another run's ({str(error).splitlines()[-1].strip()})"
            ) from error
        return vae.eval()

    @cached_property
    def identity(self) -> str:
        """A digest of recipe, options, sizes, seed and corpus, which every file of weights carries too."""
        said = [self.recipe[name] for name in ("recipe", "options", "size", "seed")]
        said.append(read_json(self.directory / "corpus.json")["sha256"])
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a file of weights holds, tensors and state; checked to be whole and this run's."""
        tensors, state = load_tensors(self.directory / name)
        if state.get("run") != self.identity:
            raise ValueError(
                f"{self.directory / name} was not saved by the run that recipe.json and corpus.json beside it "
                "describe: it is another run's, or they were altered; copy the whole directory anew"
            )
        return tensors, state

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus that the run was trained on, opened again from its source."""
        recorded = read_json(self.directory / "corpus.json")
        if recorded["data"] is None:
            raise ValueError(
                "this run was trained on texts in memory, which it does not keep: pass them to "
                "evaluate(data=...), describe_components(data=...), describe_topics(data=...), "
                "classify(texts, labels) or order_sensitivity(texts), or train from a file"
            )
        corpus = Corpus.open(recorded["data"], **recorded["options"])
        if corpus.sha256 != recorded["sha256"]:
            raise ValueError(
                f"{recorded['data']} is not what this run was trained on: its checksum differs; put the old file "
                "back, or pass data=... to evaluate on other texts"
            )
        return corpus

    @property
    def history(self) -> list[dict[str, float]]:
        """One row for each finished epoch."""
        path = self.directory / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def best(self) -> dict[str, float]:
        """The row of the epoch that the best weights are of."""
        rows = self.history
        if not rows:
            raise ValueError(f"{self.directory} has no finished epoch yet: train it first")
        return best_of(rows, self.recipe["training"]["select"])

    @property
    def stages(self) -> list["Run"]:
        """The runs that made this one, in their order: those of the one whose encoder it began with, and itself."""
        source = self.recipe.get("init_from")
        return [*(Run(self.directory / source).stages if source else []), self]

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics of the best weights: {"valid": {...}, "test": {...}}, units in the names."""
        path = self.directory / "evaluation.json"
        return read_json(path) if path.exists() else {}

    @property
    def verdict(self) -> Verdict:
        """What state the run is in, in words, judged on the validation split."""
        metrics = self.metrics
        if not metrics:
            raise ValueError(f"{self.directory} has not been evaluated: call run.evaluate() first")
        settings = self.recipe["size"] | self.recipe["options"] | {"recipe": self.name}
        found = judge(metrics.get("valid") or next(iter(metrics.values())), settings)
        select = SELECTED_BY[self.recipe["training"]["select"]]
        longer = train_longer([row[select] for row in self.history if row.get("schedules_ended", True)])
        advice = found.advice + (f"; and {longer}" if longer else "")
        return replace(found, reasons=found.reasons + self._half_annealed(), advice=advice)

    def _half_annealed(self) -> tuple[str, ...]:
        """That the best weights are from within the objective's schedules, where they are: a reason to doubt."""
        updates = self.recipe["options"].get("warm_up") or 0
        if not self.history or (best := self.best).get("schedules_ended", best["step"] >= updates):
            return ()
        schedule = f"the KL's warm-up takes {updates} updates" if updates else "a weight of the objective still rises"
        return (
            f"but {schedule}, and these weights are of update {best['step']}; a schedule that ends well "
            "before the last epoch makes this verdict count",
        )

    # Texts in, numbers out.

    def encode(self, texts: Sequence[str], *, labels: Sequence[str] | None = None) -> np.ndarray:
        """Posterior means, (N, D), or (N, M D) with M discrete variables.

        `labels` are the texts', by the names that the corpus has for them: of a model that is told a label.
        """
        return self._encode(self._batches(texts, labels))

    def _encode(self, batches: list[Batch]) -> np.ndarray:
        self._need_code()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a refined posterior is found by noisy steps
            return np.concatenate([self._code(batch).numpy() for batch in batches])

    def assign(self, texts: Sequence[str]) -> np.ndarray:
        """The likeliest component of each text, or class of a discrete code: integers (N,), or (N, M) with M > 1
        discrete variables."""
        self._need_classes()
        with evaluating(self.vae, 0):
            classes = [classes_of(self.vae, draw_codes(self.vae, batch)[0]) for batch in self._batches(texts)]
        joint = torch.cat([each for each in classes if each is not None]).argmax(-1).numpy()  # (N, M)
        return joint[:, 0] if joint.shape[1] == 1 else joint

    def describe_components(
        self,
        split: str = "valid",
        *,
        words: int = 8,
        sentences: int = 3,
        samples: int = 3,
        seed: int = 0,
        data: Any = None,
    ) -> Components:
        """What each component is about: its share, its words, the sentences nearest to it, samples; prints as a page.

        By a split of the run's corpus, or by `data` as evaluate() takes it; the other numbers say how many of each are
        listed. How words are chosen: `evaluation/interpretation.py`.
        """
        self._need_classes()
        for name, value in (("words", words), ("sentences", sentences), ("samples", samples)):
            if value < 0:
                raise ValueError(f"{name}={value} came, but at least 0 can be listed")
        return describe_components(
            self.vae,
            self.vocabulary,
            self.corpus.split(split) if data is None else self._with_known_words(self._given(data, split)),
            words=words,
            sentences=sentences,
            samples=samples,
            seed=seed,
        )

    def describe_topics(self, split: str = "train", *, words: int = 10, data: Any = None) -> Topics:
        """What each number of a document model's code is about: its `words` words and their coherence, the NPMI of
        sharing documents of the split, or of `data` as evaluate() takes it; prints as a page.

        Raises ValueError for a model of sentences.
        """
        need_topics(self.vae)  # before documents are asked for
        documents = self.corpus.split(split) if data is None else self._given(data, split)
        return describe_topics(self.vae, self.vocabulary, documents, words)

    # Numbers in, texts out.

    def sample(
        self,
        count: int = 10,
        component: int | None = None,
        *,
        variable: int | None = None,
        label: str | None = None,
        decoding: Decoding = "sample",
        temperature: float = 1.0,
        seed: int = 0,
        max_length: int = 40,
    ) -> list[str]:
        """Generate texts from the prior, or from one component of a mixture: of every variable, or of `variable`.

        A model that is told a label writes of the class `label`, or each text of one drawn as often as it comes in the
        training text. Raises ValueError for a model that is told a bag of words, which without a sentence there is not.
        """
        if count < 1:
            raise ValueError(f"{count} samples were asked for, but at least one is needed")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            codes = self.vae.prior.sample(count, component, variable)
            return self._decode(self._freely(codes, label), decoding, temperature, max_length)

    def reconstruct(
        self,
        texts: Sequence[str],
        *,
        labels: Sequence[str] | None = None,
        decoding: Decoding = "greedy",
        temperature: float = 1.0,
        seed: int = 0,
        max_length: int = 40,
    ) -> list[str]:
        """Decode each text's posterior mean, or of a discrete code the likeliest classes.

        What else the decoder is told, it is told of the text itself; a label has to be given, in `labels`.
        """
        batches = self._batches(texts, labels)
        codes = self.vae.prior.on_support(torch.from_numpy(self._encode(batches)))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            parts = zip(codes.split([len(batch) for batch in batches]), batches, strict=True)
            told = torch.cat([self.vae.decoder.condition(part, batch) for part, batch in parts])
            return self._decode(told, decoding, temperature, max_length)

    def interpolate(
        self,
        a: str | int,
        b: str | int,
        steps: int = 7,
        *,
        variable: int | None = None,
        label: str | None = None,
        seed: int = 0,
        max_length: int = 40,
    ) -> list[str]:
        """Decode `steps` codes on the way from a to b: on a line, or on a great circle of each variable's sphere.

        An end is a text, at its posterior mean, or the number of a component, at the component's mean: of every
        variable, or of `variable` alone. Then the others stay as the text at the other end has them or, between two
        components, at one draw from their prior. Between two discrete codes the line runs through blends of their
        classes, as a relaxed code has in training. `label` is that of both texts and of all between, for a model that
        is told one. Raises ValueError for a component that does not exist or, outside a mixture, has no place, and for
        a model that is told a bag of words, which lies between no two.
        """
        if steps < 2:
            raise ValueError(f"{steps} steps were asked for, but a path has at least its two ends")
        if isinstance(a, str) and isinstance(b, str) and variable is not None:
            raise ValueError(f"variable={variable} came, but both ends are texts: it is of a component, a number")
        if label is None and (isinstance(a, str) or isinstance(b, str)):
            self._need_label("that of both with label=...")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            ends = self._ends((a, b), variable, label)
            if on_sphere(self.vae):
                ends = ends.unflatten(-1, (variables_of(self.vae), -1))  # each variable walks on its own sphere
                path = generation.spherical(ends[0], ends[1], steps).flatten(-2)
            else:
                path = generation.linear(ends[0], ends[1], steps)
            return self._decode(self._freely(path, label), "greedy", 1.0, max_length)

    # Evaluation.

    def evaluate(
        self,
        split: str = "test",
        *,
        samples: int = 0,
        tempered: int = 0,
        swaps: Sequence[int] = (),
        bleu: Decoding | None = None,
        bleu_from: From = "mean",
        released_draws: int | None = None,
        seed: int = 0,
        data: Any = None,
        labels: Sequence[str] | None = None,
        batch_size: int = 64,
    ) -> dict[str, float]:
        """Measure the best weights on a split of the run's corpus, or on `data`.

        A split's measures go to evaluation.json, in place of all that was measured on it before. Those of `data` say
        beside them which share of its words is unknown to the run: to predict <unk> is easy, so a perplexity is worth
        less the larger it is.

        data       what train() takes, such as a path, a list of texts, (texts, labels) or `Bags`, read in the run's own
                   vocabulary: of several parts, such as a folder's, the one that `split` names

        samples    importance samples from q(z|x) for the importance-weighted bound; 0 leaves it out
        tempered   the same, of samples from q(z|x), its flatter relatives and the prior: tighter by nats where q is
                   surer than p(z|x), as with a fixed concentration or a KL held up by force (evaluation/proposals.py)
        swaps      how many pairs of words to swap before encoding, for the noisy reconstruction: [1, 2, 4]
        bleu       how to decode for reconstruction BLEU (needs sacrebleu); None leaves it out
        bleu_from  decode the posterior's "mean", or one z "drawn" from it
        released_draws   also the estimator released with Xu & Durrett 2018, from the mean of so many z's: no bound, as
                         its names say. None: 3 of a run that was trained with it, none of others
        labels     those of `data`, for a model that is told a label; of a .tsv or .jsonl it reads them itself
        """
        if released_draws is None:
            trained_with = self.recipe["options"].get("estimator") == "xu2018_released"
            released_draws = RELEASED_DRAWS if trained_with else 0
        if labels is not None and data is None:
            raise ValueError("labels came without data: the corpus has the labels of its own splits")
        more: dict[str, Any] = dict(
            importance_samples=samples,
            tempered_samples=tempered,
            swaps=swaps,
            bleu=bleu,
            bleu_from=bleu_from,
            released_draws=released_draws,
            seed=seed,
            batch_size=batch_size,
        )
        if data is not None:
            found = self._given(data, split, labels)
            return evaluate(self.vae, found, **more) | {"unknown_words_share": found.unknown_share}
        measured = evaluate(
            self.vae,
            self.corpus.split(split),
            label_names=self.corpus.label_names,
            supervised=self.recipe["options"].get("supervised"),
            supervised_z=self.recipe["options"].get("supervised_z") or (),
            entropy=(self.corpus.entropy or {}).get("nats_per_sentence"),
            **more,
        )
        write_json(self.directory / "evaluation.json", self.metrics | {split: measured})
        return measured

    def evaluate_generation(
        self,
        split: str = "test",
        *,
        measures: Sequence[str] = generated.MEASURES,
        sentences: int = generated.SENTENCES,
        decoding: Decoding = "sample",
        temperature: float = 1.0,
        max_length: int | None = None,
        self_bleu_sentences: int = generated.SELF_BLEU_SENTENCES,
        budget: LanguageModelBudget | None = None,
        language_model: "Run | str | os.PathLike[str] | None" = None,
        redrawn: bool = True,
        seed: int = 0,
    ) -> Generation:
        """Generate text with the best weights and measure it against the run's corpus; prints as a page.

        It goes to generation.json, settings and all, in place of what was measured before.

        split                what language models are measured on
        measures             some of "reverse_perplexity", "forward_perplexity", "word_kl", "distinct" and "self_bleu"
                             (which needs sacrebleu)
        sentences            how many are generated
        decoding, temperature, max_length   how; max_length None: as the corpus was cut
        self_bleu_sentences  how many of them self-BLEU compares with each other
        budget               how the measuring language models are made and trained: `LanguageModelBudget`
        language_model       a run of 'lstm_lm' on the same corpus, which spares training one on the training split for
                             the forward perplexity
        redrawn              whether reverse perplexity and word KL are measured too of as many training sentences,
                             drawn with replacement

        It trains up to three language models, on the device of `run.vae`. Raises ValueError for a run that cannot be
        sampled from. What each number means, and how the published ones were got: `evaluation/generated.py`.
        """
        given = None
        if language_model is not None:
            other = language_model if isinstance(language_model, Run) else Run(language_model)
            given = (str(other.directory), self._real_language_model(other))
        found = evaluate_generation(
            self.vae,
            self.corpus,
            split,
            measures=measures,
            sentences=sentences,
            decoding=decoding,
            temperature=temperature,
            max_length=max_length,
            self_bleu_sentences=self_bleu_sentences,
            budget=budget,
            language_model=given,
            redrawn=redrawn,
            seed=seed,
        )
        write_json(self.directory / "generation.json", found.data())
        return found

    @property
    def generation(self) -> Generation:
        """What evaluate_generation last measured."""
        path = self.directory / "generation.json"
        if not path.exists():
            raise ValueError(f"no text of {self.directory} was measured yet: call run.evaluate_generation() first")
        return Generation(**read_json(path))

    def classify(
        self,
        texts: Sequence[str] | None = None,
        labels: Sequence[Hashable] | None = None,
        *,
        test: tuple[Sequence[str], Sequence[Hashable]] | None = None,
        column: str | None = None,
        counts: int | Sequence[int] | None = None,
        seeds: int = 5,
        fine_tuned: bool = False,
        draws: bool = False,
    ) -> Classification:
        """How well a classifier on the code predicts a label, by how many labels it was given; prints as a table.

        texts, labels  yours, a label a text (None: missing); without them, the training split of the run's corpus
        test           (texts, labels) to be scored on; without it, the corpus's test split (valid, if it has none), or
                       a fifth of your texts, which are then not trained on
        column         the corpus's label column; not needed where it has one
        counts         numbers of labels; None: those of 100, 500, 1,000, 2,000 and 10,000 that there are labels for
        seeds          how many subsets are drawn of each size
        fine_tuned     train the encoder too (a copy: the run stays as it is), not only a logistic regression
        draws          classify one draw from q(z|x) in place of its mean, in whose traces a classifier can read what
                       the decoder cannot: with a collapsed posterior draws stay at chance, means may not

        Raises ValueError before anything is fitted: no labels, labels and texts of different lengths or in each other's
        place, texts without a known word, fewer labels than classes, more than sentences, a run without a code. How
        each method works, and what chooses its settings:
        `evaluation/classification.py`. Source: Zhu et al. 2020, Table 3.
        """
        self._need_code()
        if texts is not None:
            if column is not None:
                raise ValueError("'column' is of the run's corpus, but texts came: pass their labels, and no column")
            if self.told_label is not None:
                raise ValueError(
                    f"the encoder of this {self.name!r} is told the label {self.told_label!r}, which your texts come "
                    "without: classify by a column of its corpus, or with a run trained without it"
                )
            task = classification.Labelled.of_texts(texts, labels, test, self._read_known)
        elif labels is not None or test is not None:
            raise ValueError("labels or a test set came without texts: pass classify(texts, labels), or a column alone")
        else:
            task = classification.Labelled.of_corpus(self.corpus, column)
            if task.column == self.told_label:
                raise ValueError(
                    f"the encoder of this {self.name!r} is told the label {task.column!r}, so to predict it from the "
                    "code shows nothing: take another column, or a run trained without it"
                )
        return classification.classify(
            self.vae, task, self._read_known, counts=counts, seeds=seeds, fine_tuned=fine_tuned, draws=draws
        )

    def probe_bag_of_words(self, *, passes: int = probes.PASSES, seed: int = 0) -> BagOfWordsProbe:
        """How well the code tells the bag of words, and the bag of words the code: cosines; prints as a table.

        Small networks learn it on the run's training split, at most `passes` times over it, and are measured on its
        test split; beside them stands the best constant answer. The bag of words is the mean embedding of the words.
        Raises ValueError for a run whose code is no vector, and where there is no test split. What differs from the
        released procedure: `evaluation/probes.py`. Source: Xu & Durrett 2018, Table 6.
        """
        splits = [self.corpus.split(name) for name in ("train", "valid", "test")]
        return probes.probe_bag_of_words(self.vae, *splits, passes=passes, seed=seed)

    def order_sensitivity(
        self,
        texts: Sequence[str] | None = None,
        *,
        split: str = "test",
        labels: Sequence[str] | None = None,
        probabilities: Sequence[float] = probes.PROBABILITIES,
        how: probes.How = "adjacent",
        seed: int = 0,
    ) -> OrderSensitivity:
        """How far the code turns when neighbouring words change places, for each probability; prints as a table.

        texts   yours; without them, a split of the run's corpus
        labels  those of `texts`, for a model that is told a label
        how     "adjacent": neighbours; "rows": positions at random of a whole batch, as the paper's code does

        Sentences of one word have nothing to exchange: they are left out and counted. Raises ValueError for a
        probability outside [0, 1] and for a run whose code is no vector. Source: Xu & Durrett 2018, Figure 5.
        """
        if labels is not None and texts is None:
            raise ValueError("labels came without texts: the corpus has the labels of its own splits")
        read = self.corpus.split(split) if texts is None else self._split(texts, labels)
        return probes.order_sensitivity(self.vae, read, probabilities=probabilities, how=how, seed=seed)

    def metric(self, name: str, split: str = "test") -> float:
        """One metric by its name; a wrong name says which one may be meant."""
        metrics = self.metrics.get(split)
        if metrics is None:
            raise ValueError(f"split {split!r} has not been evaluated; call run.evaluate({split!r})")
        if name not in metrics:
            raise ValueError(f"unknown metric {name!r}{did_you_mean(name, metrics)}; there are: {', '.join(metrics)}")
        return metrics[name]

    def figures(self) -> list[Path]:
        """Draw the run's pictures into figures/; returns their paths."""
        from pyro_textvae import figures

        return figures.save_all(self)

    def report(self) -> Path:
        """Write report.md: verdict, metrics, samples and pictures."""
        from pyro_textvae.figures import report

        path = self.directory / "report.md"
        write_atomically(path, report.markdown(self).encode())
        return path

    # Inside.

    def _need_code(self) -> None:
        if self.vae.prior.code == 0:
            raise ValueError(
                f"a {self.name!r} has no code: encode, interpolate and classify need a VAE such as 'dem_vae'"
            )

    def _real_language_model(self, other: "Run") -> TextVAE:
        """The model of a run that is a language model of this run's corpus."""
        if other.vae.prior.code:
            raise ValueError(
                f"{other.directory} is a run of {other.name!r}, which is no language model: give one of 'lstm_lm'"
            )
        if other.vae.decoder.told:
            raise ValueError(
                f"{other.directory} is told {' and '.join(other.vae.decoder.told)} of each sentence, so it has no "
                "probability for text alone: give a run of 'lstm_lm'"
            )
        here, there = (read_json(run.directory / "corpus.json")["sha256"] for run in (self, other))
        if here != there or self.vocabulary != other.vocabulary:
            raise ValueError(
                f"the language model {other.directory} was trained on another corpus than {self.directory}, or with "
                "another vocabulary or split of it: train 'lstm_lm' with the same data, seed and corpus options"
            )
        return other.vae

    def _need_classes(self) -> None:
        if not isinstance(self.vae.prior, WithClasses):
            raise ValueError(f"a {self.name!r} has no components to assign texts to: train a mixture such as 'dem_vae'")

    def _need_label(self, which: str) -> None:
        """Raises ValueError, saying which to give, where the model is told a label that did not come."""
        if self.told_label is not None:
            raise ValueError(
                f"these sentences came without the label {self.told_label!r}, which this model's encoder and decoder "
                f"are told: give {which}; it has {', '.join(map(repr, self._classes))}"
            )

    @property
    def _classes(self) -> list[str]:
        """The names of the classes of the label that the model is told."""
        return read_json(self.directory / "corpus.json")["label_names"][self.told_label]

    def _classes_told(self, labels: Sequence[str]) -> np.ndarray:
        """Labels by their names to the classes of the column that the model is told, (N,)."""
        if self.told_label is None:
            raise ValueError(f"labels came, but this {self.name!r} is told none: leave them out")
        names = self._classes
        for label in labels:
            if label not in names:
                raise ValueError(
                    f"{label!r} is no class of {self.told_label!r}{did_you_mean(str(label), names)}: it has "
                    f"{', '.join(map(repr, names))}"
                )
        return np.array([names.index(label) for label in labels], np.int64)

    def _freely(self, codes: Tensor, label: str | None) -> Tensor:
        """Codes and what else the decoder is told, where there is no sentence."""
        one = None if label is None else int(self._classes_told([label])[0])
        return self.vae.decoder.condition_freely(codes, one)

    def _split(self, texts: Sequence[str], labels: Sequence[str] | None = None) -> Split:
        """Texts encoded as the corpus was: same words, same length, same lower-casing; with labels if they came."""
        options = read_json(self.directory / "corpus.json")["options"]
        split = Split.from_texts(
            texts, self.vocabulary, max_length=options["max_length"], lowercase=options["lowercase"]
        )
        if not len(split):
            raise ValueError("an empty list came, but at least one text is needed")
        if labels is None:
            self._need_label("the label of each with labels=[...]")
            return split
        if isinstance(labels, str) or len(labels) != len(split):
            raise ValueError(f"labels={labels!r} came for {len(split)} texts: give a list, one label for each text")
        classes = self._classes_told(labels)
        return replace(split, labels={self.told_label: classes})

    def _given(self, data: Any, split: str, labels: Sequence[str] | None = None) -> Split:
        """Data as train() takes it, encoded as the corpus was; of a model that is told a label, with its column."""
        pair = isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], str)  # (texts, labels)
        if pair or isinstance(data, str | os.PathLike | Bags | Mapping):
            told = self.told_label if labels is None else None
            columns = read_json(self.directory / "corpus.json")["options"]["label_columns"]
            text = find(data, () if told is None else None if columns is None else tuple(columns))
            if self.vae.decoder.ordered and not text.ordered:
                raise ValueError(
                    f"{text.source}: word counts came, but {self.name!r} reads words in their order, which counts do "
                    "not have: give text, or a run of bags such as 'g_nvdm'"
                )
            records = text.part(split)
            if told is not None:
                labels = [self._label_of(record.labels, told, text.source) for record in records]
            data = [" ".join(record.words) for record in records]
        found = self._split(data, labels)
        return found if self.vae.decoder.ordered else self._with_known_words(found)

    def _read_known(self, texts: Sequence[str]) -> Split:
        return self._with_known_words(self._split(texts))

    def _with_known_words(self, split: Split) -> Split:
        """The split. Raises ValueError for texts without any, of which a code says nothing."""
        if len(empty := split.without_known_words()):
            raise ValueError(
                f"{len(empty)} of {len(split)} texts have no word that the run's vocabulary knows, such as number "
                f"{empty[0] + 1}, and a code says nothing of them: leave them out"
            )
        return split

    def _label_of(self, labels: Mapping[str, str], told: str, where: str) -> str:
        """What a record says of the label that the model is told; of one column, whatever it is called."""
        label = labels.get(told) or (next(iter(labels.values())) if len(labels) == 1 else None)
        if label is None:
            raise ValueError(
                f"{where} has a sentence without the label {told!r}, which encoder and decoder of this {self.name!r} "
                f"are told: give a .tsv or .jsonl with that column, and a label for each"
            )
        return label

    def _batches(self, texts: Sequence[str], labels: Sequence[str] | None = None) -> list[Batch]:
        texts = texts if isinstance(texts, str) else list(texts)
        split = self._split(texts, labels)
        ids = [split.ids(number) for number in range(len(split))]
        if len(silent := split.without_known_words()):
            number = silent[0]
            what = "has no word that the run's vocabulary knows" if len(ids[number]) else "is empty"
            raise ValueError(
                f"text {number} ({texts[number][:60]!r}) {what}: its code would say nothing of it. Words are what "
                "white space separates, case and punctuation included; leave the text out, or write it as the corpus "
                "does"
            )
        parts = [slice(start, start + 64) for start in range(0, len(ids), 64)]
        return [Batch.collate(ids[part], {name: of[part] for name, of in split.labels.items()}) for part in parts]

    @torch.no_grad()
    def _code(self, batch: Batch) -> Tensor:
        return mean_code(self.vae, batch)

    def _ends(self, ends: Sequence[str | int], variable: int | None, label: str | None) -> Tensor:
        """Codes (2, code) of texts and of components, whose variables other than `variable` are the text's."""
        prior = self.vae.prior
        labels = None if label is None else [label]
        codes = {end: torch.from_numpy(self.encode([end], labels=labels)) for end in ends if isinstance(end, str)}
        drawn = [prior.sample(1, end, variable) for end in ends if not isinstance(end, str)]  # which checks them, too
        others, found = [*codes.values(), *drawn][0], []
        for end in ends:
            if isinstance(end, str):
                found.append(codes[end])
                continue
            if not isinstance(prior, Mixture):
                raise ValueError(
                    f"a class of {self.name!r} has no place to walk from: train a mixture such as 'dem_vae'"
                )
            place = others.unflatten(-1, (prior.variables, -1)).clone()  # (1, M, D)
            chosen = slice(None) if variable is None else slice(variable, variable + 1)
            place[0, chosen] = prior.means()[chosen, end]
            found.append(place.flatten(-2))
        return prior.on_support(torch.cat(found))

    def _decode(self, codes: Tensor, decoding: str, temperature: float, max_length: int) -> list[str]:
        ids = generation.write(self.vae.decoder, codes, decoding, max_length, temperature)
        return [self.vocabulary.decode(words) for words in ids]


def load(path: str | os.PathLike[str]) -> Run:
    """Open the directory of a run; its weights are checked."""
    run = Run(path)
    _ = run.vae
    return run
