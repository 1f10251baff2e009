"""What the encoder reads in training instead of the sentence itself."""

from abc import ABC, abstractmethod

from torch import Generator

from textvae.data.batches import Batch

__all__ = ["Clean", "Corruption"]


class Corruption(ABC):
    """A random change of the sentences that the encoder reads; the decoder's are unchanged."""

    @abstractmethod
    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """A batch of the same sentences, in the same order, whose `targets` are what the encoder reads."""


class Clean(Corruption):
    """No change."""

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        return batch
