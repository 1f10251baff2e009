"""Maximum mean discrepancy: loops by hand, exact expectations, no bias."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from helpers import check_unbiased
from torch import Tensor

from textvae.models.mmd import discrepancies, similarities, width

KERNELS = ("imq", "rbf")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(kernel: str, squared: float, dim: int) -> float:
    if kernel == "rbf":
        return math.exp(-squared / (2 * dim))
    return sum(2 * dim * s / (2 * dim * s + squared) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dim", [1, 3])
def test_the_estimate_by_hand(kernel, dim):
    x, y = draw(5, dim), 0.5 + draw(5, dim, seed=1)

    def k(a: Tensor, b: Tensor) -> float:
        return by_hand(kernel, float(((a - b) ** 2).sum()), dim)

    inside = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in permutations(range(5), 2)) / 20
    across = sum(k(x[i], y[j]) for i, j in permutations(range(5), 2)) / 20
    assert discrepancies(x, y, width(dim), kernel).mean().item() == pytest.approx(inside - 2 * across)
    assert discrepancies(y, x, width(dim), kernel).mean().item() == pytest.approx(inside - 2 * across)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_is_positive_and_largest_at_no_distance(kernel):
    x = draw(30, 4)
    found = similarities(x, x, width(4), kernel)
    assert torch.linalg.eigvalsh(found).min() > -1e-9
    assert torch.allclose(found.diagonal(), found.max().expand(30))
    assert all(found[i, j] < found[i, i] for i, j in combinations(range(30), 2))


def expected(kernel: str, shift: float, variance: float, dim: int) -> float:
    """E k(a, b) of a − b ~ N(shift · 1, variance · I), over its square: exact for rbf, by quadrature at D = 1."""
    if kernel == "rbf":
        width = 2 * dim
        return (1 + 2 * variance / width) ** (-dim / 2) * math.exp(-dim * shift**2 / (width + 2 * variance))
    assert dim == 1
    grid = np.linspace(-15, 15, 20_001)
    density = np.exp(-((grid - shift) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    return float(np.trapezoid([by_hand(kernel, d**2, 1) for d in grid] * density, grid))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.7, 1.0), (0.0, 0.3)])
def test_it_is_unbiased(kernel, shift, scale):
    dim = 1
    estimates = torch.stack(
        [
            discrepancies(
                shift + scale * draw(6, dim, seed=seed), draw(6, dim, seed=10_000 + seed), width(dim), kernel
            ).mean()
            for seed in range(600)
        ]
    )
    exact = (
        expected(kernel, 0.0, 2 * scale**2, dim)
        + expected(kernel, 0.0, 2.0, dim)
        - 2 * expected(kernel, shift, 1 + scale**2, dim)
    )
    assert (exact > 1e-3) == ((shift, scale) != (0.0, 1.0))
    check_unbiased(estimates[:, None], torch.tensor([exact], dtype=torch.float64))


@pytest.mark.parametrize("kernel", KERNELS)
def test_points_that_coincide_have_a_gradient(kernel):
    x = torch.zeros(4, 2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(discrepancies(x, draw(4, 2), width(2), kernel).mean(), x)
    assert slope.isfinite().all()


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("dim", [2, 8])
def test_the_width_is_the_mean_squared_distance_of_two_draws_from_the_prior(dim, spherical):
    x, y = draw(20_000, dim), draw(20_000, dim, seed=1)
    if spherical:
        x, y = (z / z.norm(dim=1, keepdim=True) for z in (x, y))
    check_unbiased((x - y).square().sum(1)[:, None], torch.tensor([width(dim, spherical=spherical)]).double())
