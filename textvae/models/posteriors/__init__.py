"""Posteriors q(z|x), one family a file."""

from textvae.models.posteriors.batch_norm import BatchNormPosterior
from textvae.models.posteriors.delta import DeltaPosterior
from textvae.models.posteriors.diagonal import DiagonalPosterior
from textvae.models.posteriors.dirac import DiracPosterior
from textvae.models.posteriors.diversity_uncertainty import DiversityUncertaintyPosterior
from textvae.models.posteriors.fixed_variance import FixedVariancePosterior
from textvae.models.posteriors.flow import FlowPosterior
from textvae.models.posteriors.full import FullPosterior
from textvae.models.posteriors.posterior import Posterior
from textvae.models.posteriors.scale import ScalePosterior
from textvae.models.posteriors.spherical import PowerSphericalPosterior, VonMisesFisherPosterior
from textvae.models.posteriors.statistics import BatchStatistics

__all__ = [
    "POSTERIORS",
    "BatchNormPosterior",
    "BatchStatistics",
    "DeltaPosterior",
    "DiagonalPosterior",
    "DiracPosterior",
    "DiversityUncertaintyPosterior",
    "FixedVariancePosterior",
    "FlowPosterior",
    "FullPosterior",
    "Posterior",
    "PowerSphericalPosterior",
    "ScalePosterior",
    "VonMisesFisherPosterior",
]

POSTERIORS = {
    "diagonal": DiagonalPosterior,
    "dirac": DiracPosterior,
    "full": FullPosterior,
    "flow": FlowPosterior,
    "fixed_variance": FixedVariancePosterior,
    "vmf": VonMisesFisherPosterior,
    "power_spherical": PowerSphericalPosterior,
    "batch_norm": BatchNormPosterior,
    "scale": ScalePosterior,
    "du": DiversityUncertaintyPosterior,
    "delta": DeltaPosterior,
}
