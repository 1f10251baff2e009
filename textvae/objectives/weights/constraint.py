"""GECO: minimise the rate subject to a distortion of at most κ.

    min over the model of  rate + λ (distortion − κ),      C(t) = α C(t−1) + (1 − α) (distortion(t) − κ)
    λ ← clip(λ · exp(lr · C(t)),  low,  high)

λ grows while the distortion is above κ and shrinks below it; it multiplies the distortion.

References
----------
Rezende & Viola 2018, *Taming VAEs*: α = 0.99. The learning rate of λ and its limits are ours.
"""

import math

import torch
from torch import Tensor

from textvae.fields import NonNegative, Positive, Probability, Steps
from textvae.models.terms import Terms
from textvae.objectives.weights.weight import Weight

__all__ = ["Constraint"]


class Constraint(Weight):
    """λ, which grows while the distortion is above `target_distortion` (nats per sentence), and shrinks below it.

    Raises
    ------
    ValueError
        If `start` is not between `low` and `high`.
    """

    value: Tensor
    average: Tensor

    def __init__(
        self,
        *,
        target_distortion: NonNegative,
        lr: Positive = 0.0001,
        smoothing: Probability = 0.99,
        start: Positive = 1.0,
        low: Positive = 0.001,
        high: Positive = 1000.0,
        settles: Steps = 2000,
    ) -> None:
        super().__init__()
        if not low <= start <= high:
            raise ValueError(f"start must be between low {low} and high {high}, not {start}")
        self.target_distortion, self.lr, self.smoothing = target_distortion, lr, smoothing
        self.low, self.high = low, high
        self.settles_at = settles
        self.register_buffer("value", torch.tensor(float(start)))
        self.register_buffer("average", torch.tensor(math.nan))

    def forward(self, step: int) -> Tensor:
        return self.value.clone()

    @torch.no_grad()
    def observe(self, terms: Terms) -> None:
        excess = terms.distortion.mean().to(self.value) - self.target_distortion
        smoothed = self.smoothing * self.average + (1 - self.smoothing) * excess
        # The average starts at the first excess, not at 0.
        self.average.copy_(excess.where(self.average.isnan(), smoothed))
        self.value.copy_((self.value * (self.lr * self.average).exp()).clamp(self.low, self.high))
