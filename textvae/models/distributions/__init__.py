"""Distributions over z, one family a file."""

from textvae.models.distributions.diagonal_gaussian import (
    DiagonalGaussian,
    RestrictedGaussian,
    ScaledGaussian,
    kl_per_dimension,
)
from textvae.models.distributions.dirac import Dirac
from textvae.models.distributions.flow import Flow
from textvae.models.distributions.full_gaussian import FullGaussian
from textvae.models.distributions.mixture import Mixture
from textvae.models.distributions.power_spherical import PowerSpherical
from textvae.models.distributions.reparameterised import Reparameterised
from textvae.models.distributions.uniform_sphere import UniformSphere, log_area
from textvae.models.distributions.von_mises_fisher import VonMisesFisher

__all__ = [
    "DiagonalGaussian",
    "Dirac",
    "Flow",
    "FullGaussian",
    "Mixture",
    "PowerSpherical",
    "Reparameterised",
    "RestrictedGaussian",
    "ScaledGaussian",
    "UniformSphere",
    "VonMisesFisher",
    "kl_per_dimension",
    "log_area",
]
