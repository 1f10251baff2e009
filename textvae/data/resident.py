"""Where batches are made: on the host, or on the device that holds the whole corpus.

With the token ids resident on an accelerator a batch is a gather over there, and what crosses over is
where its sentences begin and how long they are: a few hundred bytes, and no one waits for them.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from textvae.data.batches import Batch, Gather, Sequences, on_host
from textvae.data.tokenizers import BOS, EOS, PAD

__all__ = ["Resident", "gathering_on"]

SHARE = 0.1
"""Of a device's free memory, what a corpus may take."""


def gathering_on(device: torch.device) -> Callable[[Sequences], Gather]:
    """How batches on a device are made of sequences: from there where the corpus fits, else copied one by one."""
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
    """Token ids on a device, and batches gathered there; the same as `collate` makes on the host."""

    def __init__(self, sequences: Sequences, device: torch.device) -> None:
        self.offsets = sequences.offsets
        self.ids = torch.from_numpy(np.array(sequences.ids)).to(device)

    def __call__(self, indices: np.ndarray) -> Batch:
        """The batch of the sentences at `indices`."""
        starts = self.offsets[indices]
        counts = self.offsets[indices + 1] - starts
        width = int(counts.max())
        first, lengths = self._over(np.stack([starts, counts]))
        columns = torch.arange(width, device=self.ids.device)
        # Behind a sentence stands the next one, and behind the last nothing.
        found = self.ids[(first[:, None] + columns).clamp_max(len(self.ids) - 1)].long()
        targets = found.where(columns < lengths[:, None], PAD)
        inputs = torch.full_like(targets, BOS)
        inputs[:, 1:] = targets[:, :-1].where(targets[:, :-1] != EOS, PAD)
        return Batch(inputs, targets, lengths, counts, padded=bool(counts.min() != width))

    def _over(self, numbers: np.ndarray) -> Tensor:
        """Host numbers on the device; from pinned memory nobody waits for the copy."""
        here = torch.from_numpy(numbers.astype(np.int64))
        if self.ids.device.type == "cuda":
            here = here.pin_memory()
        return here.to(self.ids.device, non_blocking=True)
