"""Sentences of a split as padded tensors: `Batch` is one batch of them, `Batches` an epoch of batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pyro_textvae.corpus import BOS, EOS, PAD, SPECIALS, UNK, Split
from pyro_textvae.errors import did_you_mean

Shuffled = Literal["paired", "bucketed", "exact", "random"]
Batching = Literal[Shuffled, "sorted"]
"""Which sentences share a batch: see `Batches`. Training takes those that are new every epoch."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B sentences, padded to one length. Every index list is made where the batch is, so that no model asks a device.

    tokens    (B, T+1) <s> w1 ... wn </s> <pad> ...; a decoder reads tokens[:, :-1] and predicts tokens[:, 1:]
    lengths   (B,) predicted tokens of each sentence: its words and </s>
    real      (N,) where in the flattened (B*T) targets the real ones are, N = lengths.sum()
    sentence  (N,) which sentence each of these belongs to
    reversed  (B, T+1) index for gather(1, .) that reverses each sentence inside its own length, <s> and </s> included
    labels    (B,) for each column, -1 where missing
    index     (B,) position of the sentence in its split
    """

    tokens: Tensor
    lengths: Tensor
    real: Tensor
    sentence: Tensor
    reversed: Tensor
    index: Tensor
    labels: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def inputs(self) -> Tensor:
        """What the decoder reads: (B, T), from <s> on."""
        return self.tokens[:, :-1]

    @property
    def targets(self) -> Tensor:
        """What it predicts: (B, T), up to </s> and padding."""
        return self.tokens[:, 1:]

    def counts(self, vocabulary: int) -> Tensor:
        """How often each sentence has each word, in whatever order: (B, V - 4), float32, word i in column i - 4.

        Neither </s> nor <unk> is a word here.

        >>> Batch.collate([[4, 6, 4], [3, 5]]).counts(7)
        tensor([[2., 0., 1.], [0., 1., 0.]])
        """
        place = self.sentence * vocabulary + self.targets.flatten().index_select(0, self.real)
        counts = torch.zeros(len(self) * vocabulary, device=place.device)
        counts.index_add_(0, place, torch.ones((), device=place.device).expand(len(place)))
        return counts.unflatten(0, (len(self), vocabulary))[:, len(SPECIALS) :]

    def known_words(self) -> Tensor:
        """How many words each sentence has, <unk> not counted: (B,)."""
        return (self.targets > UNK).sum(1)

    @classmethod
    def collate(
        cls,
        sentences: Sequence[np.ndarray | Sequence[int]],
        labels: Mapping[str, Sequence[int] | np.ndarray] | None = None,
        index: Sequence[int] | np.ndarray | None = None,
    ) -> "Batch":
        """Batch of sentences given as word ids, without <s> and </s>; index counts from 0 unless it is given.

        >>> Batch.collate([[4, 5], [6]]).tokens.tolist()
        [[1, 4, 5, 2], [1, 6, 2, 0]]
        """
        rows = [np.asarray(sentence, np.int64) for sentence in sentences]
        flat = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        return cls._of(flat, np.array([len(row) for row in rows], np.int64), labels or {}, index)

    @classmethod
    def _of(
        cls,
        flat: np.ndarray,
        words: np.ndarray,
        labels: Mapping[str, Sequence[int] | np.ndarray],
        index: Sequence[int] | np.ndarray | None,
    ) -> "Batch":
        """Batch of sentences that lie end to end in `flat`, (words.sum(),), each of words[i] words."""
        B = len(words)
        if not B:
            raise ValueError("a batch of no sentences came, but a batch needs at least one: leave empty batches out")
        T = int(words.max()) + 1
        column = np.arange(T + 1)
        tokens = np.full((B, T + 1), PAD, np.int64)
        # Row by row, the places of the words are just the true ones of the mask.
        tokens[(column > 0) & (column <= words[:, None])] = flat
        tokens[:, 0] = BOS
        tokens[np.arange(B), words + 1] = EOS
        real = np.flatnonzero(column[:-1] <= words[:, None])
        reversed = np.where(column <= words[:, None] + 1, words[:, None] + 1 - column, column)
        return cls(
            tokens=torch.from_numpy(tokens),
            lengths=torch.from_numpy(words + 1),
            real=torch.from_numpy(real),
            sentence=torch.from_numpy(real // T),
            reversed=torch.from_numpy(reversed),
            index=torch.from_numpy(np.arange(B) if index is None else np.array(index, np.int64)),
            labels={name: torch.from_numpy(np.array(values, np.int64)) for name, values in labels.items()},
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The batch on `device`; from pinned memory, non_blocking lets the copy overlap with computing."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, from where a copy to CUDA need not wait."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change) -> "Batch":
        tensors = {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Batch(**tensors, labels={name: change(value) for name, value in self.labels.items()})

    def repeat(self, n: int) -> "Batch":
        """The whole batch n times, one copy after the other: row s * B + b is sentence b."""
        B, T = self.inputs.shape
        copy = torch.arange(n, device=self.tokens.device)[:, None]  # (n, 1)
        return Batch(
            tokens=self.tokens.repeat(n, 1),
            lengths=self.lengths.repeat(n),
            real=(self.real + copy * (B * T)).flatten(),
            sentence=(self.sentence + copy * B).flatten(),
            reversed=self.reversed.repeat(n, 1),
            index=self.index.repeat(n),
            labels={name: values.repeat(n) for name, values in self.labels.items()},
        )


class Batches:
    """One epoch over a split, as a sized iterable of batches: the same for the same (seed, epoch), each time.

    paired             half of a batch are short and half are long sentences, the shortest with the longest, so that few
                       updates see one length alone (the last pairs meet at the median); pads less than batches drawn
                       at random. Where lengths are skewed, mean lengths still differ from batch to batch
    bucketed           sentences of like length share a batch: sorted by length, ties shuffled, cut, batches shuffled.
                       Pads next to nothing; but where every update sees one length, a clip and a high rate leave what a
                       model expects of lengths to chance, and cost likelihood
    exact              all sentences of a batch have one length, so nothing is padded (the BN-VAE protocol); the last
                       batch of each length may be small
    random             sentences drawn at random
    sorted             in order of length, every epoch the same, for evaluation
    start              how many batches to leave out at the beginning, unbuilt, when an epoch is taken up in the middle
    drop_singletons    no batch of one sentence, which batch normalisation cannot take: it joins the batch before it,
                       and is dropped only where none has its length (exact) or the split has no other

    Every sentence comes once an epoch, but for `dropped` of them. Raises ValueError for sizes out of range and for a
    split without a sentence.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        batching: Batching = "paired",
        start: int = 0,
        drop_singletons: bool = False,
    ) -> None:
        if batch_size < 1 + drop_singletons:
            raise ValueError(
                f"batch_size={batch_size} came, but at least {1 + drop_singletons} is needed"
                + (" where batches of one are dropped: give 2 or more" if drop_singletons else ": give 1 or more")
            )
        known = get_args(Batching)
        if batching not in known:
            raise ValueError(
                f"batching={batching!r} came{did_you_mean(batching, known)}, but it is one of {', '.join(known)}"
            )
        if not len(split):
            raise ValueError("the split has no sentence, but batches need at least one")
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch
        self.batching = batching
        self.drop_singletons = drop_singletons
        self.start = start
        if not 0 <= start <= len(self._bounds):
            raise ValueError(
                f"start={start} came, but this epoch has {len(self._bounds)} batches: give 0 to {len(self._bounds)}; "
                "after the last one, begin the next epoch at start=0"
            )

    def __len__(self) -> int:
        return len(self._bounds) - self.start

    @property
    def dropped(self) -> int:
        """How many sentences this epoch leaves out."""
        return len(self.split) - int((self._bounds[:, 1] - self._bounds[:, 0]).sum())

    def __iter__(self) -> Iterator[Batch]:
        for number in range(self.start, len(self._bounds)):
            yield self[number]

    def __getitem__(self, number: int) -> Batch:
        first, end = self._bounds[number]
        index = self._order[first:end]
        flat, words = self.split.gather(index)
        return Batch._of(flat, words, {name: column[index] for name, column in self.split.labels.items()}, index)

    def random(self) -> Batch:
        """Any batch of the epoch, drawn uniformly from torch's generator."""
        return self[int(torch.randint(len(self._bounds), ()))]

    @cached_property
    def _plan(self) -> tuple[np.ndarray, np.ndarray]:
        """The sentences in order (N,), and for each batch where in that order it begins and ends (batches, 2)."""
        n, lengths = len(self.split), self.split.lengths
        random = np.random.default_rng((self.seed, self.epoch))
        order = np.arange(n) if self.batching == "sorted" else random.permutation(n)
        if self.batching != "random":
            order = order[np.argsort(lengths[order], kind="stable")]
        if self.batching == "paired":
            order = order[np.argsort(_pairing(n, self.batch_size), kind="stable")]
        if self.batching == "exact":
            group = np.flatnonzero(np.diff(lengths[order], prepend=-1))
        else:
            group = np.zeros(1, np.int64)
        sizes = np.diff(np.append(group, n))
        place = np.arange(n) - np.repeat(group, sizes)  # of a sentence among those of its length
        begins = place % self.batch_size == 0
        if self.drop_singletons:
            last = np.repeat(sizes, sizes) - 1
            begins &= (place != last) | (place == 0)
        first = np.flatnonzero(begins)
        bounds = np.stack([first, np.append(first[1:], n)], 1)
        if self.drop_singletons:
            bounds = bounds[bounds[:, 1] - bounds[:, 0] > 1]
        if self.batching not in ("random", "sorted"):
            bounds = bounds[random.permutation(len(bounds))]
        return order, bounds

    @property
    def _order(self) -> np.ndarray:
        return self._plan[0]

    @property
    def _bounds(self) -> np.ndarray:
        return self._plan[1]


def _pairing(n: int, batch_size: int) -> np.ndarray:
    """Which batch each of n sentences belongs to, from the shortest to the longest, where short ones meet long ones.

    >>> _pairing(10, 4)
    array([0, 0, 1, 1, 2, 2, 1, 1, 0, 0])
    """
    full, short = n // batch_size, batch_size // 2
    batches = np.arange(full)
    return np.concatenate(
        [np.repeat(batches, short), np.full(n % batch_size, full), np.repeat(batches[::-1], batch_size - short)]
    )
