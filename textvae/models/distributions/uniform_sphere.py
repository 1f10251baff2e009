"""The uniform distribution on the unit sphere S⁽ᴰ⁻¹⁾ of ℝᴰ, of area 2 π^(D/2) / Γ(D/2).

Densities on the sphere are with respect to its surface measure.

References
----------
Davidson et al. 2018, *Hyperspherical Variational Auto-Encoders*.
"""

import math

import torch
from torch import Size, Tensor
from torch.nn import functional as F

from textvae.models.distributions.reparameterised import Reparameterised

__all__ = ["UniformSphere", "log_area"]


def log_area(dim: int) -> float:
    """log of the surface area of the unit sphere in ℝᴰ."""
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


class UniformSphere(Reparameterised):
    """The uniform distribution on the unit sphere, with batch shape (); `origin` is its centre, zeros (D,)."""

    def __init__(self, origin: Tensor) -> None:
        self.origin = origin
        super().__init__(Size(), len(origin))

    @property
    def mean(self) -> Tensor:
        return self.origin

    @property
    def variance(self) -> Tensor:
        return torch.full_like(self.origin, 1 / len(self.origin))

    def transport(self, noise: Tensor) -> Tensor:
        """z = ε / |ε|."""
        return F.normalize(noise, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """−log area, everywhere on the sphere."""
        return value.new_full(value.shape[:-1], -log_area(len(self.origin)))

    def detached(self) -> "UniformSphere":
        return self
