"""The measure of classification with few labels, by evaluation/classification.py."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyro_textvae.corpus import Corpus
from pyro_textvae.evaluation import classification
from pyro_textvae.evaluation.classification import COUNTS, Labelled
from pyro_textvae.evaluation.collapse import MOST_SENTENCES
from pyro_textvae.run import Run
from pyro_textvae.tables.likelihood import about_information
from pyro_textvae.tables.rows import Found, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS: dict[str, dict[str, Any]] = {"frozen": {}, "drawn": {"draws": True}, "fine-tuned": {"fine_tuned": True}}
"""What of a code is read, and whether the encoder learns with the classifier: options of Run.classify()."""

CLASSIFIERS = (
    "C_GRID", "FOLDS", "LEARNING_RATE", "BATCH_SIZE", "CLIP", "DROPOUT", "UPDATES_PER_TURN", "MOST_TURNS", "PATIENCE"
)  # fmt: skip
"""The constants of evaluation/classification.py that an accuracy depends on."""

MAJORITY = "accuracy_percent_majority"


def accuracy(method: str, count: int) -> str:
    """The name of the number."""
    return f"accuracy_percent_{method.replace('-', '_')}_{count}"


class FewLabels(Measure):
    """KL and mutual information, and the accuracy of a classifier by how many labels it was given, in percent.

    Of one run there is a number for each labelled subset that is drawn, so the spread is over these and the runs. Its
    corpus has one label column. More labels than it has are not asked for.
    """

    titles = {
        "kl_nats_per_sentence": "KL",
        "mutual_information_aggregate_nats": "MI (aggregate)",
        "mutual_information_in_batch_nats": "MI (in batch)",
        MAJORITY: "majority",
        **{accuracy(method, count): f"{method}, {count:,}" for method in METHODS for count in COUNTS},
    }
    short = ("KL", *(f"frozen, {count:,}" for count in COUNTS))

    def constants(self) -> Mapping[str, Any]:
        of_classifiers = {name: getattr(classification, name) for name in CLASSIFIERS}
        return {"most_sentences": MOST_SENTENCES, "methods": METHODS, "counts": COUNTS} | of_classifiers

    def check(self, corpus: Corpus) -> None:
        Labelled.of_corpus(corpus, None)

    def numbers(self, run: Run, samples: int) -> dict[str, float | list[float]]:
        run.evaluate("valid")
        test = run.evaluate("test")
        numbers: dict[str, float | list[float]] = {name: test[name] for name in self.titles if name in test}
        for method, options in METHODS.items():
            found = run.classify(seeds=samples, **options)
            numbers[MAJORITY] = 100 * found.majority
            for count, shares in found.accuracies.items():
                numbers[accuracy(method, count)] = [100 * share for share in shares]
        return numbers

    def about(self, settings: Mapping[str, Any]) -> str:
        return (
            f"KL and MI in nats a sentence. {about_information(settings)} "
            "Accuracies on test in percent, by the number of labels, each over "
            f"{settings['samples']} labelled subsets of every run. Frozen: logistic regression on the posterior means. "
            "Drawn: on one draw from each posterior in their place, which tells no more of a label than the mutual "
            "information. The means of a collapsed posterior are read without its noise, in which draws lose them. "
            "Fine-tuned: encoder and a linear head trained together. Majority: always the most frequent class. "
            "± is the standard deviation over subsets and seeds together, of KL and MI over seeds."
        )

    def picture(self, found: Found, groups: Mapping[str, str], about: str) -> "Figure | None":
        from pyro_textvae.figures.methods import accuracy_by_labels

        panels = {
            method: {
                name: [
                    (count, each.mean, each.deviation)
                    for count in COUNTS
                    if (each := numbers.get(accuracy(method, count)))
                ]
                for name, numbers in found.items()
            }
            for method in METHODS
        }
        majority = [numbers[MAJORITY].mean for numbers in found.values() if MAJORITY in numbers]
        return accuracy_by_labels(panels, majority[0], about) if majority else None
