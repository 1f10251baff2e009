"""Doersch's construction in one dimension, by integrals on a grid: an observation x, a z, and p(x|z) = N(g(z), σ²).

    g = F⁻¹ ∘ Φ        q(z|x) = N(g⁻¹(x), (σ / g'(g⁻¹(x)))²)

with F the distribution function of the data and Φ that of N(0, 1). As σ → 0, p(x) → p*(x) and q → p(z|x).

References
----------
Doersch 2016, *Tutorial on Variational Autoencoders*, appendix A.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from textvae.evaluation.quadrature import Quadrature

__all__ = ["POINTS", "best_gaussian", "construction", "two_humps", "two_valued"]

POINTS = 8001
Z = torch.linspace(-8, 8, POINTS, dtype=torch.float64)
CELL = math.log(16 / (POINTS - 1))


def two_humps(centre: float = 1.5, deviation: float = 0.5) -> MixtureSameFamily:
    """½ N(−c, s²) + ½ N(c, s²)."""
    half = torch.full((2,), 0.5, dtype=torch.float64)
    return MixtureSameFamily(
        Categorical(half), Normal(torch.tensor([-centre, centre]).double(), deviation * 2 * half)
    )


def construction(data: MixtureSameFamily, sigma: float, x: Tensor) -> Quadrature:
    """The integrals for observations x (N,) under Doersch's g and q."""
    fine = torch.linspace(-5, 5, 20001, dtype=torch.float64)
    normal = Normal(torch.zeros(()).double(), 1.0)
    centre = normal.icdf(data.cdf(x))
    slope = (normal.log_prob(centre) - data.log_prob(x)).exp()
    g = inverse(data.cdf(fine), fine, normal.cdf(Z))
    return integrals(g, sigma, x, Normal(centre, sigma / slope))


def two_valued(centre: float, sigma: float, x: Tensor, q: Normal | None = None) -> Quadrature:
    """The integrals under g(z) = ±centre by the sign of z, which makes p(x) a mixture of two Gaussians exactly."""
    # At 0 itself the two halves meet: the mean of both, as the trapezoid rule wants a jump.
    return integrals(centre * Z.sign(), sigma, x, q or Normal(torch.zeros_like(x), 1.0), jump=True)


def integrals(g: Tensor, sigma: float, x: Tensor, q: Normal, jump: bool = False) -> Quadrature:
    log_likelihood = Normal(g[:, None], sigma).log_prob(x)
    if jump:
        middle = len(Z) // 2
        log_likelihood[middle] = log_likelihood[[middle - 1, middle + 1]].logsumexp(0) - math.log(2)
    prior = Normal(torch.zeros(()).double(), 1.0).log_prob(Z)
    return Quadrature(Z[:, None], CELL, prior[:, None], q.log_prob(Z[:, None]), log_likelihood)


def best_gaussian(grid: Quadrature, steps: int = 400, every: int = 1) -> Tensor:
    """min over Gaussians q of KL(q ‖ p(z|x)) (N,), by Adam on its mean and log-deviation, per observation.

    `every` second, third, … point of the grid, the middle one among them, where g may jump.
    """
    posterior = grid.log_posterior[::every]
    z, cell = grid.z[::every], grid.log_volume + math.log(every)
    mean = (posterior.exp() * z).sum(0) * math.exp(cell)
    mean, log_deviation = mean.clone().requires_grad_(), torch.full_like(mean, -0.5).requires_grad_()
    optimiser = torch.optim.Adam([mean, log_deviation], lr=0.03)
    for _ in range(steps):
        log_q = Normal(mean, log_deviation.exp()).log_prob(z)
        gap = ((log_q + cell).exp() * (log_q - posterior)).sum(0)
        optimiser.zero_grad()
        gap.sum().backward()
        optimiser.step()
    found: Tensor = gap.detach()
    return found


def inverse(levels: Tensor, places: Tensor, level: Tensor) -> Tensor:
    """F⁻¹ of `level`, linear between the tabulated `levels` at `places`."""
    right = torch.searchsorted(levels, level).clamp(1, len(levels) - 1)
    low, high = levels[right - 1], levels[right]
    share = ((level - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)
    return places[right - 1] + share * (places[right] - places[right - 1])
