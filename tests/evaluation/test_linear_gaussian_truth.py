"""The library's estimators on the linear-Gaussian model with D up to 16, where every answer has a closed form."""

import math
from types import SimpleNamespace

import pytest
import torch
from helpers import check_lower_bound, check_standard_errors, check_tight, check_unbiased, set_posterior, solvable
from surveys import told

from textvae.data.batches import collate
from textvae.evaluation.collapse import active_units
from textvae.evaluation.curves import importance_curve
from textvae.evaluation.density import log_densities
from textvae.evaluation.estimators import Survey, importance_weighted_nll, standard_error
from textvae.evaluation.listening import another, distortion_under, listening, mean_along
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.prior_monte_carlo import prior_curve
from textvae.models.linear_gaussian import LinearPosterior, observations
from textvae.models.terms import forward_pass, importance_weighted, log_weight

ROWS, REPLICATIONS, K = 6, 300, 64


def widened(model, factor: float) -> LinearPosterior:
    """The exact posterior with its covariance widened: Var(w/p) = (c / √(2c − 1))ᴰ − 1 in closed form."""
    exact = model.exact_posterior()
    return LinearPosterior(exact.slope.detach(), exact.offset.detach(), (factor * exact.covariance).detach())


@pytest.fixture(scope="module", params=[(1, 2, 2.0), (4, 6, 1.5), (16, 24, 1.2)], ids=["D=1", "D=4", "D=16"])
def world(request):
    dim, coordinates, factor = request.param
    model = solvable(dim, coordinates, posterior="full", scale=0.6)
    q = widened(model, factor)
    set_posterior(model, q)
    x = model.sample(ROWS, seed=1)[1]
    batch = collate([row.numpy() for row in x])
    with torch.no_grad():
        noise = SentenceNoise(5, dim)(batch, 0, REPLICATIONS * K)
        weights = torch.cat([log_weight(forward_pass(model, batch, part)) for part in noise.split(2000)])
        evidence = model.log_evidence(batch)
    return SimpleNamespace(
        model=model,
        q=q,
        x=x,
        sequences=observations(x),
        evidence=evidence,
        gap=0.5 * dim * (factor - 1 - math.log(factor)),
        variance=(factor / math.sqrt(2 * factor - 1)) ** dim - 1,
        weights=weights.unflatten(0, (REPLICATIONS, K)),
    )


def test_importance_weights_are_unbiased_and_their_errors_honest(world):
    ratios = (world.weights - world.evidence).exp()
    check_unbiased(ratios.mean(1), torch.ones(ROWS))
    check_standard_errors((ratios.mean(1) - 1) / (ratios.std(1) / math.sqrt(K)))
    assert ratios.flatten(0, 1).var(0).mean().item() == pytest.approx(world.variance, rel=0.1)


def test_bounds_rise_with_the_number_of_samples_to_half_the_variance_over_k(world):
    single = world.weights.flatten(0, 1)
    check_unbiased(single, world.evidence - world.gap)
    previous = single
    for samples in (2, 4, 8, 16, 32, 64):
        grouped = importance_weighted(single.unflatten(0, (-1, samples)).transpose(0, 1))
        check_lower_bound(grouped, world.evidence)
        gain = grouped - previous.unflatten(0, (len(grouped), -1)).mean(1)
        assert (gain >= -1e-12).all()
        previous = grouped
    # The mean weight, whose expectation is known, takes out most of the noise.
    mean_weight = (world.weights - world.evidence).exp().mean(1)
    controlled = (importance_weighted(world.weights.transpose(0, 1)) - (mean_weight - 1)).mean(1, keepdim=True)
    exact, variance = world.evidence.mean()[None], torch.tensor([world.variance])
    check_tight(controlled, exact, variance, K)


def test_surveys_meet_the_closed_forms(world):
    found = [Survey.of(world.model, world.sequences, SentenceNoise(s, world.model.latent_dim)) for s in range(200)]
    exact = world.evidence - world.gap
    check_unbiased(torch.stack([each.elbo for each in found]), exact)
    distortion = torch.stack([each.distortion for each in found])
    check_unbiased(distortion, -(exact + found[0].rate))
    assert (torch.stack([each.rate for each in found]).std(0) < 1e-12).all()


def test_the_rate_of_a_split_is_the_closed_form_over_the_data(world):
    x = world.model.sample(4000, seed=7)[1]
    found = Survey.of(world.model, observations(x), SentenceNoise(0, world.model.latent_dim), batch_size=500)
    data = world.model.evidence
    for estimates, exact in (
        (found.rate, world.q.rate(data)),
        (found.distortion, world.q.distortion(world.model, data)),
        (found.elbo, -(world.q.rate(data) + world.q.distortion(world.model, data))),
    ):
        assert abs(estimates.mean() - exact.detach()) < 3.5 * standard_error(estimates)


def split_of(dim: int, scale: float, count: int):
    """The exact information of the best diagonal q in a model of this scale, and a survey of `count` rows."""
    model = solvable(dim, 24, scale=scale, variance=1.0)
    q = model.best_diagonal()
    set_posterior(model, q)
    found = Survey.of(model, observations(model.sample(count, seed=2)[1]), SentenceNoise(0, dim), batch_size=500)
    return q.mutual_information(model.evidence).item(), found


@pytest.mark.parametrize(("dim", "scale"), [(1, 0.5), (4, 0.25), (16, 0.1)])
def test_mutual_information_meets_the_closed_form_where_the_cap_is_far(dim, scale):
    exact, found = split_of(dim, scale, count=2000)
    own, aggregate = log_densities(found)
    estimate, size = told(found)
    assert size == 2000
    assert 0.5 < exact <= math.log(size) - 4
    assert abs(estimate - exact) < 3.5 * standard_error(own - aggregate) + 0.05


