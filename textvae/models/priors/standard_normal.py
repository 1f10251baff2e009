"""The prior of the plain VAE."""

import torch
from torch import Tensor

from textvae.models.distributions import DiagonalGaussian
from textvae.models.priors.prior import Prior

__all__ = ["StandardNormal"]


class StandardNormal(Prior):
    """N(0, I)."""

    zeros: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> DiagonalGaussian:
        return DiagonalGaussian(self.zeros, self.zeros)
