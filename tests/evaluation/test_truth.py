"""The LSTM decoder with D = 1 and 2, where quadrature over z knows the truth.

Every check is a function (in helpers); ours pass it, the broken estimators beneath must fail it.
"""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from helpers import (
    WORDS,
    alive,
    batch_of,
    check_lower_bound,
    check_standard_errors,
    check_tight,
    check_unbiased,
    complete_strings,
    draw_log_weights,
    draw_pass,
    random_rows,
    rows_of,
    sequences_of,
    truth,
    unfinished,
)

from textvae.data.batches import collate
from textvae.evaluation.estimators import Survey, importance_weighted_nll, standard_error
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.quadrature import on_grid, quadrature
from textvae.models.terms import forward_pass, importance_weighted

ROWS = [[4, 5, 6, 4], [], [6], [5, 5], [2, 6, 4]]
REPLICATIONS, K = 500, 128


@pytest.fixture(scope="module", params=[1, 2], ids=["D=1", "D=2"])
def world(request):
    """A model that is not collapsed, its sentences, the truth about them, and many log-weights (R, K, B)."""
    model, batch = alive(request.param), batch_of(*ROWS)
    weights = draw_log_weights(model, batch, REPLICATIONS * K, seed=11)
    return SimpleNamespace(
        model=model,
        batch=batch,
        sequences=sequences_of(ROWS),
        exact=truth(model, batch),
        weights=weights.unflatten(0, (REPLICATIONS, K)),
    )


