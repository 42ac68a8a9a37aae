"""Encoders: a Batch of sentences to features, one vector a sentence."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import SPECIALS
from pyro_textvae.size import Size


def at_least_float32(tensor: Tensor) -> Tensor:
    """What autocast left in bfloat16 as float32, which densities and KLs need; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class RecurrentEncoder(nn.Module):
    """The last hidden state of an LSTM or GRU that reads <s> ... </s>; with the backward one's, if bidirectional.

    Padding stands after </s>, so a forward pass never sees it before its last state; the backward pass reads each
    sentence reversed inside its own length. No packing: on bucketed batches packing is slower.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        cell = size.recurrent
        self.embedding = nn.Embedding(size.vocabulary, size.embedding)
        self.forwards = cell(size.embedding, size.hidden, size.layers, batch_first=True)
        self.backwards = (
            cell(size.embedding, size.hidden, size.layers, batch_first=True) if size.bidirectional else None
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return features of shape (B, H), or (B, 2 H) when bidirectional."""
        states = self._last_state(self.forwards, batch.tokens, batch)
        if self.backwards is None:
            return states
        reversed_tokens = batch.tokens.gather(1, batch.reversed)
        return torch.cat([states, self._last_state(self.backwards, reversed_tokens, batch)], -1)

    def _last_state(self, network: nn.RNNBase, tokens: Tensor, batch: Batch) -> Tensor:
        states, _ = network(self.embedding(tokens))  # (B, T + 1, H)
        last = batch.lengths[:, None, None].expand(-1, 1, states.size(-1))  # </s> stands at index `lengths`
        return states.gather(1, last).squeeze(1)


class BagOfWordsEncoder(nn.Module):
    """How often a document has each word, through `size.layers` hidden layers of H units: tanh of a linear map, with
    dropout before it in training. Features (B, H); the order of words does not enter.

    Counts go in as they are, as in the code of Miao et al. (2016) and of Xu & Durrett (2018), whose paper speaks of
    whether a word is there.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.vocabulary = size.vocabulary
        widths = [size.vocabulary - len(SPECIALS), *[size.hidden] * size.layers]
        self.layers = nn.ModuleList(nn.Linear(*each) for each in itertools.pairwise(widths))
        self.dropout = size.dropout

    def forward(self, batch: Batch) -> Tensor:
        features = batch.counts(self.vocabulary).to(next(self.parameters()).dtype)
        for layer in self.layers:
            features = torch.tanh(F.dropout(layer(features), self.dropout, self.training))
        return features


class NoEncoder(nn.Module):
    """For a language model without a code: says nothing of the sentence, features of shape (B, 0)."""

    def forward(self, batch: Batch) -> Tensor:
        return torch.empty(len(batch), 0, device=batch.tokens.device)
