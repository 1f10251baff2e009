"""Quadrature against closed forms, and that the error it states is an error it has at most."""

import copy

import pytest
import torch
from helpers import NO_SENTENCES, alive, batch_of, make, random_rows, sequences_of, set_posterior, solvable, tiny

from textvae.data.batches import collate
from textvae.errors import ConfigError
from textvae.evaluation.estimators import survey
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.quadrature import integrate, on_grid, quadrature
from textvae.models.linear_gaussian import observations
from textvae.models.text_vae import TextVAE

ROWS = [[4, 5, 6, 4], [], [6], [5, 5], [2, 6, 4]]


def exactly_known(dim: int, variance: float = 1.0):
    """A model whose best diagonal q is in place, six rows from it, and their batch."""
    model = solvable(dim, 3, variance=variance)
    set_posterior(model, model.best_diagonal())
    x = model.sample(6, seed=0)[1]
    return model, x, collate([row.numpy() for row in x])


@pytest.mark.parametrize("dim", [1, 2])
@torch.no_grad()
def test_every_integral_meets_its_closed_form(dim):
    model, x, batch = exactly_known(dim)
    found = quadrature(model, batch)
    assert found.error.max() < 1e-6
    exact, q = model.exact_posterior()(x), model.best_diagonal()
    torch.testing.assert_close(found.log_evidence, model.log_evidence(batch), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.posterior_mean, exact.mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.posterior_variance, exact.variance, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.posterior_gap, model.diagonal_gap.expand(6), atol=1e-9, rtol=0)
    prior = torch.distributions.MultivariateNormal(torch.zeros(dim).double(), torch.eye(dim).double())
    information = torch.distributions.kl_divergence(exact, prior)
    torch.testing.assert_close(found.information, information, atol=1e-8, rtol=0)
    rate = torch.distributions.kl_divergence(q(x), prior)
    torch.testing.assert_close(found.rate, rate, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.distortion, -found.elbo - rate, atol=1e-8, rtol=0)


@pytest.mark.parametrize("dim", [1, 2])
@torch.no_grad()
def test_the_error_stated_is_never_less_than_the_error_made(dim):
    """From grids on which a narrow posterior falls between the points, and which say so, to fine ones."""
    model, _, batch = exactly_known(dim, variance=0.1)
    exact = model.log_evidence(batch)
    missed = []
    for spacing in (1.2, 0.6, 0.3, 0.15) if dim == 2 else (1.2, 0.6, 0.3, 0.15, 0.07):
        found = on_grid(model, batch, spacing)
        true = (found.log_evidence - exact).abs()
        assert ((true <= found.error + 1e-9) | (found.error > 0.4)).all()
        missed.append(true.max().item())
    assert missed[0] > 0.1
    assert missed[-1] < 1e-3


@torch.no_grad()
def test_a_posterior_across_the_border_is_told_by_the_error_although_doubling_changes_little():
    model = solvable(1, 3, variance=3.0)
    for parameter in model.posterior.parameters():
        parameter.zero_()  # q is the prior: well inside
    slope = model.exact_posterior().slope
    x = model.decoder.linear.bias + 9 * slope / slope.square().sum()
    batch = collate([row.numpy() for row in x])
    found = on_grid(model, batch, 0.02)
    true = (found.log_evidence - model.log_evidence(batch)).abs()
    assert true > 0.3
    assert found.error > 0.3
    assert (found.coarser().log_evidence - found.log_evidence).abs() < 0.05


@torch.no_grad()
def test_the_grid_is_halved_until_it_suffices():
    model, _, batch = exactly_known(1, variance=0.001)
    rough, fine = quadrature(model, batch, tolerance=0.5), quadrature(model, batch, tolerance=1e-9)
    assert len(fine.z) > len(rough.z) > len(on_grid(model, batch, 0.16).z)
    assert fine.error.max() < 1e-9 < rough.error.max() < 0.5
    assert fine.coarser().error.max() > 1e-9
    torch.testing.assert_close(fine.log_evidence, model.log_evidence(batch), atol=1e-8, rtol=0)


def test_a_grid_that_would_be_too_large_states_what_error_is_left():
    model, _, batch = exactly_known(2, variance=1e-5)
    with torch.no_grad():
        found = quadrature(model, batch)
    assert len(found.z) <= 600_000
    assert found.error.max() > 1e-6


