"""BN-VAE: batch normalisation of the posterior mean, with a scale that is not learned.

    μ_d = γ (m̂_d − E_B m̂_d)/√Var_B m̂_d + β_d        E_B rate ≥ Σ_d (γ² + β_d²)/2

against N(0, I), for any variances of q, in training mode; in evaluation E_B and Var_B are running averages.
The ε under the root is far below the variance of any trained or freshly initialised encoder: torch's 10⁻⁵ is
far above that of the published initialisation, U(−0.01, 0.01), and would break the bound.

References
----------
Zhu et al. 2020, *A Batch Normalized Inference Network Keeps the KL Vanishing Away*.
"""

import torch
from torch import Tensor, nn

from textvae.fields import Positive
from textvae.models.distributions import DiagonalGaussian
from textvae.models.encoders import Encoder
from textvae.models.posteriors.diagonal import DiagonalPosterior
from textvae.models.posteriors.statistics import BatchStatistics

__all__ = ["BatchNormPosterior", "standardise"]


class BatchNormPosterior(DiagonalPosterior):
    """N(μ(x), diag σ²(x)) with E_B μ_d = β_d, learned, and Var_B μ_d = γ², γ = `scale`; log σ² linear."""

    def __init__(self, encoder: Encoder, latent_dim: int, *, scale: Positive = 0.6) -> None:
        super().__init__(encoder, latent_dim)
        self.scale = scale
        self.statistics = BatchStatistics(latent_dim)
        self.shift = nn.Parameter(torch.zeros(latent_dim))

    def distribution(self, features: Tensor) -> DiagonalGaussian:
        q = super().distribution(features)
        return DiagonalGaussian(self.scale * standardise(q.location, self.statistics) + self.shift, q.log_variance)


def standardise(rows: Tensor, statistics: BatchStatistics) -> Tensor:
    """(rows − mean)/standard deviation, (B, D)."""
    mean, narrowing = statistics(rows)
    standard: Tensor = (rows - mean) * narrowing
    return standard
