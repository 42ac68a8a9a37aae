"""The rival: the same networks as plain PyTorch would train them, with no Pyro and no distribution object.

Each function takes a TextVAE for its layers alone and returns the mean loss of a batch, nats per sentence. They use
whatever makes a hand-written loop fast: a fused batch normalisation, cross-entropy that sums as it goes, and for the
mixture the averaged prior, which needs two small matrix products where the expectation of a KL needs (K, M, B, D).
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import PAD
from pyro_textvae.decoders import RecurrentDecoder
from pyro_textvae.posteriors import BatchNormGaussian, Gaussian, WithComponents
from pyro_textvae.priors import LOG_VARIANCE_LIMIT, GaussianMixture
from pyro_textvae.vae import TextVAE


def outputs_of(decoder: RecurrentDecoder, z: Tensor, batch: Batch) -> Tensor:
    """The decoder's recurrent outputs, (B, T, H)."""
    words = decoder.embedding(batch.inputs)
    inputs = torch.cat([words, z[:, None].expand(-1, words.size(1), -1)], -1)
    cell = cast(nn.Linear, decoder.start_state)(z)[None]
    lstm = isinstance(decoder.network, nn.LSTM)
    outputs, _ = decoder.network(inputs, (torch.tanh(cell), cell) if lstm else torch.tanh(cell))
    return outputs


def reconstruction(decoder: RecurrentDecoder, z: Tensor, batch: Batch) -> Tensor:
    """-log p(x|z) of the whole batch, in nats; only real tokens are scored."""
    outputs = outputs_of(decoder, z, batch).flatten(0, 1).index_select(0, batch.real)
    logits = cast(nn.Linear, decoder.output)(outputs)
    return F.cross_entropy(logits, batch.targets.flatten().index_select(0, batch.real), reduction="sum")


def padded_reconstruction(decoder: RecurrentDecoder, z: Tensor, batch: Batch) -> Tensor:
    """The same number, with logits for every position and padding left out of the sum."""
    logits = cast(nn.Linear, decoder.output)(outputs_of(decoder, z, batch))
    return F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=PAD, reduction="sum")


def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum()


def vae_loss(vae: TextVAE, batch: Batch, padded: bool = False) -> Tensor:
    features = vae.encoder(batch)
    posterior = cast(Gaussian, vae.posterior)
    mean, log_variance = posterior.mean(features), posterior.log_variance(features)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    score = padded_reconstruction if padded else reconstruction
    return (score(cast(RecurrentDecoder, vae.decoder), z, batch) + kl_to_standard(mean, log_variance)) / len(batch)


def bn_vae_loss(vae: TextVAE, batch: Batch) -> Tensor:
    features = vae.encoder(batch)
    posterior = cast(BatchNormGaussian, vae.posterior)
    norm = posterior.normalise
    # repeat, not expand: on the CPU, torch 2.13's backward reads beyond a weight of stride 0.
    mean = F.batch_norm(
        posterior.mean(features),
        norm.running_mean,
        norm.running_variance,
        norm.gamma.repeat(len(norm.shift)),
        norm.shift,
        training=True,
        momentum=0.05,
        eps=1e-30,
    )
    log_variance = posterior.log_variance(features)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    score = reconstruction(cast(RecurrentDecoder, vae.decoder), z, batch)
    return (score + kl_to_standard(mean, log_variance)) / len(batch)


def dem_vae_loss(vae: TextVAE, batch: Batch, dispersion: float = 0.8, mutual_information: float = 1.0) -> Tensor:
    posterior, prior = cast(WithComponents, vae.posterior), cast(GaussianMixture, vae.prior)
    heads = cast(Gaussian, posterior.z_posterior)
    B, M, K = len(batch), prior.variables, prior.components
    features = vae.encoder(batch)
    mean = heads.mean(features).view(B, M, -1).transpose(0, 1)  # (M, B, D)
    log_variance = heads.log_variance(features).view(B, M, -1).transpose(0, 1)
    z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, dtype=mean.dtype)

    log_q = posterior.assignment(features).view(B, M, K).transpose(0, 1).log_softmax(-1)  # (M, B, K)
    q = log_q.exp()
    log_aggregate = log_q.logsumexp(1, keepdim=True) - math.log(B)
    kl_c = (q * log_q).sum() + B * M * math.log(K)
    information = (q * (log_q - log_aggregate)).sum()

    log_precision = -LOG_VARIANCE_LIMIT * torch.tanh(prior.log_variance / LOG_VARIANCE_LIMIT)  # (M, K, D)
    precision = log_precision.exp()
    averaged = q @ precision  # (M, B, D): natural parameters are averaged
    average_mean = q @ (precision * prior.mean) / averaged
    log_ratio = log_variance + averaged.log()
    kl_z = 0.5 * ((mean - average_mean).square() * averaged + log_ratio.exp() - log_ratio - 1).sum()
    of_each = (q @ (prior.mean.square() * precision - log_precision).sum(-1, keepdim=True)).sum()
    loss_of_average = 0.5 * (of_each - (average_mean.square() * averaged - averaged.log()).sum())

    extra = kl_c + kl_z + (1 - dispersion) * loss_of_average - mutual_information * information
    return (reconstruction(cast(RecurrentDecoder, vae.decoder), z.transpose(0, 1).flatten(1), batch) + extra) / B
