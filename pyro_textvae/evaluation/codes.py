"""The codes of a split: the posterior of every sentence, one draw from it, and its KL, by one pass of the encoder.

No decoder runs here. Every measure of `likelihood`, `collapse` and `clusters` that needs a code reads it from here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import pyro
import torch
from pyro.distributions import Delta
from torch import Tensor

from pyro_textvae.batch import Batch, Batches
from pyro_textvae.corpus import Split
from pyro_textvae.evaluation.collapse import by_sentence
from pyro_textvae.objective import Draw
from pyro_textvae.posteriors import VonMisesFisherPosterior, WithComponents
from pyro_textvae.priors import Mixture
from pyro_textvae.terms import BetaELBO, Dispersion
from pyro_textvae.vae import TextVAE


@contextmanager
def evaluating(vae: TextVAE, seed: int) -> Iterator[None]:
    """Without gradients, every module in evaluation mode, random numbers from `seed`; all of it restored after."""
    modes = {module: module.training for module in vae.modules()}
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    vae.eval()
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(seed)
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def batches_of(vae: TextVAE, split: Split, batch_size: int) -> Iterator[Batch]:
    """The split in order of length, each time in the same batches, where the model is."""
    device = next(vae.parameters()).device
    for batch in Batches(split, batch_size, shuffle=False):
        yield batch.to(device)


def code_of(vae: TextVAE, z: Tensor) -> Tensor:
    """z of shape (..., B, D) or, with M variables, (..., M, B, D) as the decoder's code (..., B, code)."""
    return vae.prior.join(z) if isinstance(vae.prior, Mixture) else z


def mean_code(vae: TextVAE, batch: Batch) -> Tensor:
    """Posterior means of a batch, (B, code)."""
    return code_of(vae, vae.q_z(batch).mean)


def variables_of(vae: TextVAE) -> int:
    """M, of how many discrete variables z has a part; 1 where there is none."""
    return vae.prior.variables if isinstance(vae.prior, Mixture) else 1


def on_sphere(vae: TextVAE) -> bool:
    """Whether each variable's z has length 1."""
    posterior = vae.posterior
    inner = posterior.z_posterior if isinstance(posterior, WithComponents) else posterior
    return isinstance(inner, VonMisesFisherPosterior)


def on_support(vae: TextVAE, codes: Tensor) -> Tensor:
    """Codes (N, code) that a prior may give: means on spheres lie inside, and move to the nearest point outside."""
    if not on_sphere(vae):
        return codes
    return torch.nn.functional.normalize(codes.unflatten(-1, (variables_of(vae), -1)), dim=-1).flatten(-2)


def draw_codes(vae: TextVAE, batch: Batch) -> tuple[Draw, Tensor]:
    """Guide and prior run once on a batch, the decoder left out: the latent sites, and the code (B, code)."""

    def prior(batch: Batch) -> Tensor:
        with pyro.plate("sentences", len(batch), dim=-1):
            return vae.prior(batch)

    draw = BetaELBO().draw(prior, vae.inference, batch)
    return draw, cast(Tensor, draw.model_trace.nodes["_RETURN"].get("value"))


@dataclass(frozen=True)
class Codes:
    """What a model says of N sentences before it decodes them, batch after batch.

    index       (N,) position of each sentence in its split
    lengths     (N,) predicted tokens of each, </s> counted
    posteriors  q(z|x) of each batch, batch shape (B,) or (M, B); empty for a language model
    draws       one z from each of them, (B, D) or (M, B, D)
    code        (N, code) the same draws as the decoder takes them
    kl          for each latent site (N,), nats; empty for an autoencoder, whose KL is infinite
    dispersion  (N,) L_d, nats; mixtures only
    assignment  (N, M, K) q(c|x); mixtures only
    """

    index: Tensor
    lengths: Tensor
    posteriors: list[Any]
    draws: list[Tensor]
    code: Tensor
    kl: dict[str, Tensor]
    dispersion: Tensor | None
    assignment: Tensor | None

    @classmethod
    def read(cls, vae: TextVAE, split: Split, batch_size: int = 64) -> "Codes":
        """Encode a split; memory grows as N (code + M K). To be called inside `evaluating`."""
        if not len(split):
            raise ValueError("the split has no sentences, but there must be one to evaluate: choose another split")
        index, lengths, posteriors, draws, code = [], [], [], [], []
        kl: dict[str, list[Tensor]] = {}
        dispersion, assignment = [], []
        for batch in batches_of(vae, split, batch_size):
            draw, drawn = draw_codes(vae, batch)
            index.append(batch.index)
            lengths.append(batch.lengths)
            code.append(drawn)
            if "z" in draw.latents:
                posteriors.append(draw.q("z"))
                draws.append(draw.value("z"))
            if not any(isinstance(draw.q(site), Delta) for site in draw.latents):
                for site in draw.latents:
                    kl.setdefault(site, []).append(draw.kl(site).double())
            if "c" in draw.enumerated:
                dispersion.append(Dispersion()(draw).double())
                assignment.append(draw.q("c").probs.movedim(0, 1))
        return cls(
            torch.cat(index),
            torch.cat(lengths),
            posteriors,
            draws,
            torch.cat(code),
            {site: torch.cat(parts) for site, parts in kl.items()},
            torch.cat(dispersion) if dispersion else None,
            torch.cat(assignment) if assignment else None,
        )

    @property
    def is_a_point(self) -> bool:
        """Whether the posterior has no density (an autoencoder): then there is neither bound nor information."""
        return bool(self.posteriors) and isinstance(self.posteriors[0], Delta)

    @cached_property
    def means(self) -> Tensor:
        """Posterior means, (N, M D). Of a von Mises-Fisher: its direction times A(concentration), inside the sphere."""
        return torch.cat([by_sentence(q.mean) for q in self.posteriors])
