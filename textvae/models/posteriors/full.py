"""A Gaussian posterior with a full covariance.

References
----------
Kingma & Welling 2019, *An Introduction to Variational Autoencoders*, §2.5.1.
"""

from torch import Tensor, nn

from textvae.models.distributions import FullGaussian
from textvae.models.encoders import Encoder
from textvae.models.posteriors.posterior import Posterior

__all__ = ["FullPosterior"]


class FullPosterior(Posterior):
    """N(μ(x), L(x) L(x)ᵀ): μ, the log of L's diagonal and the entries below it are linear in the features."""

    def __init__(self, encoder: Encoder, latent_dim: int) -> None:
        super().__init__(encoder, latent_dim)
        self.mean = nn.Linear(encoder.features, latent_dim, bias=False)
        self.log_diagonal = nn.Linear(encoder.features, latent_dim, bias=False)
        self.below = nn.Linear(encoder.features, latent_dim * (latent_dim - 1) // 2, bias=False)

    def distribution(self, features: Tensor) -> FullGaussian:
        return FullGaussian.of(self.mean(features), self.log_diagonal(features), self.below(features))
