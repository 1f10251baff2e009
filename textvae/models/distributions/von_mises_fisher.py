"""The von Mises–Fisher distribution on the unit sphere, with a fixed κ, so that its rate is constant.

    p(z) = C exp(κ μᵀz)            C = κ^(D/2−1) / ((2π)^(D/2) I_(D/2−1)(κ))
    KL(q ‖ uniform) = κ A + log C + log area        A = E[w] = I_(D/2)(κ) / I_(D/2−1)(κ)

The Bessel functions enter through C⁻¹ = area(S⁽ᴰ⁻²⁾) ∫ exp(κ cos θ) sin^(D−2) θ dθ, integrated numerically:
stable for every D and κ, and the same integral that sampling uses. A and Var[w] are computed alike.

References
----------
Xu & Durrett 2018, *Spherical Latent Spaces for Stable Variational Autoencoders*.
Davidson et al. 2018, *Hyperspherical Variational Auto-Encoders*.
"""

from functools import lru_cache

import torch
from torch import Tensor

from textvae.models.distributions.polar import Polar
from textvae.models.distributions.rotational import Rotational
from textvae.models.distributions.uniform_sphere import log_area

__all__ = ["VonMisesFisher"]


class VonMisesFisher(Rotational):
    """vMF(μ, κ), with μ of shape (*batch_shape, D) and norm 1, D ≥ 2, and one κ > 0 for all."""

    def __init__(self, direction: Tensor, concentration: float) -> None:
        self.kappa = concentration
        # Filled on the device: copying a number from the host would synchronise.
        super().__init__(direction, direction.new_full((), concentration))

    @staticmethod
    def statistic(cosine: Tensor) -> Tensor:
        """T(w) = w."""
        return cosine

    @property
    def log_normaliser(self) -> Tensor:
        return self._constants[0]

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        return self._constants[1], self._constants[2]

    @property
    def expected_statistic(self) -> Tensor:
        return self.moments[0]

    def detached(self) -> "VonMisesFisher":
        return VonMisesFisher(self.direction.detach(), self.kappa)

    @property
    def polar(self) -> Polar:
        """The density of θ, cached across steps."""
        return _table(self.kappa, self.event_shape[0], self.direction.device)[0]

    @property
    def _constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """log C, E[w] and Var[w]."""
        _, log_normaliser, mean, variance = _table(self.kappa, self.event_shape[0], self.direction.device)
        return log_normaliser.to(self.direction), mean.to(self.direction), variance.to(self.direction)


@lru_cache(maxsize=16)
def _table(kappa: float, dim: int, device: torch.device) -> tuple[Polar, Tensor, Tensor, Tensor]:
    """The angle's density, log C, E[w] and Var[w], in float64."""
    polar = Polar.of(VonMisesFisher.statistic, torch.full((1,), kappa, dtype=torch.float64, device=device), dim)
    mean = polar.expectation(torch.cos)
    variance = polar.expectation(lambda angle: (angle.cos() - mean) ** 2)
    return polar, (-polar.log_integral - log_area(dim - 1))[0], mean[0], variance[0]
