"""MDR, the minimum desired rate: a Lagrange multiplier keeps the rate from falling below a target r.

    min over the model of  max over u ≥ 0 of  distortion + rate + u (r − rate)

which is a weight of 1 − u on the rate. RMSprop maximises over u; below the target u may exceed 1, and the
weight is then negative, which rewards the rate. If the rate stays above r by itself, u goes to 0 and the
loss is −ELBO. The released code keeps u ≥ 0 as |u|; here u is projected. There,
by its name, u is in the model's own optimiser too, and so moves about twice as fast.

References
----------
Pelsmaeker & Aziz 2020, *Effective Estimation of Deep Generative Language Models*: u starts at 1.01 and
takes the learning rate of the model, 0.001.
"""

import torch
from torch import Tensor

from textvae.fields import NonNegative, Positive, Probability, Steps
from textvae.models.terms import Terms
from textvae.objectives.weights.weight import Weight

__all__ = ["MinimumRate"]

EPSILON = 1e-8


class MinimumRate(Weight):
    """1 − u, where u ≥ 0 rises while the rate is below `target_rate` (nats per sentence) and falls above it.

    Above 1 it rewards the rate. `lr` and `decay` are those of RMSprop on u, which begins at `start`.
    """

    multiplier: Tensor
    square: Tensor

    def __init__(
        self,
        *,
        target_rate: NonNegative,
        lr: Positive = 0.001,
        decay: Probability = 0.99,
        start: NonNegative = 1.01,
        settles: Steps = 2000,
    ) -> None:
        super().__init__()
        self.target_rate, self.lr, self.decay = target_rate, lr, decay
        self.settles_at = settles
        self.register_buffer("multiplier", torch.tensor(float(start)))
        self.register_buffer("square", torch.tensor(0.0))

    def forward(self, step: int) -> Tensor:
        return 1 - self.multiplier

    @torch.no_grad()
    def observe(self, terms: Terms) -> None:
        missing = self.target_rate - terms.rate.mean().to(self.multiplier)
        self.square.copy_(self.decay * self.square + (1 - self.decay) * missing.square())
        climbed = self.multiplier + self.lr * missing / (self.square.sqrt() + EPSILON)
        self.multiplier.copy_(climbed.clamp_min(0))
