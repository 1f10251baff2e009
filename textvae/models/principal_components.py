"""The best linear-Gaussian model of data with a given covariance, and the dimensions of z that it leaves unused.

    min over W, q, and σ² where it is learned, of  distortion + β · rate

With λᵢ, uᵢ the eigenvalues, decreasing, and eigenvectors of the covariance, column i ≤ D of W is
√max(λᵢ − βσ², 0) uᵢ, up to a rotation of z: a dimension whose eigenvalue is not above βσ² collapses. So
a fixed σ² weights the rate as β does. A learned σ² is (Σ of the λᵢ not used) / (n − β · number used).

References
----------
Tipping & Bishop 1999, *Probabilistic Principal Component Analysis*.
Lucas et al. 2019, *Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse*.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Optimum", "optimum"]


@dataclass(frozen=True)
class Optimum:
    """W (n, D), its columns in the order of the eigenvalues, and σ²."""

    weight: Tensor
    variance: float
    alive: int  # dimensions of z that are used; the others have collapsed


def optimum(covariance: Tensor, latent_dim: int, variance: float | None = None, beta: float = 1.0) -> Optimum:
    """The optimum for data of this covariance (n, n) and D < n; σ² is learned where `variance` is None."""
    eigenvalues, vectors = (found.flip(-1) for found in torch.linalg.eigh(covariance))
    used = min(latent_dim, len(eigenvalues))
    if variance is None:
        used, variance = _learned_variance(eigenvalues, used, beta)
    excess = (eigenvalues[:used] - beta * variance).clamp_min(0)
    weight = torch.zeros(len(eigenvalues), latent_dim).to(covariance)
    weight[:, :used] = vectors[:, :used] * excess.sqrt()
    return Optimum(weight, variance, int((excess > 0).sum()))


def _learned_variance(eigenvalues: Tensor, most: int, beta: float) -> tuple[int, float]:
    """The number of dimensions that the best model uses, at most `most`, and its σ²."""
    for used in range(most, 0, -1):
        free = len(eigenvalues) - beta * used
        variance = float(eigenvalues[used:].sum()) / free if free > 0 else math.inf
        if eigenvalues[used - 1] > beta * variance:
            return used, variance
    return 0, float(eigenvalues.mean())
