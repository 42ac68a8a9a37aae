"""The measure of language modelling: what a sentence costs, and what its code tells."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyro_textvae.evaluation.collapse import LARGEST_VARIANCE_OF_AN_IDLE_UNIT, MOST_SENTENCES
from pyro_textvae.evaluation.proposals import PROPOSALS, in_words
from pyro_textvae.run import Run
from pyro_textvae.tables.rows import Found, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NLL, MI = "nll_importance_tempered_nats_per_sentence", "mutual_information_aggregate_nats"


CODE = "mutual information of text and code (aggregate estimator), nats", "What the code tells, and what it costs"


def about_information(settings: Mapping[str, Any]) -> str:
    """What the columns of mutual information are, in words."""
    cap = math.log(min(settings["corpus"]["splits"]["test"], MOST_SENTENCES))
    return (
        f"MI has two estimators that do not compare: the aggregate one is at most {cap:.2f}; the one in batches of 64 "
        f"is at most {math.log(64):.2f}, reads low near that and, as these are of like length, leaves out most of what "
        "a code tells of the length."
    )


class Likelihood(Measure):
    """NLL by both bounds, KL, what a wrong code costs, mutual information by both estimators, active units."""

    titles = {
        NLL: "NLL (IW)",
        "nll_elbo_nats_per_sentence": "NLL (ELBO)",
        "kl_nats_per_sentence": "KL",
        "shuffled_z_gap_nats_per_sentence": "another's code",
        MI: "MI (aggregate)",
        "mutual_information_in_batch_nats": "MI (in batch)",
        "active_units": "AU",
    }
    short = ("NLL (IW)", "KL", "MI (aggregate)", "AU")

    def constants(self) -> Mapping[str, Any]:
        return {
            "most_sentences": MOST_SENTENCES,
            "variance_of_an_idle_unit": LARGEST_VARIANCE_OF_AN_IDLE_UNIT,
            "proposals": PROPOSALS,
        }

    def numbers(self, run: Run, samples: int) -> dict[str, float | list[float]]:
        run.evaluate("valid")
        test = run.evaluate("test", tempered=samples)
        return {name: test[name] for name in self.titles if name in test}

    def about(self, settings: Mapping[str, Any]) -> str:
        return (
            "Nats a sentence, `</s>` counted. NLL (IW): the importance-weighted bound by "
            f"{settings['samples']} samples, {in_words(settings['samples'])}. "
            "Another's code: what predicting from the code of another sentence costs, nothing where none is read. "
            "By it and by the KL, both of valid, goes the verdict: `healthy` says that the code is read, not that it "
            f"tells much. {about_information(settings)} ± is the standard deviation over seeds."
        )

    def picture(self, found: Found, groups: Mapping[str, str], about: str) -> "Figure | None":
        from pyro_textvae.figures.methods import Method, nll_against

        methods = [
            Method(
                name,
                nll=(numbers[NLL].mean, numbers[NLL].deviation),
                told=(numbers[MI].mean, numbers[MI].deviation) if MI in numbers else None,
                group=groups[name],
            )
            for name, numbers in found.items()
            if NLL in numbers
        ]
        return nll_against(methods, CODE, about) if methods else None
