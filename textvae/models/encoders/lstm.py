"""An LSTM over the words: its last state, or its states pooled over positions.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*: the last state.
Long et al. 2019, *Preventing Posterior Collapse in Sequence VAEs with Pooling*.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from textvae.data.batches import Batch
from textvae.fields import Count, Probability
from textvae.models.encoders.encoder import Encoder
from textvae.models.encoders.pooling import pool
from textvae.models.lstm import LSTM

__all__ = ["LSTMEncoder", "reverse"]


class LSTMEncoder(Encoder):
    """An LSTM over w₁ … wₙ EOS; its features are the last state, or the mean or maximum over positions.

    `dropout` applies to the input of each layer, not to the features.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        embedding_dim: Count = 256,
        hidden_dim: Count = 256,
        layers: Count = 1,
        bidirectional: bool = False,
        pooling: Literal["last", "mean", "max"] = "last",
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        directions = 2 if bidirectional else 1
        widths = [embedding_dim, *[directions * hidden_dim] * (layers - 1)]
        self.embedding = nn.Embedding(vocabulary, embedding_dim)
        self.forwards = nn.ModuleList(LSTM(w, hidden_dim) for w in widths)
        self.backwards = nn.ModuleList(LSTM(w, hidden_dim) for w in (widths if bidirectional else []))
        self.dropout = nn.Dropout(dropout)
        self.pooling = pooling
        self.features = directions * hidden_dim

    def forward(self, batch: Batch) -> Tensor:
        """(B, directions · H)."""
        states = self.embedding(batch.targets)
        forward = backward = states
        for layer, ahead in enumerate(self.forwards):
            heard = self.dropout(states)
            states = forward = ahead(heard)[0]
            if self.backwards:
                backward = reverse(self.backwards[layer](reverse(heard, batch))[0], batch)
                states = torch.cat([forward, backward], dim=-1)
        if self.pooling == "last":
            states = last(forward, batch)
            return torch.cat([states, backward[:, 0]], dim=-1) if self.backwards else states
        return pool(states, batch, self.pooling)


def reverse(states: Tensor, batch: Batch) -> Tensor:
    """Reverse every sentence of (B, T, H) within its own length; padding stays where it is."""
    if not batch.padded:
        return states.flip(1)
    positions = torch.arange(states.shape[1], device=states.device).expand(states.shape[:2])
    source = torch.where(batch.mask, batch.lengths[:, None] - 1 - positions, positions)
    return states.gather(1, source[..., None].expand_as(states))


def last(states: Tensor, batch: Batch) -> Tensor:
    """The state (B, H) at every sentence's own last position."""
    if not batch.padded:
        return states[:, -1]
    return states[torch.arange(len(states), device=states.device), batch.lengths - 1]
