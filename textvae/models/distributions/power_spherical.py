"""The power spherical distribution on the unit sphere, whose density, moments and entropy have closed forms.

    p(z) = C (1 + μᵀz)^κ        log C = −((a + b) ln 2 + b ln π + ln Γ(a) − ln Γ(a + b))
    w = 2t − 1,  t ~ Beta(a, b),  a = (D − 1)/2 + κ,  b = (D − 1)/2
    E[w] = (a − b)/(a + b)        Var[w] = 4ab / ((a + b)² (a + b + 1))
    E[ln(1 + w)] = ln 2 + ψ(a) − ψ(a + b)

References
----------
De Cao & Aziz 2020, *The Power Spherical Distribution*.
"""

import math

import torch
from torch import Tensor

from textvae.models.distributions.rotational import Rotational

__all__ = ["PowerSpherical"]


class PowerSpherical(Rotational):
    """μ of shape (*batch_shape, D) and norm 1, D ≥ 2, and κ > 0 of shape (*batch_shape,), or () if shared."""

    @staticmethod
    def statistic(cosine: Tensor) -> Tensor:
        """T(w) = ln(1 + w)."""
        return torch.log1p(cosine.clamp_min(torch.finfo(cosine.dtype).eps - 1))

    @property
    def log_normaliser(self) -> Tensor:
        a, b = self._shape
        constant = (a + b) * math.log(2) + b * math.log(math.pi) + torch.lgamma(a) - torch.lgamma(a + b)
        return -constant.to(self.direction)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        a, b = self._shape
        variance = 4 * a * b / ((a + b) ** 2 * (a + b + 1))
        return ((a - b) / (a + b)).to(self.direction), variance.to(self.direction)

    @property
    def expected_statistic(self) -> Tensor:
        a, b = self._shape
        return (math.log(2) + torch.digamma(a) - torch.digamma(a + b)).to(self.direction)

    def detached(self) -> "PowerSpherical":
        return PowerSpherical(self.direction.detach(), self.concentration.detach())

    @property
    def _shape(self) -> tuple[Tensor, float]:
        """a and b of the Beta distribution, in float64."""
        b = (self.event_shape[0] - 1) / 2
        return b + self.concentration.double(), b
