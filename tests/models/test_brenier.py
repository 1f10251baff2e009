"""Brenier maps: gradients of a strongly convex function, for any weights."""

import pytest
import torch
from helpers import randomise

from textvae.models.brenier import BrenierMap

DIM = 4


def map_of(layers: int, scale: float, strength: float = 0.5, seed: int = 0) -> BrenierMap:
    made = BrenierMap(DIM, 6, layers, strength).double()
    randomise(made, scale, seed)
    return made


def points(count: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_the_map_is_the_gradient_of_its_potential(layers, scale):
    made, x = map_of(layers, scale), points(20).requires_grad_()
    (gradient,) = torch.autograd.grad(made.potential(x).sum(), x)
    torch.testing.assert_close(made(x), gradient, atol=1e-7, rtol=0)  # torch's softplus is linear from 20 on


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_any_two_points_are_pulled_apart_by_at_least_the_strength(layers, scale, strength):
    """⟨g(x) − g(y), x − y⟩ ≥ c ‖x − y‖², far apart, close together, and for many random weights."""
    for seed in range(10):
        made = map_of(layers, scale, strength, seed)
        x = points(100, seed)
        for y in (points(100, seed + 1), x + 1e-3 * points(100, seed + 2)):
            with torch.no_grad():
                inner = ((made(x) - made(y)) * (x - y)).sum(-1)
            assert (inner >= strength * ((x - y) ** 2).sum(-1) * (1 - 1e-6)).all()


@pytest.mark.parametrize("layers", [1, 3])
def test_the_jacobian_is_symmetric_with_no_eigenvalue_below_the_strength(layers):
    made = map_of(layers, 2.0, strength=0.5)
    jacobians = torch.stack([torch.autograd.functional.jacobian(made, x) for x in points(10)])
    torch.testing.assert_close(jacobians, jacobians.mT, atol=1e-10, rtol=0)
    eigenvalues = torch.linalg.eigvalsh(jacobians)
    assert eigenvalues.min() >= 0.5 - 1e-10
    assert eigenvalues.max() > 1.0
