"""Priors p(z): a module that returns a distribution over z."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from textvae.models.distributions import DiagonalGaussian, Reparameterised

__all__ = ["PRIORS", "Prior", "StandardNormal"]


class Prior(nn.Module, ABC):
    """p(z), batch shape (), event shape (D,)."""

    @abstractmethod
    def forward(self) -> Reparameterised:
        """The distribution."""


class StandardNormal(Prior):
    """N(0, I)."""

    zeros: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> DiagonalGaussian:
        return DiagonalGaussian(self.zeros, self.zeros)


PRIORS = {"standard_normal": StandardNormal}