def bounds(world, samples: int) -> torch.Tensor:
    """Importance-weighted estimates (R', B) from disjoint draws of `samples` each."""
    draws = world.weights.flatten(0, 1)
    grouped = draws[: len(draws) // samples * samples].unflatten(0, (-1, samples))
    return importance_weighted(grouped.transpose(0, 1))


def test_the_world_is_not_collapsed(world):
    exact = world.exact
    information = ((exact.log_posterior + exact.log_volume).exp() * (exact.log_posterior - exact.log_prior)).sum(0)
    assert information.mean() > 0.3
    assert exact.posterior_gap.max() > 0.3
    assert exact.rate.max() > 0.03
    assert (exact.weight_variance > 0.05).all()
    assert exact.weight_variance.max() < 20


def test_evidence_of_all_strings_sums_to_one():
    model = alive(1)
    batch = collate([*rows_of(*complete_strings(3)), *unfinished(3)])
    assert truth(model, batch, spacing=0.02).log_evidence.exp().sum().item() == pytest.approx(1, abs=1e-9)
    assert len(WORDS) == 4


def check_bayes(log_evidence: torch.Tensor, exact) -> None:
    """log p(x) − KL(q ‖ posterior) = −(distortion + rate), with log p(x) (B,) from elsewhere than `exact`."""
    torch.testing.assert_close(log_evidence - exact.posterior_gap, exact.elbo, atol=1e-6, rtol=0)


def test_the_bayes_identity_holds_with_evidence_from_other_points(world):
    """The square grid's gap and ELBO, and evidence by cells of other shapes and places, by another rule."""
    check_bayes(quadrature(world.model, world.batch).log_evidence, world.exact)
    with torch.no_grad():
        done = forward_pass(world.model, world.batch, torch.zeros(1, len(ROWS), world.model.latent_dim))
    torch.testing.assert_close(done.terms.rate, world.exact.rate, atol=1e-8, rtol=0)


def test_importance_weights_are_unbiased_for_the_evidence(world):
    ratios = (world.weights - world.exact.log_evidence).exp()
    means = ratios.mean(1)
    check_unbiased(means, torch.ones(len(ROWS)))
    z = (means - 1) / (ratios.std(1) / math.sqrt(K))
    calm = world.exact.weight_variance < 1.5
    assert calm.sum() >= 2
    check_standard_errors(z[:, calm])


def test_the_variance_of_the_weights_is_the_exact_one(world):
    ratios = (world.weights - world.exact.log_evidence).exp().flatten(0, 1)
    torch.testing.assert_close(ratios.var(0), world.exact.weight_variance, rtol=0.15, atol=0)


@pytest.mark.parametrize("samples", [1, 2, 4, 16, 64])
def test_bounds_are_never_above_the_evidence(world, samples):
    check_lower_bound(bounds(world, samples)[:20_000], world.exact.log_evidence)


def test_bounds_rise_with_the_number_of_samples(world):
    previous = bounds(world, 1)[:16_000]
    for samples in (2, 4, 8, 16, 32, 64):
        following = bounds(world, samples)
        # Paired: a bound of 2K draws against the mean of the two of K draws that it is made of.
        count = len(previous) // 2
        gain = following[:count] - previous[: 2 * count].unflatten(0, (count, 2)).mean(1)
        assert (gain >= -1e-12).all()
        assert (gain.mean(0) > 0).all()
        previous = following[:count]
    slack = world.exact.log_evidence - bounds(world, 64).mean(0)
    assert (slack < world.exact.weight_variance / 64).all()


def controlled(world) -> torch.Tensor:
    """Bounds of K draws with the mean weight, whose expectation is known, as a control variate."""
    mean_weight = (world.weights - world.exact.log_evidence).exp().mean(1)
    return importance_weighted(world.weights.transpose(0, 1)) - (mean_weight - 1)


def test_the_bias_at_large_k_is_half_the_variance_over_k(world):
    check_tight(controlled(world), world.exact.log_evidence, world.exact.weight_variance, K)


def test_one_sample_meets_the_closed_form_elbo_only_in_the_mean(world):
    single = world.weights.flatten(0, 1)[:20_000]
    check_unbiased(single, world.exact.elbo)
    with torch.no_grad():
        noise = SentenceNoise(11, world.model.latent_dim)(world.batch)
        closed = forward_pass(world.model, world.batch, noise).terms.elbo
    assert (closed - single[0]).abs().min() > 1e-4
    assert (closed - world.exact.elbo).abs().min() > 1e-4


def test_surveys_are_unbiased_and_their_elbo_is_below_the_evidence(world):
    found = [
        Survey.of(world.model, world.sequences, SentenceNoise(seed, world.model.latent_dim)) for seed in range(250)
    ]
    elbo = torch.stack([each.elbo for each in found])
    check_unbiased(torch.stack([each.distortion for each in found]), world.exact.distortion)
    check_unbiased(elbo, world.exact.elbo)
    check_lower_bound(elbo, world.exact.log_evidence)
    torch.testing.assert_close(found[0].rate, world.exact.rate, atol=1e-8, rtol=0)
    assert (world.exact.elbo <= world.exact.log_evidence).all()


@pytest.mark.parametrize("samples", [1, 20])
def test_importance_weighted_nll_is_an_upper_bound_on_the_exact_nll(world, samples):
    noises = (SentenceNoise(seed, world.model.latent_dim) for seed in range(250))
    estimates = -torch.stack([importance_weighted_nll(world.model, world.sequences, samples, n) for n in noises])
    check_lower_bound(estimates, world.exact.log_evidence)
    if samples == 1:
        check_unbiased(estimates, world.exact.elbo)
    with torch.no_grad():
        drawn = importance_weighted(draw_log_weights(world.model, world.batch, samples, seed=249))
    torch.testing.assert_close(estimates[-1].double(), drawn, atol=1e-5, rtol=0)


def test_the_standard_error_over_sentences_is_one():
    """z-scores of the mean ELBO of i.i.d. sentences, over 250 replications, against its exact expectation."""
    model = alive(1)
    strings = sorted({tuple(row) for row in random_rows(700, 5, seed=2)})
    exact = truth(model, batch_of(*strings), spacing=0.02).elbo
    scores = []
    for replication in range(250):
        chosen = torch.randint(len(strings), (40,), generator=torch.Generator().manual_seed(replication))
        found = Survey.of(model, sequences_of([strings[i] for i in chosen]), SentenceNoise(replication, 1))
        scores.append((found.elbo.mean().item() - exact.mean().item()) / standard_error(found.elbo))
    check_standard_errors(torch.tensor(scores))


# Deliberately broken estimators: each must be rejected by the check that ours pass.


def rejected(check, *arguments) -> None:
    with pytest.raises(AssertionError):
        check(*arguments)


def test_broken_evidence_fails_the_bayes_identity(world):
    """5 nats too many, the prior forgotten, the cell's volume forgotten, a grid that is too coarse."""
    exact = world.exact
    cell, coarse = exact.log_volume, on_grid(world.model, world.batch, 2.0)
    rejected(check_bayes, exact.log_evidence + 5, exact)
    rejected(check_bayes, (exact.log_likelihood + cell).logsumexp(0), exact)
    rejected(check_bayes, exact.log_evidence - cell, exact)
    rejected(check_bayes, coarse.log_evidence, exact)
    # Broken on the grid itself, where gap and evidence are off together.
    doubled = replace(exact, log_volume=cell + math.log(2))
    rejected(check_bayes, quadrature(world.model, world.batch).log_evidence, doubled)


def test_broken_kl_averaged_over_dimensions():
    """KL averaged over dimensions instead of summed: an "ELBO" that is too high."""
    model, batch = alive(2), batch_of(*ROWS)
    exact, done = truth(model, batch), draw_pass(model, batch, 8000, seed=3)
    distortion, rate = -done.token_log_probs.sum(-1), done.terms.rate_per_dimension
    check_unbiased(-(distortion + rate.sum(-1)), exact.elbo)
    rejected(check_unbiased, -(distortion + rate.mean(-1)), exact.elbo)


def test_broken_z_replaced_by_its_mean(world):
    """The distortion at the posterior mean, called an ELBO."""
    with torch.no_grad():
        at_mean = forward_pass(world.model, world.batch, torch.zeros(1, len(ROWS), world.model.latent_dim))
    elbo = at_mean.terms.elbo.expand(REPLICATIONS, -1)
    jitter = 1e-6 * torch.randn(elbo.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    check_unbiased(world.weights[:, 0], world.exact.elbo)
    rejected(check_unbiased, elbo + jitter, world.exact.elbo)


def test_broken_mean_of_logs_instead_of_the_log_of_the_mean(world):
    """Averaging log-weights never gets tighter, however many samples."""
    variance = world.exact.weight_variance
    rejected(check_tight, world.weights.mean(1), world.exact.log_evidence, variance, K)


def test_broken_mean_of_probabilities_instead_of_log_mean_exp(world):
    """The mean of p over sentences or samples, its logarithm taken at the very end: above the mean log p."""
    mean_p = importance_weighted(world.weights.transpose(0, 1)).exp().mean(1, keepdim=True)
    exact = world.exact.log_evidence.mean()[None]
    check_lower_bound(importance_weighted(world.weights.transpose(0, 1)).mean(1, keepdim=True), exact)
    rejected(check_lower_bound, mean_p.log(), exact)
    rejected(check_lower_bound, mean_p, exact)


def test_broken_likelihood_under_q_without_weights(world):
    """log E_q p(x|z) is no bound on log p(x): q looks where x is likely."""
    done = draw_pass(world.model, world.batch, REPLICATIONS * 16, seed=3)
    unweighted = done.token_log_probs.sum(-1).unflatten(0, (REPLICATIONS, 16))
    estimates = importance_weighted(unweighted.transpose(0, 1))
    rejected(check_unbiased, (estimates - world.exact.log_evidence).exp(), torch.ones(len(ROWS)))


def test_broken_weights_without_the_prior(world):
    """log p(x|z) − log q(z|x), the prior forgotten."""
    done = draw_pass(world.model, world.batch, REPLICATIONS * 16, seed=3)
    weights = done.token_log_probs.sum(-1) - done.posterior.log_prob(done.z)
    estimates = importance_weighted(weights.unflatten(0, (REPLICATIONS, 16)).transpose(0, 1))
    rejected(check_lower_bound, estimates, world.exact.log_evidence)


def test_broken_elbo_with_a_warm_weight(world):
    """The annealed loss called an ELBO: a weight of one half flatters."""
    done = draw_pass(world.model, world.batch, 20_000, seed=3)
    distortion = -done.token_log_probs.sum(-1)
    check_unbiased(-(distortion + done.terms.rate), world.exact.elbo)
    rejected(check_unbiased, -(distortion + 0.5 * done.terms.rate), world.exact.elbo)


def test_broken_standard_error_of_half_the_size():
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(400, generator=generator)
    check_standard_errors(honest)
    rejected(check_standard_errors, 2 * honest)
    rejected(check_standard_errors, honest + 0.5)
