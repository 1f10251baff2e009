"""Posteriors q(z|x): a module that reads a batch and returns a distribution over z.

References
----------
Kingma & Welling 2014, *Auto-Encoding Variational Bayes*: the diagonal Gaussian.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from textvae.data.batches import Batch
from textvae.models.distributions import DiagonalGaussian, Dirac, Reparameterised
from textvae.models.encoders import Encoder

__all__ = ["POSTERIORS", "DiagonalPosterior", "DiracPosterior", "Posterior"]


class Posterior(nn.Module, ABC):
    """q(z|x) = a distribution whose parameters are read off the encoder's features."""

    def __init__(self, encoder: Encoder, latent_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.latent_dim = latent_dim

    def forward(self, batch: Batch) -> Reparameterised:
        """q(z|x) of every sentence: batch shape (B,), event shape (D,)."""
        return self.distribution(self.encoder(batch))

    @abstractmethod
    def distribution(self, features: Tensor) -> Reparameterised:
        """Features (B, F) to q(z|x)."""


class DiagonalPosterior(Posterior):
    """N(μ(x), diag σ²(x)), with μ and log σ² linear in the features."""

    def __init__(self, encoder: Encoder, latent_dim: int) -> None:
        super().__init__(encoder, latent_dim)
        self.parameters_of_q = nn.Linear(encoder.features, 2 * latent_dim, bias=False)

    def distribution(self, features: Tensor) -> DiagonalGaussian:
        mean, log_variance = self.parameters_of_q(features).chunk(2, dim=-1)
        return DiagonalGaussian(mean, log_variance)


class DiracPosterior(Posterior):
    """All mass at μ(x): with the penalty `none`, the deterministic autoencoder."""

    def __init__(self, encoder: Encoder, latent_dim: int) -> None:
        super().__init__(encoder, latent_dim)
        self.point = nn.Linear(encoder.features, latent_dim, bias=False)

    def distribution(self, features: Tensor) -> Dirac:
        return Dirac(self.point(features))


POSTERIORS = {"diagonal": DiagonalPosterior, "dirac": DiracPosterior}
