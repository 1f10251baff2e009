"""A process's share of a batch, and how gradients cross the borders of what is shared out.

    own rows:   forward keeps this process's rows,   backward gathers those of all, divided by W
    gathered:   forward gathers the rows of all,     backward keeps this process's rows, times W

Between the two, a parameter's gradient is W times this process's part; outside of them every process has
the full one. The mean over the W processes is right for both.

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
    """The share of process `rank` of `size` in `sentences`, which lie on `axis` of tensors.

    `total` sums a tensor over the processes, in place.
    """

    def __init__(self, rank: int, size: int, total: Callable[[Tensor], Tensor], sentences: int, axis: int) -> None:
        self.size, self.total, self.sentences, self.axis = size, total, sentences, axis
        self.start, self.stop = sentences * rank // size, sentences * (rank + 1) // size
        # Every process must run the same operations: one without sentences takes one whose results it drops.
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
        """This process's rows of `whole`, without a gradient of their own."""
        return whole.narrow(self.axis, self.taken.start, self.taken.stop - self.taken.start)

    def join(self, own: Tensor) -> Tensor:
        """The rows of all processes, likewise."""
        shape = list(own.shape)
        shape[self.axis] = self.sentences
        whole = own.new_zeros(shape)
        if not self.idle:
            whole.narrow(self.axis, self.start, self.stop - self.start).copy_(own)
        return self.total(whole)


class _Own(torch.autograd.Function):
    """The share of this process; its gradients are gathered, divided by W."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, share: Share) -> Tensor:
        ctx.share = share
        return share.cut(whole).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.share.join(gradient) / ctx.share.size, None


class _Gathered(torch.autograd.Function):
    """The shares of all processes; this one's gradient, times W."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, share: Share) -> Tensor:
        ctx.share = share
        return share.join(own)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.share.cut(gradient) * (0 if ctx.share.idle else ctx.share.size), None
