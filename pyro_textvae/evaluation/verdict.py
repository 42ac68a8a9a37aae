"""Is this collapse? Rules over the metrics of `evaluate`, in words, with the numbers that decided.

    no code              a language model or an autoencoder: there is no latent distribution to collapse
    posterior collapse   the decoder predicts as well, to a fifth of a nat, from the code of another sentence; or the KL
                         is below half a nat, and that costs less than half a nat or than its noise
    mode collapse        a mixture whose components coincide, or whose c says nothing of the sentence
    dead components      few of the components are in use
    over-dispersed       the components lie so far apart that this costs more than the code is worth
    healthy              none of these

They are asked in this order and the first that holds is the state: a code that the decoder ignores says nothing of its
modes. Others that hold as well are named among the reasons.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pyro_textvae.evaluation.collapse import MERGED_KL

State = Literal["healthy", "posterior collapse", "mode collapse", "dead components", "over-dispersed", "no code"]

IGNORED_GAP = 0.2
"""Nats a sentence that the wrong code costs, below which the decoder ignores the code: a fifth of a nat over a whole
sentence is a hundredth of a nat a word. Collapsed runs show a hundredth of it; a code that tells but one of ten topics
costs several nats when it is wrong."""

SMALL_KL = 0.5
"""Nats. It bounds the mutual information of x and z: less than the flip of one coin (0.69) is no code of sentences."""

SILENT_INFORMATION = 0.05
"""Of I(c;x), as a share of its greatest, M ln K: below it c is the same for all sentences."""

SHARE_IN_USE = 0.3
"""Of the components, below which the rest counts as dead; a corpus with fewer kinds than components uses fewer."""

SHARE_OF_THE_CAP = 0.9
"""Of ln N, above which the mutual information is at its cap and says only that there is more. What the code of another
sentence costs has no cap, and is no less than what the decoder gains over its own average over codes (Jensen)."""

DISPERSION_THAT_COSTS = 1.0
"""Nats a sentence: a smaller dispersion is no harm, whatever else it is compared with."""

STILL_FALLING = 0.002
"""Of the loss: an epoch that lowers it by more is not the last that pays. A fifth of a nat in 100 nats a sentence."""


class CollapseWarning(UserWarning):
    """A run ended in a state that is not healthy, and nothing was printed that says so."""


@dataclass(frozen=True)
class Verdict:
    """A state, the rules and numbers that gave it, and one thing to try."""

    state: State
    reasons: tuple[str, ...]
    advice: str

    def __str__(self) -> str:
        return "\n".join([f"{self.state}:", *(f"  - {reason}" for reason in self.reasons), f"  try: {self.advice}"])


Settings = Mapping[str, Any]
"""Of a run: its "recipe", its options and its sizes; empty where they are not known."""


def judge(metrics: Mapping[str, float], settings: Settings | None = None) -> Verdict:
    """The verdict on what `evaluate` measured; a rule whose metrics are not there is passed over.

    The state is that of the metrics alone; `settings` keep the advice to what the run has not done and can do.
    Raises ValueError where a metric that decides is not a finite number.
    """
    for name, value in metrics.items():
        if not math.isfinite(value) and not name.startswith("perplexity"):
            raise ValueError(f"{name} is {value}, and no verdict stands on it: evaluate the last good checkpoint")
    if not metrics.get("latent_dimensions"):
        return Verdict(
            "no code",
            ("the model is a language model without a code",),
            "to learn codes of sentences, train 'vae', or a mixture such as 'dem_vae'",
        )
    if "kl_nats_per_sentence" not in metrics:
        return Verdict(
            "no code",
            ("the code of an autoencoder is a point, without a distribution: it has no KL and no bound",),
            "for a code that can be sampled, train 'vae', or a mixture such as 'dem_vae'",
        )
    settings = settings or {}
    found = [verdict for rule in (_posterior, _modes, _dead, _dispersed) if (verdict := rule(metrics, settings))]
    if not found:
        return _healthy(metrics, settings)
    first, *others = found
    also = tuple(f"also {other.state}: {other.reasons[0]}" for other in others)
    return Verdict(first.state, first.reasons + also, first.advice)


def train_longer(losses: Sequence[float]) -> str:
    """Advice, where the last of the validation losses, nats a sentence after each epoch, was still falling, or where
    one is all there is; or ""."""
    if len(losses) == 1:
        return "train longer: a single epoch does not show whether the loss still falls"
    if not losses or losses[-1] > min(losses):
        return ""
    gain = losses[-2] - losses[-1]
    share = gain / abs(losses[-2]) if losses[-2] else 0.0
    if share <= STILL_FALLING:
        return ""
    return f"train longer: the loss was still falling, by {gain:.2f} nats a sentence ({share:.1%}) in the last epoch"


def _kl(metrics: Mapping[str, float]) -> str:
    """In words, with its floor where there is one: on text that was not trained on it may lie a little below."""
    floor = metrics.get("kl_floor_nats_per_sentence")
    kept = f", where training holds {floor:.2f} by construction" if floor is not None else ""
    return f"KL is {metrics['kl_nats_per_sentence']:.2f} nats a sentence{kept}"


def _gap(metrics: Mapping[str, float]) -> tuple[float | None, float, str]:
    """What the code of another sentence costs, its noise (two standard errors), and in words, with the standard error
    where sentences are too few to tell it from nothing."""
    gap, error = metrics.get("shuffled_z_gap_nats_per_sentence"), metrics.get("shuffled_z_gap_standard_error", 0.0)
    if gap is None:
        return None, 0.0, ""
    return gap, 2 * error, f"{gap:.2f}" + (f" ± {error:.2f}" if 2 * error > max(gap, IGNORED_GAP) else "")


def _posterior(metrics: Mapping[str, float], settings: Settings) -> Verdict | None:
    (gap, noise, shown_gap), kl = _gap(metrics), metrics["kl_nats_per_sentence"]
    ignored = (
        None
        if gap is None or gap >= IGNORED_GAP
        else f"with the code of another sentence the decoder predicts as well: {shown_gap} nats a sentence worse, "
        f"where less than {IGNORED_GAP} counts as ignoring the code"
    )
    # A KL this small says that nothing is told; a gap has to be seen above its noise to say otherwise.
    if kl < SMALL_KL and (gap is None or gap < max(SMALL_KL, noise)):
        small = f"KL is {kl:.2f} nats a sentence, and below {SMALL_KL} the code can tell next to nothing"
        shown = ignored or (f"the code of another sentence costs {shown_gap} nats" if gap is not None else None)
        return Verdict(
            "posterior collapse",
            (small, shown) if shown else (small,),
            _raise_the_kl(metrics, settings),
        )
    if ignored:
        return Verdict(
            "posterior collapse",
            (ignored, f"{_kl(metrics)}, paid for a code that is not read"),
            _have_the_code_read(metrics, settings),
        )
    return None


def _of_bags(metrics: Mapping[str, float]) -> bool:
    return any(name.startswith("perplexity_corpus_") for name in metrics)


def _raise_the_kl(metrics: Mapping[str, float], settings: Settings) -> str:
    if "component_pairwise_kl_in_use_nats" in metrics:
        return "a longer KL warm-up ('warm_up'), or 'dem_vae' with 'mutual_information' 1.0 or more"
    if settings.get("concentrations", "fixed") != "fixed":
        return "concentrations='fixed': then the KL is a constant that no training can lower"
    if "concentration" in settings:
        return "more 'concentration', which sets the KL"
    if _of_bags(metrics):
        return "'v_nvdm', whose KL is a constant that no training can lower, or another 'learning_rate'"
    if settings.get("recipe") == "nvrnn":
        return "'vmf_nvrnn', whose KL is a constant that no training can lower, or a longer 'warm_up'"
    ways = {"bn_vae": "'bn_vae' (a floor under the KL)", "cyclic_vae": "'cyclic_vae' (its weight rises anew)"}
    ways.pop(settings.get("recipe", ""), None)
    return ", or ".join([*ways.values(), *(["more word dropout"] if settings.get("word_dropout", 0) < 1 else [])])


def _have_the_code_read(metrics: Mapping[str, float], settings: Settings) -> str:
    """Advice where a KL is paid and the decoder does not look: it knows enough without, or too little is to be seen."""
    ways, dropped = [], settings.get("word_dropout", 0)
    if _of_bags(metrics) or dropped >= 1:
        ways.append("train longer, or with another 'learning_rate': the decoder sees nothing but the code")
    else:
        more = "word_dropout=0.3" if dropped < 0.3 else f"'word_dropout' above {dropped}"
        ways.append(f"make the decoder weaker ({more}, a smaller 'hidden')")
        if settings.get("z_enters") != "both":
            ways.append("let z enter at 'both' places")
    if "concentration" in settings and "components" not in settings:
        ways.append("give the code less noise (more 'concentration')")
    return ", or ".join(ways)


def _modes(metrics: Mapping[str, float], settings: Settings) -> Verdict | None:
    apart, information = metrics.get("component_pairwise_kl_in_use_nats"), metrics.get("information_c_nats")
    if apart is None or information is None:
        return None
    greatest = metrics["discrete_variables"] * math.log(metrics["components"])
    told = f"c tells {information:.2f} of at most {greatest:.2f} nats of the sentence"
    if apart < MERGED_KL:
        variables = metrics["discrete_variables"]
        still = metrics.get("variables_apart", 0.0)
        whose = f" of {variables - still:.0f} of {variables:.0f} variables" if still else ""
        return Verdict(
            "mode collapse",
            (
                f"the components in use{whose} coincide: KL between two of them is {apart:.3f} nats"
                + (" in the median variable" if still else "")
                + f", below {MERGED_KL}",
                told,
            ),
            ("more 'dispersion'" if "dispersion" in settings else "'dem_vae', or 'dgm_vae' with more 'dispersion'")
            + ": the plain ELBO pulls components together",
        )
    if information < SILENT_INFORMATION * greatest and not _dead(
        metrics, settings
    ):  # a component alone can tell nothing
        return Verdict(
            "mode collapse",
            (
                f"{told}, below a share of {SILENT_INFORMATION}: every sentence is given to the components alike",
                f"the components in use are {apart:.2f} nats apart, but what acts is their average",
            ),
            ("" if _has("mutual_information", settings) else "'dem_vae' with ")
            + "'mutual_information' of 1.0 or more, which pays for a c that depends on the sentence",
        )
    return None


def _dead(metrics: Mapping[str, float], settings: Settings) -> Verdict | None:
    in_use, components = metrics.get("components_in_use"), metrics.get("components")
    if in_use is None or components is None or in_use >= SHARE_IN_USE * components:
        return None
    return Verdict(
        "dead components",
        (f"{in_use:.1f} of {components:.0f} components are in use, below a share of {SHARE_IN_USE}",),
        "'dem_vae' with more 'dispersion': only components that sentences may mix get a gradient, and "
        "'mutual_information' alone revives none; or fewer 'components'"
        if "component_pairwise_kl_in_use_nats" in metrics
        else "fewer 'classes'"
        if settings.get("recipe") == "di_vae"
        else "'di_vae', whose KL asks that a discrete code's classes be used alike",
    )


def _has(option: str, settings: Settings) -> bool:
    return not settings or option in settings


def _dispersed(metrics: Mapping[str, float], settings: Settings) -> Verdict | None:
    cost = metrics.get("dispersion_nats_per_sentence")
    if cost is None or cost < DISPERSION_THAT_COSTS:
        return None
    ways = {
        "dispersion": "less 'dispersion' (it is what is given back: 0 is the plain ELBO)",
        "mutual_information": "more 'mutual_information'",
    }
    advice = ", or ".join(way for name, way in ways.items() if _has(name, settings)) or "fewer 'components'"
    paid = f"mixing the components costs {cost:.2f} nats a sentence, more than"
    told, cap = metrics.get("mutual_information_aggregate_nats"), metrics.get("mutual_information_sentences", 1.0)
    if told is not None and told < SHARE_OF_THE_CAP * math.log(cap):
        too_much = cost > told
        reason = f"{paid} the {told:.2f} nats that the code tells of it"
    else:
        gap = metrics.get("shuffled_z_gap_nats_per_sentence", math.inf)
        too_much = cost > gap
        reason = f"{paid} the {gap:.2f} nats that the code of another sentence costs: no code is worth more"
    return Verdict("over-dispersed", (reason,), advice) if too_much else None


def _healthy(metrics: Mapping[str, float], settings: Settings) -> Verdict:
    reasons = [_kl(metrics)]
    gap, noise, shown_gap = _gap(metrics)
    if gap is not None:
        reads = "it reads the code" if gap >= noise else "too few sentences to say whether it reads the code"
        reasons.append(f"with the code of another sentence the decoder predicts {shown_gap} nats worse: {reads}")
    if (active := metrics.get("active_units")) is not None:
        reasons.append(f"{active:.0f} of {metrics['latent_dimensions']:.0f} dimensions are active")
    if "component_pairwise_kl_in_use_nats" in metrics:
        reasons.append(
            f"the components in use are {metrics['component_pairwise_kl_in_use_nats']:.2f} nats apart, "
            f"{metrics['components_in_use']:.1f} of {metrics['components']:.0f} in use, and c tells "
            f"{metrics['information_c_nats']:.2f} nats of the sentence"
        )
    if _of_bags(metrics):
        advice = "compare its perplexities with those of unigram and lda (evaluation.documents) on the same documents"
    else:
        told = settings.get("label") is not None or settings.get("bag_of_words") is True
        yardstick = "'nvrnn_lm' told the same" if told else "'lstm_lm'"
        advice = f"compare its importance-weighted NLL with {yardstick} on the same text"
    return Verdict("healthy", tuple(reasons), advice)
