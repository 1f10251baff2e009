"""Where batches are made: on the host, or on a device that holds the whole corpus.

With the token ids resident on an accelerator, a batch is a gather on the device. Only the start and length of
each sentence are transferred: a few hundred bytes, copied asynchronously. Each sentence is stored with BOS before
it, so that inputs and targets are one stretch of ids, seen from its first and from its second token.
"""

from collections.abc import Callable

import numpy as np
import torch

from textvae.data.batches import Batch, Gather, Sequences, lengths_of, on_host, to_device
from textvae.data.tokenizers import BOS, PAD

__all__ = ["Resident", "gathering_on"]

PIECE = 1 << 24
"""Ids copied to a device at a time, or a sentence, if that is longer."""

SHARE = 0.1
"""The largest share of a device's free memory that a corpus may take."""


def gathering_on(device: torch.device) -> Callable[[Sequences], Gather]:
    """How to make batches on a device: gathered there if the corpus fits, else copied from the host."""
    if device.type == "cpu":
        return on_host

    def gather(sequences: Sequences) -> Gather:
        if _fits(sequences, device):
            return Resident(sequences, device)
        make = on_host(sequences)
        return lambda indices: make(indices).to(device)

    return gather


def _fits(sequences: Sequences, device: torch.device) -> bool:
    if device.type != "cuda" or sequences.ids.dtype.kind == "f":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return 4 * (len(sequences.ids) + len(sequences)) <= SHARE * free


class Resident:
    """Token ids on a device, and batches gathered there, equal to those of `collate` if EOS only ends sentences."""

    def __init__(self, sequences: Sequences, device: torch.device) -> None:
        self.offsets = offsets = sequences.offsets
        longest = int(lengths_of(sequences).max(initial=0))
        self.columns = torch.arange(longest + 1, device=device)
        # The columns beyond a sentence belong to the next one; beyond the last there is room for as many.
        self.ids = torch.full(
            (len(sequences.ids) + len(sequences) + longest,), PAD, dtype=torch.int32, device=device
        )
        # In pieces: the ids may be mapped from a file that is larger than the host's memory.
        first = 0
        while first < len(sequences):
            full = int(np.searchsorted(offsets, offsets[first] + PIECE, side="right")) - 1
            bounds = offsets[first : max(full, first + 1) + 1]
            piece = np.insert(sequences.ids[bounds[0] : bounds[-1]], bounds[:-1] - bounds[0], BOS)
            start = int(bounds[0]) + first
            self.ids[start : start + len(piece)] = torch.from_numpy(piece)
            first += len(bounds) - 1

    def __call__(self, indices: np.ndarray) -> Batch:
        """The batch of the sentences at `indices`."""
        starts = self.offsets[indices]
        counts = self.offsets[indices + 1] - starts
        width = int(counts.max())
        padded = bool(counts.min() != width)
        first, lengths = to_device(torch.from_numpy(np.stack([starts + indices, counts])), self.ids.device)
        found = self.ids[first[:, None] + self.columns[: width + 1]].long()
        inputs, targets = found[:, :-1], found[:, 1:]
        if padded:
            inside = self.columns[:width] < lengths[:, None]
            inputs, targets = inputs.where(inside, PAD), targets.where(inside, PAD)
        return Batch(inputs, targets, lengths, counts, padded)
