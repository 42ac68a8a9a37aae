"""The measure of the DEM-VAE paper: generated text, reconstruction, likelihood, and what the discrete code tells."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pyro_textvae.evaluation import collapse
from pyro_textvae.evaluation.language_model import LanguageModelBudget
from pyro_textvae.evaluation.proposals import PROPOSALS, in_words
from pyro_textvae.run import Run
from pyro_textvae.tables.rows import Found, Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SENTENCES_PER_SAMPLE = 500
"""Generated sentences for each importance sample, so that one number says how much is measured."""

LANGUAGE_MODEL = LanguageModelBudget(embedding=64, hidden=128, epochs=4, precision="bfloat16")
"""Of the reverse perplexity."""

GOOD_TEXT = "How good the text is, and what it costs"
HOW = {"greedy": "decoded greedily", "sample": "sampled word by word"}

REDRAWN = {
    "perplexity_reverse_redrawn": "reverse PPL of the training text redrawn",
    "word_kl_redrawn_to_train_nats": "word KL of the training text redrawn",
}
"""The same for every row, so measured for one alone: the language model."""

NLL = "nll_importance_tempered_nats_per_sentence"


@dataclass(frozen=True)
class Generation(Measure):
    """Reverse perplexity, reconstruction BLEU, word KL, NLL by both bounds, KL; of a mixture, its code and components.

    Labels are those of the corpus, where it has any that are called act, emotion or topic. Text is decoded in each way
    of `decodings`; the word KL is that of the last.
    """

    decodings: tuple[Literal["sample", "greedy"], ...] = ("sample", "greedy")

    titles = {
        "perplexity_reverse_greedy": "reverse PPL",
        "perplexity_reverse_sample": "reverse PPL, sampled",
        "reconstruction_bleu_greedy_from_mean": "BLEU",
        "word_kl_generated_to_train_nats": "word KL",
        NLL: "NLL (IW)",
        "nll_elbo_nats_per_sentence": "NLL (ELBO)",
        "kl_nats_per_sentence": "KL",
        "mutual_information_aggregate_nats": "MI (aggregate)",
        "information_c_nats": "I(c;x)",
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
    short = ("reverse PPL", "reverse PPL, sampled", "BLEU", "NLL (IW)", "KL", "I(c;x)", "variables apart")

    def constants(self) -> Mapping[str, Any]:
        return {
            "most_sentences": collapse.MOST_SENTENCES,
            "merged_kl": collapse.MERGED_KL,
            "least_share_of_a_component": collapse.LEAST_SHARE_OF_A_COMPONENT,
            "decodings": list(self.decodings),
            "sentences_per_sample": SENTENCES_PER_SAMPLE,
            "proposals": PROPOSALS,
            "language_model": asdict(LANGUAGE_MODEL),
        }

    def numbers(self, run: Run, samples: int) -> dict[str, float | list[float]]:
        run.evaluate("valid")
        has_code = run.vae.prior.code > 0
        found = dict(run.evaluate("test", tempered=samples, bleu="greedy" if has_code else None))
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
        return {name: found[name] for name in self.titles if name in found}

    def about(self, settings: Mapping[str, Any]) -> str:
        sentences, model = SENTENCES_PER_SAMPLE * settings["samples"], LANGUAGE_MODEL
        return (
            f"Reverse PPL: of real test text by an LSTM language model (embedding {model.embedding}, hidden "
            f"{model.hidden}, {model.epochs} epochs, {model.precision}) trained on nine tenths of {sentences:,} "
            f"sentences from codes of the prior, {' or '.join(HOW[each] for each in reversed(self.decodings))} (the "
            "paper decodes greedily; a model without a code can but sample); lower is better. BLEU: of greedy "
            "reconstructions from the posterior's mean, percent. Word KL: of the words of the sentences "
            f"{HOW[self.decodings[-1]]} (sampled, where there is no code) from the training text's, nats. NLL, KL and "
            f"MI: nats a sentence, `</s>` counted; IW by {settings['samples']} samples, "
            f"{in_words(settings['samples'])}. I(c;x) is summed over "
            "the discrete variables; KL of components is the median variable's mean between two that are in use, "
            f"and variables apart are how many have {collapse.MERGED_KL} nats of it or more; "
            "homogeneity is of the joint code, the likeliest or one drawn from q(c|x), beside what chance gives with "
            "as many codes. ± is the standard deviation over seeds."
        )

    def picture(self, found: Found, groups: Mapping[str, str], about: str) -> "Figure | None":
        from pyro_textvae.figures.methods import Method, nll_against

        reverse, how = f"perplexity_reverse_{self.decodings[-1]}", HOW[self.decodings[-1]]
        told = f"reverse perplexity of text {how}", GOOD_TEXT
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
