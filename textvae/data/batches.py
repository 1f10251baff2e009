"""Token sequences, batches of sentences of similar length, and a resumable stream of batches.

Batches are cut from a shuffled, length-sorted order, so there is almost no padding and no need for packing.
The order of an epoch is a pure function of (seed, epoch), so the state of a stream is two integers.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from textvae.data.tokenizers import BOS, EOS, PAD, Tokenizer

__all__ = [
    "Batch",
    "BatchStream",
    "Gather",
    "Sequences",
    "collate",
    "encode",
    "lengths_of",
    "longest_first",
    "on_host",
    "to_device",
]

BLOCK = 1 << 20
"""Number of sentences sorted at a time."""


@dataclass(frozen=True)
class Batch:
    """B sentences of at most T tokens; every sentence ends in EOS, followed by PAD.

    `inputs` (B, T) is BOS w₁ … wₙ, the decoder's input; `targets` (B, T) is w₁ … wₙ EOS, the decoder's
    targets and the encoder's input; `lengths` (B,) is the number of targets. `counts` holds the lengths on
    the host, and `padded` says whether there is padding, so neither needs a device synchronisation.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor
    counts: np.ndarray
    padded: bool

    @property
    def sentences(self) -> int:
        return self.targets.shape[0]

    @property
    def tokens(self) -> int:
        return int(self.counts.sum())

    @property
    def mask(self) -> Tensor:
        """(B, T), true at targets and false at padding."""
        return torch.arange(self.targets.shape[1], device=self.lengths.device) < self.lengths[:, None]

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """Row and column (tokens,) of every target, in order, without a device synchronisation."""
        lengths, device = self.lengths, self.lengths.device
        rows = torch.arange(self.sentences, device=device).repeat_interleave(lengths, output_size=self.tokens)
        before = lengths.cumsum(0) - lengths
        return rows, torch.arange(self.tokens, device=device) - before[rows]

    def part(self, rows: slice) -> "Batch":
        """The sentences of these rows; the padded width is unchanged."""
        return replace(
            self,
            inputs=self.inputs[rows],
            targets=self.targets[rows],
            lengths=self.lengths[rows],
            counts=self.counts[rows],
        )

    def to(self, device: torch.device | str) -> "Batch":
        return replace(
            self,
            inputs=to_device(self.inputs, device),
            targets=to_device(self.targets, device),
            lengths=to_device(self.lengths, device),
        )


def to_device(values: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device; from the host to a CUDA device through pinned memory, without waiting for the copy."""
    if torch.device(device).type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


@dataclass(frozen=True)
class Sequences:
    """Token ids of N sentences, EOS included, in one flat array; sentence i is ids[offsets[i]:offsets[i+1]].

    `ids` (tokens,) are int32 and `offsets` (N + 1,) int64; observations with real coordinates have float `ids`.
    `cut` is the number of sentences that were truncated.
    """

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
    """Encode sentences and append EOS; truncate to `max_length` tokens, and count the truncated in `cut`."""
    flat, offsets, cut = array("i"), array("q", [0]), 0
    for sentence in sentences:
        ids = tokenizer.encode(sentence)
        if max_length is not None and len(ids) > max_length:
            ids, cut = ids[:max_length], cut + 1
        flat.extend(ids)
        flat.append(EOS)
        offsets.append(len(flat))
    return Sequences(np.frombuffer(flat, dtype=np.int32), np.frombuffer(offsets, dtype=np.int64), cut)


def collate(rows: Sequence[np.ndarray]) -> Batch:
    """Pad sequences that end in EOS into one batch; stack rows of real coordinates, which have equal length."""
    if rows[0].dtype.kind == "f":
        return _stack(np.stack(rows))
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
        counts=lengths,
        padded=bool(lengths.min() != width),
    )


def _stack(rows: np.ndarray) -> Batch:
    """A batch (B, n) of observations with real coordinates: no padding, and all inputs are PAD."""
    count, width = rows.shape
    return Batch(
        inputs=torch.full((count, width), PAD),
        targets=torch.from_numpy(rows),
        lengths=torch.full((count,), width),
        counts=np.full(count, width),
        padded=False,
    )


def longest_first(sequences: Sequences, batch_size: int) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every sentence once, in order of decreasing length: (indices into `sequences`, batch).

    Longest first: later batches reuse the memory of the first, so the peak does not grow.
    """
    order = np.argsort(lengths_of(sequences), kind="stable")
    for start in reversed(range(0, len(order), batch_size)):
        indices = order[start : start + batch_size]
        yield indices, collate([sequences[int(i)] for i in indices])


def lengths_of(sequences: Sequences) -> np.ndarray:
    """The lengths in the smallest integer type, which numpy sorts much faster: millions in 0.1 s."""
    offsets = sequences.offsets
    parts = [_narrow(np.diff(offsets[k : k + BLOCK + 1])) for k in range(0, len(sequences), BLOCK)]
    return np.concatenate([np.empty(0, dtype=np.uint8), *parts])


def _narrow(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.min_scalar_type(int(numbers.max())))


def _shuffled(count: int, random: np.random.Generator) -> np.ndarray:
    """`random.permutation(count)`, in half the memory where 4 bytes suffice for an index."""
    order = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)
    random.shuffle(order)
    return order


