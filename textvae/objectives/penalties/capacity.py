"""Capacity: pull the rate to a target C(t), from either side.

    |mean_B rate − C(t)|,      C(t) = target · min(1, t / steps)

The weight is the published strength γ of this term.

References
----------
Burgess et al. 2018, *Understanding Disentangling in β-VAE*: C rises from 0.
Prokhorov et al. 2019, *On the Importance of the Kullback-Leibler Divergence Term in Variational
Autoencoders for Text Generation*: C fixed.
"""

from torch import Tensor

from textvae.fields import NonNegative, Steps
from textvae.models.terms import Pass
from textvae.objectives.penalties.penalty import Penalty
from textvae.objectives.weights.schedules import Linear

__all__ = ["Capacity"]


class Capacity(Penalty):
    """|mean_B rate − C(t)|, with `target_rate` in nats per sentence; `steps` 0 fixes C."""

    def __init__(self, *, target_rate: NonNegative, steps: Steps = 0) -> None:
        self.capacity = Linear(steps=steps, end=target_rate)
        self.settles_at = steps

    def __call__(self, done: Pass, step: int) -> Tensor:
        return (done.terms.rate.mean() - self.capacity.at(step)).abs()
