"""log-softmax at given columns, and its gradient, each in one pass over the logits.

    log p(n) = x(n, wₙ) − log Σ_v exp x(n, v)          ∂x(n, v) = (1[v = wₙ] − p(n, v)) ∂log p(n)

Torch's cross-entropy writes all log-probabilities to memory, in bfloat16 where the logits are, and reads them
again; here only the logarithm of each row's sum is kept, in float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from textvae.models.kernels import on_card

__all__ = ["backward", "forward"]

BLOCK = 2048
"""Logits that a program reads at a time."""


def forward(logits: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
    """log p and log Σ exp, (N,) in float32, of logits (N, V) at words (N,); log p is NaN for no such word."""
    logits, words = logits.contiguous(), words.contiguous()
    rows, width = logits.shape
    own = torch.empty(rows, device=logits.device)
    total = torch.empty_like(own)
    with on_card(logits):
        _softmax_forward[(rows,)](logits, words, own, total, width, BLOCK, num_warps=8)
    return own, total


def backward(logits: Tensor, words: Tensor, total: Tensor, upstream: Tensor) -> Tensor:
    """The gradient of the logits, in their type, from that of log p (N,)."""
    logits, words, upstream = logits.contiguous(), words.contiguous(), upstream.contiguous()
    rows, width = logits.shape
    gradient = torch.empty_like(logits)
    with on_card(logits):
        _softmax_backward[(rows, triton.cdiv(width, BLOCK))](logits, words, total, upstream, gradient, width, BLOCK)
    return gradient


@triton.jit
def _softmax_forward(logits, words, own, total, V: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    # Every lane keeps the maximum of its own columns, and a sum relative to it; they meet once, at the end.
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    power = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, V, BLOCK):
        x = tl.load(logits + row * V + start + columns, start + columns < V, float("-inf")).to(tl.float32)
        higher = tl.maximum(top, x)
        power = power * _exp(top, higher) + _exp(x, higher)
        top = higher
    most = tl.max(top, 0)
    found = most + tl.log(tl.sum(power * _exp(top, most), 0))
    word = tl.load(words + row)
    tl.store(total + row, found)
    x = tl.load(logits + row * V + word, (word >= 0) & (word < V), float("nan")).to(tl.float32)
    tl.store(own + row, x - found)


@triton.jit
def _exp(x, top):
    """exp(x − top), 0 where x is −∞, even if top is, too."""
    return tl.where(x == float("-inf"), 0.0, tl.exp(x - top))


@triton.jit
def _softmax_backward(logits, words, total, upstream, gradient, V: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < V
    x = tl.load(logits + row * V + columns, inside, float("-inf")).to(tl.float32)
    own = (columns == tl.load(words + row)).to(tl.float32)
    slope = (own - tl.exp(x - tl.load(total + row))) * tl.load(upstream + row)
    tl.store(gradient + row * V + columns, slope.to(gradient.dtype.element_ty), inside)
