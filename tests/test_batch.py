"""Batches hold every sentence once, the same ones each time, and say where their real tokens are."""

from collections import Counter
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyro_textvae.batch import Batch, Batches, Batching, Shuffled
from pyro_textvae.corpus import BOS, EOS, PAD, Split

BATCHING = get_args(Batching)
sentence_lengths = st.lists(st.integers(1, 9), min_size=1, max_size=60)
batchings = st.sampled_from(BATCHING)


def split_of(lengths: list[int]) -> Split:
    """A split whose words count upwards from 4, so that each word says where it stood."""
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    tokens = np.arange(4, 4 + offsets[-1], dtype=np.int32)
    return Split(tokens, offsets, {"label": np.arange(len(lengths), dtype=np.int32) % 3})


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(fields(a), fields(b), strict=True))


def fields(batch: Batch) -> list[torch.Tensor]:
    own = [getattr(batch, name) for name in ("tokens", "lengths", "real", "sentence", "reversed", "index")]
    return [*own, *batch.labels.values()]


# --- Batch ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(4, 99), max_size=7), min_size=1, max_size=6))
def test_a_batch_says_where_every_word_is(sentences: list[list[int]]):
    batch = Batch.collate(sentences)
    longest = max(map(len, sentences))
    padded = [[BOS, *words, EOS] + [PAD] * (longest - len(words)) for words in sentences]
    assert batch.tokens.tolist() == padded
    assert batch.lengths.tolist() == [len(words) + 1 for words in sentences]
    assert batch.inputs.shape == batch.targets.shape == (len(batch), longest + 1)
    assert batch.targets.flatten()[batch.real].tolist() == [w for words in sentences for w in [*words, EOS]]
    assert batch.sentence.tolist() == [i for i, words in enumerate(sentences) for _ in [*words, EOS]]
    backwards = [[EOS, *reversed(words), BOS] + [PAD] * (longest - len(words)) for words in sentences]
    assert batch.tokens.gather(1, batch.reversed).tolist() == backwards
    assert batch.reversed.gather(1, batch.reversed).tolist() == [list(range(longest + 2))] * len(batch)
    assert all(tensor.dtype == torch.long for tensor in fields(batch))


@given(st.lists(st.lists(st.integers(4, 99), max_size=5), min_size=1, max_size=4), st.integers(1, 4))
def test_repeating_a_batch_is_collating_its_sentences_again(sentences: list[list[int]], n: int):
    labels = {"act": list(range(len(sentences)))}
    repeated = Batch.collate(sentences, labels).repeat(n)
    collated = Batch.collate(sentences * n, {"act": labels["act"] * n}, list(range(len(sentences))) * n)
    assert same(repeated, collated)


def test_a_batch_keeps_labels_and_index_on_its_way_to_a_device():
    batch = Batch.collate([[4], [5, 6]], {"act": [1, -1]}, [7, 3])
    moved = batch.to("meta", non_blocking=True)
    assert all(tensor.device.type == "meta" for tensor in fields(moved))
    assert same(batch.to("cpu"), batch)
    assert batch.labels["act"].tolist() == [1, -1] and batch.index.tolist() == [7, 3]


def test_a_batch_does_not_share_memory_with_what_it_was_made_of():
    labels, words = np.array([1, 2]), [np.array([4, 5]), np.array([6])]
    batch = Batch.collate(words, {"act": labels})
    labels[:] = 0
    words[0][:] = 0
    assert batch.labels["act"].tolist() == [1, 2] and batch.tokens[0].tolist() == [BOS, 4, 5, EOS]


def test_a_batch_of_no_sentences_is_an_error():
    with pytest.raises(ValueError, match="a batch of no sentences"):
        Batch.collate([])


