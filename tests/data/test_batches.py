"""Batches: every sentence once an epoch, hardly any padding, and a stream that resumes anywhere."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textvae.data import batches as module
from textvae.data.batches import BatchStream, Sequences, collate, encode, longest_first
from textvae.data.tokenizers import BOS, EOS, PAD, UNK, WordTokenizer


def numbered(count: int, longest: int = 30, seed: int = 0) -> Sequences:
    """Sentences of random length, each recognisable: sentence i is made of the word i + 4."""
    random = np.random.default_rng(seed)
    rows = [np.array([i + 4] * random.integers(0, longest) + [EOS], dtype=np.int32) for i in range(count)]
    rows = [np.array([i + 4, *row], dtype=np.int32) for i, row in enumerate(rows)]
    return Sequences(np.concatenate(rows), np.concatenate([[0], np.cumsum([len(row) for row in rows])]))


def names(batch) -> list[int]:
    return (batch.targets[:, 0] - 4).tolist()


def epoch(stream: BatchStream) -> list[list[int]]:
    return [names(next(stream)) for _ in range(stream.batches_per_epoch)]


def test_collate_by_hand():
    batch = collate([np.array([7, 8, EOS]), np.array([EOS]), np.array([9, EOS])])
    assert batch.inputs.tolist() == [[BOS, 7, 8], [BOS, PAD, PAD], [BOS, 9, PAD]]
    assert batch.targets.tolist() == [[7, 8, EOS], [EOS, PAD, PAD], [9, EOS, PAD]]
    assert batch.lengths.tolist() == [3, 1, 2]
    assert batch.mask.tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert (batch.padded, batch.tokens, batch.sentences) == (True, 6, 3)
    assert batch.inputs.dtype == batch.targets.dtype == batch.lengths.dtype == torch.int64


def test_a_batch_of_equal_length_knows_that_it_has_no_padding():
    batch = collate([np.array([7, EOS]), np.array([8, EOS])])
    assert not batch.padded
    assert batch.mask.all()
    moved = batch.to("cpu")
    assert (moved.padded, moved.tokens) == (False, 4)
    assert torch.equal(moved.targets, batch.targets)


def test_encode_cuts_with_a_count():
    tokenizer = WordTokenizer(["a", "b", "c"])
    sequences = encode(["a b c", "a zebra", "", "a b", "c " * 100_000], tokenizer, max_length=2)
    assert sequences.cut == 2
    a, b, c = tokenizer.encode("a b c")
    expected = [[a, b, EOS], [a, UNK, EOS], [EOS], [a, b, EOS], [c, c, EOS]]
    assert [sequences[i].tolist() for i in range(len(sequences))] == expected
    assert sequences.lengths.tolist() == [3, 3, 1, 3, 3]
    assert encode(["a b c"], tokenizer, max_length=3).cut == 0
    assert encode(["a b c"], tokenizer).lengths.tolist() == [4]
    assert len(encode([], tokenizer)) == 0


@pytest.mark.parametrize(("count", "size"), [(1, 1), (10, 3), (64, 32), (100, 7), (5, 64)])
def test_an_epoch_holds_every_sentence_once(count, size):
    stream = BatchStream(numbered(count), size, seed=3)
    assert stream.batches_per_epoch == -(-count // size)
    for _ in range(3):
        batches = epoch(stream)
        assert Counter(name for batch in batches for name in batch) == Counter(range(count))
        assert max(map(len, batches)) == min(size, count)
        assert sum(len(batch) < size for batch in batches) <= 1


def test_a_batch_larger_than_the_corpus_is_the_corpus():
    stream = BatchStream(numbered(5), 64, seed=0)
    for position in range(3):
        assert sorted(names(next(stream))) == [0, 1, 2, 3, 4]
        assert stream.epoch == position


def test_compositions_and_order_change_between_epochs():
    stream = BatchStream(numbered(400, longest=5), 20, seed=1)
    first, second = ([frozenset(batch) for batch in epoch(stream)] for _ in range(2))
    assert len(set(first) & set(second)) < len(first) / 4
    assert first != second


def test_batches_do_not_come_by_length():
    stream = BatchStream(numbered(640, longest=40), 16, seed=1)
    widths = np.array([next(stream).targets.shape[1] for _ in range(stream.batches_per_epoch)])
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.5
    assert np.ptp(widths) > 20


@pytest.mark.parametrize("seed", range(5))
def test_hardly_any_position_is_padding(seed):
    """Lengths 1 to 40 over 100 batches: a batch spans about two lengths."""
    sequences = numbered(3200, longest=40, seed=seed)
    stream = BatchStream(sequences, 32, seed=seed)
    batches = [next(stream) for _ in range(stream.batches_per_epoch)]
    positions = sum(batch.targets.numel() for batch in batches)
    assert sum(batch.tokens for batch in batches) == len(sequences.ids)
    assert 1 - len(sequences.ids) / positions < 0.02
    assert max(int(batch.lengths.max() - batch.lengths.min()) for batch in batches) <= 2


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 40), size=st.integers(1, 12), seed=st.integers(0, 2**32), taken=st.integers(0, 100))
def test_a_stream_resumes_at_any_position(count, size, seed, taken):
    sequences = numbered(count, longest=4)
    stream = BatchStream(sequences, size, seed)
    for _ in range(taken):
        next(stream)
    resumed = BatchStream(sequences, size, seed)
    resumed.load_state_dict(stream.state_dict())
    for _ in range(2 * stream.batches_per_epoch + 1):
        mine, other = next(stream), next(resumed)
        assert torch.equal(mine.targets, other.targets)
        assert torch.equal(mine.inputs, other.inputs)
    assert stream.state_dict() == resumed.state_dict()


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    sequences = numbered(60)
    np.random.seed(1)
    one = [epoch(stream) for stream in [BatchStream(sequences, 8, seed=5)] for _ in range(2)]
    np.random.seed(2)
    two = [epoch(stream) for stream in [BatchStream(sequences, 8, seed=5)] for _ in range(2)]
    assert one == two
    later = BatchStream(sequences, 8, seed=5)
    later.load_state_dict({"epoch": 1, "position": 0})
    assert epoch(later) == one[1]
    assert epoch(BatchStream(sequences, 8, seed=6)) != one[0]


def test_streams_move_no_shared_random_state():
    before = (np.random.get_state()[1].copy(), torch.get_rng_state())
    stream = iter(BatchStream(numbered(20), 4, seed=0))
    for _ in range(12):
        next(stream)
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_in_order_covers_every_index_once_by_length(size):
    sequences = numbered(100)
    seen, widths = [], []
    for indices, batch in longest_first(sequences, size):
        assert names(batch) == indices.tolist()
        for index, row, length in zip(indices, batch.targets, batch.lengths, strict=True):
            assert row[:length].tolist() == sequences[int(index)].tolist()
            assert (row[length:] == PAD).all()
        seen += indices.tolist()
        assert batch.lengths.tolist() == sorted(batch.lengths.tolist())
        assert not widths or max(batch.lengths) <= widths[-1]  # longer ones came before
        widths.append(int(min(batch.lengths)))
    assert sorted(seen) == list(range(100))


def test_a_stream_of_fresh_sentences_asks_for_those_of_each_epoch_and_resumes():
    """Training that never sees a sentence twice: epoch e holds exactly the sentences of fresh(e)."""

    def fresh(number: int) -> Sequences:
        return numbered(30, longest=5, seed=100 + number)

    def stream() -> BatchStream:
        return BatchStream(fresh(0), 8, seed=2, fresh=fresh)

    running, epochs = stream(), []
    for _ in range(3):
        epochs.append([next(running) for _ in range(running.batches_per_epoch)])
    for number, batches in enumerate(epochs):
        assert sum(batch.tokens for batch in batches) == len(fresh(number).ids)
        lengths = sorted(n for batch in batches for n in batch.lengths.tolist())
        assert lengths == sorted(fresh(number).lengths.tolist())
    resumed = stream()
    resumed.load_state_dict({"epoch": 1, "position": 2})
    for batch in [*epochs[1][2:], *epochs[2]]:
        assert torch.equal(next(resumed).targets, batch.targets)


@pytest.mark.parametrize("block", [1, 7, 100, 1 << 20])
def test_the_order_is_that_of_one_permutation_and_one_stable_sort(block, monkeypatch):
    """However little memory it is made in: runs that were begun before go on as they would have."""
    monkeypatch.setattr(module, "BLOCK", block)
    sequences = numbered(300, longest=12)
    stream = BatchStream(sequences, 7, seed=11)
    for number in range(2):
        random = np.random.Generator(np.random.PCG64([11, number]))
        order = random.permutation(300)
        order = order[np.argsort(sequences.lengths[order], kind="stable")]
        batches = random.permutation(stream.batches_per_epoch)
        assert epoch(stream) == [order[7 * k : 7 * (k + 1)].tolist() for k in batches.tolist()]


def test_lengths_beyond_a_byte_are_sorted_too(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 3)
    rows = [3, 400, 1, 2, 3, 1, 70_000, 255, 256, 1]
    sequences = Sequences(np.full(sum(rows), EOS, dtype=np.int32), np.cumsum([0, *rows]))
    assert [batch.lengths.tolist() for _, batch in longest_first(sequences, 5)] == [
        [3, 255, 256, 400, 70_000],
        [1, 1, 1, 2, 3],
    ]


def test_a_million_sentences_are_shuffled_in_a_few_bytes_each(monkeypatch):
    """4 bytes a sentence between epochs; 10 and a fixed amount while the next one is shuffled."""
    count = 1_000_000
    lengths = np.random.default_rng(0).integers(1, 40, size=count)
    sequences = Sequences(np.empty(0, dtype=np.int32), np.concatenate([[0], np.cumsum(lengths)]))
    stream = BatchStream(sequences, 32, seed=0)
    monkeypatch.setattr(module, "BLOCK", 1 << 14)
    tracemalloc.start()
    try:
        stream.load_state_dict({"epoch": 1, "position": 0})
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4.5 * count
    assert peak < 10 * count + (2 << 20)
