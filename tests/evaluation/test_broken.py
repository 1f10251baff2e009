"""Deliberately broken estimators on models where the truth is known: the checks that ours pass must reject them.

Others of their kind stand beside what they break, in `test_truth.py` and `test_density.py`.
"""

import math
from types import SimpleNamespace

import pytest
import torch
from helpers import (
    check_lower_bound,
    check_standard_errors,
    check_unbiased,
    set_posterior,
    solvable,
)
from surveys import told

from textvae.data.batches import collate
from textvae.evaluation.annealed import Annealing, sandwich
from textvae.evaluation.estimators import Survey, standard_error
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.prior_monte_carlo import prior_curve
from textvae.models.distributions import DiagonalGaussian
from textvae.models.linear_gaussian import LinearPosterior, observations
from textvae.models.terms import forward_pass, importance_weighted, log_weight, pass_under

REPLICATIONS, K = 400, 16


def rejected(check, *arguments) -> None:
    with pytest.raises(AssertionError):
        check(*arguments)


@pytest.fixture(scope="module", params=[(4, 6, 1.5), (16, 24, 1.15)], ids=["D=4", "D=16"])
def world(request):
    """A model with a q that is diagonal and too wide, rows from it, and many passes."""
    dim, coordinates, factor = request.param
    model = solvable(dim, coordinates, scale=0.3, variance=1.0)
    best = model.best_diagonal()
    set_posterior(
        model, LinearPosterior(best.slope.detach(), best.offset.detach(), factor * best.covariance.detach())
    )
    x = model.sample(5, seed=0)[1]
    batch = collate([row.numpy() for row in x])
    with torch.no_grad():
        evidence = model.log_evidence(batch)
        done = forward_pass(model, batch, SentenceNoise(1, dim)(batch, 0, REPLICATIONS * K))
        q, exact = LinearPosterior(best.slope, best.offset, factor * best.covariance)(x), model.exact_posterior()(x)
        elbo = evidence - torch.distributions.kl_divergence(q, exact)
    likelihood = done.token_log_probs.sum(-1)
    grouped = log_weight(done).unflatten(0, (REPLICATIONS, K)).transpose(0, 1)
    return SimpleNamespace(
        model=model, batch=batch, done=done, evidence=evidence, elbo=elbo, likelihood=likelihood, weights=grouped
    )


def test_kl_averaged_over_dimensions(world):
    per_dimension = world.done.terms.rate_per_dimension
    check_unbiased(world.likelihood - per_dimension.sum(-1), world.elbo)
    rejected(check_unbiased, world.likelihood - per_dimension.mean(-1), world.elbo)
    rejected(check_lower_bound, world.likelihood - per_dimension.mean(-1), world.evidence)


def test_z_replaced_by_its_mean(world):
    with torch.no_grad():
        at_mean = forward_pass(world.model, world.batch, torch.zeros(1, 5, world.model.latent_dim))
    jitter = 1e-6 * torch.randn((REPLICATIONS, 5), generator=torch.Generator().manual_seed(0))
    rejected(check_unbiased, at_mean.terms.elbo + jitter, world.elbo)
    rejected(check_lower_bound, at_mean.terms.elbo + jitter, world.evidence)


def test_mean_of_p_instead_of_log_mean_exp(world):
    """The logarithm forgotten, or taken after the mean over rows: no bound on the mean of log p(x)."""
    estimates = importance_weighted(world.weights)
    exact = world.evidence.mean()[None]
    check_lower_bound(estimates.mean(1, keepdim=True), exact)
    rejected(check_lower_bound, estimates.exp().mean(1, keepdim=True), exact)
    rejected(check_lower_bound, estimates.exp().mean(1, keepdim=True).log(), exact)


def test_likelihood_under_q_without_weights(world):
    unweighted = importance_weighted(world.likelihood.unflatten(0, (REPLICATIONS, K)).transpose(0, 1))
    check_unbiased((importance_weighted(world.weights) - world.evidence).exp(), torch.ones(5))
    rejected(check_unbiased, (unweighted - world.evidence).exp(), torch.ones(5))
    rejected(check_lower_bound, unweighted, world.evidence)


