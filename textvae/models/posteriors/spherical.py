"""Posteriors on the unit sphere, about the direction of a vector μ(x) that is linear in the features.

References
----------
Xu & Durrett 2018, *Spherical Latent Spaces for Stable Variational Autoencoders*: von Mises–Fisher, κ fixed.
Davidson et al. 2018, *Hyperspherical Variational Auto-Encoders*.
De Cao & Aziz 2020, *The Power Spherical Distribution*.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from textvae.fields import Positive
from textvae.models.distributions import PowerSpherical, VonMisesFisher
from textvae.models.encoders import Encoder
from textvae.models.posteriors.posterior import Posterior

__all__ = ["PowerSphericalPosterior", "SphericalPosterior", "VonMisesFisherPosterior"]


class SphericalPosterior(Posterior):
    """A posterior on the sphere.

    Raises
    ------
    ValueError
        If `latent_dim` is below 2, or the encoder has no features.
    """

    spherical = True

    def __init__(self, encoder: Encoder, latent_dim: int) -> None:
        super().__init__(encoder, latent_dim)
        if latent_dim < 2:
            raise ValueError(f"a sphere needs a latent_dim of at least 2, not {latent_dim}")
        if not encoder.features:
            raise ValueError("a posterior on the sphere needs an encoder with features; choose lstm, not none")
        self.mean = nn.Linear(encoder.features, latent_dim, bias=False)

    def direction(self, features: Tensor) -> Tensor:
        """μ(x) / |μ(x)|, (B, D)."""
        return F.normalize(self.mean(features), dim=-1)


class VonMisesFisherPosterior(SphericalPosterior):
    """vMF(μ(x)/|μ(x)|, κ), with κ = `concentration` for every sentence: the rate is a constant."""

    def __init__(self, encoder: Encoder, latent_dim: int, *, concentration: Positive = 13.0) -> None:
        super().__init__(encoder, latent_dim)
        self.concentration = concentration

    def distribution(self, features: Tensor) -> VonMisesFisher:
        return VonMisesFisher(self.direction(features), self.concentration)


class PowerSphericalPosterior(SphericalPosterior):
    """PowerSpherical(μ(x)/|μ(x)|, κ), with κ = `concentration`, or learned where that is null.

    Learned, κ(x) = 1 + softplus of a linear map, so the rate can vary, and can collapse to nearly 0.
    """

    def __init__(self, encoder: Encoder, latent_dim: int, *, concentration: Positive | None = None) -> None:
        super().__init__(encoder, latent_dim)
        self.concentration = concentration
        self.spread = nn.Linear(encoder.features, 1, bias=False) if concentration is None else None

    def distribution(self, features: Tensor) -> PowerSpherical:
        if self.concentration is not None:
            return PowerSpherical(self.direction(features), features.new_full((), self.concentration))
        assert self.spread is not None
        return PowerSpherical(self.direction(features), 1 + F.softplus(self.spread(features)[..., 0]))
