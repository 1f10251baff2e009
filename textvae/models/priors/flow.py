"""A normalising flow over N(0, I) as the prior.

References
----------
Rezende & Mohamed 2015, *Variational Inference with Normalizing Flows*.
Chen et al. 2017, *Variational Lossy Autoencoder*: a flow as the prior.
"""

from typing import Literal

import torch
from torch import Tensor

from textvae.fields import Count
from textvae.models.bijections import Bijection
from textvae.models.distributions import DiagonalGaussian, Flow
from textvae.models.priors.prior import Prior

__all__ = ["FlowPrior"]


class FlowPrior(Prior):
    """z = f⁻¹(u), u ~ N(0, I).

    Raises
    ------
    ValueError
        If zuko is not installed, or `latent_dim` is 0.
    """

    zeros: Tensor

    def __init__(
        self,
        latent_dim: int,
        *,
        family: Literal["affine", "spline"] = "affine",
        transforms: Count = 2,
        hidden_dim: Count = 64,
        coupling: bool = True,
    ) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.bijection = Bijection(
            latent_dim, 0, family=family, transforms=transforms, hidden_dim=hidden_dim, coupling=coupling
        )

    def forward(self) -> Flow:
        return Flow(DiagonalGaussian(self.zeros, self.zeros), self.bijection, None)
