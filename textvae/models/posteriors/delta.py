"""The δ-VAE's posterior: every dimension has a rate of at least δ, whatever the encoder outputs.

With x₁ < 1 < x₂ the roots of ln x − x + 2δ + 1 = 0, and ŝ, m̂ linear in the features,

    σ² = x₁ + (x₂ − x₁) sigmoid(ŝ)        μ = √(2δ + 1 + ln σ² − σ² + max(0, m̂))
    KL_d = δ + ½ max(0, m̂)

The mean is never negative, and where m̂ ≤ 0 only σ² can tell sentences apart: both are as published.
The code of Zhu et al. 2020, who made it again for text, moves σ between the roots' square roots; here σ² moves
between the roots, over the same range.

References
----------
Razavi et al. 2019, *Preventing Posterior Collapse with δ-VAEs*, §2.1 (the range form).
"""

import math

from torch import Tensor

from textvae.fields import Positive
from textvae.models.distributions import RestrictedGaussian
from textvae.models.encoders import Encoder
from textvae.models.posteriors.diagonal import DiagonalPosterior

__all__ = ["DeltaPosterior", "variance_range"]

ROUNDING = 1e-6
"""The least μ²: keeps the square root's gradient finite at the range's ends, and adds half of it in rate."""
EDGE = 0.01
"""Where max(0, m̂) is 0 a refinement starts from this instead: at 0 the square has no slope."""


class DeltaPosterior(DiagonalPosterior):
    """A diagonal Gaussian with KL(q ‖ N(0, 1)) ≥ δ = `nats_per_dimension` in every dimension."""

    def __init__(self, encoder: Encoder, latent_dim: int, *, nats_per_dimension: Positive = 0.1) -> None:
        super().__init__(encoder, latent_dim)
        self.nats = nats_per_dimension
        self.low, self.high = variance_range(nats_per_dimension)

    def distribution(self, features: Tensor) -> RestrictedGaussian:
        raw = super().distribution(features)
        excess, place = raw.location.relu(), raw.log_variance
        return RestrictedGaussian(self._family, ((excess + EDGE).sqrt(), place), self._moments(excess, place))

    def _family(self, root: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ², from a square root of twice the rate above δ, and ŝ."""
        return self._moments(root.square(), place)

    def _moments(self, excess: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        variance = self.low + (self.high - self.low) * place.sigmoid()
        log_variance = variance.log()
        least = (2 * self.nats + 1 + log_variance - variance).clamp_min(ROUNDING)
        return (least + excess).sqrt(), log_variance


def variance_range(nats: float) -> tuple[float, float]:
    """The roots x₁ < 1 < x₂ of ln x − x + 2δ + 1 = 0, by bisection in ln x."""
    return _root(-2 * nats - 2, 0.0, nats), _root(0.0, math.log(4 * nats + 4), nats)


def _root(low: float, high: float, nats: float) -> float:
    rising = low < 0
    for _ in range(200):
        middle = 0.5 * (low + high)
        above = middle - math.exp(middle) + 2 * nats + 1 > 0
        low, high = (low, middle) if above == rising else (middle, high)
    return math.exp(0.5 * (low + high))
