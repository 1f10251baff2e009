"""The output layer: log-probabilities of given words, in bounded memory.

    log p(wₙ | hₙ) = hₙ · W[wₙ] − log Σ_v exp(hₙ · W[v])

On a CPU the forward pass computes the logits of a chunk of rows at a time and, while they are in the cache,
turns them into the gradient 1[v = wₙ] − p(v | hₙ) and backpropagates it, which saves the backward pass
another pass over all logits. On an accelerator, logits that fit are kept for the backward pass, and others are
recomputed chunk by chunk in the backward pass, so that the host never waits to learn how the
tokens are weighted. Either way memory is bounded, whatever the number of tokens.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from textvae.models import kernels
from textvae.models.products import product

__all__ = ["word_log_probs"]

CHUNK_ELEMENTS = 4_000_000
"""Logits of a chunk: few enough for a CPU's cache …"""
CHUNK_ROWS = 256
"""… but at least as many rows as an efficient matrix product needs, however large the vocabulary."""
KEPT_ELEMENTS = 2**28
"""Logits that an accelerator may keep for the backward pass: 1 GiB; beyond that, a chunk is a quarter of it."""


def word_log_probs(hidden: Tensor, weight: Tensor, words: Tensor) -> Tensor:
    """log p(wₙ | hₙ) of words (N,) under softmax(W h), for hidden (N, H) and weight (V, H): (N,)."""
    on_host = hidden.device.type == "cpu"
    if not on_host and len(hidden) * len(weight) <= KEPT_ELEMENTS:
        return _kept(hidden, weight, words)
    layer = _Early if on_host else _Late
    with torch.autocast(hidden.device.type, enabled=False):
        # A Function cannot tell whether gradients are needed: under no_grad, parameters still require them.
        result: Tensor = layer.apply(  # type: ignore[no-untyped-call]
            hidden.to(weight.dtype), weight, words, torch.is_grad_enabled()
        )
    return result


def _kept(hidden: Tensor, weight: Tensor, words: Tensor) -> Tensor:
    if not kernels.serves(hidden):
        return -F.cross_entropy(F.linear(hidden, weight), words, reduction="none")
    device = hidden.device.type
    kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    result: Tensor = _Kept.apply(hidden, weight, words, kind)  # type: ignore[no-untyped-call]
    return result


class _Kept(torch.autograd.Function):
    """Keeps the logits, of type `kind`; log p and the gradient of the weights are of float32 all the same."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, words: Tensor, kind: torch.dtype) -> Tensor:
        from textvae.models.kernels import softmax

        hidden, weight = hidden.to(kind), weight.to(kind)
        logits = hidden @ weight.T
        log_probs, total = softmax.forward(logits, words)
        ctx.save_for_backward(hidden, weight, words, logits, total)
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        from textvae.models.kernels import softmax

        hidden, weight, words, logits, total = ctx.saved_tensors
        wants_hidden, wants_weight, *_ = ctx.needs_input_grad
        residual = softmax.backward(logits, words, total, upstream)
        by_hidden = residual @ weight if wants_hidden else None
        by_weight = kernels.matmul(residual.T, hidden) if wants_weight else None
        return by_hidden, by_weight, None, None


class _Early(torch.autograd.Function):
    """Computes the gradients in the forward pass, while the logits are available."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, words: Tensor, learning: bool) -> Tensor:
        wants_hidden, wants_weight, *_ = ctx.needs_input_grad
        gradients = _like(hidden, weight, learning and wants_hidden, learning and wants_weight)
        log_probs = hidden.new_empty(len(hidden))
        for rows in _chunks(hidden, weight):
            log_probs[rows], powers, total = _score(hidden[rows], weight, words[rows])
            if any(wanted is not None for wanted in gradients):
                _propagate(_residual(powers, total, words[rows]), rows, hidden, weight, *gradients)
        ctx.save_for_backward(hidden, weight, words, *gradients)
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, words, by_hidden, by_weight = ctx.saved_tensors
        if by_hidden is not None:
            by_hidden = by_hidden * upstream[:, None]
        # A mean weights all tokens alike and only scales the gradient; other sums need it recomputed.
        if by_weight is not None and bool((upstream == upstream[:1]).all()):
            by_weight = by_weight * upstream[:1].sum()
        elif by_weight is not None:
            by_weight = _gradients(hidden, weight, words, upstream, False, True)[1]
        return by_hidden, by_weight, None, None


