"""Refinement: q(z|x) where the encoder put it, moved on by gradient steps on the sentence's own bound."""

from collections.abc import Callable
from typing import cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyro_textvae.batch import Batch
from pyro_textvae.decoders import RecurrentDecoder
from pyro_textvae.posteriors import Gaussian
from pyro_textvae.priors import StandardNormal
from pyro_textvae.vae import TextVAE


class SemiAmortisedVAE(TextVAE):
    """A Gaussian VAE whose guide refines the encoder's q(z|x) by stochastic gradient steps (Kim et al. 2018).

    A step lowers R + weight KL, averaged over the batch, in the mean and the log variance of every sentence, by
    gradient descent with momentum; z is drawn anew each time, and the gradients of all means and of all log variances
    are each clipped to a norm of `clip`. Training differentiates through the steps: the encoder learns where to begin,
    the decoder what refinement will make of it. (The released code approximates the second derivatives by finite
    differences.) Evaluation refines too, with weight 1.

    `weight` tells the KL's weight in training. A sentence's step has the size rate / batch size, as in the released
    code: with other batches take another rate.
    """

    def __init__(
        self,
        encoder: nn.Module,
        posterior: Gaussian,
        prior: StandardNormal,
        decoder: RecurrentDecoder,
        *,
        steps: int = 20,
        rate: float = 1.0,
        momentum: float = 0.5,
        clip: float = 5.0,
        weight: Callable[[], float] = lambda: 1.0,
    ) -> None:
        super().__init__(encoder, posterior, prior, decoder)
        if steps < 1:
            raise ValueError(f"'steps' is {steps}, but a refinement takes at least one; without it, train 'vae'")
        self.steps, self.rate, self.momentum, self.clip, self.weight = steps, rate, momentum, clip, weight

    def guide(self, batch: Batch) -> Tensor | None:
        pyro.module("decoder", self.decoder)  # which refinement reads
        return super().guide(batch)

    def inference(self, batch: Batch) -> Tensor:
        q = self.q_z(batch)  # before the plate, which the bound's own sites would stand in
        with pyro.plate("sentences", len(batch), dim=-1):
            return pyro.sample("z", q)

    def q_z(self, batch: Batch) -> dist.TorchDistribution:
        """The refined q(z|x)."""
        begin = cast(Gaussian, self.posterior).z(self.encoder(batch)).base_dist
        mean, log_variance = self.refine(begin.loc, 2 * begin.scale.log(), batch)
        return dist.Normal(mean, (0.5 * log_variance).exp()).to_event(1)

    @torch.enable_grad()
    def refine(self, mean: Tensor, log_variance: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Move means and log variances (B, D) on; differentiable in training mode, constants in evaluation mode."""
        moments = [mean, log_variance]
        velocity = [torch.zeros_like(each) for each in moments]
        # cuDNN's recurrent networks have no second derivative, and in evaluation mode not even a first one.
        with torch.backends.cudnn.flags(enabled=False):
            for _ in range(self.steps):
                if not self.training:
                    moments = [each.detach() for each in moments]
                moments = [each if each.requires_grad else each.requires_grad_() for each in moments]
                gradients = torch.autograd.grad(self._bound(*moments, batch), moments, create_graph=self.training)
                velocity = [
                    self.momentum * v - g * (self.clip / (g.norm() + 1e-6)).clamp_max(1)
                    for v, g in zip(velocity, gradients, strict=True)
                ]
                moments = [each + self.rate * v for each, v in zip(moments, velocity, strict=True)]
        mean, log_variance = moments if self.training else (each.detach() for each in moments)
        return mean, log_variance

    def _bound(self, mean: Tensor, log_variance: Tensor, batch: Batch) -> Tensor:
        q = dist.Normal(mean, (0.5 * log_variance).exp()).to_event(1)
        reconstruction = -self.decoder.log_prob(q.rsample(), batch)
        weight = self.weight() if self.training else 1.0
        prior = cast(StandardNormal, self.prior).density().expand(q.batch_shape)
        return (reconstruction + weight * kl_divergence(q, prior)).mean()
