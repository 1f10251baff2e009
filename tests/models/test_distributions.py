"""Posteriors and priors by invariants: what transport draws has the density that log_prob claims."""

import math

import pytest
import torch
from families import POSTERIORS_AND_PRIORS, density_where, posterior_of, prior_of, smallest, together
from helpers import MEMBERS, members
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from textvae.builder import SLOTS
from textvae.models.distributions import (
    DiagonalGaussian,
    Dirac,
    Flow,
    FullGaussian,
    Mixture,
    Reparameterised,
    kl_per_dimension,
    log_area,
)
from textvae.models.terms import rate_of

DRAWS = 20_000
DENSE = [p for p in POSTERIORS_AND_PRIORS if p.values[1] != "dirac"]
FLAT = [p for p in DENSE if density_where(p.values[1]) == "everywhere"]
ROUND = [p for p in DENSE if density_where(p.values[1]) == "sphere"]


def gaussian(seed: int, *shape: int) -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, log_variance)


def full(seed: int, batch: int, dim: int) -> FullGaussian:
    generator = torch.Generator().manual_seed(seed)
    square = torch.randn((batch, dim, dim), generator=generator, dtype=torch.float64)
    factor = square.tril(-1) + torch.diag_embed(square.diagonal(dim1=-2, dim2=-1).exp())
    return FullGaussian(square[..., 0], factor)


