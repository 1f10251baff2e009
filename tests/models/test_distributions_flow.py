"""Flows: an affine one by hand, both directions, and what stands in for moments that have no closed form."""

import math

import pytest
import torch
from helpers import randomise

from textvae.models.bijections import Bijection
from textvae.models.distributions import DiagonalGaussian, Flow

FAMILIES = [(family, coupling) for family in ("affine", "spline") for coupling in (True, False)]


def bijection(family: str = "affine", coupling: bool = True, dim: int = 4, context: int = 3) -> Bijection:
    built = Bijection(dim, context, family=family, transforms=2, hidden_dim=8, coupling=coupling).double()
    randomise(built, 0.4, 0)
    return built


def base(batch: int = 2, dim: int = 4) -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn((2, batch, dim), generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, log_variance)


@pytest.mark.parametrize(("family", "coupling"), FAMILIES)
def test_one_direction_undoes_the_other(family, coupling):
    built = bijection(family, coupling)
    value, context = torch.randn((5, 2, 4), dtype=torch.float64), torch.randn((2, 3), dtype=torch.float64)
    there, volume = built(value, context, False)
    back, back_volume = built(there, context, True)
    assert torch.allclose(back, value, atol=1e-9)
    assert torch.allclose(volume, -back_volume, atol=1e-9)
    assert not torch.allclose(there, value, atol=0.1)


@pytest.mark.parametrize(("family", "coupling"), FAMILIES)
def test_parameters_of_zero_are_the_identity(family, coupling):
    built = bijection(family, coupling)
    randomise(built, 0.0, 0)
    value = torch.randn((5, 2, 4), dtype=torch.float64)
    there, volume = built(value, torch.randn((2, 3), dtype=torch.float64), False)
    assert torch.allclose(there, value, atol=1e-9)
    assert torch.allclose(volume, torch.zeros(5, 2, dtype=torch.float64), atol=1e-9)


def test_an_identity_flow_is_its_base():
    built = bijection()
    randomise(built, 0.0, 0)
    q = Flow(base(), built, torch.randn((2, 3), dtype=torch.float64))
    noise = torch.randn((6, 2, 4), dtype=torch.float64)
    assert torch.allclose(q.transport(noise), base().transport(noise), atol=1e-9)
    assert torch.allclose(q.log_prob(noise), base().log_prob(noise), atol=1e-9)
    assert torch.allclose(q.mean, base().mean, atol=1e-9)  # antithetic: exact where the map is linear
    assert torch.allclose(q.centre, base().mean, atol=1e-9)


def test_every_sentence_follows_its_own_context():
    built, context = bijection(), torch.randn((2, 3), dtype=torch.float64)
    noise = torch.randn((6, 2, 4), dtype=torch.float64)
    both = Flow(base(), built, context).transport(noise)
    for row in (0, 1):
        alone = DiagonalGaussian(base().mean[row : row + 1], base().log_variance[row : row + 1])
        drawn = Flow(alone, built, context[row : row + 1]).transport(noise[:, row : row + 1])
        assert torch.allclose(drawn[:, 0], both[:, row], atol=1e-12)
    assert not torch.allclose(Flow(base(), built, context.flip(0)).transport(noise), both)


def test_distributions_that_agree_have_the_same_mean():
    """Moments are taken over noise points shared by all, so equal sentences never look different."""
    same = DiagonalGaussian(torch.zeros(3, 4, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64))
    q = Flow(same, bijection(), torch.ones((3, 3), dtype=torch.float64))
    assert torch.allclose(q.mean[0], q.mean[2], atol=1e-12)
    torch.manual_seed(1)
    again = Flow(same, bijection(), torch.ones((3, 3), dtype=torch.float64))
    assert torch.equal(again.mean, q.mean)


def test_detached_flows_leave_their_networks_alone():
    built = bijection()
    q = Flow(base(), built, torch.randn((2, 3), dtype=torch.float64, requires_grad=True)).detached()
    z = q.transport(torch.randn((1, 2, 4), dtype=torch.float64)).requires_grad_()
    q.log_prob(z).sum().backward()
    assert z.grad is not None
    assert all(parameter.grad is None and parameter.requires_grad for parameter in built.parameters())


def test_an_affine_flow_by_hand():
    """One transform in one dimension with constant shift b and log-scale s maps z to z exp(s) + b."""
    built = Bijection(1, 0, family="affine", transforms=1, hidden_dim=4, coupling=True).double()
    value = torch.tensor([[0.0], [1.0], [-2.0]], dtype=torch.float64)
    there, volume = built(value, None, False)
    shift, scale = there[0], there[1] - there[0]
    assert torch.allclose(there[2], shift - 2 * scale, atol=1e-12)
    assert torch.allclose(volume, scale.log().expand(3), atol=1e-12)
    p = Flow(DiagonalGaussian(*torch.zeros((2, 1), dtype=torch.float64)), built, None)
    expected = -0.5 * (shift + scale) ** 2 - 0.5 * math.log(2 * math.pi) + scale.log()
    assert p.log_prob(value)[1].item() == pytest.approx(expected.item(), abs=1e-12)