@pytest.mark.gpu
def test_a_pinned_batch_goes_to_the_device_without_waiting():
    batch = Batch.collate([[4, 5], [6]]).pin_memory()
    torch.cuda.set_sync_debug_mode("error")
    try:
        moved = batch.to("cuda", non_blocking=True).repeat(3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert same(moved.to("cpu"), batch.repeat(3))


# --- Batches --------------------------------------------------------------------------------------------------------


@given(sentence_lengths, st.integers(1, 8), batchings, st.integers(0, 3))
def test_every_sentence_comes_exactly_once_an_epoch(lengths: list[int], size: int, batching: Batching, epoch: int):
    split = split_of(lengths)
    batches = Batches(split, size, epoch=epoch, batching=batching)
    seen = Counter(i for batch in batches for i in batch.index.tolist())
    assert seen == Counter(range(len(lengths)))
    assert len(list(batches)) == len(batches) and batches.dropped == 0
    for batch in batches:
        assert len(batch) <= size
        for row, length, i in zip(batch.tokens, batch.lengths, batch.index.tolist(), strict=True):
            assert row[1:length].tolist() == split.ids(i).tolist()
        assert batch.labels["label"].tolist() == (batch.index % 3).tolist()


@given(sentence_lengths, st.integers(1, 8), batchings, st.data())
def test_an_epoch_taken_up_in_the_middle_goes_on_where_it_was(lengths: list[int], size: int, batching: Batching, data):
    whole = list(Batches(split_of(lengths), size, seed=3, epoch=2, batching=batching))
    start = data.draw(st.integers(0, len(whole)))
    rest = Batches(split_of(lengths), size, seed=3, epoch=2, start=start, batching=batching)
    assert len(rest) == len(whole) - start
    assert all(same(a, b) for a, b in zip(rest, whole[start:], strict=True))


@pytest.mark.parametrize("batching", get_args(Shuffled))
def test_epochs_and_seeds_differ_and_repeat(batching: Batching):
    def order(epoch: int, seed: int = 0) -> list[list[int]]:
        return [
            batch.index.tolist()
            for batch in Batches(split_of([1, 2, 3, 4] * 25), 8, epoch=epoch, seed=seed, batching=batching)
        ]

    assert order(seed=1, epoch=0) == order(seed=1, epoch=0)
    assert order(seed=1, epoch=0) != order(seed=1, epoch=1) != order(seed=2, epoch=1)
    # New company for each sentence, not only a new order of the same batches.
    assert {frozenset(batch) for batch in order(epoch=0)} != {frozenset(batch) for batch in order(epoch=1)}


def test_sorted_the_epoch_does_not_matter():
    split = split_of([5, 1, 3] * 10)
    first, later = (list(Batches(split, 4, epoch=epoch, batching="sorted")) for epoch in (0, 9))
    assert all(same(a, b) for a, b in zip(first, later, strict=True))
    lengths = torch.cat([batch.lengths for batch in first])
    assert (lengths.diff() >= 0).all()


@given(sentence_lengths, st.integers(1, 8))
def test_batches_of_exact_length_have_no_padding(lengths: list[int], size: int):
    for batch in Batches(split_of(lengths), size, batching="exact"):
        assert len(batch.lengths.unique()) == 1
        assert (batch.tokens != PAD).all()


def test_what_batches_pad():
    lengths = np.random.default_rng(0).integers(1, 60, 2000).tolist()

    def padding(batching: Batching) -> float:
        batches = list(Batches(split_of(lengths), 32, batching=batching))
        return 1 - sum(len(b.real) for b in batches) / sum(b.targets.numel() for b in batches)

    assert padding("bucketed") < 0.02 < 0.2 < padding("paired") < 0.4 < padding("random")


@given(sentence_lengths, st.integers(1, 8))
def test_paired_the_shortest_sentences_share_a_batch_with_the_longest(lengths: list[int], size: int):
    batches = [sorted(batch.lengths.tolist()) for batch in Batches(split_of(lengths), size, batching="paired")]
    batches.sort(key=lambda batch: (len(batch) < size, sum(batch[: size // 2]), -sum(batch[size // 2 :])))
    full = len(lengths) // size
    assert [len(batch) for batch in batches] == [size] * full + [len(lengths) % size] * (len(lengths) % size > 0)
    shorter = [length for batch in batches for length in batch[: len(batch) // 2]]
    longer = [length for batch in reversed(batches) for length in batch[len(batch) // 2 :]]
    assert shorter + longer == sorted(length + 1 for length in lengths)


@given(sentence_lengths, st.integers(2, 8), batchings)
def test_no_batch_of_one_is_left_where_it_can_join_another(lengths: list[int], size: int, batching: Batching):
    batches = Batches(split_of(lengths), size, drop_singletons=True, batching=batching)
    sizes = [len(batch) for batch in batches]
    assert all(2 <= n <= size + 1 for n in sizes)
    alone = sum(n == 1 for n in Counter(lengths).values()) if batching == "exact" else int(len(lengths) == 1)
    assert batches.dropped == alone == len(lengths) - sum(sizes)


@pytest.mark.parametrize("start", [-1, 4])
def test_a_start_outside_the_epoch_is_an_error(start: int):
    with pytest.raises(ValueError, match=rf"start={start} came, but this epoch has 3 batches"):
        Batches(split_of([1, 2, 3]), 1, start=start)


def test_a_batch_size_too_small_is_an_error():
    with pytest.raises(ValueError, match="batch_size=0 came, but at least 1"):
        Batches(split_of([1]), 0)
    with pytest.raises(ValueError, match="batch_size=1 came, but at least 2"):
        Batches(split_of([1]), 1, drop_singletons=True)


def test_a_split_without_sentences_has_no_batches():
    with pytest.raises(ValueError, match="the split has no sentence"):
        Batches(split_of([1, 2]).take(np.array([], np.int64)), 2)
