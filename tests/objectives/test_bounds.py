"""IWAE: its value is the bound, and the mean of each gradient estimator over exact quadrature of the noise."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from helpers import alive, batch_of, make, members, objective_of, random_rows, tiny
from torch import Tensor

from textvae.data.batches import Batch, collate
from textvae.models.distributions import DiagonalGaussian
from textvae.models.linear_gaussian import Coordinates, LinearGaussian, observations
from textvae.models.posteriors import DiagonalPosterior
from textvae.models.terms import Pass, forward_pass, importance_weighted, log_weight, pass_under
from textvae.models.text_vae import TextVAE
from textvae.objectives.bounds.importance_weighted import ImportanceWeighted

BATCH = batch_of(*random_rows(5, 4, seed=1))
GRADIENTS = ("standard", "stl", "dreg")


def noise(samples: int, sentences: int, latent_dim: int, seed: int = 0) -> Tensor:
    shape = (samples, sentences, latent_dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(gradient: str, done: Pass, c: float = 1.0, beta: float = 1.0) -> Tensor:
    return ImportanceWeighted(gradient=gradient)(done, c, beta, done.terms.rate.mean())


# Value.


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("samples", [1, 4])
def test_the_value_is_the_importance_weighted_bound(gradient, samples):
    model = tiny(2, scale=1.2)
    done = forward_pass(model, BATCH, noise(samples, BATCH.sentences, 2))
    weights = log_weight(done).exp()
    assert value(gradient, done).item() == pytest.approx(-importance_weighted(log_weight(done)).mean().item())
    assert value(gradient, done).item() == pytest.approx(-weights.mean(0).log().mean().item())


def test_one_sample_is_the_elbo_whose_rate_is_taken_at_z():
    model = tiny(2, scale=1.2)
    done = forward_pass(model, BATCH, noise(1, BATCH.sentences, 2))
    sampled = done.posterior.log_prob(done.z) - done.prior.log_prob(done.z)
    assert value("standard", done).item() == pytest.approx((done.terms.distortion + sampled[0]).mean().item())


@pytest.mark.parametrize(("c", "beta"), [(0.5, 1.0), (1.0, 0.0), (2.0, 0.3)])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_both_weights_act_inside_of_the_logarithm(gradient, c, beta):
    done = forward_pass(tiny(2, scale=1.2), BATCH, noise(3, BATCH.sentences, 2))
    ratios = done.prior.log_prob(done.z) - done.posterior.log_prob(done.z)
    weights = (c * done.token_log_probs.sum(-1) + beta * ratios).exp()
    assert value(gradient, done, c, beta).item() == pytest.approx(-weights.mean(0).log().mean().item())


@pytest.mark.parametrize(("kind", "options"), members("objective.bound"))
def test_the_objective_trains_on_its_bound(kind, options):
    model = tiny(2, scale=1.2)
    loss = objective_of(model, samples=3, bound=(kind, options))(BATCH, 0, torch.Generator().manual_seed(1))
    loss.value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    elbo = objective_of(model, samples=3)(BATCH, 0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss.terms.elbo, elbo.terms.elbo)
    # By Jensen's inequality, up to the rate being taken at z.
    assert loss.value < elbo.value + (1e-9 if kind == "elbo" else 1.0)


def test_the_bound_tightens_with_its_samples():
    model, sentences = alive(1), BATCH.sentences
    with torch.no_grad():
        bounds = [
            torch.stack(
                [value("standard", forward_pass(model, BATCH, noise(k, sentences, 1, seed))) for seed in range(60)]
            ).mean()
            for k in (1, 4, 16)
        ]
    assert bounds[0] > bounds[1] > bounds[2]


def test_only_the_rate_itself_can_stand_under_iwae():
    for penalty in ("none", ("free_bits_total", {"nats_total": 3.0}), ("capacity", {"target_rate": 3.0})):
        with pytest.raises(ValueError, match="the penalty must be rate"):
            objective_of(tiny(2), bound=("iwae", {}), penalty=penalty)
    objective_of(tiny(2), bound="elbo", penalty="none")


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_language_model_has_a_bound_too(gradient):
    model = tiny(0, encoder=("none", {}))
    done = forward_pass(model, BATCH, noise(3, BATCH.sentences, 0))
    assert value(gradient, done).item() == pytest.approx(done.terms.distortion.mean().item())


# Gradients. Gauss–Hermite points over the noise of K samples make expectations exact: each point is a row of
# one batch, and what q's parameters of that row get is the estimator there.


def hermite(samples: int, points: int) -> tuple[Tensor, Tensor]:
    """Noise (K, points ** K, 1) and the probability of each column."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    grid = torch.tensor(list(product(nodes, repeat=samples))).T[..., None]
    chances = torch.tensor([math.prod(w) for w in product(weights / weights.sum(), repeat=samples)])
    return grid, chances