def test_mean_of_logs_is_not_unbiased_for_p(world):
    """What the notes write: log p(x) ≈ (1/K) Σ p(x|zₖ) without the logarithm, or with it inside the mean."""
    inside = world.weights.mean(0)
    rejected(check_unbiased, (inside - world.evidence).exp(), torch.ones(5))


def in_minibatches(found, q: DiagonalGaussian, size: int) -> float:
    parts = []
    for rows in torch.arange(len(found.z)).split(size):
        joint = DiagonalGaussian(q.mean[rows], q.log_variance[rows]).log_prob(found.z[rows, None])
        parts.append((joint.diagonal() - joint.logsumexp(1) + math.log(len(rows))).mean())
    return float(torch.stack(parts).mean())


def test_mutual_information_in_a_minibatch():
    """The aggregate of 32 sentences cannot tell more than ln 32; that of 1500 can, and is right."""
    model = solvable(16, 24, scale=0.15, variance=1.0)
    set_posterior(model, model.best_diagonal())
    exact = model.best_diagonal().mutual_information(model.evidence).item()
    found = Survey.of(model, observations(model.sample(1500, seed=0)[1]), SentenceNoise(0, 16), batch_size=1500)
    indices, q = found.posteriors[0]
    assert torch.equal(indices, torch.arange(1500))
    assert 2.5 < exact <= math.log(1500) - 4
    assert told(found)[0] == pytest.approx(exact, abs=0.15)
    assert in_minibatches(found, q, 32) < exact - 0.3


@pytest.mark.parametrize("dim", [2, 16])
def test_q_fitted_to_a_pair_of_z_and_scored_on_it(dim):
    """Each dimension gains up to E −log|ε| = 0.64 nats, and the score is above log p(x) itself."""
    model = solvable(dim, 6 * dim)
    batch = collate([row.numpy() for row in model.sample(60, seed=2)[1]])
    own, fresh = (SentenceNoise(0, dim)(batch, *ends) for ends in ((0, 1), (1, 65)))
    with torch.no_grad():
        exact, start = model.log_evidence(batch), model.best_diagonal()(batch.targets)
    pair, free = torch.cat([own, -own]), [start.mean.clone(), start.variance.log()]
    optimiser = torch.optim.Adam([part.requires_grad_() for part in free], lr=0.1)

    def score(drawn: torch.Tensor) -> torch.Tensor:
        q = DiagonalGaussian(*free)
        return pass_under(model, batch, q, q.transport(drawn)).terms.elbo - exact

    for _ in range(200):
        optimiser.zero_grad()
        (-score(pair).sum()).backward()
        optimiser.step()
    with torch.no_grad():
        same, scored = score(pair), score(fresh)
    check_lower_bound(scored[:, None], torch.zeros(1))
    rejected(check_lower_bound, same[:, None], torch.zeros(1))


def test_the_reverse_path_from_what_is_no_sample_of_the_posterior():
    """Started at draws of q instead of the z that made x, the reverse estimate is no upper bound."""
    model = solvable(4, 8, scale=0.7)
    best = model.best_diagonal()
    offset = (best.offset + best.covariance.diagonal().sqrt()).detach()
    q = LinearPosterior(best.slope.detach(), offset, 0.3 * best.covariance.detach())
    set_posterior(model, q)
    z, x = model.sample(200, seed=0)
    torch.manual_seed(0)
    exact, how = model.evidence.log_prob(x).detach(), Annealing(temperatures=8, leapfrogs=2)

    def check_upper(start: torch.Tensor) -> None:
        above = sandwich(model, observations(x), start, how, batch_size=200).upper - exact
        assert above.mean() >= -3 * standard_error(above)

    check_upper(z)
    rejected(check_upper, q(x).sample())


def test_prior_monte_carlo_whose_error_is_believed_under_ten_effective_samples():
    """The error that the samples themselves suggest is far too small where hardly any of them counts."""
    model = solvable(8, 12, scale=1.0)
    x = model.sample(250, seed=0)[1]
    exact = model.evidence.log_prob(x).detach()
    curve = prior_curve(model, observations(x), [300], SentenceNoise(0, 8), batch_size=250, chunk=300)
    effective = curve.effective_samples[0]
    assert (effective < 10).double().mean() > 0.9
    assert curve.error[0][effective < 10].isnan().all()
    believed = ((300 / effective - 1) / 299).sqrt()
    rejected(check_standard_errors, (-curve.nll[0] - exact) / believed)
