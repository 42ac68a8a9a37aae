"""Decoders: a code z to p(x|z), a distribution over whole sentences."""

from typing import Any, cast

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import BOS, EOS, PAD, UNK
from pyro_textvae.linear_cross_entropy import linear_cross_entropy, plain_linear_cross_entropy
from pyro_textvae.size import Size

State = tuple[Tensor, ...]


class RecurrentDecoder(nn.Module):
    """An LSTM or GRU that predicts each word from the words before it and from z (Bowman et al. 2016).

    z sets the initial state (h = tanh(c), c = W z) and stands beside every word's embedding, as `size.z_enters` says.
    `code` is the width of z; 0 makes it a language model.
    """

    def __init__(self, size: Size, code: int) -> None:
        super().__init__()
        self.size, self.code = size, code
        self.embedding = nn.Embedding(size.vocabulary, size.embedding)
        at_steps = code if size.z_enters in ("steps", "both") else 0
        self.network = size.recurrent(size.embedding + at_steps, size.hidden, size.layers, batch_first=True)
        at_start = code if size.z_enters in ("state", "both") else 0
        self.start_state = nn.Linear(at_start, size.hidden * size.layers, bias=False) if at_start else None
        self.z_at_steps = at_steps > 0
        self.to_embedding = nn.Linear(size.hidden, size.embedding, bias=False) if size.tied else None
        self.output = None if size.tied else nn.Linear(size.hidden, size.vocabulary)
        self.output_bias = nn.Parameter(torch.zeros(size.vocabulary)) if size.tied else None
        if size.tied:
            # As an output layer the embedding must start small, or the first predictions are far from uniform.
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    def start(self, code: Tensor) -> State:
        """The recurrent state before the first word: a tuple of (layers, B, H)."""
        layers, hidden = self.size.layers, self.size.hidden
        if self.start_state is None:
            cell = code.new_zeros(layers, len(code), hidden)
        else:
            cell = self.start_state(code).unflatten(-1, (layers, hidden)).movedim(1, 0).contiguous()
        return (torch.tanh(cell), cell) if self.size.cell == "lstm" else (torch.tanh(cell),)

    def states(self, words: Tensor, code: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over words (B, T) from a state: outputs (B, T, H) and the state after them."""
        inputs = F.dropout(self.embedding(words), self.size.dropout, self.training)
        if self.z_at_steps:
            inputs = torch.cat([inputs, code.unsqueeze(1).expand(-1, words.size(1), -1).to(inputs.dtype)], -1)
        # An LSTM takes and gives a pair of states, a GRU one.
        outputs, after = self.network(inputs, state if len(state) == 2 else state[0])
        return outputs, after if isinstance(after, tuple) else (after,)

    def _last_layer(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the logits are linear in, and that layer's weight and bias."""
        outputs = F.dropout(outputs, self.size.dropout, self.training)
        if self.output is not None:
            return outputs, self.output.weight, self.output.bias
        return cast(nn.Linear, self.to_embedding)(outputs), self.embedding.weight, cast(Tensor, self.output_bias)

    def logits(self, outputs: Tensor) -> Tensor:
        """Unnormalised log-probabilities (..., V) of the next word."""
        return F.linear(*self._last_layer(outputs))

    def step(self, words: Tensor, code: Tensor, state: State) -> tuple[Tensor, State]:
        """One word on: words (B,), code (B, code) to logits (B, V) and the new state."""
        outputs, state = self.states(words[:, None], code, state)
        return self.logits(outputs[:, 0]), state

    def log_prob(self, code: Tensor, batch: Batch, twice_differentiable: bool = False) -> Tensor:
        """log p(x|z) of each sentence, its </s> counted and its <s> not: (B,), nats.

        Only real tokens reach the output layer: that is where the time goes. Twice differentiable it costs more time
        and memory.
        """
        words = self._drop_words(batch.inputs)
        outputs, _ = self.states(words, code, self.start(code))
        real = outputs.flatten(0, 1).index_select(0, batch.real)  # (N, H)
        targets = batch.targets.flatten().index_select(0, batch.real)
        cross_entropy = plain_linear_cross_entropy if twice_differentiable else linear_cross_entropy
        losses = cross_entropy(*self._last_layer(real), targets)
        return -losses.new_zeros(len(batch)).index_add(0, batch.sentence, losses)

    def _drop_words(self, words: Tensor) -> Tensor:
        if not self.training or self.size.word_dropout == 0:
            return words
        drop = torch.rand(words.shape, device=words.device) < self.size.word_dropout
        return words.masked_fill(drop & (words != BOS) & (words != PAD), UNK)


class Sentences(dist.TorchDistribution):
    """p(x|z): the distribution over token sequences that a decoder and a code define.

    Batch shape (B,), event shape (T + 1,): a row is <s> w1 ... </s> <pad>... It scores a sentence directly, in one
    pass over its real tokens; a site per word costs 15 times as much, a Categorical over B T V logits a quarter more.
    `batch` tells which positions of the value are real.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.nonnegative_integer, 1)  # pyright: ignore[reportAssignmentType]

    def __init__(self, decoder: RecurrentDecoder, code: Tensor, batch: Batch, validate_args: bool | None = None):
        if code.dim() != 2:
            raise ValueError(
                f"the decoder got a code of shape {tuple(code.shape)}, but it takes (sentences, numbers): z must not "
                "depend on an enumerated site in the guide"
            )
        self.decoder, self.code, self.batch = decoder, code, batch
        super().__init__(torch.Size([len(batch)]), batch.tokens.shape[1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Sentences":
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(f"sentences of batch shape {tuple(self.batch_shape)} cannot be expanded to {batch_shape}")
        return self

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x|z), (B,), nats; `value` is the batch's tokens."""
        if value is not self.batch.tokens and not torch.equal(value, self.batch.tokens):
            raise ValueError("only the sentences of the batch that the distribution was made with can be scored")
        return self.decoder.log_prob(self.code, self.batch)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw sentences word by word, as long as the longest of the batch: (B, T + 1)."""
        if torch.Size(sample_shape) != torch.Size():
            raise ValueError("draw one sentence for each code at a time: sample_shape must be empty")
        words = torch.full((len(self.code),), BOS, device=self.code.device)
        ended = torch.zeros_like(words, dtype=torch.bool)
        state, drawn = self.decoder.start(self.code), [words]
        for _ in range(self.event_shape[0] - 1):
            logits, state = self.decoder.step(words, self.code, state)
            words = torch.multinomial(logits.float().softmax(-1), 1).squeeze(1).masked_fill(ended, PAD)
            ended = ended | (words == EOS)
            drawn.append(words)
        return torch.stack(drawn, 1)
