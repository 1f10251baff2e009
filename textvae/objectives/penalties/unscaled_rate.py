"""What Scale-VAE charges for: the rate of the posterior before its mean was scaled up.

    mean_B KL(N(μ, diag σ²) ‖ p(z)),      while z ~ N(f μ, diag σ²)

It bounds nothing, since z is drawn from another distribution; the rate that is recorded is that one's.

References
----------
Song et al. 2024, *Scale-VAE: Preventing Posterior Collapse in Variational Autoencoder*.
"""

from torch import Tensor

from textvae.models.distributions import ScaledGaussian
from textvae.models.terms import Pass, rate_of
from textvae.objectives.penalties.penalty import Penalty

__all__ = ["UnscaledRate"]


class UnscaledRate(Penalty):
    """The rate of the posterior `scale` without its factor; of any other posterior, which has none, the rate."""

    def __call__(self, done: Pass, step: int) -> Tensor:
        q = done.posterior
        if isinstance(q, ScaledGaussian):
            return rate_of(q.unscaled, done.prior, done.z)[0].mean()
        return done.terms.rate.mean()
