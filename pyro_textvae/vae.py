"""TextVAE: four parts as one Pyro model and one guide."""

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_textvae.batch import Batch
from pyro_textvae.decoders import Decoder, Sentences
from pyro_textvae.priors import Prior

MAX_PLATE_NESTING = 2
"""Sentences at dim -1, discrete variables at dim -2. Pass it to Pyro's own ELBOs, or they run the model to guess."""


class TextVAE(nn.Module):
    """p(c) p(z|c) p(x|z) and q(z|x) q(c|x).

    Sites: "c" (M, B), enumerated, or (B,) with M one-hots of K numbers each where the decoder sees it; "z" (B,) or
    (M, B) with D numbers each; "x", the sentence. `model` and `guide` run
    under any of Pyro's ELBOs and register their parameters for `pyro.infer.SVI`. A loop that owns the parameters of
    this module itself (ours, or any torch optimiser's) runs `generative` and `inference`, the same programs less that
    registration, which costs as much as all the rest of Pyro.

    With Pyro's validation on, `TraceEnum_ELBO` warns of a "possibly invalid dependency" of x on the plate of variables.
    It is none: c is enumerated in the guide alone and z does not read it there; the value is exact, as tests hold.
    """

    def __init__(self, encoder: nn.Module, posterior: nn.Module, prior: Prior, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.posterior, self.prior, self.decoder = encoder, posterior, prior, decoder

    def model(self, batch: Batch) -> Tensor:
        """The generative story of a batch of sentences, observed; returns the code (B, code)."""
        pyro.module("prior", self.prior)
        pyro.module("decoder", self.decoder)
        return self.generative(batch)

    def guide(self, batch: Batch) -> Tensor | None:
        """The approximate posterior of a batch of sentences."""
        pyro.module("encoder", self.encoder)
        pyro.module("posterior", self.posterior)
        return self.inference(batch)

    def generative(self, batch: Batch) -> Tensor:
        with pyro.plate("sentences", len(batch), dim=-1):
            code = self.prior(batch)
            pyro.sample("x", Sentences(self.decoder, code, batch), obs=batch.tokens)
        return code

    def inference(self, batch: Batch) -> Tensor | None:
        with pyro.plate("sentences", len(batch), dim=-1):
            return self.posterior(self.encoder(batch))

    def q_z(self, batch: Batch) -> TorchDistribution:
        """q(z|x) of all that the decoder sees, batch shape (B,) or (M, B)."""
        return self.posterior.z(self.encoder(batch))  # pyright: ignore[reportCallIssue]


def initialise(network: nn.Module, scheme: str) -> None:
    """Draw the weights of embeddings, recurrent and linear layers anew.

    "torch" leaves the framework's own. "he2019" draws them from U(-0.01, 0.01), embeddings from U(-0.1, 0.1) (He et
    al. 2019); "kim2018" all of them from U(-0.1, 0.1). The parameters of priors and of batch normalisation are no such
    weights and stay.
    """
    if scheme == "torch":
        return
    width = {"he2019": 0.01, "kim2018": 0.1}[scheme]
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            nn.init.uniform_(module.weight, -0.1, 0.1)
        elif isinstance(module, nn.RNNBase | nn.Linear):
            for parameter in module.parameters():
                nn.init.uniform_(parameter, -width, width)
