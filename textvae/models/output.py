"""The output layer: log-probabilities of given words, without ever holding all logits at once.

    log p(wₙ | hₙ) = hₙ · W[wₙ] − log Σ_v exp(hₙ · W[v])

A chunk of rows at a time, the forward pass makes the logits, and while they are in the cache turns them
into the gradient 1[v = wₙ] − p(v | hₙ) and multiplies it on. Memory is that of one chunk of logits,
whatever the number of tokens; no pass over all logits is left for the backward pass.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["word_log_probs"]

CHUNK_ELEMENTS = 4_000_000
"""Logits held at once: few enough for a processor's cache, enough rows for a good matrix product."""


def word_log_probs(hidden: Tensor, weight: Tensor, words: Tensor) -> Tensor:
    """log p(wₙ | hₙ) of words (N,) under softmax(W h), for hidden (N, H) and weight (V, H): (N,)."""
    # Inside a Function nobody can tell whether gradients are wanted: under no_grad, parameters still ask.
    learning = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    result: Tensor = _WordLogProbs.apply(hidden, weight, words, learning)  # type: ignore[no-untyped-call]
    return result


class _WordLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, words: Tensor, learning: bool) -> Tensor:
        log_probs = hidden.new_empty(len(hidden))
        by_hidden = torch.empty_like(hidden) if learning else None
        by_weight = torch.zeros_like(weight) if learning else None
        for rows in _chunks(hidden, weight):
            log_probs[rows], powers, total = _score(hidden[rows], weight, words[rows])
            if by_hidden is not None and by_weight is not None:
                residual = _residual(powers, total, words[rows])
                torch.mm(residual, weight, out=by_hidden[rows])
                by_weight.addmm_(residual.T, hidden[rows])
        ctx.save_for_backward(hidden, weight, words, by_hidden, by_weight)
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, weight, words, by_hidden, by_weight = ctx.saved_tensors
        # A mean over tokens weighs all alike, and its gradient is made already; other sums need theirs.
        if bool((upstream == upstream[:1]).all()):
            by_weight = by_weight * upstream[:1].sum()
        else:
            by_weight = torch.zeros_like(weight)
            for rows in _chunks(hidden, weight):
                _, powers, total = _score(hidden[rows], weight, words[rows])
                residual = _residual(powers, total, words[rows])
                by_weight.addmm_(residual.T, hidden[rows] * upstream[rows, None])
        return by_hidden * upstream[:, None], by_weight, None, None


def _chunks(hidden: Tensor, weight: Tensor) -> list[slice]:
    """Slices of the rows, as even as can be, of at most `CHUNK_ELEMENTS` logits each."""
    count = max(1, -(-len(hidden) * len(weight) // CHUNK_ELEMENTS))
    size = -(-len(hidden) // count)
    return [slice(start, start + size) for start in range(0, len(hidden), size or 1)]


def _score(hidden: Tensor, weight: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p of the words (n,), and exp(logits − max) (n, V) with its row sums (n, 1)."""
    logits = hidden @ weight.T
    top = logits.amax(1, keepdim=True)
    own = logits.gather(1, words[:, None])
    powers = logits.sub_(top).exp_()
    total = powers.sum(1, keepdim=True)
    return (own - top - total.log())[:, 0], powers, total


def _residual(powers: Tensor, total: Tensor, words: Tensor) -> Tensor:
    """The gradient of log p by the logits, 1[v = w] − p(v), in place of the powers (n, V)."""
    residual = powers.mul_(-1 / total)
    return residual.scatter_add_(1, words[:, None], torch.ones_like(total))
