"""Distributions on the sphere against scipy: Bessel functions, densities, and the law of the angle drawn."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import kl_divergence
from torch.nn import functional as F

from textvae.models.distributions import PowerSpherical, UniformSphere, VonMisesFisher, log_area
from textvae.models.distributions.polar import Polar

DRAWS = 20_000
GRID = [(2, 0.01), (2, 50.0), (3, 5.0), (8, 0.5), (32, 13.0), (50, 80.0), (128, 1e-3), (16, 1e4), (3, 1e6)]


def direction(dim: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(dim, generator=generator, dtype=torch.float64), dim=-1)


def draws(q, count: int = DRAWS) -> torch.Tensor:
    shape = (count, *q.batch_shape, *q.event_shape)
    return q.transport(torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64))


def uniform(dim: int) -> UniformSphere:
    return UniformSphere(torch.zeros(dim, dtype=torch.float64))


def log_bessel(order: float, x: float) -> float:
    """ln I_ν(x), from scipy's exponentially scaled function."""
    return math.log(special.ive(order, x)) + x


@pytest.mark.parametrize(("dim", "concentration"), GRID)
def test_vmf_normaliser_and_moments_are_bessel_functions(dim, concentration):
    q = VonMisesFisher(direction(dim)[None], concentration)
    order = dim / 2 - 1
    normaliser = (
        order * math.log(concentration) - dim / 2 * math.log(2 * math.pi) - log_bessel(order, concentration)
    )
    ratio = special.ive(order + 1, concentration) / special.ive(order, concentration)
    assert q.log_normaliser.item() == pytest.approx(normaliser, abs=1e-9)
    mean, variance = q.moments
    assert mean.item() == pytest.approx(ratio, abs=1e-12)
    # 1 − A² − (D − 1)A/κ loses 2 ln κ digits itself.
    expected = 1 - ratio**2 - (dim - 1) * ratio / concentration
    assert variance.item() == pytest.approx(expected, abs=1e-12 * max(1, concentration, 1 / concentration))


@pytest.mark.parametrize(("dim", "concentration"), [(2, 2.0), (3, 5.0), (32, 13.0), (50, 80.0)])
def test_vmf_density_and_entropy_are_scipys(dim, concentration):
    mu = direction(dim)
    q, oracle = VonMisesFisher(mu[None], concentration), stats.vonmises_fisher(mu.numpy(), concentration)
    z = F.normalize(torch.randn(20, dim, dtype=torch.float64), dim=-1)
    assert np.allclose(q.log_prob(z).numpy(), oracle.logpdf(z.numpy()), atol=1e-10)
    rate = log_area(dim) - oracle.entropy()
    assert kl_divergence(q, uniform(dim)).item() == pytest.approx(float(rate), abs=1e-9)


@pytest.mark.parametrize(("dim", "concentration", "published"), [(32, 13.0, 2.17), (50, 80.0, 19.5)])
def test_vmf_rate_is_the_published_constant(dim, concentration, published):
    several = torch.stack([direction(dim, seed) for seed in range(4)])
    rate = kl_divergence(VonMisesFisher(several, concentration), uniform(dim))
    assert rate.shape == (4,)
    assert (rate == rate[0]).all()
    assert rate[0].item() == pytest.approx(published, rel=2e-3)


def test_vmf_keeps_single_precision():
    q = VonMisesFisher(direction(32)[None].float(), 13.0)
    assert q.log_prob(draws(q, 5).float()).dtype == kl_divergence(q, uniform(32)).dtype == torch.float32


@pytest.mark.parametrize(("dim", "concentration"), [(2, 2.0), (3, 5.0), (32, 13.0), (50, 80.0), (16, 1e4)])
def test_vmf_draws_follow_scipys(dim, concentration):
    """The cosine with μ and a coordinate orthogonal to it have the law of scipy's rejection sampler."""
    mu = direction(dim)
    ours = draws(VonMisesFisher(mu[None], concentration))[:, 0]
    theirs = torch.from_numpy(stats.vonmises_fisher(mu.numpy(), concentration).rvs(DRAWS, random_state=0))
    across = F.normalize(direction(dim, 1) - (direction(dim, 1) @ mu) * mu, dim=-1)
    for axis in (mu, across):
        assert stats.kstest((ours @ axis).numpy(), (theirs @ axis).numpy()).pvalue > 1e-3


