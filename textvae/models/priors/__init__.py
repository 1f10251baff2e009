"""Priors p(z), one family a file."""

from textvae.models.priors.flow import FlowPrior
from textvae.models.priors.mixture import MixturePrior
from textvae.models.priors.prior import Prior
from textvae.models.priors.standard_normal import StandardNormal
from textvae.models.priors.uniform_sphere import UniformSpherePrior
from textvae.models.priors.vamp import VampPrior

__all__ = [
    "PRIORS",
    "FlowPrior",
    "MixturePrior",
    "Prior",
    "StandardNormal",
    "UniformSpherePrior",
    "VampPrior",
]

PRIORS = {
    "standard_normal": StandardNormal,
    "uniform_sphere": UniformSpherePrior,
    "mixture": MixturePrior,
    "vamp": VampPrior,
    "flow": FlowPrior,
}
