"""Noise determined by the sentence: the same ε whatever the batch, its order, or the chunk size.

Evaluation draws from no shared random stream, so it advances none. The seed and the sentence's tokens key a
counter-based generator; samples come in blocks, so that any range of them can be drawn independently.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

from textvae.data.batches import Batch

__all__ = ["SentenceNoise"]

BLOCK = 16


class SentenceNoise:
    """ε ~ N(0, I) for any samples k of any sentence, a pure function of (seed, sentence, k)."""

    def __init__(self, seed: int, dim: int) -> None:
        self.seed = seed
        self.dim = dim

    def __call__(self, batch: Batch, start: int = 0, stop: int = 1) -> Tensor:
        """Samples `start` ≤ k < `stop` of every sentence: (stop − start, B, D)."""
        rows, lengths = batch.targets.cpu().numpy(), batch.lengths.tolist()
        # Tokens are hashed as 32-bit integers; real-valued observations keep their type.
        rows = rows if rows.dtype.kind == "f" else rows.astype(np.int32)
        noise = [self._draw(row[:n], start, stop) for row, n in zip(rows, lengths, strict=True)]
        return torch.from_numpy(np.stack(noise, axis=1)).to(batch.targets.device)

    def _draw(self, tokens: np.ndarray, start: int, stop: int) -> np.ndarray:
        text = (self.seed % 2**64).to_bytes(8, "little") + tokens.tobytes()
        key = np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), dtype=np.uint64)
        first, final = start // BLOCK, (stop - 1) // BLOCK
        blocks = [self._block(key, index) for index in range(first, final + 1)]
        return np.concatenate(blocks)[start - first * BLOCK :][: stop - start]

    def _block(self, key: np.ndarray, index: int) -> np.ndarray:
        random = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
        return random.standard_normal((BLOCK, self.dim), dtype=np.float32)
