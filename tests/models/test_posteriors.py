"""Posteriors: what a sentence's q depends on, that gradients are right, and the floors that remedies promise."""

import math

import pytest
import torch
from families import BATCH, ENCODER, posterior_module, smallest
from helpers import VOCABULARY, batch_of, make, members, random_rows
from scipy.special import lambertw
from torch.distributions import kl_divergence

from textvae.models.distributions import DiagonalGaussian, UniformSphere
from textvae.models.posteriors import Posterior
from textvae.models.posteriors.delta import variance_range
from textvae.models.text_vae import initialise

FEATURES = torch.randn((64, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def standard(dim: int) -> DiagonalGaussian:
    return DiagonalGaussian(*torch.zeros((2, dim), dtype=torch.float64))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def published(kind: str, hidden: int = 64, latent_dim: int = 32, **options) -> Posterior:
    """In training mode, with the published initialisation U(−0.01, 0.01), embeddings U(−0.1, 0.1)."""
    torch.manual_seed(0)
    encoder = make("model.encoder", "lstm", VOCABULARY, embedding_dim=hidden, hidden_dim=hidden)
    posterior = make("model.posterior", kind, encoder, latent_dim, **options)
    initialise(posterior, 0.01, 0.1)
    return posterior.train()


# What every posterior owes


@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
def test_a_sentences_q_depends_on_nobody_beside_it(kind, options, latent_dim):
    if latent_dim < smallest(kind):
        pytest.skip("no such model")
    posterior = posterior_module(kind, options, latent_dim)
    posterior.train()(batch_of(*random_rows(20, 5)))  # statistics of a batch, where a family keeps any
    posterior.eval()
    together = posterior(BATCH)
    epsilon = noise(4, 3, latent_dim)
    z = together.transport(epsilon)
    for row, words in enumerate(([4, 5], [], [6, 6, 2])):
        alone = posterior(batch_of(words))
        assert torch.allclose(alone.transport(epsilon[:, row : row + 1])[:, 0], z[:, row], atol=1e-12)
        own = alone.log_prob(z[:, row : row + 1])[:, 0]
        assert torch.allclose(own, together.log_prob(z)[:, row], atol=1e-9, equal_nan=True)


@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
def test_it_has_a_density_where_it_says_so(kind, options):
    posterior = posterior_module(kind, options, max(smallest(kind), 3)).eval()
    q = posterior(BATCH)
    log_density = q.log_prob(q.transport(noise(4, 3, posterior.latent_dim)))
    assert bool(log_density.isfinite().all()) == posterior.has_density
    assert bool(log_density.isnan().all()) != posterior.has_density


@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
def test_evaluation_changes_no_state(kind, options):
    posterior = posterior_module(kind, options)
    before = {name: value.clone() for name, value in posterior.state_dict().items()}
    q = posterior(BATCH)
    q.log_prob(q.transport(noise(2, 3, 2)))
    assert all(torch.equal(value, before[name]) for name, value in posterior.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
def test_pathwise_gradients_meet_central_differences(kind, options, training):
    """∂ E over fixed noise of a function of z, by every direction in the features; finite in training mode too."""
    posterior = posterior_module(kind, options).train(training)
    epsilon, weight = noise(3, 6, 2), noise(6, 2, seed=1)

    def value(features: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)  # dropout on the variance
        return (posterior.distribution(features).transport(epsilon).sin() * weight).sum()

    features = FEATURES[:6].clone().requires_grad_()
    slope = torch.autograd.grad(value(features), features)[0]
    way = noise(6, 5, seed=2)
    step = 1e-6
    numeric = (value(features + step * way) - value(features - step * way)) / (2 * step)
    assert (slope * way).sum().item() == pytest.approx(numeric.item(), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
def test_samples_carry_gradients_to_the_encoder(kind, options):
    posterior = posterior_module(kind, options).train()
    q = posterior(batch_of(*random_rows(16, 5)))
    (q.rsample((2,)).sin() * noise(16, 2)).sum().backward()
    for name, parameter in posterior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
def test_it_starts_finite_whatever_the_initialisation(kind, options):
    posterior = published(kind, hidden=8, latent_dim=3, **options)
    q = posterior(batch_of(*random_rows(16, 5)))
    z = q.rsample((2,))
    assert z.isfinite().all()
    z.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in posterior.parameters())


@pytest.mark.parametrize(("kind", "options"), members("model.posterior"))
def test_a_map_to_the_mean_can_be_inherited(kind, options):
    """Every family's `mean` has the shape of the deterministic autoencoder's."""
    mean = posterior_module(kind, options).mean.state_dict()
    assert {name: value.shape for name, value in mean.items()} == {"weight": (2, ENCODER["hidden_dim"])}


# Floors


@pytest.mark.parametrize("kind", ["batch_norm", "du"])
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_batch_normalised_means_hold_the_rate_above_their_floor(kind, scale):
    """E_B rate ≥ Σ_d (γ_d² + β_d²)/2 in training mode, with the published initialisation and any variances."""
    posterior = published(kind, scale=scale)
    rows = batch_of(*random_rows(32, 8))
    with torch.no_grad():
        for shift in (0.0, 0.7):
            posterior.shift.fill_(shift)
            q = posterior(rows)
            rate = kl_divergence(q, DiagonalGaussian(*torch.zeros((2, 32)))).mean().item()
            floor = 32 * (scale**2 + shift**2) / 2
            assert rate >= floor * (1 - 1e-4)
            # At σ = 1 nothing else is left of the rate.
            least = kl_divergence(DiagonalGaussian(q.mean, torch.zeros_like(q.mean)), standard(32)).mean().item()
            assert least == pytest.approx(floor, rel=1e-4)


@pytest.mark.parametrize("kind", ["batch_norm", "du"])
def test_batch_normalised_means_by_hand(kind):
    posterior = posterior_module(kind, {"scale": 0.8}).train()
    raw = posterior.mean(FEATURES)
    mean = posterior.distribution(FEATURES).mean
    scales = posterior.scales if kind == "du" else torch.full((2,), 0.8, dtype=torch.float64)
    expected = scales * (raw - raw.mean(0)) / raw.std(0, correction=0) + posterior.shift
    assert torch.allclose(mean, expected, atol=1e-10)


def test_du_scales_have_the_root_mean_square_they_are_given():
    posterior = posterior_module("du", {"scale": 0.6}, latent_dim=7)
    assert posterior.scales.square().mean().sqrt().item() == pytest.approx(0.6, abs=1e-12)
    assert posterior.scales.std() > 0.05


def test_du_drops_variances_to_their_floor():
    posterior = posterior_module("du", {"dropout": 0.3, "floor": 0.5}, latent_dim=20).train()
    torch.manual_seed(0)
    with torch.no_grad():
        free = posterior.log_variance(FEATURES).exp()
        variance = posterior.distribution(FEATURES).variance
        floor = 0.5 / (2 * math.pi * math.e)
        dropped = (variance - floor).abs() < 1e-12
        share = dropped.double().mean().item()
        assert abs(share - 0.3) < 4 * math.sqrt(0.21 / dropped.numel())
        assert torch.allclose(variance[~dropped], (free / 0.7 + floor)[~dropped], atol=1e-12)
        quiet = posterior.eval().distribution(FEATURES).variance
    assert torch.allclose(quiet, free + floor, atol=1e-12)
    entropy = 0.5 * math.log(2 * math.pi * math.e * floor)
    assert entropy == pytest.approx(0.5 * math.log(0.5), abs=1e-12)


@pytest.mark.parametrize("nats", [0.001, 0.1, 0.5, 3.0])
def test_delta_holds_every_dimension_above_its_nats(nats):
    posterior = posterior_module("delta", {"nats_per_dimension": nats}, latent_dim=6)
    with torch.no_grad():
        for scale in (0.0, 1.0, 30.0):
            q = posterior.distribution(scale * FEATURES)
            per_dimension = 0.5 * (q.variance + q.mean**2 - 1 - q.log_variance)
            assert (per_dimension >= nats * (1 - 1e-9)).all()
            raw = posterior.mean(scale * FEATURES)
            # Where the range of variances ends, rounding up μ² adds at most half of 10⁻⁶.
            assert torch.allclose(per_dimension, nats + raw.relu() / 2, atol=1e-6)


@pytest.mark.parametrize("nats", [1e-6, 0.1, 2.0, 10.0])
def test_delta_range_is_lamberts(nats):
    """ln x − x + 2δ + 1 = 0 at x = −W(−exp(−1 − 2δ)) on either branch."""
    expected = [-lambertw(-math.exp(-1 - 2 * nats), branch).real for branch in (0, -1)]
    assert list(variance_range(nats)) == pytest.approx(expected, rel=1e-7)


def test_a_fixed_variance_is_one_for_all():
    posterior = posterior_module("fixed_variance", {"deviation": 0.3}, latent_dim=4)
    q = posterior.distribution(FEATURES)
    assert torch.allclose(q.stddev, torch.full_like(q.mean, 0.3))
    floor = 4 * (0.09 - 1 - math.log(0.09)) / 2
    assert torch.allclose(kl_divergence(q, standard(4)) - floor, q.mean.square().sum(-1) / 2, atol=1e-12)


@pytest.mark.parametrize(("latent_dim", "concentration"), [(32, 13.0), (4, 2.0)])
def test_vmf_has_one_rate_for_every_sentence(latent_dim, concentration):
    posterior = published("vmf", latent_dim=latent_dim, concentration=concentration)
    rate = kl_divergence(posterior(batch_of(*random_rows(8, 5))), UniformSphere(torch.zeros(latent_dim)))
    assert (rate == rate[0]).all()
    assert not rate.requires_grad


def test_a_learned_concentration_moves_the_rate():
    posterior = posterior_module("power_spherical", {}, latent_dim=4)
    rate = kl_divergence(posterior.distribution(FEATURES), UniformSphere(torch.zeros(4, dtype=torch.float64)))
    assert rate.std() > 0.01
    assert rate.requires_grad
    assert (posterior.distribution(FEATURES).concentration > 1).all()


def test_scaled_means_have_the_deviation_they_are_given():
    posterior = posterior_module("scale", {"deviation": 0.7}, latent_dim=4).train()
    q = posterior.distribution(FEATURES)
    raw = posterior.mean(FEATURES)
    assert torch.allclose(q.mean.std(0, correction=0), torch.full((4,), 0.7, dtype=torch.float64))
    ratio = q.mean / raw
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio), atol=1e-9)  # one factor for all sentences
    assert torch.equal(q.unscaled.mean, raw)
    assert torch.equal(q.unscaled.variance, q.variance)
    # The rate is that of the q which z is drawn from.
    assert (kl_divergence(q, standard(4)) != kl_divergence(q.unscaled, standard(4))).any()


# Statistics of the batch


@pytest.mark.parametrize("kind", ["batch_norm", "scale", "du"])
def test_evaluation_reads_the_average_of_training_batches(kind):
    posterior = posterior_module(kind, {})
    parts = FEATURES.split(16)
    for part in parts:
        posterior.train().distribution(part)
    raw = posterior.mean(FEATURES).detach()
    statistics = posterior.eval().statistics
    assert statistics.batches == len(parts)
    assert torch.allclose(statistics.mean, raw.mean(0), atol=1e-12)
    within = torch.stack([part.var(0) for part in raw.split(16)]).mean(0)
    assert torch.allclose(statistics.variance, within, atol=1e-12)


def test_old_batches_are_forgotten():
    posterior = posterior_module("batch_norm", {}).train()
    for _ in range(200):
        posterior.distribution(FEATURES)
    moved = FEATURES + 3
    for _ in range(100):
        posterior.distribution(moved)
    assert torch.allclose(posterior.statistics.mean, posterior.mean(moved).mean(0), atol=1e-3)


@pytest.mark.parametrize("kind", ["batch_norm", "scale", "du"])
def test_a_batch_of_one_sentence_is_finite(kind):
    posterior = posterior_module(kind, {}).train()
    q = posterior.distribution(FEATURES[:1])
    assert posterior.statistics.batches == 0, "one sentence has no variance to remember"
    assert q.mean.isfinite().all()
    q.mean.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in posterior.parameters())


