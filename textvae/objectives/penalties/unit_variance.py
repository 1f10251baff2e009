"""The penalty of the stochastic Wasserstein autoencoder: q's variance is held near 1, its mean is free.

    mean_B KL(N(μ, diag σ²) ‖ N(μ, I)) = mean_B Σ_d ½(σ² − 1 − ln σ²)

The means are left to a discrepancy between q(z) and the prior (auxiliary `mmd`).

References
----------
Bahuleyan et al. 2019, *Stochastic Wasserstein Autoencoder for Probabilistic Sentence Generation*.
"""

from torch import Tensor

from textvae.models.distributions import DiagonalGaussian
from textvae.models.terms import Pass
from textvae.objectives.penalties.penalty import Penalty

__all__ = ["UnitVariance"]


class UnitVariance(Penalty):
    """Keeps σ from falling to 0 when the rate is not penalised.

    Raises
    ------
    ValueError
        At the first pass, if q is not a diagonal Gaussian.
    """

    def __call__(self, done: Pass, step: int) -> Tensor:
        q = done.posterior
        if not isinstance(q, DiagonalGaussian):
            raise ValueError("unit_variance needs a diagonal Gaussian; choose the posterior diagonal")
        return 0.5 * (q.variance - 1 - q.log_variance).sum(-1).mean()
