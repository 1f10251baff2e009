"""Maximum mean discrepancy between two samples: how far q(z) is from p(z), without densities.

    MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y)

    imq    k(x, y) = Σₛ C s / (C s + ‖x − y‖²),  s = .1, .2, .5, 1, 2, 5, 10        inverse multiquadric
    rbf    k(x, y) = exp(−‖x − y‖² / C)

with C the mean of ‖x − y‖² for two draws from the fixed prior: 2D for N(0, I), 2 on the unit sphere. A learned
prior takes C = 2D too, so that C does not move. The literature's RBF kernels differ in C: D² in the released
InfoVAE, D in Pelsmaeker & Aziz 2020.

References
----------
Gretton et al. 2012, *A Kernel Two-Sample Test*: the unbiased estimator.
Tolstikhin et al. 2018, *Wasserstein Auto-Encoders*: the inverse multiquadric, its scales and C.
Zhao et al. 2019, *InfoVAE: Balancing Learning and Inference in Variational Autoencoders*: RBF.
"""

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Kernel", "discrepancies", "similarities", "width"]

Kernel = Literal["imq", "rbf"]

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def width(dim: int, *, spherical: bool = False) -> float:
    """C, of z with `dim` dimensions."""
    return 2.0 if spherical else 2.0 * max(dim, 1)


def similarities(x: Tensor, y: Tensor, width: float, kernel: Kernel = "imq") -> Tensor:
    """k of every pair, (N, M) from x (N, D) and y (M, D)."""
    # Not via the distance itself: the square root is not differentiable where x = y.
    squared = (x.square().sum(-1)[:, None] + y.square().sum(-1) - 2 * x @ y.T).clamp_min(0)
    if kernel == "rbf":
        return (-squared / width).exp()
    return torch.stack([width * s / (width * s + squared) for s in SCALES]).sum(0)


def discrepancies(x: Tensor, y: Tensor, width: float, kernel: Kernel = "imq") -> Tensor:
    """Row means (N,) of the unbiased estimator's terms for x (N, D) and y (N, D): their mean is MMD².

    The term of i ≠ j is k(xᵢ, xⱼ) + k(yᵢ, yⱼ) − k(xᵢ, yⱼ) − k(xⱼ, yᵢ).
    """
    own, other, crossed = (similarities(*pair, width, kernel) for pair in ((x, x), (y, y), (x, y)))
    terms = own + other - crossed - crossed.T
    return (terms.sum(1) - terms.diagonal()) / (len(x) - 1)
