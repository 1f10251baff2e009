"""Token sequences, batches of nearly equal length, and a stream of batches that can be resumed.

Batches are cut from a length-sorted shuffle, so hardly any position is padding and nothing is packed.
The order of an epoch is a pure function of (seed, epoch): a stream's whole state is two integers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from textvae.data.tokenizers import BOS, EOS, PAD, Tokenizer

__all__ = ["Batch", "BatchStream", "Sequences", "collate", "encode", "in_order"]


@dataclass(frozen=True)
class Batch:
    """B sentences of at most T tokens; every sentence ends in EOS, positions behind it are PAD.

    `inputs` (B, T) is BOS w₁ … wₙ, what a decoder reads; `targets` (B, T) is w₁ … wₙ EOS, what it
    predicts and what an encoder reads; `lengths` (B,) counts the targets. `padded` is known on the
    host, so that no device has to be asked whether there is padding.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor
    padded: bool
    tokens: int

    @property
    def sentences(self) -> int:
        return self.targets.shape[0]

    @property
    def mask(self) -> Tensor:
        """(B, T), true where a target stands."""
        return torch.arange(self.targets.shape[1], device=self.lengths.device) < self.lengths[:, None]

    def to(self, device: torch.device | str) -> "Batch":
        return replace(
            self,
            inputs=self.inputs.to(device),
            targets=self.targets.to(device),
            lengths=self.lengths.to(device),
        )


@dataclass(frozen=True)
class Sequences:
    """Token ids of many sentences, EOS included, in one flat array; sentence i is ids[offsets[i]:offsets[i+1]]."""

    ids: np.ndarray
    offsets: np.ndarray
    cut: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """(N,) tokens of each sentence, EOS counted."""
        return np.diff(self.offsets)


def encode(sentences: Iterable[str], tokenizer: Tokenizer, max_length: int | None = None) -> Sequences:
    """Encode sentences and append EOS; one longer than `max_length` tokens is cut, and counted in `cut`."""
    rows: list[np.ndarray] = []
    cut = 0
    for sentence in sentences:
        ids = tokenizer.encode(sentence)
        if max_length is not None and len(ids) > max_length:
            ids, cut = ids[:max_length], cut + 1
        rows.append(np.asarray([*ids, EOS], dtype=np.int32))
    flat = np.concatenate(rows) if rows else np.empty(0, dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Sequences(flat, offsets, cut)


def collate(rows: Sequence[np.ndarray]) -> Batch:
    """Pad sequences that end in EOS into one batch."""
    lengths = np.asarray([len(row) for row in rows], dtype=np.int64)
    width = int(lengths.max())
    targets = np.full((len(rows), width), PAD, dtype=np.int64)
    targets[np.arange(width) < lengths[:, None]] = np.concatenate(rows)
    inputs = np.full_like(targets, BOS)
    inputs[:, 1:] = np.where(targets[:, :-1] == EOS, PAD, targets[:, :-1])
    return Batch(
        inputs=torch.from_numpy(inputs),
        targets=torch.from_numpy(targets),
        lengths=torch.from_numpy(lengths),
        padded=bool(lengths.min() != width),
        tokens=int(lengths.sum()),
    )


def in_order(sequences: Sequences, batch_size: int) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every sentence once, by length: (indices into `sequences`, batch)."""
    order = np.argsort(sequences.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        yield indices, collate([sequences[int(i)] for i in indices])


class BatchStream:
    """An endless stream of shuffled batches, whose composition changes each epoch.

    Each epoch shuffles, sorts by length (stably), cuts into batches and shuffles those. Where training
    never sees a sentence twice, `fresh` gives the sequences of each epoch, as many as `sequences`.
    """

    def __init__(
        self,
        sequences: Sequences,
        batch_size: int,
        seed: int,
        fresh: Callable[[int], Sequences] | None = None,
    ) -> None:
        self.sequences = sequences
        self.fresh = fresh
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._order = self._shuffled()

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self.sequences) // self.batch_size)

    def _shuffled(self) -> list[np.ndarray]:
        if self.fresh is not None:
            self.sequences = self.fresh(self.epoch)
        random = np.random.Generator(np.random.PCG64([self.seed, self.epoch]))
        order = random.permutation(len(self.sequences))
        order = order[np.argsort(self.sequences.lengths[order], kind="stable")]
        cuts = np.split(order, range(self.batch_size, len(order), self.batch_size))
        return [cuts[i] for i in random.permutation(len(cuts))]

    def __next__(self) -> Batch:
        if self.position == len(self._order):
            self.epoch, self.position = self.epoch + 1, 0
            self._order = self._shuffled()
        rows = [self.sequences[int(i)] for i in self._order[self.position]]
        self.position += 1
        return collate(rows)

    def __iter__(self) -> "BatchStream":
        return self

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]
        self._order = self._shuffled()
