"""A Transformer that reads the whole sentence at once, pooled over positions.

    x⁰ₜ = R e(wₜ) + sinusoids(t),  x ← x + Attend(LN x),  x ← x + Down gelu(Up LN x),  h = mean_t or max_t of LN xᴸₜ

References
----------
Vaswani et al. 2017, *Attention Is All You Need*.
"""

from typing import Literal

from torch import Tensor, nn

from textvae.data.batches import Batch
from textvae.fields import Count, Probability
from textvae.models.encoders.encoder import Encoder
from textvae.models.encoders.pooling import pool
from textvae.models.transformer import Block, require_heads, sinusoids

__all__ = ["TransformerEncoder"]


class TransformerEncoder(Encoder):
    """Pre-norm residual blocks of self-attention and a perceptron over w₁ … wₙ EOS.

    `dropout` applies to the embeddings, to the attention weights and to the output of each half of a block.

    Raises
    ------
    ValueError
        If `heads` does not divide `hidden_dim`.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        embedding_dim: Count = 256,
        hidden_dim: Count = 256,
        layers: Count = 4,
        heads: Count = 4,
        pooling: Literal["mean", "max"] = "mean",
        dropout: Probability = 0.1,
    ) -> None:
        require_heads(heads, hidden_dim)
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding_dim)
        self.read = nn.Linear(embedding_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(BidirectionalBlock(hidden_dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden_dim)
        self.pooling = pooling
        self.features = hidden_dim

    def forward(self, batch: Batch) -> Tensor:
        """(B, H)."""
        x = self.read(self.dropout(self.embedding(batch.targets)))
        x = x + sinusoids(0, x)
        present = batch.mask[:, None, None] if batch.padded else None  # (B, 1, 1, T): for all heads and positions
        for block in self.blocks:
            x = block(x, present)
        return pool(self.norm(x), batch, self.pooling)


class BidirectionalBlock(Block):
    """A block in which a position attends to all of its sentence."""

    def forward(self, x: Tensor, present: Tensor | None) -> Tensor:
        """States (N, T, H), of which those of `present` (N, 1, 1, T) are words; all are if it is None."""
        return self.attend(x, *self.project(x), attn_mask=present)