def noise_for(distribution: Reparameterised, count: int, seed: int = 0) -> torch.Tensor:
    shape = (count, *distribution.batch_shape, *distribution.event_shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def has_density(distribution: Reparameterised) -> bool:
    return not isinstance(distribution, Dirac)


@pytest.mark.parametrize("slot", MEMBERS)
def test_every_member_of_a_slot_is_tested(slot):
    assert set(MEMBERS[slot]) == set(SLOTS[slot].members)


@pytest.mark.parametrize("latent_dim", [0, 1, 3])
@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
def test_a_posterior_has_a_distribution_per_sentence(kind, options, latent_dim):
    if latent_dim < smallest(kind):
        with pytest.raises(ValueError, match="latent_dim"):
            posterior_of(kind, options, latent_dim)
        return
    q = posterior_of(kind, options, latent_dim)
    assert (q.batch_shape, q.event_shape) == ((3,), (latent_dim,))
    assert q.mean.shape == q.variance.shape == q.centre.shape == (3, latent_dim)
    assert q.rsample((4,)).shape == q.transport(noise_for(q, 4)).shape == (4, 3, latent_dim)
    assert q.log_prob(q.rsample((4,))).shape == (4, 3)
    assert q.log_prob(q.rsample((4,))[:, :, None]).shape == (4, 3, 3)


@pytest.mark.parametrize("latent_dim", [0, 1, 3])
@pytest.mark.parametrize(("kind", "options"), members("model.prior"))
def test_a_prior_is_one_distribution(kind, options, latent_dim):
    if latent_dim < smallest(kind):
        with pytest.raises(ValueError, match="latent_dim"):
            prior_of(kind, options, latent_dim)
        return
    p = prior_of(kind, options, latent_dim)
    assert (p.batch_shape, p.event_shape) == ((), (latent_dim,))
    assert p.transport(noise_for(p, 4)).shape == (4, latent_dim)
    assert p.log_prob(p.transport(noise_for(p, 15)).view(5, 3, latent_dim)).shape == (5, 3)


@pytest.mark.parametrize(("which", "kind", "options"), POSTERIORS_AND_PRIORS)
def test_precision_is_the_parameters(which, kind, options):
    with torch.no_grad():
        d = which(kind, options, dtype=torch.float32)
        z = d.transport(noise_for(d, 2).float())
        assert {x.dtype for x in (z, d.log_prob(z), d.mean, d.variance, d.centre)} == {torch.float32}
        exact = which(kind, options)
        assert torch.allclose(exact.transport(noise_for(d, 2).float().double()), z.double(), atol=1e-3)


@pytest.mark.parametrize(("which", "kind", "options"), POSTERIORS_AND_PRIORS)
def test_transport_draws_the_mean_and_variance_it_claims(which, kind, options):
    with torch.no_grad():
        d = which(kind, options)
        z = d.transport(noise_for(d, DRAWS))
    if isinstance(d, Flow):  # its moments are those of 64 points
        assert ((z.mean(0) - d.mean).abs() < 4.5 * z.std(0) / 8).all()
        assert ((z.var(0) / d.variance).log().abs() < 1.5).all()
        return
    spread = (z - d.mean).square()
    assert ((z.mean(0) - d.mean).abs() <= 4.5 * z.std(0) / math.sqrt(DRAWS) + 1e-12).all()
    assert ((spread.mean(0) - d.variance).abs() <= 4.5 * spread.std(0) / math.sqrt(DRAWS) + 1e-12).all()


@pytest.mark.parametrize(("which", "kind", "options"), FLAT)
def test_log_prob_is_the_density_of_what_transport_draws(which, kind, options):
    """log p(z(ε)) = log N(ε) − log |det ∂z/∂ε|, with the Jacobian from autograd."""
    d = which(kind, options)
    if isinstance(d, Mixture):
        pytest.skip("not one to one: tested by its distribution function")
    noise = noise_for(d, 1)[0]
    jacobian = torch.autograd.functional.jacobian(d.transport, noise)
    volume = jacobian.reshape(noise.numel(), noise.numel()).det().abs().log()
    expected = Normal(0.0, 1.0).log_prob(noise).sum() - volume
    assert d.log_prob(d.transport(noise)).sum().item() == pytest.approx(expected.item(), abs=1e-9)


def test_a_dirac_has_no_density():
    q = posterior_of("dirac", {})
    assert q.log_prob(q.transport(noise_for(q, 2))).isnan().all()


@pytest.mark.parametrize(("which", "kind", "options"), FLAT)
def test_densities_integrate_to_one_on_the_line(which, kind, options):
    with torch.no_grad():
        d = which(kind, options, latent_dim=1)
        axis = torch.arange(-60, 60, 0.01, dtype=torch.float64).view(-1, *[1] * (len(d.batch_shape) + 1))
        mass = 0.01 * d.log_prob(axis.expand(-1, *d.batch_shape, 1)).exp().sum(0)
    # The density of a spline has kinks, at which the rectangle rule errs.
    atol = 1e-4 if options.get("family") == "spline" else 1e-8
    assert torch.allclose(mass, torch.ones_like(mass), atol=atol)


@pytest.mark.parametrize(("which", "kind", "options"), FLAT)
def test_densities_integrate_to_one_in_the_plane(which, kind, options):
    """Under a wide Gaussian proposal placed on a low-discrepancy grid, ∫ p = E[p/proposal]."""
    with torch.no_grad():
        d = which(kind, options)
        uniform = torch.quasirandom.SobolEngine(2, scramble=True, seed=0).draw(2**14, dtype=torch.float64)
        points = torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9)).view(-1, *[1] * len(d.batch_shape), 2)
        wide = DiagonalGaussian(d.mean, (4 * d.variance).log())
        z = wide.transport(points.expand(-1, *d.batch_shape, 2))
        mass = (d.log_prob(z) - wide.log_prob(z)).exp().mean(0)
    assert torch.allclose(mass, torch.ones_like(mass), atol=0.02)


@pytest.mark.parametrize("latent_dim", [2, 3])
@pytest.mark.parametrize(("which", "kind", "options"), ROUND)
def test_densities_integrate_to_one_on_the_sphere(which, kind, options, latent_dim):
    with torch.no_grad():
        d = which(kind, options, latent_dim=latent_dim)
        turn = 2 * math.pi * torch.arange(400, dtype=torch.float64) / 400
        height = torch.linspace(-1, 1, 4001, dtype=torch.float64)
        middle = (height[1:] + height[:-1]) / 2
        if latent_dim == 2:
            z = torch.stack([turn.cos(), turn.sin()], -1)
        else:
            radius = (1 - middle.square()).sqrt()[:, None]
            z = torch.stack([radius * turn.cos(), radius * turn.sin(), middle[:, None].expand(-1, 400)], -1)
            z = z.flatten(0, 1)
        z = z.view(-1, *[1] * len(d.batch_shape), latent_dim).expand(-1, *d.batch_shape, latent_dim)
        mass = (d.log_prob(z) + log_area(latent_dim)).exp().mean(0)
    assert torch.allclose(mass, torch.ones_like(mass), atol=1e-6)