@pytest.mark.parametrize("dim", [4, 16])
def test_mutual_information_is_saturated_where_it_exceeds_the_cap(dim):
    exact, found = split_of(dim, 6.0, count=500)
    estimate, size = told(found)
    assert exact > math.log(size) + 4
    assert math.log(size) - 0.1 < estimate <= math.log(size) + 1e-9


def test_active_units_are_the_dimensions_whose_mean_varies():
    model = solvable(16, 24)
    model.decoder.linear.weight.data[:, ::3] *= 0.01
    set_posterior(model, model.best_diagonal())
    q, data = model.best_diagonal(), model.evidence
    variances = (q.slope @ data.covariance_matrix @ q.slope.T).diagonal()
    assert not ((variances > 0.008) & (variances < 0.012)).any()
    found = Survey.of(model, observations(model.sample(3000, seed=0)[1]), SentenceNoise(0, 16), batch_size=500)
    assert active_units(found.mean) == int((variances >= 0.01).sum()) == 10


def test_listening_is_the_cost_of_anothers_z_in_closed_form_and_its_error_honest():
    """G = (E|x − Wz' − μ|² − E|x − Wz − μ|²) / 2σ², z' from another row and so independent of x.

    Every z counts twice, for its own sentence and for the one that borrows it. Over 1,000 sets of 100 rows the
    s.d. of G is its mean standard error, and 1.2 times as much as one that forgets this.
    """
    model = solvable(4, 6)
    q = model.best_diagonal()
    set_posterior(model, q)
    data = model.evidence
    x = model.sample(4000, seed=3)[1]
    found = Survey.of(model, observations(x), SentenceNoise(0, 4), batch_size=500)
    gain = listening(model, observations(x), found, seed=0, batch_size=500)
    left = torch.eye(6, dtype=torch.float64) - model.decoder.linear.weight @ q.slope
    apart = (
        data.covariance_matrix.trace()
        + (model.decoder.linear.weight @ q.marginal(data).covariance_matrix @ model.decoder.linear.weight.T).trace()
    )
    weight = model.decoder.linear.weight
    own = (left @ data.covariance_matrix @ left.T + weight @ q.covariance @ weight.T).trace()
    exact = 0.5 * (apart - own) / model.decoder.log_variance.exp()
    assert abs(gain.mean() - exact.detach()) < 4 * standard_error(gain)
    rows = model.sample(100_000, seed=4)[1]
    found = Survey.of(model, observations(rows), SentenceNoise(0, 4), batch_size=5000)
    sets = []
    for seed, part in enumerate(torch.arange(100_000).split(100)):
        other = another(100, seed)
        borrowed = distortion_under(model, observations(rows[part]), found.z[part][other], 100)
        sets.append(mean_along("g", borrowed - found.distortion[part], other))
    means, errors = (torch.tensor([each[name] for each in sets]) for name in ("g", "g_se"))
    assert abs(means.mean() - exact.detach()) < 4 * standard_error(means)
    assert abs(means.std() / errors.square().mean().sqrt() - 1) < 0.1


def test_every_row_of_a_curve_is_the_estimate_of_that_many_samples(world):
    noise = SentenceNoise(3, world.model.latent_dim)
    counts = (1, 2, 5, 10, 23)
    curve = importance_curve(world.model, world.sequences, counts, noise)
    assert curve.samples == counts
    for row, samples in zip(curve.nll, counts, strict=True):
        direct = importance_weighted_nll(world.model, world.sequences, samples, noise)
        torch.testing.assert_close(row, direct, atol=1e-10, rtol=0)
    for chunk, size in ((1, 6), (7, 2), (100, 1)):
        again = importance_curve(world.model, world.sequences, counts, noise, batch_size=size, chunk=chunk)
        torch.testing.assert_close(again.nll, curve.nll, atol=1e-9, rtol=0)
        torch.testing.assert_close(again.effective_samples, curve.effective_samples, atol=1e-7, rtol=0)


def test_the_error_of_an_estimate_is_the_spread_of_its_replications(world):
    """z-scores of log p̂ over 40 seeds and all rows, where the effective sample size is large."""
    scores = []
    for seed in range(40):
        noise = SentenceNoise(100 + seed, world.model.latent_dim)
        curve = importance_curve(world.model, world.sequences, [800], noise, chunk=800)
        assert (curve.effective_samples > 400).all()
        bias = world.variance / 1600
        scores.append((-curve.nll[0] + bias - world.evidence) / curve.error[0])
        assert curve.mean_error[0] == pytest.approx(curve.error[0].square().sum().sqrt() / ROWS)
    check_standard_errors(torch.cat(scores))


def test_the_prior_needs_far_more_samples_than_q(world):
    """As many samples of each: q stays near in any dimension, the prior is off by nats where its error is void."""
    dim, noise = world.model.latent_dim, SentenceNoise(0, world.model.latent_dim)
    counts = (10, 100, 1000)
    naive = prior_curve(world.model, world.sequences, counts, noise, chunk=500)
    informed = importance_curve(world.model, world.sequences, counts, noise, chunk=500)
    miss, hit = naive.nll[-1] + world.evidence, informed.nll[-1] + world.evidence
    assert hit.abs().max() < 0.15
    assert (naive.effective_samples[-1] < informed.effective_samples[-1]).all()
    if dim > 1:
        assert miss.abs().mean() > 3 * hit.abs().mean()
        assert (naive.effective_samples[-1] < informed.effective_samples[-1] / 2).all()
    if dim == 16:
        assert (naive.effective_samples[-1] < 10).all()
        assert naive.error.isnan().all()
        assert naive.mean_error.isnan().all()
        assert miss.min() > 3
        assert (naive.nll.mean(1).diff() < 0).all()
