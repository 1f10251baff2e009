"""The posterior of the deterministic autoencoder."""

from torch import Tensor, nn

from textvae.models.distributions import Dirac
from textvae.models.encoders import Encoder
from textvae.models.posteriors.posterior import Posterior

__all__ = ["DiracPosterior"]


class DiracPosterior(Posterior):
    """All mass at μ(x): with the penalty `none`, the deterministic autoencoder."""

    has_density = False

    def __init__(self, encoder: Encoder, latent_dim: int) -> None:
        super().__init__(encoder, latent_dim)
        self.mean = nn.Linear(encoder.features, latent_dim, bias=False)

    def distribution(self, features: Tensor) -> Dirac:
        return Dirac(self.mean(features))