@pytest.mark.parametrize("spacing", [0.1, 0.2, 0.35])
@pytest.mark.parametrize("dim", [1, 2])
def test_the_coarser_grid_is_the_grid_of_twice_the_spacing(dim, spacing):
    model, batch = alive(dim), batch_of(*ROWS)
    fine = on_grid(model, batch, spacing)
    coarse = fine.coarser()
    direct = on_grid(model, batch, 2 * spacing, reach=coarse.z.max().item() - 1e-9)
    torch.testing.assert_close(coarse.z, direct.z)
    torch.testing.assert_close(coarse.log_likelihood, direct.log_likelihood)
    assert coarse.log_volume == pytest.approx(direct.log_volume)
    assert (coarse.z == 0).all(1).sum() == 1


@pytest.mark.parametrize("dim", [1, 2])
def test_a_model_in_float32_is_integrated_in_float64(dim):
    model = alive(dim).float()
    before = copy.deepcopy(model.state_dict())
    found, exact = quadrature(model, batch_of(*ROWS)), quadrature(copy.deepcopy(model).double(), batch_of(*ROWS))
    assert found.log_evidence.dtype == torch.float64
    torch.testing.assert_close(found.log_evidence, exact.log_evidence, atol=1e-12, rtol=0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_split_is_integrated_in_its_own_order_whatever_the_batches():
    model, rows, ticks = alive(1), random_rows(9, 5, seed=1), []
    found = integrate(model, sequences_of(rows), tick=ticks.append)
    assert sum(ticks) == 9
    assert found.error.max() < 1e-6
    again = integrate(model, sequences_of(rows), batch_size=2)
    for name in found.__dataclass_fields__:
        if name != "error":
            torch.testing.assert_close(getattr(again, name), getattr(found, name), atol=1e-6, rtol=0)
    for i, row in enumerate(rows):
        alone = quadrature(model, batch_of(row))
        torch.testing.assert_close(found.log_evidence[i : i + 1], alone.log_evidence, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.posterior_mean[i : i + 1], alone.posterior_mean, atol=1e-6, rtol=0)
    rate = survey(model, sequences_of(rows), SentenceNoise(0, 1)).rate
    torch.testing.assert_close(found.rate, rate, atol=1e-6, rtol=0)


@pytest.mark.parametrize("posterior", ["full", "flow"])
def test_any_family_with_a_density_can_be_integrated(posterior):
    """E_q of the constant 1 is 1, and the posterior gap a divergence."""
    encoder = make("model.encoder", "lstm", 7, embedding_dim=5, hidden_dim=5)
    base = alive(2)
    model = TextVAE(make("model.posterior", posterior, encoder, 2), base.prior, base.decoder).double().eval()
    found = on_grid(model, batch_of(*ROWS), 0.15)
    torch.testing.assert_close(
        found.under_q(torch.ones_like(found.log_q)), torch.ones(5).double(), atol=1e-5, rtol=0
    )
    assert (found.posterior_gap > 0).all()


def test_what_cannot_be_integrated_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="latent_dim of 1 or 2, not 3"):
        quadrature(tiny(3), batch_of(*ROWS))
    with pytest.raises(ConfigError, match="empty"):
        integrate(alive(1), NO_SENTENCES)
    with pytest.raises(ConfigError, match="autoencoder"):
        integrate(tiny(2, posterior="dirac"), sequences_of(ROWS))
    with pytest.raises(ConfigError, match="language model"):
        integrate(tiny(0, encoder=("none", {})), sequences_of(ROWS))
    encoder = make("model.encoder", "lstm", 7, embedding_dim=5, hidden_dim=5)
    sphere = TextVAE(
        make("model.posterior", "vmf", encoder, 2), make("model.prior", "uniform_sphere", 2), alive(2).decoder
    )
    with pytest.raises(ConfigError, match="sphere"):
        integrate(sphere.double(), sequences_of(ROWS))


def test_observations_with_one_latent_dimension_are_integrated_like_sentences():
    model, x, _ = exactly_known(1)
    found = integrate(model, observations(x), batch_size=4)
    torch.testing.assert_close(found.log_evidence, model.evidence.log_prob(x).detach(), atol=1e-8, rtol=0)
