"""The uniform prior on the unit sphere."""

import torch
from torch import Tensor

from textvae.models.distributions import UniformSphere
from textvae.models.priors.prior import Prior

__all__ = ["UniformSpherePrior"]


class UniformSpherePrior(Prior):
    """Uniform on the unit sphere.

    Raises
    ------
    ValueError
        If `latent_dim` is below 2.
    """

    spherical = True
    origin: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 2:
            raise ValueError(f"a sphere needs a latent_dim of at least 2, not {latent_dim}")
        self.register_buffer("origin", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> UniformSphere:
        return UniformSphere(self.origin)
