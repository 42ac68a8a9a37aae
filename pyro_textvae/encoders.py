"""Encoders: a Batch of sentences to features, one vector a sentence."""

import torch
from torch import Tensor, nn

from pyro_textvae.batch import Batch
from pyro_textvae.size import Size


def at_least_float32(tensor: Tensor) -> Tensor:
    """What autocast left in bfloat16 as float32, which densities and KLs need; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class RecurrentEncoder(nn.Module):
    """The last hidden state of an LSTM or GRU that reads <s> ... </s>; with the backward one's, if bidirectional.

    Padding stands after </s>, so a forward pass never sees it before its last state; the backward pass reads each
    sentence reversed inside its own length. No packing: on bucketed batches packing is slower.

    An encoder that reads more than words says how many numbers `more` stand beside each, and what they are in `_embed`.
    """

    def __init__(self, size: Size, more: int = 0) -> None:
        super().__init__()
        cell, inputs, layers = size.recurrent, size.embedding + more, size.encoder_layers or size.layers
        self.embedding = nn.Embedding(size.vocabulary, size.embedding)
        self.forwards = cell(inputs, size.hidden, layers, batch_first=True)
        self.backwards = cell(inputs, size.hidden, layers, batch_first=True) if size.bidirectional else None

    def forward(self, batch: Batch) -> Tensor:
        """Return features of shape (B, H), or (B, 2 H) when bidirectional."""
        states = self._last_state(self.forwards, batch.tokens, batch)
        if self.backwards is None:
            return states
        reversed_tokens = batch.tokens.gather(1, batch.reversed)
        return torch.cat([states, self._last_state(self.backwards, reversed_tokens, batch)], -1)

    def _last_state(self, network: nn.RNNBase, tokens: Tensor, batch: Batch) -> Tensor:
        states, _ = network(self._embed(tokens, batch))  # (B, T + 1, H)
        last = batch.lengths[:, None, None].expand(-1, 1, states.size(-1))  # </s> stands at index `lengths`
        return states.gather(1, last).squeeze(1)

    def _embed(self, tokens: Tensor, batch: Batch) -> Tensor:
        """What the network reads of each token: (B, T + 1, E + more)."""
        return self.embedding(tokens)


class NoEncoder(nn.Module):
    """For a language model without a code: says nothing of the sentence, features of shape (B, 0)."""

    def forward(self, batch: Batch) -> Tensor:
        return torch.empty(len(batch), 0, device=batch.tokens.device)
