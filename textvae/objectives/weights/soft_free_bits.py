"""Soft free bits: the weight is lowered while the rate is below its target, and raised while it is above.

    β ← β / (1 + change)   where rate < target
    β ← β · (1 + change)   where rate > (1 + slack) · target

and is unchanged in between; always low ≤ β ≤ 1.

References
----------
Chen et al. 2017, *Variational Lossy Autoencoder*: slack 5 %, change 10 %, how often is not stated.
Pelsmaeker & Aziz 2020, *Effective Estimation of Deep Generative Language Models*: every step, from 0.1.
"""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from textvae.fields import NonNegative, Positive, Probability, Steps
from textvae.models.terms import Terms
from textvae.objectives.weights.weight import Weight

__all__ = ["SoftFreeBits"]


class SoftFreeBits(Weight):
    """A weight between `low` and 1 that moves by `change` while the rate is not within `slack` of `target_rate`.

    Raises
    ------
    ValueError
        If `start` is below `low`.
    """

    value: Tensor

    def __init__(
        self,
        *,
        target_rate: NonNegative,
        change: Positive = 0.1,
        slack: NonNegative = 0.05,
        start: Annotated[Probability, Gt(0)] = 0.1,
        low: Annotated[Probability, Gt(0)] = 0.0001,
        settles: Steps = 2000,
    ) -> None:
        super().__init__()
        if start < low:
            raise ValueError(f"start must be at least low {low}, not {start}")
        self.target_rate, self.change, self.slack, self.low = target_rate, change, slack, low
        self.settles_at = settles
        self.register_buffer("value", torch.tensor(float(start)))

    def forward(self, step: int) -> Tensor:
        return self.value.clone()

    @torch.no_grad()
    def observe(self, terms: Terms) -> None:
        rate = terms.rate.mean()
        down, up = rate < self.target_rate, rate > (1 + self.slack) * self.target_rate
        power = up.to(self.value) - down.to(self.value)
        self.value.copy_((self.value * (1 + self.change) ** power).clamp(self.low, 1.0))
