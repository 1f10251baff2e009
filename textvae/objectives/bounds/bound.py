"""Combine distortion and penalty of one pass into the part of the loss that bounds −log p(x)."""

from abc import ABC, abstractmethod

from torch import Tensor

from textvae.models.terms import Pass

__all__ = ["Bound", "Elbo", "Number"]

Number = float | Tensor


class Bound(ABC):
    """A scalar, averaged over the batch; at weights 1 and 1 with the penalty `rate`, a bound on −log p(x)."""

    needs_rate: bool = False
    """Whether the penalty must be the rate itself."""

    @abstractmethod
    def __call__(self, done: Pass, distortion_weight: Number, weight: Number, penalty: Tensor) -> Tensor:
        """The bound for one pass, given its penalty."""


class Elbo(Bound):
    """distortion_weight · mean_B distortion + weight · penalty."""

    def __call__(self, done: Pass, distortion_weight: Number, weight: Number, penalty: Tensor) -> Tensor:
        return distortion_weight * done.terms.distortion.mean() + weight * penalty
