"""One process's slice of a batch, and the autograd functions that scatter and gather it.

    own rows:   forward keeps this process's rows,   backward gathers those of all, divided by W
    gathered:   forward gathers the rows of all,     backward keeps this process's rows, times W

Between the two, a parameter's gradient is W times this process's part; outside them, every process has the
full gradient. The mean over the W processes is correct for both.

References
----------
Shoeybi et al. 2019, *Megatron-LM: Training Multi-Billion Parameter Language Models Using Model
Parallelism*: conjugate operators at the borders of what is split.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from textvae.data.batches import Batch

__all__ = ["Share"]


class Share:
    """The slice of `sentences` that process `rank` of `size` computes, on `axis` of tensors.

    `total` sums a tensor over the processes, in place.
    """

    def __init__(self, rank: int, size: int, total: Callable[[Tensor], Tensor], sentences: int, axis: int) -> None:
        self.size, self.total, self.sentences, self.axis = size, total, sentences, axis
        self.start, self.stop = sentences * rank // size, sentences * (rank + 1) // size
        # Every process must run the same operations: one without sentences computes one and drops the result.
        self.idle = self.start == self.stop
        self.taken = slice(0, 1) if self.idle else slice(self.start, self.stop)

    def of_batch(self, batch: Batch) -> Batch:
        """This process's sentences."""
        return batch.part(self.taken)

    def own(self, values: Tensor) -> Tensor:
        """This process's rows."""
        own: Tensor = _Own.apply(values, self)  # type: ignore[no-untyped-call]
        return own

    def gathered(self, own: Tensor) -> Tensor:
        """The rows of all processes."""
        whole: Tensor = _Gathered.apply(own, self)  # type: ignore[no-untyped-call]
        return whole

    def cut(self, whole: Tensor) -> Tensor:
        """This process's rows of `whole`, not recorded by autograd."""
        return whole.narrow(self.axis, self.taken.start, self.taken.stop - self.taken.start)

    def join(self, own: Tensor) -> Tensor:
        """The rows of all processes, not recorded by autograd."""
        shape = list(own.shape)
        shape[self.axis] = self.sentences
        whole = own.new_zeros(shape)
        if not self.idle:
            whole.narrow(self.axis, self.start, self.stop - self.start).copy_(own)
        return self.total(whole)


class _Own(torch.autograd.Function):
    """This process's rows; the backward pass gathers the gradients of all, divided by W."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, share: Share) -> Tensor:
        ctx.share = share
        return share.cut(whole).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.share.join(gradient) / ctx.share.size, None


class _Gathered(torch.autograd.Function):
    """The rows of all processes; the backward pass keeps this process's gradient, times W."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, share: Share) -> Tensor:
        ctx.share = share
        return share.join(own)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.share.cut(gradient) * (0 if ctx.share.idle else ctx.share.size), None
