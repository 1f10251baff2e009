"""Batches gathered from a corpus on a device are those made on the host."""

import numpy as np
import pytest
import torch
from helpers import random_rows, sequences_of
from questions import Questions

from textvae.data.batches import Batch, BatchStream, on_host
from textvae.data.resident import Resident, gathering_on

HERE = torch.device("cpu")


def same(a: Batch, b: Batch) -> None:
    assert (a.padded, a.tokens) == (b.padded, b.tokens)
    assert np.array_equal(a.counts, b.counts)
    for one, other in ((a.inputs, b.inputs), (a.targets, b.targets), (a.lengths, b.lengths)):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("piece", [1, 5, 100, 1 << 24])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_resident_corpus_gives_the_same_batches(size: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textvae.data.resident.PIECE", piece)
    sequences = sequences_of(random_rows(40, 9, seed=3))
    resident, here = Resident(sequences, HERE), on_host(sequences)
    for indices in np.array_split(np.random.default_rng(0).permutation(40), 40 // size):
        same(resident(indices), here(indices))


def test_a_short_sentence_at_the_end_of_the_corpus_is_padded_like_any_other() -> None:
    sequences = sequences_of([[4, 5, 6, 4], [5]])
    for indices in (np.array([0, 1]), np.array([1, 0]), np.array([1])):
        same(Resident(sequences, HERE)(indices), on_host(sequences)(indices))


def test_a_stream_over_it_shuffles_alike_and_follows_fresh_sentences() -> None:
    epochs = [sequences_of(random_rows(10, 9, seed=epoch)) for epoch in range(3)]
    streams = [
        BatchStream(epochs[0], 4, 0, epochs.__getitem__, gathering)
        for gathering in (on_host, lambda sequences: Resident(sequences, HERE))
    ]
    for _ in range(3 * streams[0].batches_per_epoch):
        same(*(next(stream) for stream in streams))


def test_making_a_batch_asks_the_device_nothing() -> None:
    resident = Resident(sequences_of(random_rows(10, 9)), HERE)
    with Questions() as questions:
        batch = resident(np.arange(4))
        rows, columns = batch.places
    assert questions.asked == []
    assert torch.equal(torch.stack([rows, columns], 1), batch.mask.nonzero())


def test_without_an_accelerator_batches_are_made_on_the_host() -> None:
    assert gathering_on(HERE) is on_host


def test_what_does_not_fit_is_copied_batch_by_batch() -> None:
    sequences = sequences_of(random_rows(10, 9))
    gather = gathering_on(torch.device("meta"))(sequences)
    assert not isinstance(gather, Resident)
    assert gather(np.arange(3)).targets.device.type == "meta"
