"""ControlVAE: a controller that holds the rate at a target by adjusting the weight.

    e(t) = target − rate(t)
    β(t) = clip(Kp / (1 + exp e(t)) − Ki Σⱼ e(j) − Kd (e(t) − e(t−1)) + low,  low,  high)

Anti-windup: an error never takes the sum further than where β reaches its limit, so that β responds as soon
as the error changes sign. The released test for this, `W < 0 and W > 1`, is never true, and the paper's holds
the sum at a limit even when the error would lead back from it. Kd = 0 is the published controller; the
difference term has the sign that damps.

References
----------
Shao et al. 2020, *ControlVAE: Controllable Variational Autoencoder*.
"""

import math

import torch
from torch import Tensor

from textvae.fields import NonNegative, Positive, Steps
from textvae.models.terms import Terms
from textvae.objectives.weights.weight import Weight

__all__ = ["ProportionalIntegral"]


class ProportionalIntegral(Weight):
    """A weight between `low` and `high`, controlled to hold the rate at `target_rate` (nats per sentence).

    Raises
    ------
    ValueError
        If `low` is above `high`.
    """

    value: Tensor
    integral: Tensor
    error: Tensor

    def __init__(
        self,
        *,
        target_rate: NonNegative,
        kp: NonNegative = 0.01,
        ki: NonNegative = 0.0001,
        kd: NonNegative = 0.0,
        low: NonNegative = 0.0,
        high: Positive = 1.0,
        settles: Steps = 2000,
    ) -> None:
        super().__init__()
        if low > high:
            raise ValueError(f"low must be at most high {high}, not {low}")
        self.target_rate, self.low, self.high = target_rate, low, high
        self.kp, self.ki, self.kd = kp, ki, kd
        self.settles_at = settles
        self.register_buffer("value", torch.tensor(float(low)))
        self.register_buffer("integral", torch.tensor(0.0))
        self.register_buffer("error", torch.tensor(math.nan))

    def forward(self, step: int) -> Tensor:
        return self.value.clone()

    @torch.no_grad()
    def observe(self, terms: Terms) -> None:
        error = self.target_rate - terms.rate.mean().to(self.value)
        # The first step has no previous error, hence no difference.
        change = (error - self.error).nan_to_num()
        rest = self.kp * torch.sigmoid(-error) - self.kd * change + self.low
        least = torch.minimum(self.low - rest, self.integral)
        most = torch.maximum(self.high - rest, self.integral)
        self.integral.copy_((self.integral - self.ki * error).clamp(least, most))
        self.value.copy_((rest + self.integral).clamp(self.low, self.high))
        self.error.copy_(error)