def _by_length(order: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`order`, stably sorted by length, in blocks: a single argsort would need 8 more bytes per sentence."""
    blocks = [order[k : k + BLOCK] for k in range(0, len(order), BLOCK)]
    longest = int(lengths.max(initial=0))
    counts = [np.bincount(lengths[block], minlength=longest + 1) for block in blocks]
    total = np.sum(counts, axis=0)
    place = np.cumsum(total) - total  # position of the next sentence of each length
    found = np.empty_like(order)
    for block, count in zip(blocks, counts, strict=True):
        within = np.argsort(lengths[block], kind="stable")
        ahead = place - np.cumsum(count) + count  # offset from a rank in the sorted block to the overall rank
        found[np.arange(len(block)) + np.repeat(ahead, count)] = block[within]
        place += count
    return found


Gather = Callable[[np.ndarray], Batch]
"""Makes the batch of the sentences at the given indices."""


def on_host(sequences: Sequences) -> Gather:
    """Make batches in host memory."""
    return lambda indices: collate([sequences[i] for i in indices.tolist()])


class BatchStream:
    """An endless stream of shuffled batches, composed anew each epoch.

    Each epoch shuffles, sorts by length (stably), cuts into batches and shuffles the batches. If training
    never sees a sentence twice, `fresh` returns the sequences of each epoch, as many as `sequences`.
    `gathering` decides where batches are made.
    """

    def __init__(
        self,
        sequences: Sequences,
        batch_size: int,
        seed: int,
        fresh: Callable[[int], Sequences] | None = None,
        gathering: Callable[[Sequences], Gather] = on_host,
    ) -> None:
        self.sequences = sequences
        self.fresh = fresh
        self.gathering = gathering
        self._gather = gathering(sequences)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._shuffle()

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self.sequences) // self.batch_size)

    def _shuffle(self) -> None:
        if self.fresh is not None:
            self.sequences = self.fresh(self.epoch)
            self._gather = self.gathering(self.sequences)
        random = np.random.Generator(np.random.PCG64([self.seed, self.epoch]))
        self._order = np.empty(0, dtype=np.int32)  # free the last epoch's order before making the next
        self._order = _by_length(_shuffled(len(self.sequences), random), lengths_of(self.sequences))
        self._batches = _shuffled(self.batches_per_epoch, random)

    def __next__(self) -> Batch:
        if self.position == len(self._batches):
            self.epoch, self.position = self.epoch + 1, 0
            self._shuffle()
        start = int(self._batches[self.position]) * self.batch_size
        self.position += 1
        return self._gather(self._order[start : start + self.batch_size])

    def __iter__(self) -> "BatchStream":
        return self

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]
        self._shuffle()
