"""The measure of the DEM-VAE paper: generated text, reconstruction, likelihood, and what the discrete code tells."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyro_textvae.evaluation import collapse, evaluate
from pyro_textvae.evaluation.language_model import LanguageModelBudget
from pyro_textvae.evaluation.proposals import PROPOSALS, in_words
from pyro_textvae.run import Run
from pyro_textvae.tables.rows import Found, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SENTENCES_PER_SAMPLE = 40
"""Generated sentences for each importance sample, so that one number says how much is measured."""

SCORED = 500
"""Test sentences, drawn at random, on which the importance-weighted bound is taken: many samples of few sentences,
since the bound is the looser the larger the KL, and what few samples leave would rank rows by their KL."""

LANGUAGE_MODEL = LanguageModelBudget(embedding=64, hidden=128, epochs=4, precision="bfloat16")
"""Of the reverse perplexity."""

HOW = {"greedy": "decoded greedily", "sample": "sampled word by word"}

REDRAWN = {
    "perplexity_reverse_redrawn": "reverse PPL of the training text redrawn",
    "word_kl_redrawn_to_train_nats": "word KL of the training text redrawn",
}
"""The same for every row, so measured for one alone: the language model."""

ELBO = "nll_elbo_nats_per_sentence"
NLL = "nll_elbo_less_importance_gain_nats_per_sentence"


@dataclass(frozen=True)
class Generation(Measure):
    """Reverse perplexity, reconstruction BLEU, word KL, NLL by both bounds, KL; of a mixture, its code and components.

    Labels are those of the corpus, where it has any that are called act, emotion or topic. Text is decoded in each way
    of `decodings`; its length, its word KL and the picture are of the last.
    """

    decodings: tuple[Literal["sample", "greedy"], ...] = ("greedy", "sample")

    titles = {
        "perplexity_reverse_sample": "reverse PPL, sampled",
        "perplexity_reverse_greedy": "reverse PPL, greedy",
        "generated_words_per_sentence": "words a sentence",
        "reconstruction_bleu_greedy_from_mean": "BLEU",
        "word_kl_generated_to_train_nats": "word KL",
        NLL: "NLL (IW)",
        ELBO: "NLL (ELBO)",
        "kl_nats_per_sentence": "KL",
        "mutual_information_aggregate_nats": "MI (aggregate)",
        "information_c_nats": "sum of I(c;x)",
        "dispersion_nats_per_sentence": "dispersion",
        "component_pairwise_kl_in_use_nats": "KL of components",
        "variables_apart": "variables apart",
        "components_assigned": "components assigned",
        **{
            f"{which}homogeneity_{label}{end}": f"homogeneity{of}, {label}{title}"
            for label in ("act", "emotion", "topic")
            for which, of in (("", ""), ("drawn_", " of draws"))
            for end, title in (("", ""), ("_chance", " (chance)"))
        },
        **{
            f"accuracy_{label}{end}": f"accuracy, {label}{title}"
            for label in ("act", "emotion")
            for end, title in (("", ""), ("_majority", " (majority)"))
        },
        **REDRAWN,
    }
    short = ("reverse PPL, sampled", "BLEU", "NLL (IW)", "KL", "sum of I(c;x)", "variables apart")

    def constants(self) -> Mapping[str, Any]:
        return {
            "most_sentences": collapse.MOST_SENTENCES,
            "merged_kl": collapse.MERGED_KL,
            "least_share_of_a_component": collapse.LEAST_SHARE_OF_A_COMPONENT,
            "decodings": list(self.decodings),
            "sentences_per_sample": SENTENCES_PER_SAMPLE,
            "scored": SCORED,
            "proposals": PROPOSALS,
            "language_model": asdict(LANGUAGE_MODEL),
        }

    def numbers(self, run: Run, samples: int) -> dict[str, float | list[float]]:
        run.evaluate("valid")
        has_code = run.vae.prior.code > 0
        found = dict(run.evaluate("test", bleu="greedy" if has_code else None))
        if ELBO in found:
            found[NLL] = found[ELBO] - (_importance_gain(run, samples) if has_code else 0.0)
        # A language model says one sentence alone, greedily.
        for decoding in self.decodings if has_code else ("sample",):
            generated = run.evaluate_generation(
                measures=("reverse_perplexity", "word_kl"),
                sentences=SENTENCES_PER_SAMPLE * samples,
                decoding=decoding,
                budget=LANGUAGE_MODEL,
                redrawn=not has_code,
            ).metrics
            found |= generated | {f"perplexity_reverse_{decoding}": generated["perplexity_reverse"]}
        # A code that was told the labels finds them: their accuracy says how well.
        told = bool(run.recipe["options"].get("supervised_z"))
        return {name: found[name] for name in self.titles if name in found and not (told and "homogeneity" in name)}

    def about(self, settings: Mapping[str, Any]) -> str:
        samples, model = settings["samples"], LANGUAGE_MODEL
        return (
            f"Reverse PPL: of real test text by an LSTM language model (embedding {model.embedding}, hidden "
            f"{model.hidden}, {model.epochs} epochs, {model.precision}) trained on nine tenths of "
            f"{SENTENCES_PER_SAMPLE * samples:,} sentences from codes of the prior, "
            f"{' or '.join(HOW[each] for each in reversed(self.decodings))}; lower is better. It depends on how long "
            "these are, which stands beside it, and above the number of words of the vocabulary it ranks nothing. "
            "BLEU: of greedy reconstructions from the posterior's mean, percent. Word KL: of the words of sentences "
            f"{HOW[self.decodings[-1]]} from the training text's, nats. NLL, KL and MI: nats a sentence, `</s>` "
            f"counted; NLL (IW) is the ELBO of all test sentences less what {samples} importance samples, "
            f"{in_words(samples)}, gain on {SCORED} of them. MI (aggregate) is at most ln of the number of sentences, "
            "as is what all discrete variables tell together: I(c;x) is summed over them, each by itself. KL of "
            "components is the median variable's mean between two that are in use, and variables apart are how many "
            f"have {collapse.MERGED_KL} nats of it or more; by the median variable goes the verdict, too. "
            "Homogeneity is of the joint code, the likeliest or one drawn from q(c|x), beside what chance gives with "
            "as many codes. ± is the standard deviation over seeds."
        )

    def picture(self, found: Found, groups: Mapping[str, str], about: str) -> "Figure | None":
        from pyro_textvae.figures.methods import Method, nll_against

        reverse = f"perplexity_reverse_{self.decodings[-1]}"
        told = f"reverse perplexity of text {HOW[self.decodings[-1]]}", "How good the text is, and what it costs"
        methods = [
            Method(
                name,
                nll=(numbers[NLL].mean, numbers[NLL].deviation),
                told=(numbers[reverse].mean, numbers[reverse].deviation) if reverse in numbers else None,
                group=groups[name],
            )
            for name, numbers in found.items()
            if NLL in numbers
        ]
        return nll_against(methods, told, about, logarithmic=True) if methods else None


def _importance_gain(run: Run, samples: int) -> float:
    """By how much the importance-weighted bound is below the ELBO, nats a sentence: the mean over SCORED of test."""
    split = run.corpus.split("test")
    some = np.random.default_rng(0).permutation(len(split))[:SCORED]
    found = evaluate(run.vae, split.take(some), tempered_samples=samples)
    return found[ELBO] - found["nll_importance_tempered_nats_per_sentence"]
