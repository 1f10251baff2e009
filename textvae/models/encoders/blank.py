"""No encoder: no features."""

import torch
from torch import Tensor

from textvae.data.batches import Batch
from textvae.models.encoders.encoder import Encoder

__all__ = ["Blank"]


class Blank(Encoder):
    """No features at all: the encoder of a plain language model, or of an unconditional posterior."""

    nothing: Tensor

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.empty(0), persistent=False)
        self.features = 0

    def forward(self, batch: Batch) -> Tensor:
        """An empty (B, 0)."""
        return self.nothing.expand(batch.sentences, 0)
