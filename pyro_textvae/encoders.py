"""Encoders: a Batch of sentences to features, one vector a sentence."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import EOS, SPECIALS
from pyro_textvae.size import Size


def at_least_float32(tensor: Tensor) -> Tensor:
    """What autocast left in bfloat16 as float32, which densities and KLs need; float64 stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class RecurrentEncoder(nn.Module):
    """The last hidden state of an LSTM or GRU that reads <s> ... </s>; with the backward one's, if bidirectional.

    Padding stands after </s>, so a forward pass never sees it before its last state; the backward pass reads each
    sentence reversed inside its own length. No packing: where sentences are of like length, as in evaluation, it is
    slower.

    An encoder that reads more than words says how many numbers `more` stand beside each, and what they are in `told`.
    """

    def __init__(self, size: Size, more: int = 0) -> None:
        super().__init__()
        cell, inputs, layers = size.recurrent, size.embedding + more, size.encoder_layers or size.layers
        self.embedding = nn.Embedding(size.vocabulary, size.embedding)
        self.forwards = cell(inputs, size.hidden, layers, batch_first=True)
        self.backwards = cell(inputs, size.hidden, layers, batch_first=True) if size.bidirectional else None

    def forward(self, batch: Batch) -> Tensor:
        """Return features of shape (B, H), or (B, 2 H) when bidirectional."""
        return self.read(batch.tokens, batch.lengths, batch.reversed, self.told(batch))

    def told(self, batch: Batch) -> Tensor | None:
        """What stands beside every word of a sentence, (B, more); None where nothing does."""
        return None

    def read(self, tokens: Tensor, lengths: Tensor, reversed: Tensor, told: Tensor | None = None) -> Tensor:
        """The features of tokens (B, T + 1), their lengths (B,) and reversals (B, T + 1), as a Batch names them."""
        states = self._last_state(self.forwards, tokens, lengths, told)
        if self.backwards is None:
            return states
        backwards = self._last_state(self.backwards, tokens.gather(1, reversed), lengths, told)
        return torch.cat([states, backwards], -1)

    def _last_state(self, network: nn.RNNBase, tokens: Tensor, lengths: Tensor, told: Tensor | None) -> Tensor:
        vectors = self._embed(tokens)
        states, _ = network(vectors if told is None else beside(vectors, told))  # (B, T + 1, H)
        last = lengths[:, None, None].expand(-1, 1, states.size(-1))  # </s> stands at index `lengths`
        return states.gather(1, last).squeeze(1)

    def _embed(self, tokens: Tensor) -> Tensor:
        """Vectors (B, T + 1, E) of tokens (B, T + 1)."""
        return self.embedding(tokens)


def beside(vectors: Tensor, code: Tensor) -> Tensor:
    """A code beside the vector of every word: (B, T, N) and (B, code) to (B, T, N + code)."""
    return torch.cat([vectors, code.unsqueeze(1).expand(-1, vectors.size(1), -1).to(vectors.dtype)], -1)


class Labeller(nn.Module):
    """g(x), a guess at the z that a sentence was decoded from: (B, D), one linear map of an encoder's features."""

    def __init__(self, size: Size, code: int) -> None:
        super().__init__()
        self.encoder = RecurrentEncoder(size)
        self.label = nn.Linear(size.features, code)

    def forward(self, batch: Batch) -> Tensor:
        return at_least_float32(self.label(self.encoder(batch)))

    def of_drawn(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Labels of drawn sentences, rows <s> w1 ... </s> <pad> (B, T + 1), and which of them have an </s>, (B,)."""
        end = tokens == EOS
        lengths, column = end.int().argmax(1), torch.arange(tokens.size(1), device=tokens.device)
        reversed = torch.where(column <= lengths[:, None], lengths[:, None] - column, column)
        return at_least_float32(self.label(self.encoder.read(tokens, lengths, reversed))), end.any(1)


class BagOfWordsEncoder(nn.Module):
    """How often a document has each word, through hidden layers of H units, as many as `size` says for encoders: tanh
    of a linear map, with dropout before it in training. Features (B, H); the order of words does not enter.

    Counts go in as they are, as in the code of Miao et al. (2016) and of Xu & Durrett (2018), whose paper speaks of
    whether a word is there.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.vocabulary = size.vocabulary
        widths = [size.vocabulary - len(SPECIALS), *[size.hidden] * (size.encoder_layers or size.layers)]
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
