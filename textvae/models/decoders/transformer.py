"""The strongest decoder: a causal Transformer that reads z at every position.

    x⁰ₜ = R e(wₜ₋₁) + Vz + sinusoids(t),  x ← x + Attend(LN x),  x ← x + Down gelu(Up LN x),  hₜ = LN xᴸₜ

Sinusoids are defined at any position, so no sentence is too long; beyond the lengths seen in training, only
valid probabilities are guaranteed.

References
----------
Vaswani et al. 2017, *Attention Is All You Need*.
Xiong et al. 2020, *On Layer Normalization in the Transformer Architecture*: normalisation first.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textvae.fields import Count, Probability
from textvae.models.decoders.autoregressive import Autoregressive
from textvae.models.decoders.decoder import State

__all__ = ["TransformerDecoder"]


class TransformerDecoder(Autoregressive):
    """Pre-norm residual blocks of causal self-attention and a perceptron.

    `dropout` applies to the attention weights and to the output of each half of a block.

    Raises
    ------
    ValueError
        If `heads` does not divide `hidden_dim`, or `tied` and `embedding_dim` differs from `hidden_dim`.
    """

    def __init__(
        self,
        vocabulary: int,
        latent_dim: int,
        *,
        embedding_dim: Count = 256,
        hidden_dim: Count = 256,
        layers: Count = 4,
        heads: Count = 4,
        dropout: Probability = 0.1,
        dropout_in: Probability = 0.1,
        dropout_out: Probability = 0.1,
        tied: bool = False,
        inputless: bool = False,
    ) -> None:
        if hidden_dim % heads:
            raise ValueError(f"{heads} heads do not divide a hidden_dim of {hidden_dim}")
        super().__init__(vocabulary, embedding_dim, dropout_in, dropout_out, inputless)
        self.read = nn.Linear(embedding_dim, hidden_dim)
        self.hear = nn.Linear(latent_dim, hidden_dim, bias=False)
        self.blocks = nn.ModuleList(Block(hidden_dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden_dim)
        self.output = self.own_or_tied(hidden_dim, vocabulary, tied)

    def hidden(self, words: Tensor, z: Tensor) -> Tensor:
        inputs = self.read(self.embed(words)) + self.hear(z)[:, :, None]
        hidden, _, _ = self._run(inputs.flatten(0, 1), *self._nothing(z.flatten(0, 1)))
        return hidden.view(inputs.shape)

    def start(self, z: Tensor) -> State:
        return self.hear(z), *self._nothing(z)

    def advance(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        heard, keys, values = state
        inputs = self.read(self.embed(words)) + heard
        hidden, keys, values = self._run(inputs[:, None], keys, values)
        return hidden[:, 0], (heard, keys, values)

    def _run(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states (N, T, H) of inputs (N, T, H) that follow those of keys and values (N, layers, t, H)."""
        x = x + sinusoids(keys.shape[2], x)
        kept = []
        for layer, block in enumerate(self.blocks):
            x, *seen = block(x, keys[:, layer], values[:, layer])
            kept.append(seen)
        keys, values = (torch.stack(parts, 1) for parts in zip(*kept, strict=True))
        return self.norm(x), keys, values

    def _nothing(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The empty keys and values before the first word."""
        empty = z.new_zeros(len(z), len(self.blocks), 0, self.norm.normalized_shape[0])
        return empty, empty


class Block(nn.Module):
    """x + Attend(LN x), then x + Down gelu(Up LN x)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = nn.Dropout(dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """T states (N, T, H) after t others with keys and values (N, t, H), with the keys and values of all.

        Either t or T − 1 is 0: a whole sentence, or one word further.
        """
        queries, new_keys, new_values = self.queries_keys_values(self.attention_norm(x)).chunk(3, dim=-1)
        keys, values = torch.cat([keys, new_keys], 1), torch.cat([values, new_values], 1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (queries, keys, values))
        dropped = self.dropout.p if self.training else 0.0
        heads = F.scaled_dot_product_attention(q, k, v, dropout_p=dropped, is_causal=x.shape[1] > 1)
        x = x + self.dropout(self.attended(heads.transpose(1, 2).flatten(-2)))
        x = x + self.dropout(self.down(F.gelu(self.up(self.perceptron_norm(x)))))
        return x, keys, values


def sinusoids(first: int, x: Tensor) -> Tensor:
    """Sines and cosines (T, H) of the positions first … first + T − 1, for x (…, T, H)."""
    length, width = x.shape[-2:]
    # Not in a lower precision of x: bfloat16 cannot represent all integers beyond 256.
    exact = torch.promote_types(x.dtype, torch.float32)
    positions = torch.arange(first, first + length, device=x.device, dtype=exact)
    half = (width + 1) // 2
    rates = torch.exp(torch.arange(half, device=x.device, dtype=exact) * (-math.log(10_000) / half))
    angles = positions[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width].to(x.dtype)
