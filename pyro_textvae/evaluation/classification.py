"""Few-label classification: how well a classifier on the code predicts a label, by how many labels it was given.

A labelled subset is drawn from the training sentences, a classifier is fitted to it, and its accuracy is the share of
held-out sentences that it gets right (Zhu et al. 2020, Table 3). Whether that table trains the encoder with the
classifier is not known to us, and the authors' code can do either; so both are here:

    frozen       multinomial logistic regression on the posterior means, each dimension standardised over the subset.
                 Its C is one of C_GRID, the one of highest accuracy in five-fold cross-validation inside the subset
                 (at a tie the smallest; 1 where a class too few is left to validate on). The model is only read
    fine-tuned   copies of encoder and posterior, and a linear head on the same means under dropout, trained together
                 by AdamW. How long is what gives the lowest loss on a fifth of the subset; then all of the subset is
                 trained on, anew, for as long. Batch normalisation keeps its running moments, which batches of few
                 sentences would spoil

No choice is made on the held-out sentences.

Means of a collapsed posterior keep a trace of the sentence, far below the posterior's own noise, and a classifier reads
it all the same: on the embedded corpus (the Gaussian of docs/probes.md) a KL of 0.02 nats leaves means that, given
1,000 labels, tell the topic of 74 % of the sentences, one of eight. So an accuracy above chance does not say that a
code has not collapsed. `draws` classifies one draw from q(z|x) in place of its mean: what it can tell is bounded by the
mutual information.
"""

import copy
import csv
import io
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from pyro_textvae.batch import Batch, Batches
from pyro_textvae.corpus import Corpus, Split
from pyro_textvae.errors import did_you_mean
from pyro_textvae.evaluation.codes import batches_of, code_of, evaluating, mean_code
from pyro_textvae.posteriors import BatchNormalised
from pyro_textvae.shown import Spread, markdown
from pyro_textvae.vae import TextVAE

COUNTS = (100, 500, 1000, 2000, 10_000)
"""Labels, of Zhu et al. 2020."""

