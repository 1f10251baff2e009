"""A Gaussian posterior with a fixed variance, which bounds the rate from below.

    rate = ½ Σ_d (μ_d² + σ² − 1 − ln σ²) ≥ D (σ² − 1 − ln σ²)/2, for any μ

References
----------
Xu & Durrett 2018, *Spherical Latent Spaces for Stable Variational Autoencoders*, §2: a fixed variance keeps
the rate off 0, as a fixed κ does on the sphere.
"""

import math

import torch
from torch import Tensor, nn

from textvae.fields import Positive
from textvae.models.distributions import RestrictedGaussian
from textvae.models.encoders import Encoder
from textvae.models.posteriors.posterior import Posterior

__all__ = ["FixedVariancePosterior"]


class FixedVariancePosterior(Posterior):
    """N(μ(x), σ²I), with μ linear in the features and σ = `deviation` for every sentence."""

    def __init__(self, encoder: Encoder, latent_dim: int, *, deviation: Positive = 0.5) -> None:
        super().__init__(encoder, latent_dim)
        self.mean = nn.Linear(encoder.features, latent_dim, bias=False)
        self.log_variance = 2 * math.log(deviation)

    def distribution(self, features: Tensor) -> RestrictedGaussian:
        return RestrictedGaussian(self._family, (self.mean(features),))

    def _family(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        return mean, torch.full_like(mean, self.log_variance)
