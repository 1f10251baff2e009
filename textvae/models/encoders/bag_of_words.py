"""The words' embeddings, pooled: features that know no order.

    h = max_t e(wₜ)  or  1/(n + 1) Σ_t e(wₜ),  over w₁ … wₙ EOS

References
----------
Bosc & Vincent 2020, *Do sequence-to-sequence VAEs learn global features of sentences?*: BoW-max.
"""

from typing import Literal

from torch import Tensor, nn

from textvae.data.batches import Batch
from textvae.fields import Count, Probability
from textvae.models.encoders.encoder import Encoder
from textvae.models.encoders.pooling import pool

__all__ = ["BagOfWordsEncoder"]


class BagOfWordsEncoder(Encoder):
    """The maximum or the mean of the embeddings of w₁ … wₙ EOS; `dropout` applies to the embeddings."""

    def __init__(
        self,
        vocabulary: int,
        *,
        embedding_dim: Count = 256,
        pooling: Literal["mean", "max"] = "max",
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        self.pooling = pooling
        self.features = embedding_dim

    def forward(self, batch: Batch) -> Tensor:
        """(B, E)."""
        return pool(self.dropout(self.embedding(batch.targets)), batch, self.pooling)