@pytest.mark.parametrize("kind", ["batch_norm", "scale", "du"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_of_equal_sentences_is_not_told_apart_by_rounding(kind, dtype):
    posterior = posterior_module(kind, {}).to(dtype).train()
    posterior.mean.weight.data += 3.0
    features = FEATURES[:1].to(dtype).expand(7, -1).clone().requires_grad_()
    mean = posterior.mean(features)
    assert torch.equal(posterior.statistics(mean)[1], torch.zeros_like(mean[0]))
    q = posterior.distribution(features)
    assert torch.allclose(q.mean, q.mean[:1].expand(7, -1), atol=1e-5)
    posterior.eval()
    assert torch.equal(posterior.statistics(mean)[1], torch.zeros_like(mean[0])), "nor by what is remembered of it"
    posterior.train()
    (slope,) = torch.autograd.grad(q.mean[0].sum(), features)
    assert slope.abs().max() < 1e3


# Refusals


@pytest.mark.parametrize("kind", ["vmf", "power_spherical"])
def test_a_sphere_needs_an_encoder(kind):
    with pytest.raises(ValueError, match="needs an encoder with features"):
        make("model.posterior", kind, make("model.encoder", "none", VOCABULARY), 4)


def test_du_without_a_floor_may_not_drop():
    with pytest.raises(ValueError, match="needs a floor above 0"):
        posterior_module("du", {"dropout": 0.1, "floor": 0.0})