@pytest.mark.parametrize(("which", "kind", "options"), ROUND)
def test_what_is_drawn_on_the_sphere_has_the_density_claimed(which, kind, options):
    """E_q[h] over draws meets ∫ q h over the circle for functions h that no symmetry hides."""
    with torch.no_grad():
        d = which(kind, options)
        z = d.transport(noise_for(d, DRAWS))
        turn = 2 * math.pi * torch.arange(2000, dtype=torch.float64) / 2000
        circle = torch.stack([turn.cos(), turn.sin()], -1).view(-1, *[1] * len(d.batch_shape), 2)
        circle = circle.expand(-1, *d.batch_shape, 2)
        density = (d.log_prob(circle) + log_area(2)).exp()
        for h in (lambda x: (x[..., 0] > 0.3).double(), lambda x: (3 * x[..., 1]).sin() + x[..., 0] ** 3):
            drawn, exact = h(z), (density * h(circle)).mean(0)
            assert ((drawn.mean(0) - exact).abs() < 4.5 * drawn.std(0) / math.sqrt(DRAWS) + 2e-3).all()
    assert torch.allclose(z.norm(dim=-1), torch.ones(z.shape[:-1], dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
@pytest.mark.parametrize(("prior", "prior_options"), members("model.prior"))
def test_the_rate_meets_sampling(kind, options, prior, prior_options):
    if not together(kind, prior):
        pytest.skip("refused: see test_priors")
    with torch.no_grad():
        q = posterior_of(kind, options)
        p = prior_of(prior, prior_options, posterior=kind)
        z = q.transport(noise_for(q, DRAWS // 4))
        rate, per_dimension = rate_of(q, p, z[:1])
        if not has_density(q):
            assert rate.isnan().all()
            assert per_dimension is None
            return
        ratio = q.log_prob(z) - p.log_prob(z)
        error = ratio.std(0) / math.sqrt(len(z))
        if torch.allclose(rate, ratio[0], atol=1e-9):  # no closed form: the samples' own mean
            rate = rate_of(q, p, q.transport(noise_for(q, DRAWS // 4, seed=1)))[0]
            error = math.sqrt(2) * error
    assert rate.shape == (3,)
    assert (rate > 0).all()
    assert ((ratio.mean(0) - rate).abs() < 4.5 * error + 1e-9).all()
    if per_dimension is not None:
        assert per_dimension.shape == (3, 2)
        assert torch.allclose(per_dimension.sum(-1), rate, atol=1e-12)


@pytest.mark.parametrize(("which", "kind", "options"), POSTERIORS_AND_PRIORS)
def test_detached_is_the_same_and_passes_no_gradient(which, kind, options):
    d = which(kind, options)
    stopped = d.detached()
    z = d.transport(noise_for(d, 5))
    assert torch.equal(stopped.transport(noise_for(d, 5)), z)
    assert torch.equal(stopped.log_prob(z).nan_to_num(), d.log_prob(z).nan_to_num())
    assert not stopped.transport(noise_for(d, 5)).requires_grad
    assert not stopped.log_prob(z.detach()).requires_grad


@pytest.mark.parametrize(("which", "kind", "options"), [p for p in DENSE if p.values[1] != "uniform_sphere"])
def test_densities_have_gradients_in_z(which, kind, options):
    """∂ log p/∂z by autograd meets central differences, through the gradient-stopped distribution too."""
    d = which(kind, options).detached()
    z = d.transport(noise_for(d, 1))[0].detach().requires_grad_()
    slope = torch.autograd.grad(d.log_prob(z).sum(), z)[0]
    step = 1e-5
    for axis in range(2):
        shift = step * torch.eye(2, dtype=torch.float64)[axis]
        numeric = (d.log_prob(z + shift) - d.log_prob(z - shift)) / (2 * step)
        assert torch.allclose(slope[..., axis], numeric, atol=1e-5, rtol=1e-5)


# Gaussians


def test_gaussian_kl_and_density_are_torchs():
    q, p = gaussian(0, 6, 3), gaussian(1, 3)
    torch_q = Independent(Normal(q.mean, q.stddev), 1)
    torch_p = Independent(Normal(p.mean.expand(6, 3), p.stddev.expand(6, 3)), 1)
    assert torch.allclose(kl_divergence(q, p), kl_divergence(torch_q, torch_p), atol=1e-12)
    z = torch.randn(4, 6, 3, dtype=torch.float64)
    assert torch.allclose(q.log_prob(z), torch_q.log_prob(z), atol=1e-12)


def test_full_gaussian_kl_and_density_are_torchs():
    q, p = full(0, 6, 4), gaussian(1, 4)
    torch_q = MultivariateNormal(q.mean, scale_tril=q.factor)
    torch_p = MultivariateNormal(p.mean, torch.diag(p.variance))
    assert torch.allclose(kl_divergence(q, p), kl_divergence(torch_q, torch_p), atol=1e-10)
    z = torch.randn(5, 6, 4, dtype=torch.float64)
    assert torch.allclose(q.log_prob(z), torch_q.log_prob(z), atol=1e-10)
    assert torch.allclose(q.variance, torch_q.variance, atol=1e-12)


def test_a_full_gaussian_without_correlation_is_the_diagonal_one():
    q, p = gaussian(0, 6, 3), gaussian(1, 3)
    same = FullGaussian(q.mean, torch.diag_embed(q.stddev))
    assert torch.allclose(kl_divergence(same, p), kl_divergence(q, p), atol=1e-12)
    assert torch.allclose(same.transport(noise_for(q, 3)), q.transport(noise_for(q, 3)), atol=1e-12)


def test_gaussian_kl_by_hand():
    """KL(N(1, 4) ‖ N(0, 1)) = ½(4 + 1 − 1 − ln 4)."""
    q = DiagonalGaussian(torch.tensor([[1.0, 0.0]]), torch.tensor([[math.log(4.0), 0.0]]))
    p = DiagonalGaussian(torch.zeros(2), torch.zeros(2))
    per_dimension = kl_per_dimension(q, p)
    assert per_dimension[0].tolist() == pytest.approx([2 - math.log(2), 0.0], abs=1e-6)
    assert kl_divergence(q, p).item() == pytest.approx(2 - math.log(2), abs=1e-6)
    assert kl_divergence(q, q).item() == 0


def test_a_diracs_rate_is_undefined_and_never_zero():
    point = Dirac(torch.zeros(3, 2))
    p = DiagonalGaussian(torch.zeros(2), torch.zeros(2))
    assert kl_divergence(point, p).isnan().all()
    assert kl_per_dimension(point, p) is None
    assert rate_of(point, p, point.rsample((5,)))[0].isnan().all()
    assert torch.equal(point.transport(torch.randn(5, 3, 2)), torch.zeros(5, 3, 2))
    assert torch.equal(point.variance, torch.zeros(3, 2))


class Opaque(Reparameterised):
    """A Gaussian in disguise: no closed-form rate is registered for it."""

    def __init__(self, inner: DiagonalGaussian) -> None:
        self.inner = inner
        super().__init__(inner.batch_shape, inner.event_shape[0])

    @property
    def mean(self):
        return self.inner.mean

    def transport(self, noise):
        return self.inner.transport(noise)

    def log_prob(self, value):
        return self.inner.log_prob(value)


def test_without_a_closed_form_the_rate_is_sampled():
    inner, p = gaussian(3, 4, 2), gaussian(4, 2)
    q = Opaque(inner)
    z = q.transport(noise_for(q, DRAWS))
    sampled, per_dimension = rate_of(q, p, z)
    assert per_dimension is None
    exact = kl_divergence(inner, p)
    error = (q.log_prob(z) - p.log_prob(z)).std(0) / math.sqrt(DRAWS)
    assert ((sampled - exact).abs() < 4 * error).all()
    assert not torch.equal(sampled, exact)


def test_a_family_that_cannot_be_detached_says_so():
    with pytest.raises(NotImplementedError, match="Opaque does not implement detached"):
        Opaque(gaussian(3, 4, 2)).detached()