class _Late(torch.autograd.Function):
    """Recomputes the logits in the backward pass, without synchronising with the device."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, words: Tensor, learning: bool) -> Tensor:
        ctx.save_for_backward(hidden, weight, words)
        log_probs = hidden.new_empty(len(hidden))
        for rows in _chunks(hidden, weight):
            log_probs[rows] = _score(hidden[rows], weight, words[rows])[0]
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, words = ctx.saved_tensors
        wants_hidden, wants_weight, *_ = ctx.needs_input_grad
        return *_gradients(hidden, weight, words, upstream, wants_hidden, wants_weight), None, None


Gradients = tuple[Tensor | None, Tensor | None]
"""With respect to hidden (N, H) and weight (V, H), None where not needed."""


def _gradients(
    hidden: Tensor, weight: Tensor, words: Tensor, upstream: Tensor, wants_hidden: bool, wants_weight: bool
) -> Gradients:
    """The gradients of Σ upstream · log p, from recomputed logits."""
    gradients = _like(hidden, weight, wants_hidden, wants_weight)
    for rows in _chunks(hidden, weight):
        _, powers, total = _score(hidden[rows], weight, words[rows])
        residual = _residual(powers, total, words[rows]).mul_(upstream[rows, None])
        _propagate(residual, rows, hidden, weight, *gradients)
    return gradients


def _like(hidden: Tensor, weight: Tensor, wants_hidden: bool, wants_weight: bool) -> Gradients:
    """Allocate the gradients that are needed, the weight's in column-major order, as products return it."""
    by_columns = weight.new_zeros(weight.shape[::-1]).T if wants_weight else None
    return torch.empty_like(hidden) if wants_hidden else None, by_columns


def _propagate(
    residual: Tensor,
    rows: slice,
    hidden: Tensor,
    weight: Tensor,
    by_hidden: Tensor | None,
    by_weight: Tensor | None,
) -> None:
    """Backpropagate the gradient of the logits (n, V) of these rows into `by_hidden` and `by_weight`."""
    if by_hidden is not None:
        by_hidden[rows] = product(residual, weight.T)
    if by_weight is not None:
        by_weight.T.add_(product(hidden[rows].T, residual.T))


def _chunks(hidden: Tensor, weight: Tensor) -> list[slice]:
    """Slices of the rows, as even as possible, of as many logits as suit the device, or `CHUNK_ROWS` rows."""
    elements = CHUNK_ELEMENTS if hidden.device.type == "cpu" else KEPT_ELEMENTS // 4
    longest = max(CHUNK_ROWS, elements // len(weight))
    size = -(-len(hidden) // max(1, -(-len(hidden) // longest)))
    return [slice(start, start + size) for start in range(0, len(hidden), size or 1)]


def _score(hidden: Tensor, weight: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p of the words (n,), and exp(logits − max) (n, V) with its row sums (n, 1)."""
    logits = product(hidden, weight)
    top = logits.amax(1, keepdim=True)
    own = logits.gather(1, words[:, None])
    powers = logits.sub_(top).exp_()
    total = powers.sum(1, keepdim=True)
    return (own - top - total.log())[:, 0], powers, total


def _residual(powers: Tensor, total: Tensor, words: Tensor) -> Tensor:
    """The gradient of log p with respect to the logits, 1[v = w] − p(v), overwriting the powers (n, V)."""
    residual = powers.mul_(-1 / total)
    return residual.scatter_add_(1, words[:, None], torch.ones_like(total))
