"""The Gaussian with a full covariance, N(μ, LLᵀ), parameterised by its Cholesky factor L.

    KL(q ‖ N(m, diag s²)) = ½(Σ_d (Σ_dd + (μ_d − m_d)²)/s_d² − D − log det Σ + Σ_d ln s_d²),  Σ = LLᵀ

against N(0, I) that is ½(tr Σ + μᵀμ − D − log det Σ).

References
----------
Kingma & Welling 2019, *An Introduction to Variational Autoencoders*, §2.5.1.
"""

import math

import torch
from torch import Tensor
from torch.distributions import register_kl

from textvae.models.distributions.diagonal_gaussian import DiagonalGaussian
from textvae.models.distributions.reparameterised import Reparameterised

__all__ = ["FullGaussian"]


class FullGaussian(Reparameterised):
    """N(μ, LLᵀ), with μ (*batch_shape, D), and L (*batch_shape, D, D) lower triangular, its diagonal positive."""

    def __init__(self, mean: Tensor, factor: Tensor) -> None:
        self.location = mean
        self.factor = factor
        super().__init__(mean.shape[:-1], mean.shape[-1])

    @classmethod
    def of(cls, mean: Tensor, log_diagonal: Tensor, below: Tensor) -> "FullGaussian":
        """The Gaussian with these `unconstrained` parameters."""
        factor = torch.diag_embed(log_diagonal.exp())
        rows, columns = _below(factor)
        factor[..., rows, columns] = below
        return FullGaussian(mean, factor)

    @property
    def unconstrained(self) -> tuple[Tensor, ...]:
        """μ, the log of L's diagonal, and the D (D − 1) / 2 entries below it; all may take any value."""
        rows, columns = _below(self.factor)
        diagonal = self.factor.diagonal(dim1=-2, dim2=-1)
        return self.location, diagonal.log(), self.factor[..., rows, columns]

    @property
    def mean(self) -> Tensor:
        return self.location

    @property
    def variance(self) -> Tensor:
        return self.factor.square().sum(-1)

    @property
    def log_determinant(self) -> Tensor:
        """log det LLᵀ, of shape (*batch_shape,)."""
        return 2 * self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def transport(self, noise: Tensor) -> Tensor:
        """z = μ + L ε."""
        return self.location + (self.factor @ noise.to(self.factor)[..., None])[..., 0]

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(z; μ, LLᵀ)."""
        offset = (value - self.location)[..., None]
        white = torch.linalg.solve_triangular(self.factor, offset, upper=False)[..., 0]
        constant = white.shape[-1] * math.log(2 * math.pi)
        log_prob: Tensor = -0.5 * (white.square().sum(-1) + self.log_determinant + constant)
        return log_prob

    def detached(self) -> "FullGaussian":
        return FullGaussian(self.location.detach(), self.factor.detach())


def _below(factor: Tensor) -> Tensor:
    """Row and column indices of the entries below the diagonal."""
    dim = factor.shape[-1]
    return torch.tril_indices(dim, dim, -1, device=factor.device)


def _kl(q: FullGaussian, p: DiagonalGaussian) -> Tensor:
    squared = (q.variance + (q.location - p.location) ** 2) * (-p.log_variance).exp()
    return 0.5 * ((squared - 1 + p.log_variance).sum(-1) - q.log_determinant)


register_kl(FullGaussian, DiagonalGaussian)(_kl)
