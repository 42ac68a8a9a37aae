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
from pyro_textvae.distributions import Concatenated, OneHots, dispersion
from pyro_textvae.information import by_sentence
from pyro_textvae.objective import Draw
from pyro_textvae.priors import Mixture, UniformSphere, VonMisesFisherMixture
from pyro_textvae.terms import BetaELBO
from pyro_textvae.vae import TextVAE

RESPONSIBILITY_DRAWS = 16
"""Of z, for q(c|x) where no network gives it: no decoder runs, so they cost next to nothing."""


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
    for batch in Batches(split, batch_size, batching="sorted"):
        yield batch.to(device)


def code_of(vae: TextVAE, z: Tensor) -> Tensor:
    """What is drawn from `posterior_of`, (..., B, D) or with M variables (..., M, B, D), as the code (..., B, code)."""
    return vae.prior.join(z) if isinstance(vae.prior, Mixture) else z


def z_of(vae: TextVAE, code: Tensor) -> Tensor:
    """`code_of` undone."""
    return vae.prior.divide(code) if isinstance(vae.prior, Mixture) else code


def posterior_of(draw: Draw) -> Any:
    """q of all that the decoder sees: the sites that are not summed out, laid end to end where there are several.

    Batch shape (B,) or (M, B). None for a language model.
    """
    parts = [draw.q(site) for site in draw.latents if site not in draw.enumerated]
    return Concatenated(parts) if len(parts) > 1 else next(iter(parts), None)


def classes_of(vae: TextVAE, draw: Draw) -> Tensor | None:
    """q(c|x) of the discrete variables, a mixture's or the code's own: (B, M, K); None where there are none.

    Of a mixture that has no network for it (c is summed out of both programs) it is the mean of p(c|z) over
    RESPONSIBILITY_DRAWS draws of z.
    """
    if draw.discrete:
        return draw.log_classes(draw.discrete[0]).exp().movedim(0, 1)
    if isinstance(vae.prior, Mixture):
        z = posterior_of(draw).sample(torch.Size([RESPONSIBILITY_DRAWS]))  # (S, M, B, D)
        return vae.prior.responsibilities(z).mean(0).movedim(0, 1)
    return None


def mean_code(vae: TextVAE, batch: Batch) -> Tensor:
    """Posterior means of a batch, (B, code)."""
    return code_of(vae, vae.q_z(batch).mean)


def continuous_mean(q: Any) -> Tensor | None:
    """Of a posterior's mean, what is no probability of one-hots: (B, D). None where there is nothing else."""
    parts = [part for part in (q.parts if isinstance(q, Concatenated) else [q]) if not isinstance(part, OneHots)]
    return torch.cat([by_sentence(part.mean) for part in parts], -1) if parts else None


def variables_of(vae: TextVAE) -> int:
    """M, of how many discrete variables z has a part; 1 where there is none."""
    return vae.prior.variables if isinstance(vae.prior, Mixture) else 1


def on_sphere(vae: TextVAE) -> bool:
    """Whether each variable's z has length 1."""
    return isinstance(vae.prior, UniformSphere | VonMisesFisherMixture)


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
    lengths     (N,) predicted tokens of each, </s> counted; of bags the known words
    posteriors  q of what the decoder sees, of each batch, batch shape (B,) or (M, B); empty for a language model
    draws       one draw from each of them, (B, D) or (M, B, D)
    code        (N, code) the same draws as the decoder takes them
    kl          for each latent site (N,), nats; empty for an autoencoder, whose KL is infinite
    dispersion  (N,) L_d, nats; mixtures only
    assignment  (N, M, K) q(c|x); mixtures and discrete codes only
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
        spread, assignment = [], []
        for batch in batches_of(vae, split, batch_size):
            draw, drawn = draw_codes(vae, batch)
            index.append(batch.index)
            lengths.append(batch.lengths if vae.decoder.ordered else batch.known_words())
            code.append(drawn)
            q = posterior_of(draw)
            if q is None:
                continue
            posteriors.append(q)
            seen = [draw.value(site) for site in draw.latents if site not in draw.enumerated]
            draws.append(torch.cat(seen, -1))
            if not isinstance(q, Delta):
                for site in draw.latents:
                    kl.setdefault(site, []).append(draw.kl(site).double())
            classes = classes_of(vae, draw)
            if classes is not None:
                assignment.append(classes)
            if isinstance(vae.prior, Mixture) and classes is not None:
                weights = classes.movedim(-1, 0).movedim(-1, -2)  # (K, M, B)
                components = vae.prior.component(vae.prior.every())
                spread.append(dispersion(components, weights, dim=-3).sum(0).double())
        return cls(
            torch.cat(index),
            torch.cat(lengths),
            posteriors,
            draws,
            torch.cat(code),
            {site: torch.cat(parts) for site, parts in kl.items()},
            torch.cat(spread) if spread else None,
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

    @property
    def classes_of_z(self) -> Tensor:
        """q of each discrete variable of a z that is one-hots, (N, variables, classes), those of each c together."""
        return self.means.unflatten(-1, (-1, self.posteriors[0].probs.size(-1)))

    @cached_property
    def continuous(self) -> Tensor | None:
        """Of the means, those that are no probabilities of one-hots: (N, D). None where there are no others."""
        kept = [mean for q in self.posteriors if (mean := continuous_mean(q)) is not None]
        return torch.cat(kept) if kept else None