def alike(batch: Batch, times: int) -> Batch:
    row = batch.targets[0, : int(batch.lengths[0])].numpy()
    return collate([row] * times)


def estimates(model: TextVAE, gradient: str, eps: Tensor, sentence: Batch, beta: float) -> tuple[Tensor, Tensor]:
    """Estimates (N, 2) of the gradient by μ and log σ² at noise (K, N, 1), and the bound (N,) at each."""
    count = eps.shape[1]
    with torch.no_grad():
        start = model.posterior(sentence)
    mean, log_variance = (
        part.expand(count, -1).clone().requires_grad_() for part in (start.mean, start.log_variance)
    )
    q = DiagonalGaussian(mean, log_variance)
    done = pass_under(model, alike(sentence, count), q, q.transport(eps))
    slopes = torch.autograd.grad(value(gradient, done, beta=beta), [mean, log_variance])
    ratios = done.prior.log_prob(done.z) - q.log_prob(done.z)
    bounds = -importance_weighted(done.token_log_probs.sum(-1) + beta * ratios)
    return count * torch.cat(slopes, -1), bounds.detach()


def exact(model: TextVAE, samples: int, sentence: Batch, beta: float, points: int) -> Tensor:
    """The gradient (2,) of the expected bound by μ and log σ², by central differences of the quadrature."""
    eps, chances = hermite(samples, points)
    with torch.no_grad():
        start = model.posterior(sentence)
        at = torch.cat([start.mean, start.log_variance], -1)[0]

        def expected(parameters: Tensor) -> Tensor:
            mean, log_variance = parameters.expand(eps.shape[1], 2).split(1, -1)
            q = DiagonalGaussian(mean, log_variance)
            done = pass_under(model, alike(sentence, eps.shape[1]), q, q.transport(eps))
            ratios = done.prior.log_prob(done.z) - q.log_prob(done.z)
            return chances @ -importance_weighted(done.token_log_probs.sum(-1) + beta * ratios)

        moves = 1e-4 * torch.eye(2, dtype=torch.float64)
        return torch.stack([(expected(at + move) - expected(at - move)) / 2e-4 for move in moves])


SENTENCE = batch_of([4, 6, 5])


@pytest.mark.parametrize("beta", [1.0, 0.4, 0.0])
@pytest.mark.parametrize(("samples", "points"), [(1, 40), (2, 16), (3, 12)])
def test_the_mean_of_each_gradient_estimator(samples, points, beta):
    model = tiny(1, scale=0.7)
    truth = exact(model, samples, SENTENCE, beta, points)
    eps, chances = hermite(samples, points)
    off = {
        gradient: (chances @ estimates(model, gradient, eps, SENTENCE, beta)[0] - truth).abs().max().item()
        for gradient in GRADIENTS
    }
    accuracy = 1e-3 * truth.abs().max().item()
    assert off["standard"] < accuracy
    assert off["dreg"] < accuracy
    if samples == 1 or beta == 0:
        # One sample's score has mean 0, and without log q there is no score.
        assert off["stl"] < accuracy
    else:
        assert off["stl"] > 5 * accuracy


