"""Priors p(z): modules that return a distribution over z."""

from abc import ABC, abstractmethod

from torch import nn

from textvae.models.distributions import Reparameterised
from textvae.models.posteriors import Posterior

__all__ = ["Prior"]


class Prior(nn.Module, ABC):
    """p(z), batch shape (), event shape (D,)."""

    spherical: bool = False
    """Whether z lies on the unit sphere."""

    @abstractmethod
    def forward(self) -> Reparameterised:
        """The distribution."""

    def meet(self, posterior: Posterior) -> None:
        """Check that this prior is compatible with the model's posterior; keep a reference if it depends on it.

        Raises
        ------
        ValueError
            If one of the two lies on the sphere and the other does not.
        """
        if posterior.spherical and not self.spherical:
            raise ValueError("a posterior on the sphere needs a prior on it; choose uniform_sphere or vamp")
        if self.spherical and not posterior.spherical:
            raise ValueError("a prior on the sphere needs a posterior on it; choose vmf or power_spherical")
