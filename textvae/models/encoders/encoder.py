"""The interface of an encoder: every sentence of a batch to a feature vector, whatever else is in the batch.

Positional constructor parameters are supplied by the library; keyword-only ones can be set in a configuration.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from textvae.data.batches import Batch

__all__ = ["Encoder"]


class Encoder(nn.Module, ABC):
    """Maps sentences to features (B, `features`)."""

    features: int

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Features (B, `features`) of the sentences in `batch.targets`."""
