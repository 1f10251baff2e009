"""Posteriors and priors by invariants: what transport draws has the density that log_prob claims."""

import math

import pytest
import torch
from helpers import HIDDEN, MEMBERS, VOCABULARY, batch_of, make, members, randomise
from torch.distributions import Independent, Normal, kl_divergence

from textvae.build import SLOTS
from textvae.models.distributions import DiagonalGaussian, Dirac, Reparameterised, kl_per_dimension
from textvae.models.terms import rate_of

BATCH = batch_of([4, 5], [], [6, 6, 2])
DRAWS = 200_000


def posterior_of(kind, options, latent_dim=2, seed=0) -> Reparameterised:
    encoder = make("model.encoder", "lstm", VOCABULARY, embedding_dim=HIDDEN, hidden_dim=HIDDEN)
    posterior = make("model.posterior", kind, encoder, latent_dim, **options).double()
    randomise(posterior, 1.5, seed)
    return posterior(BATCH)


def prior_of(kind, options, latent_dim=2) -> Reparameterised:
    return make("model.prior", kind, latent_dim, **options).double()()


def gaussian(seed: int, *shape: int) -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, log_variance)


def noise_for(distribution: Reparameterised, count: int, seed: int = 0) -> torch.Tensor:
    shape = (count, *distribution.batch_shape, *distribution.event_shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def has_density(distribution: Reparameterised) -> bool:
    return not isinstance(distribution, Dirac)


@pytest.mark.parametrize("slot", MEMBERS)
def test_every_member_of_a_slot_is_tested(slot):
    assert set(MEMBERS[slot]) == set(SLOTS[slot])


@pytest.mark.parametrize("latent_dim", [0, 1, 3])
@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
def test_a_posterior_has_a_distribution_per_sentence(kind, options, latent_dim):
    q = posterior_of(kind, options, latent_dim)
    assert (q.batch_shape, q.event_shape) == ((3,), (latent_dim,))
    assert q.mean.shape == q.variance.shape == (3, latent_dim)
    assert q.rsample((4,)).shape == q.transport(noise_for(q, 4)).shape == (4, 3, latent_dim)
    assert q.log_prob(q.rsample((4,))).shape == (4, 3)


@pytest.mark.parametrize("latent_dim", [0, 1, 3])
@pytest.mark.parametrize(("kind", "options"), members("model.prior"))
def test_a_prior_is_one_distribution(kind, options, latent_dim):
    p = prior_of(kind, options, latent_dim)
    assert (p.batch_shape, p.event_shape) == ((), (latent_dim,))
    assert p.transport(noise_for(p, 4)).shape == (4, latent_dim)
    assert p.log_prob(torch.zeros(5, 3, latent_dim)).shape == (5, 3)


ALL = [
    *(pytest.param(posterior_of, *p.values, id=f"posterior:{p.id}") for p in members("model.posterior")),
    *(pytest.param(prior_of, *p.values, id=f"prior:{p.id}") for p in members("model.prior")),
]


@pytest.mark.parametrize(("which", "kind", "options"), ALL)
def test_transport_draws_the_mean_and_variance_it_claims(which, kind, options):
    with torch.no_grad():
        d = which(kind, options)
        z = d.transport(noise_for(d, DRAWS))
    deviation = d.variance.sqrt()
    assert ((z.mean(0) - d.mean).abs() <= 4.5 * deviation / math.sqrt(DRAWS) + 1e-12).all()
    relative = z.var(0) / d.variance.where(deviation > 0, 1.0)
    assert ((relative - (deviation > 0).double()).abs() < 4.5 * math.sqrt(2 / DRAWS)).all()


@pytest.mark.parametrize(("which", "kind", "options"), ALL)
def test_log_prob_is_the_density_of_what_transport_draws(which, kind, options):
    """log p(z(ε)) = log N(ε) − log |det ∂z/∂ε|, with the Jacobian from autograd."""
    d = which(kind, options)
    if not has_density(d):
        assert d.log_prob(d.transport(noise_for(d, 2))).isnan().all()
        return
    noise = noise_for(d, 1)[0]
    jacobian = torch.autograd.functional.jacobian(d.transport, noise)
    volume = jacobian.reshape(noise.numel(), noise.numel()).det().abs().log()
    expected = Normal(0.0, 1.0).log_prob(noise).sum() - volume
    assert d.log_prob(d.transport(noise)).sum().item() == pytest.approx(expected.item(), abs=1e-10)


@pytest.mark.parametrize(("which", "kind", "options"), ALL)
def test_densities_integrate_to_one(which, kind, options):
    d = which(kind, options, latent_dim=1)
    axis = torch.arange(-40, 40, 0.01, dtype=torch.float64)
    mass = d.log_prob(axis.view(-1, *[1] * (len(d.batch_shape) + 1)).expand(-1, *d.batch_shape, 1)).exp().sum(0)
    expected = 1.0 if has_density(d) else math.nan
    assert torch.allclose(0.01 * mass, torch.full_like(mass, expected), atol=1e-9, equal_nan=True)


@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
@pytest.mark.parametrize(("prior", "prior_options"), members("model.prior"))
def test_the_rate_meets_sampling(kind, options, prior, prior_options):
    with torch.no_grad():
        q, p = posterior_of(kind, options), prior_of(prior, prior_options)
        z = q.transport(noise_for(q, DRAWS))
        rate, per_dimension = rate_of(q, p, z[:1])
        if not has_density(q):
            assert rate.isnan().all()
            assert per_dimension is None
            return
        ratio = q.log_prob(z) - p.log_prob(z)
    assert rate.shape == (3,)
    assert (rate > 0.05).all()
    assert ((ratio.mean(0) - rate).abs() < 4 * ratio.std(0) / math.sqrt(DRAWS)).all()
    if per_dimension is not None:
        assert per_dimension.shape == (3, 2)
        assert torch.allclose(per_dimension.sum(-1), rate, atol=1e-12)


def test_gaussian_kl_and_density_are_torchs():
    q, p = gaussian(0, 6, 3), gaussian(1, 3)
    torch_q = Independent(Normal(q.mean, q.stddev), 1)
    torch_p = Independent(Normal(p.mean.expand(6, 3), p.stddev.expand(6, 3)), 1)
    assert torch.allclose(kl_divergence(q, p), kl_divergence(torch_q, torch_p), atol=1e-12)
    z = torch.randn(4, 6, 3, dtype=torch.float64)
    assert torch.allclose(q.log_prob(z), torch_q.log_prob(z), atol=1e-12)


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


@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
def test_samples_carry_gradients_to_the_encoder(kind, options):
    encoder = make("model.encoder", "lstm", VOCABULARY, embedding_dim=HIDDEN, hidden_dim=HIDDEN)
    posterior = make("model.posterior", kind, encoder, 2, **options)
    posterior(BATCH).rsample((2,)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in posterior.parameters())
