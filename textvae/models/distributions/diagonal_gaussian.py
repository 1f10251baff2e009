"""The Gaussian with a diagonal covariance, N(μ, diag σ²).

    KL(q ‖ p) = Σ_d ½(σ_q²/σ_p² + (μ_q − μ_p)²/σ_p² − 1 − ln σ_q²/σ_p²)

References
----------
Kingma & Welling 2014, *Auto-Encoding Variational Bayes*.
"""

import math
from collections.abc import Callable

from torch import Tensor
from torch.distributions import Distribution, register_kl

from textvae.models.distributions.reparameterised import Reparameterised

__all__ = ["DiagonalGaussian", "RestrictedGaussian", "ScaledGaussian", "kl_per_dimension"]


Family = Callable[..., tuple[Tensor, Tensor]]


class DiagonalGaussian(Reparameterised):
    """N(μ, diag σ²), with μ and log σ² of shape (*batch_shape, D)."""

    def __init__(self, mean: Tensor, log_variance: Tensor) -> None:
        self.location = mean
        self.log_variance = log_variance
        super().__init__(mean.shape[:-1], mean.shape[-1])

    @property
    def unconstrained(self) -> tuple[Tensor, ...]:
        """The parameters within the family, which may take any value: μ and log σ²."""
        return self.location, self.log_variance

    def of(self, *unconstrained: Tensor) -> "DiagonalGaussian":
        """The member of the same family with these `unconstrained` parameters."""
        return DiagonalGaussian(*unconstrained)

    @property
    def mean(self) -> Tensor:
        return self.location

    @property
    def variance(self) -> Tensor:
        return self.log_variance.exp()

    @property
    def stddev(self) -> Tensor:
        return (0.5 * self.log_variance).exp()

    def transport(self, noise: Tensor) -> Tensor:
        """z = μ + σ ε."""
        return self.location + self.stddev * noise

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(z; μ, diag σ²), summed over D."""
        squared = (value - self.location) ** 2 * (-self.log_variance).exp()
        return -0.5 * (squared + self.log_variance + math.log(2 * math.pi)).sum(-1)

    def detached(self) -> "DiagonalGaussian":
        return DiagonalGaussian(self.location.detach(), self.log_variance.detach())


class RestrictedGaussian(DiagonalGaussian):
    """A member of a narrower family: `family` maps `unconstrained` parameters to μ and log σ².

    `own`, from which a search in the family starts, are its own or, at the edge of the family, close to them.
    """

    def __init__(self, family: Family, own: tuple[Tensor, ...], q: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__(*(family(*own) if q is None else q))
        self.family, self.own = family, own

    @property
    def unconstrained(self) -> tuple[Tensor, ...]:
        return self.own

    def of(self, *unconstrained: Tensor) -> "RestrictedGaussian":
        return RestrictedGaussian(self.family, unconstrained)

    def detached(self) -> "RestrictedGaussian":
        own = tuple(parameter.detach() for parameter in self.own)
        return RestrictedGaussian(self.family, own, (self.location.detach(), self.log_variance.detach()))


class ScaledGaussian(DiagonalGaussian):
    """N(f μ, diag σ²); `unscaled` is N(μ, diag σ²), before the mean was scaled up."""

    def __init__(self, unscaled: DiagonalGaussian, factor: Tensor) -> None:
        self.unscaled = unscaled
        super().__init__(factor * unscaled.location, unscaled.log_variance)


def kl_per_dimension(q: Distribution, p: Distribution) -> Tensor | None:
    """KL of every coordinate (*batch_shape, D) where both distributions factorise, else None."""
    if not (isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian)):
        return None
    log_ratio = q.log_variance - p.log_variance
    squared = (q.location - p.location) ** 2 * (-p.log_variance).exp()
    return 0.5 * (log_ratio.exp() + squared - 1 - log_ratio)


def _kl(q: DiagonalGaussian, p: DiagonalGaussian) -> Tensor:
    per_dimension = kl_per_dimension(q, p)
    assert per_dimension is not None
    return per_dimension.sum(-1)


register_kl(DiagonalGaussian, DiagonalGaussian)(_kl)
