"""IWAE: the importance-weighted bound with K samples, and three estimators of the encoder's gradient.

    −mean_B log (1/K) Σₖ wₖ,      log wₖ = c · log p(x|zₖ) + β (log p(zₖ) − log q(zₖ|x))

At c = β = 1 this is a bound on −log p(x) that tightens with K, and −ELBO at K = 1. With w̃ₖ = wₖ / Σⱼ wⱼ,
the gradient of log (1/K) Σₖ wₖ with respect to the encoder's parameters φ is

    standard    Σₖ w̃ₖ (∂log wₖ/∂zₖ · ∂zₖ/∂φ − β ∂log q(zₖ|x)/∂φ)
    stl         Σₖ w̃ₖ ∂log wₖ/∂zₖ · ∂zₖ/∂φ
    dreg        Σₖ w̃ₖ (1 − β + β w̃ₖ) ∂log wₖ/∂zₖ · ∂zₖ/∂φ

`stl` drops the score, whose mean is 0 at K = 1 but not beyond: it is biased for K > 1. `dreg` rewrites it as
a path derivative and is unbiased for every K; at β = 1 its factor is the published w̃ₖ². Both have zero
variance where q is the exact posterior. The decoder's and the prior's gradient is the same in all three.

References
----------
Burda et al. 2016, *Importance Weighted Autoencoders*.
Roeder et al. 2017, *Sticking the Landing: Simple, Lower-Variance Gradient Estimators for Variational Inference*.
Tucker et al. 2019, *Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives*.
"""

from typing import Literal

import torch
from torch import Tensor

from textvae.models.terms import Pass, importance_weighted
from textvae.objectives.bounds.bound import Bound, Number

__all__ = ["ImportanceWeighted"]


class ImportanceWeighted(Bound):
    """The bound over the K samples of a pass (`objective.samples`), with log q − log p instead of the rate."""

    needs_rate = True

    def __init__(self, *, gradient: Literal["standard", "stl", "dreg"] = "standard") -> None:
        self.gradient = gradient

    def __call__(self, done: Pass, distortion_weight: Number, weight: Number, penalty: Tensor) -> Tensor:
        q = done.posterior if self.gradient == "standard" else done.posterior.detached()
        ratios = done.prior.log_prob(done.z) - q.log_prob(done.z)
        log_weights = distortion_weight * done.token_log_probs.sum(-1) + weight * ratios
        value = -importance_weighted(log_weights).mean()
        if self.gradient == "dreg" and done.z.requires_grad:
            factor = 1 - weight + weight * log_weights.detach().softmax(0)
            return value + path_scaled(value, done.z, factor - 1)
        return value


def path_scaled(value: Tensor, z: Tensor, factor: Tensor) -> Tensor:
    """A zero whose gradient is `factor` (K, B) times that of the value through z (K, B, D), and only through z.

    A hook on z would be cheaper, but would also scale the gradients of auxiliary terms through z.
    """
    (slope,) = torch.autograd.grad(value, z, retain_graph=True)
    path = (factor[..., None] * slope * z).sum()
    return path - path.detach()
