"""All mass at one point."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, register_kl

from textvae.models.distributions.reparameterised import Reparameterised

__all__ = ["Dirac"]


class Dirac(Reparameterised):
    """All mass at one point: the posterior of a deterministic autoencoder.

    It has no density, so its rate is NaN (written as null), never 0: 0 would look like collapse.
    """

    def __init__(self, point: Tensor) -> None:
        self.point = point
        super().__init__(point.shape[:-1], point.shape[-1])

    @property
    def mean(self) -> Tensor:
        return self.point

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.point)

    def transport(self, noise: Tensor) -> Tensor:
        """z = the point, whatever the noise."""
        return self.point.expand_as(noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """NaN: a Dirac has no density with respect to Lebesgue measure."""
        shape = torch.broadcast_shapes(value.shape, self.point.shape)[:-1]
        return self.point.new_full(shape, math.nan)

    def detached(self) -> "Dirac":
        return Dirac(self.point.detach())


def _kl(q: Dirac, p: Distribution) -> Tensor:
    return q.point.new_full(q.batch_shape, math.nan)


register_kl(Dirac, Distribution)(_kl)
