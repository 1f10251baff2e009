"""Distributions over z, each a push-forward of standard normal noise: z = transport(ε), ε ~ N(0, I).

That one method serves training (fresh noise), evaluation (noise keyed by the sentence, so that a
sentence's z does not depend on its batch mates) and several processes (noise drawn for the whole
batch, then sliced).

References
----------
Kingma & Welling 2014, *Auto-Encoding Variational Bayes*: the reparameterisation.
"""

import math
from abc import abstractmethod

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, register_kl

__all__ = ["DiagonalGaussian", "Dirac", "Reparameterised", "kl_per_dimension"]


class Reparameterised(Distribution):
    """A distribution of vectors whose samples are a differentiable function of N(0, I) noise."""

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own declaration)

    def __init__(self, batch_shape: Size, dim: int) -> None:
        super().__init__(batch_shape, Size([dim]), validate_args=False)

    @abstractmethod
    def transport(self, noise: Tensor) -> Tensor:
        """Map noise (…, *batch_shape, D) from N(0, I) to samples of the same shape."""

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples (*sample_shape, *batch_shape, D) that carry gradients."""
        shape = self._extended_shape(Size(sample_shape))
        return self.transport(torch.randn(shape, device=self.mean.device))


class DiagonalGaussian(Reparameterised):
    """N(μ, diag σ²), with μ and log σ² of shape (*batch_shape, D)."""

    def __init__(self, mean: Tensor, log_variance: Tensor) -> None:
        self.location = mean
        self.log_variance = log_variance
        super().__init__(mean.shape[:-1], mean.shape[-1])

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


class Dirac(Reparameterised):
    """All mass at one point: the posterior of a deterministic autoencoder.

    It has no density, so its rate is NaN (written as null), never 0: 0 would look like collapse.
    """

    def __init__(self, point: Tensor) -> None:
        self.point = point
        super().__init__(point.shape[:-1], point.shape[-1])

    @property
    def mean(self) -> Tensor:
        return self.point

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.point)

    def transport(self, noise: Tensor) -> Tensor:
        """z = the point, whatever the noise."""
        return self.point.expand_as(noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """NaN: a Dirac has no density with respect to Lebesgue measure."""
        shape = torch.broadcast_shapes(value.shape, self.point.shape)[:-1]
        return self.point.new_full(shape, math.nan)


def kl_per_dimension(q: Distribution, p: Distribution) -> Tensor | None:
    """KL of every coordinate (*batch_shape, D) where both distributions factorise, else None.

    For Gaussians ½(σ_q²/σ_p² + (μ_q − μ_p)²/σ_p² − 1 − ln σ_q²/σ_p²).
    """
    if not (isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian)):
        return None
    log_ratio = q.log_variance - p.log_variance
    squared = (q.location - p.location) ** 2 * (-p.log_variance).exp()
    return 0.5 * (log_ratio.exp() + squared - 1 - log_ratio)


def _kl_gaussian(q: DiagonalGaussian, p: DiagonalGaussian) -> Tensor:
    per_dimension = kl_per_dimension(q, p)
    assert per_dimension is not None
    return per_dimension.sum(-1)


def _kl_dirac(q: Dirac, p: Distribution) -> Tensor:
    return q.point.new_full(q.batch_shape, math.nan)


register_kl(DiagonalGaussian, DiagonalGaussian)(_kl_gaussian)
register_kl(Dirac, Distribution)(_kl_dirac)