C_GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse strengths of the penalty on standardised codes; from all classes alike to hardly any penalty."""

FOLDS = 5

LEARNING_RATE, BATCH_SIZE, CLIP, DROPOUT = 1e-3, 16, 5.0, 0.5
"""Of fine-tuning, from the code of Zhu et al. 2020 (whose other option is SGD); the head learns ten times as fast."""

UPDATES_PER_TURN, MOST_TURNS, PATIENCE = 100, 20, 3
"""Of fine-tuning. A turn is as many passes as make 100 updates: with 100 labels a pass is 7 updates, and some hundreds
are needed. It ends after three turns in which the loss has not fallen."""

LARGEST_HANDFUL = 10
"""More labels than this that differ, and more than texts that do, are texts in the place of labels."""

Method = Literal["frozen", "frozen, draws", "fine-tuned"]
Predict = Callable[[Split], np.ndarray]
"""Class ids (N,) of the sentences of a split."""


@dataclass(frozen=True)
class Labelled:
    """Sentences to learn a label from, and others to be scored on; label ids are (N,), -1 where missing."""

    column: str
    classes: Sequence[Hashable]
    train: Split
    train_labels: np.ndarray
    test: Split
    test_labels: np.ndarray

    @classmethod
    def of_corpus(cls, corpus: Corpus, column: str | None) -> "Labelled":
        """A label column of a corpus (None: its only one): train, and test or, where there is none, valid."""
        known = corpus.label_names
        if not known:
            raise ValueError(
                f"the corpus {corpus.name!r} has no label column, but a label is what is to be predicted: pass "
                "classify(texts, labels), or train on a .tsv (label, tab, text) or a .jsonl"
            )
        if column is None and len(known) > 1:
            raise ValueError(f"the corpus has {len(known)} label columns, {', '.join(known)}: name one, column=...")
        column = next(iter(known)) if column is None else column
        if column not in known:
            raise ValueError(
                f"unknown label column {column!r}{did_you_mean(column, known)}: the corpus has {', '.join(known)}"
            )
        train, test = corpus.splits["train"], corpus.splits.get("test", corpus.splits["valid"])
        return cls(column, known[column], train, train.labels[column], test, test.labels[column])

    @classmethod
    def of_texts(
        cls,
        texts: Sequence[str],
        labels: Sequence[Hashable] | None,
        test: tuple[Sequence[str], Sequence[Hashable]] | None,
        read: Callable[[Sequence[str]], Split],
    ) -> "Labelled":
        """Texts and their labels (None: missing), split by `test` or else 80/20, always in the same way."""
        train, names = _labelled(texts, labels, read)
        classes = list(dict.fromkeys(name for name in names if name is not None))
        ids = {name: i for i, name in enumerate(classes)} | {None: -1}
        train_labels = np.array([ids[name] for name in names], np.int64)
        if test is None:
            order = np.random.default_rng(0).permutation(len(train))
            held, rest = np.split(order, [-(-len(order) // 5)])
            parts = train.take(rest), train_labels[rest], train.take(held), train_labels[held]
            return cls("label", classes, *parts)
        if not (isinstance(test, tuple | list) and len(test) == 2):
            raise ValueError(f"'test' is {type(test).__name__}, but a pair is expected: test=(texts, labels)")
        held_out, held_names = _labelled(*test, read)
        strange = [name for name in held_names if name not in ids]
        if strange:
            raise ValueError(
                f"the test labels have {strange[0]!r}, which no training text has; those have "
                f"{', '.join(map(repr, classes[:8]))}: correct the label, or leave its texts out"
            )
        return cls("label", classes, train, train_labels, held_out, np.array([ids[name] for name in held_names]))


def _labelled(
    texts: Sequence[str], labels: Sequence[Hashable] | None, read: Callable[[Sequence[str]], Split]
) -> tuple[Split, list[Hashable]]:
    """Sentences, and the labels as Python's own values, None where missing."""
    texts = texts if isinstance(texts, str) else list(texts)  # the one string is for `read` to refuse
    names: list[Any] = [
        label.item() if isinstance(label, np.generic | Tensor) else label
        for label in (() if labels is None else labels)
    ]
    if all(isinstance(each, str) for each in (*texts, *names)):
        different, of_texts = len(set(names)), len(set(texts))
        if different > max(of_texts, LARGEST_HANDFUL):
            raise ValueError(
                f"there are {different:,} different labels, and {of_texts:,} different texts: texts come first, as in "
                "classify(texts, labels)"
            )
    split = read(texts)
    if labels is None:
        raise ValueError("texts came without labels: pass classify(texts, labels), a label a text")
    if len(names) != len(texts):
        raise ValueError(f"{len(names)} labels came for {len(texts)} texts: give one a text, None where it is missing")
    return split, [None if name != name else name for name in names]  # a table's missing value is NaN


@dataclass(frozen=True)
class Classification:
    """Accuracy by the number of labels; prints as a table, and predicts new texts.

    column          the label that is predicted, of `classes`
    method          "frozen", "frozen, draws" or "fine-tuned"
    accuracies      number of labels -> accuracy on the held-out sentences, a share, for each seed
    majority        accuracy of always saying what is most frequent among the training sentences
    chance          accuracy of saying any class alike
    test_sentences  how many were held out

    A seed draws the labelled subset; subsets of one seed contain each other. So the standard deviation is over subsets
    (and fine-tuning's own noise), not over trainings of the model.
    """

    column: str
    classes: tuple[Hashable, ...]
    method: Method
    accuracies: dict[int, tuple[float, ...]]
    majority: float
    test_sentences: int
    _predict: Callable[[Sequence[str]], np.ndarray] = field(repr=False, compare=False)

    @property
    def chance(self) -> float:
        return 1 / len(self.classes)

    def mean(self, labels: int) -> float:
        """Mean accuracy over the seeds, with that many labels."""
        return Spread.of(self.accuracies[labels]).mean

    def standard_deviation(self, labels: int) -> float | None:
        """Of the accuracy over the seeds; None for one seed."""
        return Spread.of(self.accuracies[labels]).deviation

    def predict(self, texts: Sequence[str]) -> list[Hashable]:
        """The class of each text, by the classifier of the most labels and the first seed."""
        return [self.classes[i] for i in self._predict(texts)]

    def data(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "column": self.column,
            "classes": list(self.classes),
            "method": self.method,
            "test_sentences": self.test_sentences,
            "accuracy_majority": self.majority,
            "accuracy_chance": self.chance,
            "accuracy": [
                {
                    "labels": count,
                    "mean": self.mean(count),
                    "standard_deviation": self.standard_deviation(count),
                    "seeds": list(found),
                }
                for count, found in self.accuracies.items()
            ],
        }

    def __str__(self) -> str:
        seeds = len(next(iter(self.accuracies.values())))
        return "\n".join(
            [
                f"{self.method}: {self.column!r}, {len(self.classes)} classes, {self.test_sentences:,} held-out "
                f"sentences, {seeds} seed{'s' * (seeds > 1)}",
                f"{'labels':>8}  accuracy",
                *(f"{count:>8,}  {_cell(self, count)}" for count in self.accuracies),
                f"{'majority':>8}  {self.majority:.3f}",
                f"{'chance':>8}  {self.chance:.3f}",
            ]
        )


