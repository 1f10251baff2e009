"""The fused optimisers do what their formulas say, weights without elements included."""

import pytest
import torch
from torch.nn import Parameter

from textvae.training.optimisers import adam, sgd


def trajectory(make, steps: int = 5) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Where 3 weights go under fixed gradients, beside a weight without elements."""
    weight, nothing = Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)), Parameter(torch.empty(0, 4))
    optimiser = make([weight, nothing])
    for step in range(steps):
        weight.grad = torch.tensor([0.3, -0.1, 1.0], dtype=torch.float64) * (step + 1)
        nothing.grad = torch.empty(0, 4)
        optimiser.step()
    return weight.detach()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum: float) -> None:
    wanted, velocity = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), 0.0
    for step in range(5):
        velocity = momentum * velocity + torch.tensor([0.3, -0.1, 1.0], dtype=torch.float64) * (step + 1)
        wanted = wanted - 0.2 * velocity
    torch.testing.assert_close(trajectory(lambda p: sgd(p, lr=0.2, momentum=momentum)), wanted)


def test_adam() -> None:
    wanted = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    first = second = torch.zeros(3, dtype=torch.float64)
    for step in range(1, 6):
        gradient = torch.tensor([0.3, -0.1, 1.0], dtype=torch.float64) * step
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        ahead = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        wanted = wanted * (1 - 0.01 * 0.1) - 0.01 * ahead
    torch.testing.assert_close(trajectory(lambda p: adam(p, lr=0.01, weight_decay=0.1)), wanted)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_weight_may_get_its_first_gradient_later(momentum: float) -> None:
    """A frozen part of the model does, when it thaws."""
    early, late = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimiser = sgd([early, late], lr=1.0, momentum=momentum)
    for gradients in ((1.0, None), (1.0, 2.0), (1.0, 2.0)):
        for parameter, gradient in zip((early, late), gradients, strict=True):
            parameter.grad = None if gradient is None else torch.full((2,), gradient)
        optimiser.step()
    assert late.tolist() == pytest.approx([-2 * (2 + momentum)] * 2)
    assert early.tolist() == pytest.approx([-(3 + 2 * momentum + momentum**2)] * 2)
