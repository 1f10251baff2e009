"""Mean and variance over a training batch, and their running averages, which evaluation reads.

With several processes, each sees the rows of the whole batch (`training.processes`). In evaluation a
sentence's q does not depend on other sentences.
"""

import torch
from torch import Tensor, nn

__all__ = ["BatchStatistics"]

EPSILON = 1e-20
"""Far below 10⁻¹¹, the variance of means initialised within ±0.01: else BN-VAE's bound fails at the start."""
ROUNDING = 4.0
"""Up to this deviation, in units of the mean's last digit, rows count as equal, and 1 / deviation is 0."""
MOMENTUM = 0.1
"""The weight of a new batch in the running averages, after the first ten, which are weighted equally."""


class BatchStatistics(nn.Module):
    """Mean and 1 / standard deviation (D,) of rows (B, D): the batch's in training, else running averages."""

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            return self.mean, _narrowing(self.mean, self.variance)
        count, mean = len(rows), rows.mean(0)
        variance = (rows - mean).square().mean(0)
        if count > 1:  # one row has no variance
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
        return mean, _narrowing(mean, variance)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.batches += 1
        share = (1 / self.batches).clamp_min(MOMENTUM).to(mean.dtype)
        self.mean.lerp_(mean, share)
        self.variance.lerp_(variance, share)


def _narrowing(mean: Tensor, variance: Tensor) -> Tensor:
    """1 / standard deviation, and 0 where rows differ by rounding alone, which it would blow up."""
    rounding = (ROUNDING * torch.finfo(mean.dtype).eps * mean).square()
    return (variance + EPSILON).rsqrt().where(variance > rounding, 0.0)
