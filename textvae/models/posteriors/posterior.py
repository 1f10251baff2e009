"""Posteriors q(z|x): modules that read a batch and return a distribution over z."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from textvae.data.batches import Batch
from textvae.models.distributions import Reparameterised
from textvae.models.encoders import Encoder

__all__ = ["Posterior"]


class Posterior(nn.Module, ABC):
    """q(z|x), a distribution whose parameters are functions of the encoder's features.

    A family's linear map to its mean, or to the direction of its mean, is named `mean`, so that one family
    can start from another's weights.
    """

    spherical: bool = False
    """Whether z lies on the unit sphere."""
    has_density: bool = True
    """Whether q(z|x) has a density; without one there is no rate, and the model has no likelihood."""

    def __init__(self, encoder: Encoder, latent_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.latent_dim = latent_dim

    def forward(self, batch: Batch) -> Reparameterised:
        """q(z|x) of every sentence: batch shape (B,), event shape (D,)."""
        return self.distribution(self.encoder(batch))

    @abstractmethod
    def distribution(self, features: Tensor) -> Reparameterised:
        """Map features (B, F) to q(z|x)."""