@pytest.mark.parametrize(("dim", "concentration"), [(2, 0.5), (5, 200.0), (32, 13.0), (64, 1e4)])
def test_power_spherical_cosine_is_a_beta(dim, concentration):
    """(1 + μᵀz)/2 ~ Beta((D − 1)/2 + κ, (D − 1)/2), with a κ of its own for every sentence."""
    several = torch.tensor([concentration, concentration / 3, 2 * concentration], dtype=torch.float64)
    q = PowerSpherical(direction(dim).expand(3, dim), several)
    share = (1 + (draws(q) * q.direction).sum(-1)) / 2
    for column, kappa in zip(share.T, several.tolist(), strict=True):
        assert stats.kstest(column.numpy(), stats.beta((dim - 1) / 2 + kappa, (dim - 1) / 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("dim", [2, 3, 17])
def test_power_spherical_by_numerical_integration(dim):
    """Normaliser, moments and E[T] in closed form meet the integrals over θ."""
    kappa = torch.tensor([0.3, 4.0, 90.0], dtype=torch.float64)
    q = PowerSpherical(direction(dim).expand(3, dim), kappa)
    polar = q.polar
    integral = polar.log_integral + log_area(dim - 1)
    assert torch.allclose(q.log_normaliser, -integral, atol=1e-5)
    mean, variance = q.moments
    assert torch.allclose(mean, polar.expectation(torch.cos), atol=1e-5)
    assert torch.allclose(variance + mean**2, polar.expectation(lambda angle: angle.cos() ** 2), atol=1e-5)
    expected = polar.expectation(lambda angle: q.statistic(angle.cos()))
    assert torch.allclose(q.expected_statistic, expected, atol=1e-4)


def test_power_spherical_rate_meets_sampling():
    q = PowerSpherical(direction(8).expand(3, 8), torch.tensor([0.5, 6.0, 40.0], dtype=torch.float64))
    p, z = uniform(8), draws(q)
    ratio = q.log_prob(z) - p.log_prob(z)
    assert ((ratio.mean(0) - kl_divergence(q, p)).abs() < 4 * ratio.std(0) / math.sqrt(DRAWS)).all()


def test_power_spherical_of_no_concentration_is_uniform():
    q = PowerSpherical(direction(5)[None], torch.tensor([1e-6], dtype=torch.float64))
    assert kl_divergence(q, uniform(5)).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 0.7), (3, 9.0), (32, 30.0)])
def test_draws_move_with_the_concentration_as_they_should(dim, kappa):
    """∂z/∂κ at fixed noise: autograd meets central differences, and both meet −(∂F/∂κ)/p of the angle."""
    noise = torch.randn((50, 1, dim), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mu, step = direction(dim)[None], 1e-4 * kappa

    def angle(value: torch.Tensor) -> torch.Tensor:
        cosine = (PowerSpherical(mu, value.view(1)).transport(noise) * mu).sum(-1)
        return cosine.clamp(-1, 1).acos()[:, 0]

    at = torch.tensor(kappa, dtype=torch.float64)
    exact = torch.autograd.functional.jacobian(angle, at)
    numeric = (angle(at + step) - angle(at - step)) / (2 * step)
    assert torch.allclose(exact, numeric, rtol=1e-3, atol=1e-4 * numeric.abs().max().item())
    beta = stats.beta((dim - 1) / 2 + kappa, (dim - 1) / 2)
    above, below = (stats.beta((dim - 1) / 2 + kappa + s, (dim - 1) / 2) for s in (step, -step))
    share = (1 + angle(at).cos().numpy()) / 2
    implicit = (above.cdf(share) - below.cdf(share)) / (2 * step) / beta.pdf(share)  # of −share
    assert np.allclose(exact.numpy() * np.sin(angle(at).numpy()) / 2, implicit, rtol=5e-3, atol=1e-5)


def test_draws_move_with_the_direction_as_they_should():
    noise = torch.randn((4, 1, 3), generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def drawn(raw: torch.Tensor) -> torch.Tensor:
        return VonMisesFisher(F.normalize(raw, dim=-1), 4.0).transport(noise)

    assert torch.autograd.gradcheck(drawn, torch.randn((1, 3), dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("dim", [2, 5])
def test_a_direction_along_the_first_axis_is_no_exception(dim):
    """The reflection onto the first axis itself does not exist; draws and gradients there are finite."""
    axis = F.one_hot(torch.tensor([0]), dim).double()
    for sign in (1, -1):
        mu = (sign * axis).requires_grad_()
        q = VonMisesFisher(mu, 20.0)
        z = q.transport(
            torch.randn((DRAWS, 1, dim), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        )
        assert (z.mean(0) - q.mean).abs().max() < 0.02
        assert torch.autograd.grad(z.sum(), mu)[0].isfinite().all()


@pytest.mark.parametrize(("dim", "concentration"), [(2, 3.0), (32, 13.0), (16, 1e4)])
def test_the_angle_drawn_is_the_quantile_of_its_score(dim, concentration):
    """F(quantile(s)) = Φ(s), with F integrated anew by scipy."""
    from scipy.integrate import quad

    polar = Polar.of(VonMisesFisher.statistic, torch.tensor([concentration], dtype=torch.float64), dim)
    scale = polar.log_integral.item()
    # On the circle the density does not vanish at 0 or π, near which angles are drawn less exactly.
    for score in (-1.5, -1.0, 0.0, 0.3, 2.5) if dim == 2 else (-5.0, -1.0, 0.0, 0.3, 2.5, 5.0):
        angle = polar.quantile(torch.tensor([score], dtype=torch.float64)).item()

        def density(t: float) -> float:
            return math.exp(concentration * math.cos(t) - scale) * math.sin(t) ** (dim - 2)

        spread = 30 / math.sqrt(concentration + dim)
        below = quad(density, max(0.0, angle - spread), angle, epsabs=1e-14, epsrel=1e-10, limit=200)[0]
        assert special.ndtri(below) == pytest.approx(score, abs=2e-4)


def test_the_area_of_the_sphere_by_hand():
    assert [math.exp(log_area(dim)) for dim in (1, 2, 3, 4)] == pytest.approx(
        [2, 2 * math.pi, 4 * math.pi, 2 * math.pi**2]
    )
