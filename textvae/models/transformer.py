"""What a Transformer is made of: residual blocks of attention and a perceptron, and the code of a position.

References
----------
Vaswani et al. 2017, *Attention Is All You Need*.
Xiong et al. 2020, *On Layer Normalization in the Transformer Architecture*: normalisation first.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Block", "require_heads", "sinusoids"]


def require_heads(heads: int, width: int) -> None:
    """Raise ValueError unless `heads` divides `width`."""
    if width % heads:
        raise ValueError(f"{heads} heads do not divide a hidden_dim of {width}")


class Block(nn.Module):
    """x + Attend(LN x), then x + Down gelu(Up LN x); a subclass says in `forward` what a position attends to."""

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

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (N, T, H), of states (N, T, H)."""
        queries, keys, values = self.queries_keys_values(self.attention_norm(x)).chunk(3, dim=-1)
        return queries, keys, values

    def attend(self, x: Tensor, queries: Tensor, keys: Tensor, values: Tensor, **which: Any) -> Tensor:
        """The states (N, T, H) after the block; `which` says to torch's attention what each may attend to."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (queries, keys, values))
        dropped = self.dropout.p if self.training else 0.0
        heads = F.scaled_dot_product_attention(q, k, v, dropout_p=dropped, **which)
        x = x + self.dropout(self.attended(heads.transpose(1, 2).flatten(-2)))
        found: Tensor = x + self.dropout(self.down(F.gelu(self.up(self.perceptron_norm(x)))))
        return found


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
