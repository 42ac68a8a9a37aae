"""Evaluation of a TextVAE on a split: likelihood, collapse, clusters, and the verdict on them; and generation.

`evaluate` gives flat names with units, nats per sentence unless they say otherwise; `judge` reads them.
`evaluate_generation` measures the text that a model writes of its own.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pyro_textvae.corpus import Split
from pyro_textvae.distributions import VonMisesFisher
from pyro_textvae.errors import did_you_mean
from pyro_textvae.evaluation.classification import Classification, accuracy_table
from pyro_textvae.evaluation.clusters import agreement, assign, drawn, joint
from pyro_textvae.evaluation.codes import Codes, evaluating
from pyro_textvae.evaluation.collapse import (
    active_units,
    apart,
    component_pairwise_kl,
    components_assigned,
    information_of_components,
    mutual_information_aggregate,
    mutual_information_in_batch,
    spread,
)
from pyro_textvae.evaluation.generated import Generation, evaluate_generation
from pyro_textvae.evaluation.generation import Decoding, beam, greedy, linear, sample, spherical
from pyro_textvae.evaluation.language_model import LanguageModelBudget
from pyro_textvae.evaluation.likelihood import (
    importance_weighted_nll,
    perplexities,
    reconstruct,
    reconstruct_at_means,
    shuffled_z_gap,
    standard_error,
)
from pyro_textvae.evaluation.probes import BagOfWordsProbe, OrderSensitivity
from pyro_textvae.evaluation.reconstruction import From, noisy_reconstruction, reconstruction_bleu
from pyro_textvae.evaluation.verdict import CollapseWarning, Verdict, judge, train_longer
from pyro_textvae.priors import Mixture, StandardNormal, WithClasses
from pyro_textvae.vae import TextVAE

__all__ = [
    "evaluate",
    "evaluate_generation",
    "Generation",
    "LanguageModelBudget",
    "judge",
    "train_longer",
    "Verdict",
    "CollapseWarning",
    "Classification",
    "accuracy_table",
    "BagOfWordsProbe",
    "OrderSensitivity",
    "greedy",
    "sample",
    "beam",
    "linear",
    "spherical",
]


def evaluate(
    vae: TextVAE,
    split: Split,
    *,
    label_names: Mapping[str, Sequence[str]] | None = None,
    entropy: float | None = None,
    importance_samples: int = 0,
    tempered_samples: int = 0,
    supervised: str | None = None,
    supervised_z: Sequence[str] = (),
    swaps: Sequence[int] = (),
    bleu: Decoding | None = None,
    bleu_from: From = "mean",
    released_draws: int = 0,
    seed: int = 0,
    batch_size: int = 64,
    deep: bool = True,
) -> dict[str, float]:
    """Measure a model on a split: one pass of the encoder, two of the decoder.

    `deep` adds the importance-weighted bound with `importance_samples` samples from q(z|x), and with `tempered_samples`
    from q, its flatter relatives and the prior (proposals.py; each sample costs a pass of the decoder), and,
    for a mixture, the agreement of its code with the label columns of the split (those of `label_names`, if given);
    where they are asked for, reconstruction BLEU decoded as `bleu` says from the posterior's mean or a draw, and the
    reconstruction after so many `swaps` of words (reconstruction.py).
    `supervised` is the label column that the first discrete variable was trained to say, `supervised_z` lists those of
    the first variables of a discrete z: how often its likeliest class is the label, and how often the most frequent
    label would be.
    `released_draws`, where it is not 0, adds the estimator released with Xu & Durrett 2018: the reconstruction from the
    mean of so many z's beside the KL of one. It is no bound, and its names say so; every other NLL here is one, so the
    ELBO by the same draws, which stands beside it.
    `entropy` is the true entropy of the text, nats per sentence, where it is known. What a model does not have is
    left out: an autoencoder no bound, a language model no code; and a perplexity too large for a number. The in-batch
    mutual information depends on `batch_size` (its cap is ln of it) and is taken over sentences of like length. A
    sentence is a document where the model is of bags of words: then there are two perplexities of each bound, and BLEU
    and swaps are refused, which ask for an order.

    The model is left in the mode it came in, and the random numbers of the caller as they were. Same seed, same result.
    """
    if (bleu or swaps) and not vae.decoder.ordered:
        raise ValueError(
            f"{'bleu' if bleu else 'swaps'} was asked for, but a bag of words has no order: leave it out, and see "
            "the reconstruction's nats"
        )
    with evaluating(vae, seed):
        codes = Codes.read(vae, split, batch_size)
        metrics = _likelihood(vae, split, codes, entropy, seed, batch_size)
        if codes.posteriors:
            metrics |= _code(codes, seed) | _concentrations(codes)
        metrics |= _floor(vae, metrics)
        if isinstance(vae.prior, WithClasses) and codes.assignment is not None:
            metrics |= _classes(vae.prior, codes.assignment)
        if isinstance(vae.prior, Mixture) and codes.assignment is not None:
            metrics |= _mixture(vae.prior, codes)
        if deep and not codes.is_a_point:
            for kind, samples in (("weighted", importance_samples), ("tempered", tempered_samples)):
                if samples:
                    metrics |= _importance(vae, split, codes, kind, samples, batch_size)
        if released_draws:
            if not codes.posteriors or codes.is_a_point:
                raise ValueError(
                    f"released_draws={released_draws} came, but this model has no density of a code to draw from: "
                    "leave it out"
                )
            metrics |= _released(vae, split, codes, released_draws, batch_size)
        if deep and codes.posteriors and bleu:
            metrics |= reconstruction_bleu(vae, split, codes, bleu, bleu_from, batch_size=batch_size)
        if deep and codes.posteriors and swaps:
            metrics |= noisy_reconstruction(vae, split, swaps, seed=seed, batch_size=batch_size)
        if deep and codes.assignment is not None:
            metrics |= _labels(codes, split, label_names, seed)
            if supervised is not None:
                metrics |= _supervised(codes, assign(codes.assignment)[:, 0], split, supervised)
            if supervised_z:
                told = assign(codes.classes_of_z)
                for m, column in enumerate(supervised_z):
                    metrics |= _supervised(codes, told[:, m], split, column)
    # Beyond 709 nats a word, which batch normalisation over a handful of sentences can give, e to it is no number.
    return {name: value for name, value in metrics.items() if value != math.inf or not name.startswith("perplexity")}


def _likelihood(
    vae: TextVAE, split: Split, codes: Codes, entropy: float | None, seed: int, batch_size: int
) -> dict[str, float]:
    """Reconstruction, KLs, their sum, and what is lost when a sentence is decoded from the code of another."""
    reconstruction = reconstruct(vae, split, codes.code, batch_size)
    metrics = {"reconstruction_nats_per_sentence": reconstruction.mean().item()}
    if not codes.is_a_point:
        metrics |= {f"kl_{site}_nats_per_sentence": kl.mean().item() for site, kl in codes.kl.items()}
        kl = sum(codes.kl.values(), start=torch.zeros_like(reconstruction))
        nll = reconstruction + kl
        metrics["kl_nats_per_sentence"] = kl.mean().item()
        metrics["nll_elbo_nats_per_sentence"] = nll.mean().item()
        if len(nll) > 1:
            metrics["nll_elbo_standard_error"] = standard_error(nll)
        metrics |= perplexities(nll, codes.lengths, "elbo", vae.decoder.ordered)
        if entropy is not None:
            metrics["nll_elbo_above_entropy_nats_per_sentence"] = metrics["nll_elbo_nats_per_sentence"] - entropy
    if codes.posteriors and len(reconstruction) > 1:
        gap = shuffled_z_gap(vae, split, codes.code, reconstruction, seed=seed, batch_size=batch_size)
        metrics["shuffled_z_gap_nats_per_sentence"] = gap.mean().item()
        metrics["shuffled_z_gap_standard_error"] = standard_error(gap)
    return metrics


def _importance(vae: TextVAE, split: Split, codes: Codes, kind: str, samples: int, batch_size: int) -> dict[str, float]:
    """The importance-weighted bound by samples from q ("weighted"), or from q to the prior ("tempered")."""
    cost = importance_weighted_nll(vae, split, samples, batch_size, tempered=kind == "tempered")
    found = {f"nll_importance_{kind}_nats_per_sentence": cost.mean().item()}
    if len(cost) > 1:
        found[f"nll_importance_{kind}_standard_error"] = standard_error(cost)
    found |= perplexities(cost, codes.lengths, f"importance_{kind}", vae.decoder.ordered)
    return found | {"importance_samples" if kind == "weighted" else "importance_tempered_samples": float(samples)}


def _released(vae: TextVAE, split: Split, codes: Codes, draws: int, batch_size: int) -> dict[str, float]:
    at_mean, of_each = reconstruct_at_means(vae, split, codes.posteriors, draws, batch_size)
    kl = sum(codes.kl.values(), start=torch.zeros_like(at_mean))
    return (
        {
            "xu2018_released_draws": float(draws),
            "reconstruction_xu2018_released_nats_per_sentence": at_mean.mean().item(),
            "no_bound_xu2018_released_nats_per_sentence": (at_mean + kl).mean().item(),
            "nll_elbo_same_draws_nats_per_sentence": (of_each + kl).mean().item(),
        }
        | perplexities(at_mean + kl, codes.lengths, "xu2018_released_no_bound", vae.decoder.ordered)
        | perplexities(of_each + kl, codes.lengths, "elbo_same_draws", vae.decoder.ordered)
    )


def _concentrations(codes: Codes) -> dict[str, float]:
    """How the concentrations of von Mises-Fisher posteriors spread over the sentences."""
    found = [q.concentration.double().flatten() for q in codes.posteriors if isinstance(q, VonMisesFisher)]
    if not found:
        return {}
    every = torch.cat(found)
    return {
        "concentration_mean": every.mean().item(),
        "concentration_min": every.min().item(),
        "concentration_max": every.max().item(),
    }


def _code(codes: Codes, seed: int) -> dict[str, float]:
    continuous = codes.continuous
    if continuous is None:
        metrics = {"latent_dimensions": float(codes.code.size(1))}
    else:
        metrics = {"latent_dimensions": float(continuous.size(1))}
        if len(continuous) > 1:
            metrics["active_units"] = float(active_units(continuous))
    if not codes.is_a_point:
        information, sentences = mutual_information_aggregate(codes.posteriors, codes.draws, seed=seed)
        metrics["mutual_information_aggregate_nats"] = information
        metrics["mutual_information_sentences"] = float(sentences)
        metrics["mutual_information_in_batch_nats"] = mutual_information_in_batch(codes.posteriors, codes.draws)
    return metrics


def _floor(vae: TextVAE, metrics: Mapping[str, float]) -> dict[str, float]:
    """The floor under the KL, where a part of the model sets one.

    Batch normalisation's running moments do not keep to it: what the KL exceeds it by is reported.
    """
    # A posterior's floor is that of its KL to a standard normal.
    parts = vae.posterior.modules() if type(vae.prior) is StandardNormal else [vae.prior]
    floors = [part.kl_floor().item() for part in parts if hasattr(part, "kl_floor")]  # pyright: ignore[reportCallIssue]
    if not floors:
        return {}
    return {
        "kl_floor_nats_per_sentence": floors[0],
        "kl_above_floor_nats_per_sentence": metrics["kl_z_nats_per_sentence"] - floors[0],
    }


def _classes(prior: WithClasses, assignment: Tensor) -> dict[str, float]:
    information, entropy, in_use = information_of_components(assignment)
    return {
        "components": float(prior.components),
        "discrete_variables": float(prior.variables),
        "information_c_nats": information,
        "entropy_c_nats": entropy,
        "components_in_use": in_use,
        "components_assigned": components_assigned(assignment),
    }


def _mixture(prior: Mixture, codes: Codes) -> dict[str, float]:
    assert codes.assignment is not None and codes.dispersion is not None
    in_use = component_pairwise_kl(prior, codes.assignment)
    return {
        "dispersion_nats_per_sentence": codes.dispersion.mean().item(),
        "component_spread": spread(prior.means()),
        "posterior_spread": spread(torch.cat(codes.draws, -2)),
        "component_pairwise_kl_nats": component_pairwise_kl(prior).mean().item(),
        # The median variable: a mean would call twenty variables healthy for the sake of two.
        "component_pairwise_kl_in_use_nats": in_use.median().item(),
        "variables_apart": float(apart(in_use, codes.assignment).sum()),
    }


def _labels(codes: Codes, split: Split, label_names: Mapping[str, Sequence[str]] | None, seed: int) -> dict[str, float]:
    assert codes.assignment is not None
    code = assign(codes.assignment)
    views = {"": joint(code)}
    if code.shape[1] > 1:
        views |= {f"_c{m}": code[:, m] for m in range(code.shape[1])}
    of_draws = joint(drawn(codes.assignment, seed))
    metrics = {}
    for column in split.labels if label_names is None else label_names:
        if column not in split.labels:
            raise ValueError(
                f"label_names has a column {column!r}{did_you_mean(column, split.labels)}, but the split has "
                f"{', '.join(map(repr, split.labels)) or 'no labels'}: leave it out"
            )
        labels = split.labels[column][codes.index.cpu().numpy()]
        if (found := agreement(labels, of_draws, seed=seed)) is not None:
            metrics[f"drawn_homogeneity_{column}"], metrics[f"drawn_homogeneity_{column}_chance"], _ = found
        for view, ids in views.items():
            found = agreement(labels, ids, seed=seed)
            if found is not None:
                homogeneity, chance, adjusted = found
                metrics[f"homogeneity_{column}{view}"] = homogeneity
                metrics[f"homogeneity_{column}{view}_chance"] = chance
                metrics[f"adjusted_mutual_information_{column}{view}"] = adjusted
    return metrics


def _supervised(codes: Codes, told: np.ndarray, split: Split, column: str) -> dict[str, float]:
    """How often what is told of a sentence, (N,), is its label."""
    if column not in split.labels:
        return {}  # texts without labels
    labels = split.labels[column][codes.index.cpu().numpy()]
    right = told[labels >= 0] == labels[labels >= 0]
    if not len(right):
        return {}
    most = np.bincount(labels[labels >= 0]).max() / len(right)
    return {f"accuracy_{column}": float(right.mean()), f"accuracy_{column}_majority": float(most)}
