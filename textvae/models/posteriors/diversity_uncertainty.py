"""DU-VAE: batch normalisation of the posterior mean with learned scales, and dropout on the variance.

    μ_d = γ g_d/√(mean_d g²) (m̂_d − E_B m̂_d)/√Var_B m̂_d + β_d        E_B rate ≥ Σ_d (γ_d² + β_d²)/2, mean γ_d² = γ²
    σ_d² = b_d exp(ŝ_d) + α/(2πe),   b_d ~ Bernoulli(1 − p)/(1 − p)

The least rate is that against N(0, I). The scales g are learned with their root mean square held at γ, which
keeps the means diverse. The variance has a floor, at which a dimension of q has the entropy ½ ln α, and dropout
sets it there at random, which keeps q uncertain. Dropout is off in evaluation. The published code turns dropout
and floor on only when the weight has reached 1; here both are on from the first step.

References
----------
Shen et al. 2021, *Regularizing Variational Autoencoder with Diversity and Uncertainty Awareness*.
"""

import math

import torch
from torch import Tensor, nn

from textvae.fields import NonNegative, Positive, Probability
from textvae.models.distributions import RestrictedGaussian
from textvae.models.encoders import Encoder
from textvae.models.posteriors.batch_norm import standardise
from textvae.models.posteriors.diagonal import DiagonalPosterior
from textvae.models.posteriors.statistics import BatchStatistics

__all__ = ["DiversityUncertaintyPosterior"]


class DiversityUncertaintyPosterior(DiagonalPosterior):
    """`batch_norm` with a scale γ_d of each dimension, learned (mean square: `scale`²), and dropout of variances.

    The variance has the floor α/(2πe), α = `floor`, and falls to it with probability p = `dropout`.

    Raises
    ------
    ValueError
        If `dropout` is above 0 and `floor` is 0, so that a variance could be 0.
    """

    def __init__(
        self,
        encoder: Encoder,
        latent_dim: int,
        *,
        scale: Positive = 0.5,
        dropout: Probability = 0.2,
        floor: NonNegative = 1.0,
    ) -> None:
        super().__init__(encoder, latent_dim)
        if dropout and not floor:
            raise ValueError("dropout on the variance needs a floor above 0; raise floor, or set dropout to 0")
        self.scale = scale
        self.floor = floor / (2 * math.pi * math.e)
        self.statistics = BatchStatistics(latent_dim)
        self.log_scales = nn.Parameter(torch.zeros(latent_dim))
        self.shift = nn.Parameter(torch.zeros(latent_dim))
        self.dropout = nn.Dropout(dropout)

    def distribution(self, features: Tensor) -> RestrictedGaussian:
        q = super().distribution(features)
        mean = self.scales * standardise(q.location, self.statistics) + self.shift
        return RestrictedGaussian(self._family, (mean, q.log_variance))

    def _family(self, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
        return mean, (self.dropout(log_variance.exp()) + self.floor).log()

    @property
    def scales(self) -> Tensor:
        """γ_d (D,), all positive, with the root mean square γ."""
        scales = self.log_scales.exp()
        return self.scale * scales / scales.square().mean().sqrt()