def _cell(result: Classification, count: int) -> str:
    return f"{Spread.of(result.accuracies[count]):.3f}" if count in result.accuracies else "-"


def accuracy_table(results: Mapping[str, Classification], form: Literal["markdown", "csv"] = "markdown") -> str:
    """Several classifications by name: in Markdown a row each and a column for each number of labels, mean ± standard
    deviation over the seeds (Zhu et al. 2020, Table 3); in CSV a row for each of both, unrounded."""
    if form == "csv":
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        names = ["name", "method", "column", "labels", "seeds"]
        writer.writerow([*names, "accuracy_mean", "accuracy_standard_deviation", "accuracy_majority"])
        for name, each in results.items():
            for count, found in each.accuracies.items():
                numbers = [count, len(found), each.mean(count), each.standard_deviation(count), each.majority]
                writer.writerow([name, each.method, each.column, *numbers])
        return lines.getvalue().rstrip()
    counts = sorted({count for each in results.values() for count in each.accuracies})
    head = ["", "method", "majority", *(f"{count:,}" for count in counts)]
    body = [
        [name, each.method, f"{each.majority:.3f}", *(_cell(each, count) for count in counts)]
        for name, each in results.items()
    ]
    return "\n".join(markdown(head, body, right=range(2, len(head))))


def classify(
    vae: TextVAE,
    task: Labelled,
    read: Callable[[Sequence[str]], Split],
    *,
    counts: int | Sequence[int] | None = None,
    seeds: int = 5,
    fine_tuned: bool = False,
    draws: bool = False,
) -> Classification:
    """Fit a classifier for each number of labels and each seed, and score it on the task's held-out sentences.

    counts None: those of COUNTS that the task has labels for, or else all its labels. `read` is for the result, which
    predicts texts. The model is left as it came, and the random numbers of the caller too. Same seed, same result.
    Raises ValueError for what cannot be fitted or scored, before anything is fitted.
    """
    pool, held = np.flatnonzero(task.train_labels >= 0), np.flatnonzero(task.test_labels >= 0)
    labels, truth = np.asarray(task.train_labels[pool]), np.asarray(task.test_labels[held])
    present = np.bincount(labels, minlength=len(task.classes))
    counts = _checked_counts(counts, len(pool), int(np.count_nonzero(present)), len(held))
    if not (isinstance(seeds, int) and seeds >= 1):
        raise ValueError(f"'seeds' is {seeds!r}, but a whole number of at least 1 is needed")
    if fine_tuned and draws:
        raise ValueError("'draws' is for a frozen encoder, but fine_tuned was asked for too: leave one of them out")
    test = task.test.take(held)
    accuracies: dict[int, list[float]] = {count: [] for count in counts}
    first: Predict | None = None
    with evaluating(vae, seed=0), tqdm(total=seeds * len(counts), unit="fit", leave=False, disable=None) as bar:
        of = draw_code if draws else mean_code
        test_codes = None if fine_tuned else in_order(vae, test, of)
        for seed in range(seeds):
            order = draw_subset(labels, max(counts), seed)
            subset, known = task.train.take(pool[order]), labels[order]
            codes = None if fine_tuned else in_order(vae, subset, of)
            for count in counts:
                if codes is None or test_codes is None:
                    predict = fine_tune(vae, subset.take(np.arange(count)), known[:count], len(task.classes), seed)
                    found = predict(test)
                else:
                    regression = fit_regression(codes[:count], known[:count])
                    predict = _read_by(regression, vae, of)
                    found = regression.predict(test_codes)
                accuracies[count].append(float((found == truth).mean()))
                if seed == 0 and count == max(counts):
                    first = predict
                bar.update()
    assert first is not None

    def predict_texts(texts: Sequence[str], predict: Predict = first) -> np.ndarray:
        with evaluating(vae, seed=0):
            return predict(read(texts))

    return Classification(
        column=task.column,
        classes=tuple(task.classes),
        method="fine-tuned" if fine_tuned else "frozen, draws" if draws else "frozen",
        accuracies={count: tuple(found) for count, found in accuracies.items()},
        majority=float((truth == present.argmax()).mean()),
        test_sentences=len(held),
        _predict=predict_texts,
    )


