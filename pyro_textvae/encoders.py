"""Encoders: a Batch of sentences to features, one vector a sentence."""

import torch
from torch import Tensor, nn

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import EOS
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
        return self.read(batch.tokens, batch.lengths, batch.reversed)

    def read(self, tokens: Tensor, lengths: Tensor, reversed: Tensor) -> Tensor:
        """The same of tokens (B, T + 1), their lengths (B,) and reversals (B, T + 1), as a Batch names them."""
        states = self._last_state(self.forwards, tokens, lengths)
        if self.backwards is None:
            return states
        return torch.cat([states, self._last_state(self.backwards, tokens.gather(1, reversed), lengths)], -1)

    def _last_state(self, network: nn.RNNBase, tokens: Tensor, lengths: Tensor) -> Tensor:
        states, _ = network(self.embedding(tokens))  # (B, T + 1, H)
        last = lengths[:, None, None].expand(-1, 1, states.size(-1))  # </s> stands at index `lengths`
        return states.gather(1, last).squeeze(1)


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


class NoEncoder(nn.Module):
    """For a language model without a code: says nothing of the sentence, features of shape (B, 0)."""

    def forward(self, batch: Batch) -> Tensor:
        return torch.empty(len(batch), 0, device=batch.tokens.device)
