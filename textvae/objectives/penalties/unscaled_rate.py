"""The penalty of Scale-VAE: the rate of the posterior before its mean is scaled up.

    mean_B KL(N(μ, diag σ²) ‖ p(z)),      while z ~ N(f μ, diag σ²)

It gives no bound, since z is drawn from another distribution, whose rate is the one that is recorded.

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
    """The rate of the posterior `scale` without its factor; for any other posterior, its rate."""

    def __call__(self, done: Pass, step: int) -> Tensor:
        q = done.posterior
        if isinstance(q, ScaledGaussian):
            # The same noise under the unscaled q, for priors without a closed form.
            z = done.z - q.mean + q.unscaled.mean
            return rate_of(q.unscaled, done.prior, z)[0].mean()
        return done.terms.rate.mean()