def _checked_counts(counts: int | Sequence[int] | None, labelled: int, classes: int, held_out: int) -> list[int]:
    if classes < 2:
        raise ValueError(
            f"the {labelled} labelled training sentences are of {classes} class(es), but it takes two to classify: "
            "give labels that differ"
        )
    if not held_out:
        raise ValueError("no held-out sentence has a label to be scored on: pass test=(texts, labels)")
    if counts is None:
        return [count for count in COUNTS if classes <= count <= labelled] or [labelled]
    counts = sorted({counts} if isinstance(counts, int) else set(counts))
    if not counts:
        raise ValueError("'counts' is empty, but at least one number of labels is needed, as in counts=(100, 1000)")
    for count in counts:
        if not isinstance(count, int | np.integer):
            raise ValueError(f"'counts' has {count!r}, but a number of labels is a whole number")
        if count < classes:
            raise ValueError(f"{count} labels were asked for, but there are {classes} classes: each needs at least one")
        if count > labelled:
            raise ValueError(
                f"{count:,} labels were asked for, but {labelled:,} training sentences have one: ask for that many at "
                "most"
            )
    return [int(count) for count in counts]


def draw_subset(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions of `count` of the labels (N,), at random: (count,), no two alike.

    The first ones show each class once, the rest is uniform: so is the whole, wherever a uniform draw would have had
    every class. A smaller draw of the same seed is the beginning of a larger one, as long as it has all classes.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    first = np.sort(np.unique(labels[order], return_index=True)[1])
    return np.concatenate([order[first], np.delete(order, first)])[:count]


def folds(labels: np.ndarray) -> np.ndarray:
    """A fold of each label (N,), 0 to FOLDS - 1, with every class spread evenly over them: (N,)."""
    fold = np.empty(len(labels), np.int64)
    fold[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS
    return fold


def draw_code(vae: TextVAE, batch: Batch) -> Tensor:
    """One draw from q(z|x) of each sentence of a batch, (B, code)."""
    return code_of(vae, vae.q_z(batch).sample())


@torch.no_grad()
def in_order(vae: TextVAE, split: Split, of: Callable[[TextVAE, Batch], Tensor]) -> np.ndarray:
    """What `of` gives for a batch, for the sentences of a split in their own order: (N, ...)."""
    batches = list(batches_of(vae, split, 256))
    values = torch.cat([of(vae, batch) for batch in batches]).double().cpu().numpy()
    ordered = np.empty_like(values)
    ordered[torch.cat([batch.index for batch in batches]).cpu().numpy()] = values
    return ordered


def _read_by(regression: Any, vae: TextVAE, of: Callable[[TextVAE, Batch], Tensor]) -> Predict:
    return lambda split: regression.predict(in_order(vae, split, of))


def fit_regression(codes: np.ndarray, labels: np.ndarray) -> Any:
    """Logistic regression on standardised codes (N, code), its C cross-validated: a fitted scikit-learn pipeline."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(C: float, chosen: np.ndarray) -> Any:
        regression = LogisticRegression(C=C, max_iter=5000)
        return make_pipeline(StandardScaler(), regression).fit(codes[chosen], labels[chosen])

    held = [chosen for n in range(FOLDS) if (chosen := folds(labels) == n).any()]
    best = 1.0
    if all(len(np.unique(labels[~chosen])) > 1 for chosen in held):
        right = {C: sum((fitted(C, ~m).predict(codes[m]) == labels[m]).sum() for m in held) for C in C_GRID}
        best = max(C_GRID, key=lambda C: right[C])  # of equals the first
    return fitted(best, np.ones(len(labels), bool))


def fine_tune(vae: TextVAE, split: Split, labels: np.ndarray, classes: int, seed: int) -> Predict:
    """A classifier trained together with copies of encoder and posterior; uses torch's global random numbers."""
    held = folds(labels) == 0
    rest, watched = split.take(np.flatnonzero(~held)), split.take(np.flatnonzero(held))
    truth = torch.from_numpy(labels[held].astype(np.int64))
    best, least = 0, float("inf")
    for turn, logits in enumerate(_fine_tuning(vae, rest, labels[~held], classes, seed, MOST_TURNS)):
        loss = F.cross_entropy(torch.from_numpy(in_order(vae, watched, logits)), truth).item()
        if loss < least:
            best, least = turn, loss
        elif turn - best >= PATIENCE:
            break
    logits = next(islice(_fine_tuning(vae, split, labels, classes, seed, best + 1), best, None))
    return lambda split: in_order(vae, split, logits).argmax(-1)


def _fine_tuning(
    vae: TextVAE, split: Split, labels: np.ndarray, classes: int, seed: int, turns: int
) -> Iterator[Callable[[TextVAE, Batch], Tensor]]:
    """Train for so many turns; after each give the function to the logits (B, classes), in evaluation mode."""
    torch.manual_seed(seed)
    device = next(vae.parameters()).device
    codes = torch.from_numpy(in_order(vae, split, mean_code)).float().to(device)
    centre, scale = codes.mean(0), codes.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1)
    # The copy shares what is not trained, and is never called as a whole.
    tuned = TextVAE(copy.deepcopy(vae.encoder), copy.deepcopy(vae.posterior), vae.prior, vae.decoder)
    head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(vae.prior.code, classes)).to(device)
    model = nn.ModuleList([tuned.encoder, tuned.posterior])
    truth = torch.from_numpy(labels.astype(np.int64)).to(device)
    optimizer = torch.optim.AdamW(
        [
            {"params": model.parameters(), "lr": LEARNING_RATE},
            {"params": head.parameters(), "lr": 10 * LEARNING_RATE},  # it begins at random, they do not
        ],
        fused=True,
    )
    passes = -(-UPDATES_PER_TURN * BATCH_SIZE // len(split))

    def logits(_: TextVAE, batch: Batch) -> Tensor:
        return head((mean_code(tuned, batch) - centre) / scale)

    updates = turns * passes * len(Batches(split, BATCH_SIZE))
    name = f"fine-tuning, {len(split):,} labels"
    with tqdm(total=updates, desc=name, unit="update", leave=False, disable=None) as bar:
        for turn in range(turns):
            model.train()
            head.train()
            for module in model.modules():
                if isinstance(module, BatchNormalised):
                    module.eval()
            with torch.enable_grad():
                for epoch in range(turn * passes, (turn + 1) * passes):
                    for batch in Batches(split, BATCH_SIZE, seed=seed, epoch=epoch):
                        batch = batch.to(device)
                        loss = F.cross_entropy(logits(vae, batch), truth[batch.index])
                        optimizer.zero_grad(set_to_none=True)
                        loss.backward()
                        nn.utils.clip_grad_norm_([*model.parameters(), *head.parameters()], CLIP)
                        optimizer.step()
                        bar.update()
            model.eval()
            head.eval()
            yield logits
