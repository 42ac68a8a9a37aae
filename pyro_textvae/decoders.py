"""Decoders: a code z to p(x|z), a distribution over whole sentences."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_textvae.batch import Batch
from pyro_textvae.corpus import BOS, EOS, PAD, SPECIALS, UNK
from pyro_textvae.encoders import Labeller, at_least_float32, beside
from pyro_textvae.linear_cross_entropy import linear_cross_entropy
from pyro_textvae.size import Size

State = tuple[Tensor, ...]


class Decoder(nn.Module, ABC):
    """p(x|z), each word from the words before it and from z: what every decoder shares, a word's way in and out.

    A decoder of its own makes its network after `super().__init__`, calls `_make_output` last, and defines `start` and
    `states`. `code` is the width of z; 0 makes it a language model. A state is a tuple of tensors with the sentences on
    their second axis: what it costs to go a word on must not grow with the words before.

    One that is told more of a sentence than z says what in `condition`, and how it is chosen where there is no sentence
    in `condition_freely`; then `start`, `states` and `step` get z and that, end to end.
    """

    ordered: ClassVar[bool] = True
    """Whether it predicts words in their order, and the end after them. One that does not reads no words either."""

    def __init__(self, size: Size, code: int) -> None:
        super().__init__()
        self.size, self.code = size, code
        self.bag: nn.Linear | None = None
        self.labeller: Labeller | None = None
        if self.ordered:
            self.embedding = nn.Embedding(size.vocabulary, size.embedding)

    def _make_output(self, width: int) -> None:
        """The layer from outputs of `width` numbers to logits: of its own, or (tied) the embedding."""
        size = self.size
        self.to_embedding = nn.Linear(width, size.embedding, bias=False) if size.tied else None
        self.output = None if size.tied else nn.Linear(width, size.vocabulary)
        self.output_bias = nn.Parameter(torch.zeros(size.vocabulary)) if size.tied else None
        if size.tied:
            # As an output layer the embedding must start small, or the first predictions are far from uniform.
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    @abstractmethod
    def start(self, code: Tensor) -> State:
        """The state before the first word."""

    @abstractmethod
    def states(self, words: Tensor, code: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over words (B, T) from a state: outputs (B, T, width) for the output layer, and the state after them."""

    def _embed(self, words: Tensor) -> Tensor:
        """Word embeddings (B, T, E), with dropout."""
        if self.inputless:  # they say nothing: there is nothing to drop
            return self.embedding(words)
        return F.dropout(self.embedding(words), self.size.dropout, self.training)

    def _drop_outputs(self, outputs: Tensor) -> Tensor:
        return F.dropout(outputs, self.size.dropout, self.training)

    def _last_layer(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the logits are linear in, and that layer's weight and bias."""
        outputs = self._drop_outputs(outputs)
        if self.output is not None:
            return outputs, self.output.weight, self.output.bias
        return cast(nn.Linear, self.to_embedding)(outputs), self.embedding.weight, cast(Tensor, self.output_bias)

    def logits(self, outputs: Tensor) -> Tensor:
        """Unnormalised log-probabilities (..., V) of the next word."""
        return F.linear(*self._last_layer(outputs))

    def step(self, words: Tensor, code: Tensor, state: State) -> tuple[Tensor, State]:
        """One word on: words (B,), code (B, code) to logits (B, V) and the new state."""
        outputs, state = self.states(self._drop_words(words)[:, None], code, state)
        return self.logits(outputs[:, 0]), state

    @property
    def told(self) -> tuple[str, ...]:
        """What it is told of a sentence besides z: then its probability is p(x|z, that)."""
        return ()

    @property
    def writes_freely(self) -> bool:
        """Whether it can write without a sentence to look at."""
        return True

    def condition(self, code: Tensor, batch: Batch) -> Tensor:
        """All that a sentence's words depend on: its code, of (B, code), and what else the decoder is told of it."""
        return code

    def condition_freely(self, code: Tensor, label: int | None = None) -> Tensor:
        """The same for sentences that are yet to be written, from codes (N, code): what else there is is drawn.

        `label` is a class of the label that the decoder is told; None: drawn. Raises ValueError for a label where it is
        told none, and for a decoder that cannot write without a sentence to look at.
        """
        if label is not None:
            raise ValueError(
                f"label={label!r} was asked for, but this decoder is told no label: leave it out, or train 'nvrnn' or "
                "'vmf_nvrnn' with label=<a label column of the corpus>"
            )
        return code

    def log_prob(self, code: Tensor, batch: Batch) -> Tensor:
        """log p(x|z) of each sentence, its </s> counted and its <s> not: (B,), nats.

        Only real tokens reach the output layer: that is where the time goes.
        """
        words, code = self._drop_words(batch.inputs), self.condition(code, batch)
        outputs, _ = self.states(words, code, self.start(code))
        real = outputs.flatten(0, 1).index_select(0, batch.real)  # (N, width)
        targets = batch.targets.flatten().index_select(0, batch.real)
        losses = linear_cross_entropy(*self._last_layer(real), targets)
        return -losses.new_zeros(len(batch)).index_add(0, batch.sentence, losses)

    def add_bag(self) -> None:
        """A layer that predicts a sentence's words from z alone, in whatever order (Zhao et al. 2017)."""
        if not self.code:
            raise ValueError("a bag of words is predicted from a code, but a language model has none: train a VAE")
        self.bag = nn.Linear(self.code, self.size.vocabulary)

    def log_prob_of_bag(self, code: Tensor, batch: Batch) -> Tensor:
        """Sum over the words of a sentence, </s> included, of their log-probability given z alone: (B,), nats."""
        if self.bag is None:
            raise ValueError("this decoder predicts no bag of words: make the recipe by with_bag_of_words(...)")
        log_p = at_least_float32(self.bag(code)).log_softmax(-1).flatten()  # (B V,)
        targets = batch.targets.flatten().index_select(0, batch.real)  # (N,)
        words = log_p.index_select(0, batch.sentence * self.size.vocabulary + targets)
        return log_p.new_zeros(len(batch)).index_add(0, batch.sentence, words)

    def add_labeller(self, size: Size) -> Labeller:
        """A network g(x) that says from which z this decoder would have made a sentence (Zhang et al. 2019)."""
        if not self.code:
            raise ValueError("a label is a guess at z, but a language model has none: train a VAE")
        self.labeller = Labeller(size, self.code)
        return self.labeller

    def guess(self, batch: Batch) -> Tensor:
        """g(x) of each sentence, (B, code)."""
        return self._labeller()(batch)

    def guess_of_drawn(self, code: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """g(x') of sentences drawn from p(x|z) at codes (B, code), and which ended in the batch's length: (B,)."""
        return self._labeller().of_drawn(Sentences(self, code, batch).sample())

    def _labeller(self) -> Labeller:
        if self.labeller is None:
            raise ValueError("this decoder has no labels: make the recipe by with_self_labelling(...)")
        return self.labeller

    @property
    def inputless(self) -> bool:
        """Whether it sees no word at all, only z and that a sentence has begun."""
        return self.size.word_dropout == 1

    def _drop_words(self, words: Tensor) -> Tensor:
        """Words replaced by <unk>: all of an inputless decoder's, always, for such is its p(x|z); at another rate
        some, in training alone, so that what is evaluated is the decoder that sees them."""
        if self.size.word_dropout == 0 or not (self.training or self.inputless):
            return words
        hideable = (words != BOS) & (words != PAD)
        if not self.inputless:
            hideable &= torch.rand(words.shape, device=words.device) < self.size.word_dropout
        return words.masked_fill(hideable, UNK)


class RecurrentDecoder(Decoder):
    """An LSTM or GRU that predicts each word from the words before it and from z (Bowman et al. 2016).

    z sets the initial state (h = tanh(c), c = W z) and stands beside every word's embedding, as `size.z_enters` says.
    What else a decoder is told, `more` numbers, stands beside every word's embedding and nowhere else.
    """

    def __init__(self, size: Size, code: int, more: int = 0) -> None:
        super().__init__(size, code)
        at_steps = code if size.z_enters in ("steps", "both") else 0
        self.network = size.recurrent(size.embedding + at_steps + more, size.hidden, size.layers, batch_first=True)
        at_start = code if size.z_enters in ("state", "both") else 0
        self.start_state = nn.Linear(at_start, size.hidden * size.layers, bias=False) if at_start else None
        self.z_at_steps = at_steps > 0
        self._make_output(self.output_width)

    @property
    def output_width(self) -> int:
        """How many numbers the output layer sees of each word."""
        return self.size.hidden

    def start(self, code: Tensor) -> State:
        """The recurrent state before the first word: a tuple of (layers, B, H)."""
        cell = self._seen_from_start(code)
        return (torch.tanh(cell), cell) if self.size.cell == "lstm" else (torch.tanh(cell),)

    def _seen_from_start(self, code: Tensor) -> Tensor:
        """What z says to each layer's initial state, (layers, B, H); zeros where it does not enter there."""
        layers, hidden = self.size.layers, self.size.hidden
        if self.start_state is None:
            return code.new_zeros(layers, len(code), hidden)
        return self.start_state(code[:, : self.code]).unflatten(-1, (layers, hidden)).movedim(1, 0).contiguous()

    def states(self, words: Tensor, code: Tensor, state: State) -> tuple[Tensor, State]:
        inputs = self._embed(words)
        seen = code if self.z_at_steps else code[:, self.code :]
        if seen.size(1):
            inputs = beside(inputs, seen)
        # An LSTM takes and gives a pair of states, a GRU one.
        outputs, after = self.network(inputs, state if len(state) == 2 else state[0])
        return outputs, after if isinstance(after, tuple) else (after,)


class LinearStartDecoder(RecurrentDecoder):
    """A recurrent decoder that begins in h = W z + b, without a tanh, and with an empty cell (Kim et al. 2018)."""

    def __init__(self, size: Size, code: int) -> None:
        super().__init__(size, code)
        if self.start_state is not None:
            self.start_state = nn.Linear(code, size.hidden * size.layers)

    def start(self, code: Tensor) -> State:
        h = self._seen_from_start(code)
        return (h, torch.zeros_like(h)) if self.size.cell == "lstm" else (h,)


class SkipDecoder(RecurrentDecoder):
    """A recurrent decoder whose output layer sees z too, beside the state: [h ; z] to V words (Dieng et al. 2019).

    Of the ways to let z past the network this is the one of Zhang et al. 2022 (DG-VAE); which one the tables of Zhu et
    al. 2020 hold is not known. Dropout is for h alone.
    """

    @property
    def output_width(self) -> int:
        return self.size.hidden + self.code

    def states(self, words: Tensor, code: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, after = super().states(words, code, state)
        return beside(outputs, code), after

    def _drop_outputs(self, outputs: Tensor) -> Tensor:
        h, z = outputs.split([self.size.hidden, self.code], -1)
        return torch.cat([super()._drop_outputs(h), z], -1)


DILATIONS: dict[str, tuple[int, ...]] = {
    "small": (1, 2, 4),
    "medium": (1, 2, 4, 8, 16),
    "large": (1, 2, 4, 8, 16) * 2,
    "very large": (1, 2, 4, 8, 16) * 3,
}
"""Dilations of a decoder's blocks (Yang et al. 2017: SCNN, MCNN, LCNN, VLCNN): it sees 15, 63, 125, 187 words back."""


class DilatedDecoder(Decoder):
    """A causal convolutional network over words ever farther apart, in residual blocks (Yang et al. 2017).

    A word is predicted from the last 1 + 2 (d1 + d2 + ...) words and from z, which stands beside every word's embedding
    (there is no initial state for it to enter, so `size.z_enters` is not "state"); one linear map takes both to H
    channels. Going a word on costs each block one convolution: the state is the vectors that its taps reach back to.

    The paper normalises each channel over batch and positions. That would let a word's probability depend on the words
    after it, on padding and on other sentences, and p(x|z) would be no distribution; here each position's channels are
    normalised among themselves (LayerNorm). Raises ValueError for fewer than 4 channels, whose halves have nothing to
    normalise.
    """

    def __init__(self, size: Size, code: int, dilations: tuple[int, ...] = DILATIONS["small"]) -> None:
        super().__init__(size, code)
        if size.hidden < 4:
            raise ValueError(f"'hidden' is {size.hidden}, but a dilated decoder has at least 4 channels")
        if size.z_enters == "state":
            raise ValueError("'z_enters' is 'state', but a convolution has none: let z enter at its 'steps'")
        self.dilations = dilations
        self.enter = nn.Linear(size.embedding + code, size.hidden)
        self.blocks = nn.ModuleList(DilatedBlock(size.hidden, dilation) for dilation in dilations)
        self._make_output(size.hidden)

    def start(self, code: Tensor) -> State:
        """Before the first word there is nothing: zeros, (2 dilation, B, H/2) for each block."""
        return tuple(code.new_zeros(2 * dilation, len(code), self.size.hidden // 2) for dilation in self.dilations)

    def states(self, words: Tensor, code: Tensor, state: State) -> tuple[Tensor, State]:
        channels, after = self.enter(beside(self._embed(words), code)), []
        for block, before in zip(self.blocks, state, strict=True):
            channels, last = block(channels, before)
            after.append(last)
        return channels, tuple(after)


class DilatedBlock(nn.Module):
    """H channels to H/2, a convolution over a word and the two that lie `dilation` and 2 `dilation` before it, back to
    H, added to the input; each with LayerNorm over a position's channels, then a rectifier."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation, inner = dilation, channels // 2
        self.narrow, self.narrow_norm = nn.Linear(channels, inner), nn.LayerNorm(inner)
        self.taps, self.taps_norm = nn.Linear(3 * inner, inner), nn.LayerNorm(inner)
        self.widen, self.widen_norm = nn.Linear(inner, channels), nn.LayerNorm(channels)

    def forward(self, inputs: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """inputs (B, T, H) and the inner vectors before them (2 dilation, B, H/2) to outputs and those before the next.

        The three taps stand side by side, so that the convolution is one matrix product.
        """
        T, d = inputs.size(1), self.dilation
        x = F.relu(self.narrow_norm(self.narrow(inputs)))
        x = torch.cat([before.movedim(0, 1).to(x.dtype), x], 1)  # (B, 2 d + T, H/2)
        taps = torch.cat([x[:, :T], x[:, d : d + T], x[:, 2 * d :]], -1)  # (B, T, 3 H/2)
        y = F.relu(self.taps_norm(self.taps(taps)))
        return F.relu(inputs + self.widen_norm(self.widen(y))), x[:, T:].movedim(1, 0)


class BagOfWordsDecoder(Decoder):
    """A document as a bag: each word drawn for itself from softmax(W z + b) (Miao et al. 2016).

    log p(x|z) is the sum over the vocabulary of count times log p(word|z): of the words in a row, without the
    coefficient that counts their orders. How many there are is not modelled, so there is no </s>; and <unk> is not a
    word. Of `size` it reads vocabulary and dropout, which is on the logits (Xu & Durrett 2018's code).
    """

    ordered = False

    def __init__(self, size: Size, code: int) -> None:
        super().__init__(size, code)
        self._make_output(code)

    def _make_output(self, width: int) -> None:
        self.output = nn.Linear(width, self.size.vocabulary - len(SPECIALS))

    def hidden(self, code: Tensor) -> Tensor:
        """What the logits are linear in, (..., width)."""
        return code

    def word_logits(self, outputs: Tensor) -> Tensor:
        """Unnormalised log-probabilities (..., V - 4) of words, from what the logits are linear in."""
        assert self.output is not None
        return self._drop_outputs(self.output(outputs))

    def start(self, code: Tensor) -> State:
        """Nothing: the words before do not matter."""
        return ()

    def states(self, words: Tensor, code: Tensor, state: State) -> tuple[Tensor, State]:
        return self.hidden(code).unsqueeze(1).expand(-1, words.size(1), -1), ()

    def logits(self, outputs: Tensor) -> Tensor:
        """Logits (..., V) of the next word: those of the special ones are minus infinity."""
        return F.pad(self.word_logits(outputs), (len(SPECIALS), 0), value=-torch.inf)

    def log_prob(self, code: Tensor, batch: Batch) -> Tensor:
        """log p(x|z) of each document's known words, (B,), nats."""
        log_p = at_least_float32(self.word_logits(self.hidden(code))).log_softmax(-1)
        return (batch.counts(self.size.vocabulary).to(log_p.dtype) * log_p).sum(-1)


class HiddenBagOfWordsDecoder(BagOfWordsDecoder):
    """The same with H hidden units between: softmax(W tanh(A z + a) + b) (Xu & Durrett 2018)."""

    def __init__(self, size: Size, code: int) -> None:
        super().__init__(size, code)
        self.inner = nn.Linear(code, size.hidden)
        self._make_output(size.hidden)

    def hidden(self, code: Tensor) -> Tensor:
        return torch.tanh(self.inner(code))


class Sentences(dist.TorchDistribution):
    """p(x|z): the distribution over token sequences that a decoder and a code define.

    Batch shape (B,), event shape (T + 1,): a row is <s> w1 ... </s> <pad>... It scores a sentence directly, in one
    pass over its real tokens; a site per word costs 15 times as much, a Categorical over B T V logits a quarter more.
    `batch` tells which positions of the value are real.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.nonnegative_integer, 1)  # pyright: ignore[reportAssignmentType]

    def __init__(self, decoder: Decoder, code: Tensor, batch: Batch, validate_args: bool | None = None):
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
        code = self.decoder.condition(self.code, self.batch)
        state, drawn = self.decoder.start(code), [words]
        for _ in range(self.event_shape[0] - 1):
            logits, state = self.decoder.step(words, code, state)
            words = torch.multinomial(logits.float().softmax(-1), 1).squeeze(1).masked_fill(ended, PAD)
            ended = ended | (words == EOS)
            drawn.append(words)
        return torch.stack(drawn, 1)
