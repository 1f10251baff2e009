"""The posterior of the plain VAE, a Gaussian with a diagonal covariance.

References
----------
Kingma & Welling 2014, *Auto-Encoding Variational Bayes*.
"""

from torch import Tensor, nn

from textvae.models.distributions import DiagonalGaussian
from textvae.models.encoders import Encoder
from textvae.models.posteriors.posterior import Posterior

__all__ = ["DiagonalPosterior"]


class DiagonalPosterior(Posterior):
    """N(μ(x), diag σ²(x)), with μ and log σ² linear in the features."""

    def __init__(self, encoder: Encoder, latent_dim: int) -> None:
        super().__init__(encoder, latent_dim)
        self.mean = nn.Linear(encoder.features, latent_dim, bias=False)
        self.log_variance = nn.Linear(encoder.features, latent_dim, bias=False)

    def distribution(self, features: Tensor) -> DiagonalGaussian:
        return DiagonalGaussian(self.mean(features), self.log_variance(features))
