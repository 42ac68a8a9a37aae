"""The NVRNN's encoder and decoder: recurrent networks that can be told a sentence's label and its bag of words.

Source: Xu & Durrett 2018, "Spherical latent spaces for stable variational autoencoders", and its released code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_textvae.batch import Batch
from pyro_textvae.decoders import RecurrentDecoder, State
from pyro_textvae.encoders import RecurrentEncoder
from pyro_textvae.size import Size

LABEL_WIDTH = 50
"""Numbers that stand for a label, as released."""

BAG_WIDTH = 200
"""Numbers that the decoder sees of a bag of words, as released."""


class Label(nn.Module):
    """A vector for each class of a label column of the corpus (the paper's sentiment bit, of as many classes as come).

    `shares` are the classes' shares of the training sentences, p(label), which texts are written by.
    """

    shares: Tensor

    def __init__(self, column: str, shares: Sequence[float], width: int = LABEL_WIDTH) -> None:
        super().__init__()
        if len(shares) < 2 or min(shares) < 0 or not sum(shares) > 0:
            raise ValueError(
                f"'label_shares' is {list(shares)}, but label={column!r} needs the share of each of its classes, 2 or "
                "more: train() counts them in the corpus; by hand, give them, [0.5, 0.5] for two"
            )
        self.column, self.width = column, width
        self.vectors = nn.Embedding(len(shares), width)
        self.register_buffer("shares", torch.tensor(shares, dtype=torch.float64), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """The vectors of a batch's labels, (B, width)."""
        if self.column not in batch.labels:
            raise ValueError(
                f"the batch has no labels {self.column!r}, which this model's encoder and decoder are told: collate it "
                f"with labels={{{self.column!r}: [...]}}, or take it from a corpus that has them"
            )
        return self.vectors(batch.labels[self.column])

    def draw(self, count: int, label: int | None = None) -> Tensor:
        """Vectors of `count` labels drawn from p(label), or all of one class: (count, width)."""
        if label is None:
            return self.vectors(torch.multinomial(self.shares, count, replacement=True))
        if not 0 <= label < len(self.shares):
            raise ValueError(f"label={label!r}, but the classes of {self.column!r} are 0 to {len(self.shares) - 1}")
        return self.vectors.weight[label].expand(count, -1)


class NVRNNEncoder(RecurrentEncoder):
    """The last hidden state of a recurrent network over <s> ... </s>, with dropout on what it reads; a label, if one is
    told, stands beside every word.

    Released are a unidirectional LSTM of one layer, whose last h and c go through two linear maps in a row to q(z|x),
    and embeddings (with their dropout) that are the decoder's too. Here h alone goes through one, after </s> and not
    after the padding, and each network has its own.
    """

    def __init__(self, size: Size, label: Label | None = None) -> None:
        super().__init__(size, label.width if label else 0)
        self.dropout, self.label = size.dropout, label

    def told(self, batch: Batch) -> Tensor | None:
        return None if self.label is None else self.label(batch)

    def _embed(self, tokens: Tensor) -> Tensor:
        return F.dropout(super()._embed(tokens), self.dropout, self.training)


class NVRNNDecoder(RecurrentDecoder):
    """p(x|z, label, bag of words): a recurrent network whose state begins, without a tanh, at W z + b.

    h and, of an LSTM, c have each their own map, in every layer; of a language model, whose z is nothing, b alone is
    left. Beside each word stand z, as `size.z_enters` says, the label's vector and the bag's, where they are told. The
    bag is the mean of the word embeddings of the sentence itself, seen through a linear map to BAG_WIDTH numbers: then
    what is modelled is p(x | bag of x), whose NLL compares with that of models that are told the bag alone.
    """

    def __init__(self, size: Size, code: int, label: Label | None = None, bag_of_words: bool = False) -> None:
        super().__init__(size, code, (label.width if label else 0) + bag_of_words * BAG_WIDTH)
        self.label = label
        self.to_bag = nn.Linear(size.embedding, BAG_WIDTH) if bag_of_words else None
        self.states_of_layer = 2 if size.cell == "lstm" else 1
        width = self.states_of_layer * size.layers * size.hidden
        at_start = size.z_enters != "steps"
        self.start_state = nn.Linear(code, width) if at_start and code else None
        self.first_state = nn.Parameter(torch.zeros(width)) if at_start and not code else None

    def start(self, code: Tensor) -> State:
        layers, hidden = self.size.layers, self.size.hidden
        shape = (self.states_of_layer, layers, hidden)
        if self.start_state is not None:
            begin = self.start_state(code[:, : self.code])  # (B, 2 layers H)
        elif self.first_state is not None:
            begin = self.first_state.expand(len(code), -1)
        else:
            begin = code.new_zeros(len(code), self.states_of_layer * layers * hidden)
        return tuple(each.contiguous() for each in begin.unflatten(-1, shape).permute(1, 2, 0, 3))

    @property
    def told(self) -> tuple[str, ...]:
        label = () if self.label is None else (f"label {self.label.column!r}",)
        return label if self.writes_freely else (*label, "bag of words")

    @property
    def writes_freely(self) -> bool:
        return self.to_bag is None

    def condition(self, code: Tensor, batch: Batch) -> Tensor:
        """z, the label's vector and the bag's, end to end: (B, code + more)."""
        told = [code]
        if self.label is not None:
            told.append(self.label(batch))
        if self.to_bag is not None:
            told.append(self.to_bag(self.mean_embedding(batch)))
        return torch.cat([each.to(code.dtype) for each in told], -1)

    def condition_freely(self, code: Tensor, label: int | None = None) -> Tensor:
        if not self.writes_freely:
            raise ValueError(
                "this model writes a sentence given its bag of words, p(x|z, bag of x), so without a sentence there is "
                "nothing to write from: use reconstruct, which has one, or train without bag_of_words"
            )
        if self.label is None:
            return super().condition_freely(code, label)
        return torch.cat([code, self.label.draw(len(code), label).to(code.dtype)], -1)

    def mean_embedding(self, batch: Batch) -> Tensor:
        """The mean of the embeddings of each sentence's words, <s> and </s> not among them: (B, E); zeros for none."""
        place = torch.arange(batch.tokens.size(1), device=batch.tokens.device)
        words = (place > 0) & (place < batch.lengths[:, None])  # </s> stands at index `lengths`
        vectors = F.dropout(self.embedding(batch.tokens), self.size.dropout, self.training)
        return (vectors * words[..., None]).sum(1) / (batch.lengths - 1).clamp_min(1)[:, None]
