"""How well a model predicts sentences: the ELBO by one sample, and the importance-weighted bound by many.

Both bound log p(x) from below in expectation. NLL is per sentence, its </s> counted and its <s> not; perplexity is
exp(sum of NLL / sum of predicted tokens). Of bags of words neither is counted, and there are two perplexities in use,
which differ where documents differ in length: `perplexities`.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import Delta
from torch import Tensor

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import Split
from pyro_textvae.evaluation.codes import batches_of, code_of, draw_codes, posterior_of
from pyro_textvae.evaluation.proposals import Proposals, log_prior_of
from pyro_textvae.objective import importance_weighted
from pyro_textvae.vae import TextVAE

TOKENS_AT_ONCE = 8192
"""Tokens that the decoder scores at a time in importance weighting (or one copy of a batch, if that has more): with
V = 10,000 words their logits and log-probabilities take 650 MB on a GPU; on a CPU they are made a few at a time."""


def reconstruct(vae: TextVAE, split: Split, code: Tensor, batch_size: int = 64) -> Tensor:
    """-log p(x|z) at codes (N, code) that stand in order of length, as `Codes.read` gives them: (N,), nats."""
    costs, first = [], 0
    for batch in batches_of(vae, split, batch_size):
        costs.append(-vae.decoder.log_prob(code[first : first + len(batch)], batch).double())
        first += len(batch)
    return torch.cat(costs)


def shuffled_z_gap(
    vae: TextVAE, split: Split, code: Tensor, reconstruction: Tensor, *, seed: int = 0, batch_size: int = 64
) -> Tensor:
    """What a sentence's -log p(x|z) rises by where z is another sentence's: (N,), nats. N >= 2.

    0 for a decoder that ignores z, whatever the KL and the information of the code are: it says whether what z tells is
    read. `code` and `reconstruction`, (N, code) and (N,), stand in order of length, as `reconstruct` takes and gives
    them. The other sentence is a neighbour in a random circle: any of the split but itself, of whatever length.
    """
    circle = torch.randperm(len(code), generator=torch.Generator().manual_seed(seed))
    other = torch.empty_like(circle)
    other[circle] = circle.roll(1)
    return reconstruct(vae, split, code[other.to(code.device)], batch_size) - reconstruction


def reconstruct_at_means(
    vae: TextVAE, split: Split, posteriors: Sequence[Any], draws: int, batch_size: int
) -> tuple[Tensor, Tensor]:
    """-log p(x | mean of `draws` z's), and beside it the mean of -log p(x|z) over the same z's: (N,) each, nats.

    `posteriors` are those of the split's batches. With a KL the first is the estimator released with Xu & Durrett 2018,
    which bounds nothing: `terms.ReleasedEstimator`. The second is the ELBO by as many draws.
    """
    if draws < 1:
        raise ValueError(f"released_draws={draws} came, but a mean is of at least one draw: 3 as released")
    codes = torch.cat([code_of(vae, q.sample(torch.Size([draws]))) for q in posteriors], 1)  # (draws, N, code)
    of_each = [reconstruct(vae, split, code, batch_size) for code in codes]
    return reconstruct(vae, split, codes.mean(0), batch_size), torch.stack(of_each).mean(0)


def log_weights(vae: TextVAE, batch: Batch, q: Any, samples: int, *, tempered: bool = False) -> Tensor:
    """log p(x|z_s) + log p(z_s) - log r(z_s) for `samples` draws from r: (S, B), nats. The order of draws is r's.

    r is q, `posterior_of` the batch; if `tempered`, it is q, its flatter relatives and the prior together
    (proposals.py). p(z) is the marginal prior: of a mixture, c is summed out, and q(c|x) plays no part. Of a discrete
    code true one-hots are drawn, whatever it is relaxed to in training: the bound is the discrete model's. The
    posterior's batch shape may be (B,) or (M, B). Memory: the decoder scores at most TOKENS_AT_ONCE tokens at a time.
    """
    at_once = max(1, TOKENS_AT_ONCE // batch.real.numel())
    proposals = Proposals(vae, q, samples, tempered=tempered)
    weights = []
    for place, drawn in enumerate(proposals.counts):
        for first in range(0, drawn, at_once):
            count = min(at_once, drawn - first)
            z = proposals.draw(place, count)  # (S, B, D) or (S, M, B, D)
            log_prior = log_prior_of(vae, z)
            code = code_of(vae, z).flatten(0, 1)  # row s * B + b, as batch.repeat has it
            log_p = vae.decoder.log_prob(code, batch.repeat(count)).double().unflatten(0, (count, len(batch)))
            weights.append(log_p + log_prior - proposals.log_prob(z, log_prior))
    return torch.cat(weights)


def importance_weighted_nll(
    vae: TextVAE, split: Split, samples: int, batch_size: int = 64, *, tempered: bool = False
) -> Tensor:
    """Minus the importance-weighted bound of every sentence in order of length: (N,), nats. Inside `evaluating`.

    z is drawn from q(z|x), or `tempered` from q, its flatter relatives and the prior (proposals.py), which for a q that
    is surer than p(z|x) takes far fewer samples. For a language model it is the exact NLL. Raises ValueError for an
    autoencoder, which has no density of z, and for a number of samples below 1.
    """
    asked = "tempered_samples" if tempered else "importance_samples"
    if samples < 1:
        raise ValueError(f"{asked}={samples} came, but at least 1 is needed: {20 if tempered else 500} is usual")
    costs = []
    for batch in batches_of(vae, split, batch_size):
        draw, code = draw_codes(vae, batch)
        if not draw.latents:
            bound = vae.decoder.log_prob(code, batch).double()
        elif isinstance(posterior_of(draw), Delta):
            raise ValueError(
                "the code of an autoencoder is a point, without a density, so there is no bound on log p(x): evaluate "
                f"it with {asked}=0"
            )
        else:
            bound = importance_weighted(log_weights(vae, batch, posterior_of(draw), samples, tempered=tempered))
        costs.append(-bound)
    return torch.cat(costs)


def standard_error(costs: Tensor) -> float:
    """Standard error of the mean of (N,) costs; N >= 2."""
    return (costs.std() / math.sqrt(len(costs))).item()


def perplexity(costs: Tensor, lengths: Tensor) -> float:
    """exp(nats per predicted token) of NLLs (N,) and lengths (N,), </s> counted in both or in neither."""
    return (costs.sum() / lengths.sum()).exp().item()


def perplexity_per_document(costs: Tensor, lengths: Tensor) -> float:
    """exp of the mean over documents of NLL / length, (N,) each: every document counts alike, however short.

    Raises ValueError for a document of no words.
    """
    if not (lengths > 0).all():
        raise ValueError(
            f"{int((lengths <= 0).sum())} of {len(lengths)} documents have no known word, so that they have no "
            "perplexity: leave them out"
        )
    return (costs / lengths).mean().exp().item()


def perplexities(costs: Tensor, lengths: Tensor, bound: str, ordered: bool) -> dict[str, float]:
    """The perplexity of sentences by a bound; of bags of words both, since papers mean one or the other.

    perplexity_corpus_BOUND        exp(sum of NLL / sum of words): Xu & Durrett 2018's code
    perplexity_per_document_BOUND  exp(mean over documents of NLL / words): Mnih & Gregor 2014, Miao et al. 2016
    """
    if ordered:
        return {f"perplexity_{bound}": perplexity(costs, lengths)}
    return {
        f"perplexity_corpus_{bound}": perplexity(costs, lengths),
        f"perplexity_per_document_{bound}": perplexity_per_document(costs, lengths),
    }