@pytest.mark.parametrize("samples", [1, 3])
def test_without_score_there_is_no_noise_at_the_exact_posterior(samples):
    """A linear-Gaussian model with orthogonal columns, whose exact posterior is a diagonal Gaussian."""
    model = LinearGaussian(DiagonalPosterior(Coordinates(3), 2), 3, variance=0.5).double()
    model.decoder.linear.weight.data = torch.tensor([[1.0, 1.0], [1.0, -1.0], [0.5, 0.0]]).double()
    batch = collate(list(observations(torch.randn(6, 3, dtype=torch.float64))))
    exact = model.exact_posterior()(batch.targets)
    assert exact.covariance_matrix[0, 0, 1].item() == pytest.approx(0, abs=1e-12)
    noisy = {}
    for gradient in GRADIENTS:
        mean = exact.mean.detach().requires_grad_()
        log_variance = exact.variance.detach().log().requires_grad_()
        q = DiagonalGaussian(mean, log_variance)
        done = pass_under(model, batch, q, q.transport(noise(samples, 6, 2)))
        slopes = torch.autograd.grad(value(gradient, done), [mean, log_variance])
        noisy[gradient] = max(slope.abs().max().item() for slope in slopes)
    assert noisy["stl"] < 1e-12
    assert noisy["dreg"] < 1e-12
    assert noisy["standard"] > 1e-3


def test_near_the_optimum_the_noise_is_smaller():
    """q one step beside the best there is: the variances of stl and dreg are far below the standard one's."""
    model = LinearGaussian(DiagonalPosterior(Coordinates(2), 1), 2, variance=0.5).double()
    batch = collate([np.array([0.3, -0.8])])
    best = model.exact_posterior()(batch.targets)
    spread = {}
    for gradient in GRADIENTS:
        mean = (best.mean.detach() + 0.02).expand(4000, 1).clone().requires_grad_()
        log_variance = (best.variance.detach().log() + 0.02).expand(4000, 1).clone().requires_grad_()
        q = DiagonalGaussian(mean, log_variance)
        rows = collate([np.array([0.3, -0.8])] * 4000)
        done = pass_under(model, rows, q, q.transport(noise(4, 4000, 1)))
        slopes = torch.autograd.grad(value(gradient, done), [mean, log_variance])
        spread[gradient] = 4000 * torch.cat(slopes, -1).std(0).max().item()
    assert spread["stl"] < 0.2 * spread["standard"]
    assert spread["dreg"] < 0.2 * spread["standard"]


@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_the_decoder_gets_the_same_gradient_from_all_three(beta):
    model = tiny(2, scale=1.2)
    eps = noise(4, BATCH.sentences, 2)
    found = [
        torch.autograd.grad(
            value(gradient, forward_pass(model, BATCH, eps), beta=beta), list(model.decoder.parameters())
        )
        for gradient in GRADIENTS
    ]
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, atol=1e-12, rtol=1e-12)


def test_what_an_auxiliary_sends_through_z_is_not_rescaled():
    model = tiny(2, scale=1.2)
    head = make("objective.auxiliary", "bag_of_words", model, 7, hidden_dim=3).double()
    eps = noise(4, BATCH.sentences, 2)

    def slopes(bound: bool, auxiliary: bool) -> list[Tensor]:
        done = forward_pass(model, BATCH, eps)
        loss = bound * value("dreg", done) + auxiliary * head(done, 0)
        return list(torch.autograd.grad(loss, list(model.posterior.parameters())))

    for both, one, other in zip(slopes(True, True), slopes(True, False), slopes(False, True), strict=True):
        torch.testing.assert_close(both, one + other, atol=1e-12, rtol=1e-12)


def test_a_frozen_encoder_is_no_obstacle():
    model = tiny(2)
    model.posterior.requires_grad_(False)
    loss = objective_of(model, samples=3, bound=("iwae", {"gradient": "dreg"}))
    loss(BATCH, 0, torch.Generator().manual_seed(1)).value.backward()
    assert all(p.grad is not None for p in model.decoder.parameters())
