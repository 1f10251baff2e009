"""The output layer: log-probabilities of given words, without ever holding all logits at once.

    log p(wₙ | hₙ) = hₙ · W[wₙ] − log Σ_v exp(hₙ · W[v])

On a processor the forward pass takes a chunk of rows at a time, makes their logits, and while they are in
the cache turns them into the gradient 1[v = wₙ] − p(v | hₙ) and multiplies it on: no pass over all logits
is left for the backward pass. On an accelerator logits that fit are kept, as in the textbook, and others
are made again chunk by chunk in the backward pass, so that the host never has to wait and see how the
tokens were weighed. Either way memory is bounded, whatever the number of tokens.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from textvae.models.products import product

__all__ = ["word_log_probs"]

CHUNK_ELEMENTS = 4_000_000
"""Logits of a chunk: few enough for a processor's cache …"""
CHUNK_ROWS = 256
"""… but never fewer rows than a good matrix product needs, however large the vocabulary."""
KEPT_ELEMENTS = 2**28
"""Logits that an accelerator may keep for the backward pass: 1 GiB of them; a chunk of more is a quarter."""


def word_log_probs(hidden: Tensor, weight: Tensor, words: Tensor) -> Tensor:
    """log p(wₙ | hₙ) of words (N,) under softmax(W h), for hidden (N, H) and weight (V, H): (N,)."""
    on_host = hidden.device.type == "cpu"
    if not on_host and len(hidden) * len(weight) <= KEPT_ELEMENTS:
        return -F.cross_entropy(F.linear(hidden, weight), words, reduction="none")
    layer = _Early if on_host else _Late
    with torch.autocast(hidden.device.type, enabled=False):
        # Inside a Function nobody can tell whether gradients are wanted: under no_grad, parameters still ask.
        result: Tensor = layer.apply(  # type: ignore[no-untyped-call]
            hidden.to(weight.dtype), weight, words, torch.is_grad_enabled()
        )
    return result


class _Early(torch.autograd.Function):
    """Makes the gradients in the forward pass, while the logits are at hand."""

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
        # A mean over tokens weighs all alike, and its gradient is made already; other sums need theirs.
        if by_weight is not None and bool((upstream == upstream[:1]).all()):
            by_weight = by_weight * upstream[:1].sum()
        elif by_weight is not None:
            by_weight = _gradients(hidden, weight, words, upstream, False, True)[1]
        return by_hidden, by_weight, None, None


class _Late(torch.autograd.Function):
    """Makes the logits again in the backward pass, and asks the device nothing."""

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
"""By hidden (N, H) and by weight (V, H), None where nobody wants it."""


def _gradients(
    hidden: Tensor, weight: Tensor, words: Tensor, upstream: Tensor, wants_hidden: bool, wants_weight: bool
) -> Gradients:
    """The gradients of Σ upstream · log p, from logits made again."""
    gradients = _like(hidden, weight, wants_hidden, wants_weight)
    for rows in _chunks(hidden, weight):
        _, powers, total = _score(hidden[rows], weight, words[rows])
        residual = _residual(powers, total, words[rows]).mul_(upstream[rows, None])
        _propagate(residual, rows, hidden, weight, *gradients)
    return gradients


def _like(hidden: Tensor, weight: Tensor, wants_hidden: bool, wants_weight: bool) -> Gradients:
    """Room for the gradients that are wanted, that of the weight laid out by columns, as products make it."""
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
    """Multiply the gradient by the logits (n, V) of some rows on."""
    if by_hidden is not None:
        by_hidden[rows] = product(residual, weight.T)
    if by_weight is not None:
        by_weight.T.add_(product(hidden[rows].T, residual.T))


def _chunks(hidden: Tensor, weight: Tensor) -> list[slice]:
    """Slices of the rows, as even as can be, of as many logits as suit the device, or `CHUNK_ROWS` rows."""
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
    """The gradient of log p by the logits, 1[v = w] − p(v), in place of the powers (n, V)."""
    residual = powers.mul_(-1 / total)
    return residual.scatter_add_(1, words[:, None], torch.ones_like(total))
