"""Mixtures: the component is chosen as often as it weighs, and what is left of the noise is noise."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from textvae.models.distributions import DiagonalGaussian, Mixture, VonMisesFisher

DRAWS = 50_000
WEIGHTS = torch.tensor([0.05, 0.6, 0.35], dtype=torch.float64)


def mixture(dim: int) -> Mixture:
    generator = torch.Generator().manual_seed(0)
    means, log_variances = torch.randn((2, 3, dim), generator=generator, dtype=torch.float64)
    return Mixture(DiagonalGaussian(3 * means, log_variances), WEIGHTS.log() + 1.7)


def draws(p: Mixture) -> torch.Tensor:
    shape = (DRAWS, *p.event_shape)
    return p.transport(torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64))


@pytest.mark.parametrize("dim", [1, 4])
def test_each_coordinate_has_the_mixtures_distribution_function(dim):
    p = mixture(dim)
    means, deviations = p.components.mean.numpy(), p.components.stddev.numpy()
    for axis, column in enumerate(draws(p).T):

        def cdf(x: np.ndarray, axis: int = axis) -> np.ndarray:
            return stats.norm(means[:, axis], deviations[:, axis]).cdf(x[:, None]) @ WEIGHTS.numpy()

        assert stats.kstest(column.numpy(), cdf).pvalue > 1e-3


def test_the_density_by_hand():
    """½N(−1, 1) + ½N(1, 1) at 0 is N(1; 0, 1)."""
    p = Mixture(DiagonalGaussian(torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1)), torch.zeros(2))
    assert p.log_prob(torch.zeros(1)).item() == pytest.approx(-0.5 - 0.5 * math.log(2 * math.pi), abs=1e-6)


def test_coordinates_of_one_component_are_independent():
    """Given the component, the first coordinate says nothing of the second."""
    p = Mixture(DiagonalGaussian(torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, 2)), WEIGHTS.log())
    z = draws(p)
    assert abs(np.corrcoef(z.T.numpy())[0, 1]) < 4 / math.sqrt(DRAWS)
    assert stats.kstest(z[:, 0].numpy(), stats.norm.cdf).pvalue > 1e-3


def test_noise_far_out_is_drawn_too():
    p = mixture(2)
    noise = torch.tensor([[-9.0, 0.0], [9.0, 0.0], [-40.0, 1.0], [40.0, 1.0]])
    assert p.transport(noise).isfinite().all()


def test_a_mixture_of_directions_lies_on_the_sphere():
    directions = torch.nn.functional.normalize(torch.eye(3, dtype=torch.float64) + 0.2, dim=-1)
    p = Mixture(VonMisesFisher(directions, 50.0), WEIGHTS.log())
    z = draws(p)
    assert torch.allclose(z.norm(dim=-1), torch.ones(DRAWS, dtype=torch.float64))
    nearest = (z @ directions.T).argmax(-1).bincount(minlength=3) / DRAWS
    assert torch.allclose(nearest.double(), WEIGHTS, atol=0.01)
