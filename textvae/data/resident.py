"""Where batches are made: on the host, or on a device that holds the whole corpus.

With the token ids resident on an accelerator, a batch is a gather on the device. Only the start and length of
each sentence are transferred: a few hundred bytes, copied asynchronously.
"""

from collections.abc import Callable

import numpy as np
import torch

from textvae.data.batches import Batch, Gather, Sequences, on_host, to_device
from textvae.data.tokenizers import BOS, EOS, PAD

__all__ = ["Resident", "gathering_on"]

PIECE = 1 << 24
"""Ids copied to a device at a time."""

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
    return sequences.ids.nbytes <= SHARE * free


class Resident:
    """Token ids on a device, and batches gathered there, equal to those of `collate`."""

    def __init__(self, sequences: Sequences, device: torch.device) -> None:
        self.offsets = sequences.offsets
        # In pieces: the ids may be mapped from a file that is larger than the host's memory.
        self.ids = torch.empty(len(sequences.ids), dtype=torch.int32, device=device)
        for start in range(0, len(sequences.ids), PIECE):
            piece = np.array(sequences.ids[start : start + PIECE])
            self.ids[start : start + PIECE] = torch.from_numpy(piece)

    def __call__(self, indices: np.ndarray) -> Batch:
        """The batch of the sentences at `indices`."""
        starts = self.offsets[indices]
        counts = self.offsets[indices + 1] - starts
        width = int(counts.max())
        first, lengths = to_device(torch.from_numpy(np.stack([starts, counts])), self.ids.device)
        columns = torch.arange(width, device=self.ids.device)
        # The columns beyond a sentence belong to the next one; clamp where there is none.
        found = self.ids[(first[:, None] + columns).clamp_max(len(self.ids) - 1)].long()
        targets = found.where(columns < lengths[:, None], PAD)
        inputs = torch.full_like(targets, BOS)
        inputs[:, 1:] = targets[:, :-1].where(targets[:, :-1] != EOS, PAD)
        return Batch(inputs, targets, lengths, counts, padded=bool(counts.min() != width))
