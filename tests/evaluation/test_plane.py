"""Means of the model's posterior, against quadrature; what their plane says of collapse and lag."""

import pytest
import torch
from helpers import alive, deafen, random_rows, sequences_of, set_posterior, solvable, tiny

from textvae.errors import ConfigError
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.plane import exact_means, posterior_means
from textvae.evaluation.quadrature import integrate
from textvae.models.distributions import DiagonalGaussian
from textvae.models.linear_gaussian import LinearPosterior, observations

SEQUENCES = sequences_of(random_rows(6, 4, seed=8))
NOISE = SentenceNoise(0, 2)


@pytest.fixture(scope="module")
def exact():
    return integrate(alive(2), SEQUENCES, tolerance=1e-4)


def off_by(plane, exact) -> float:
    """The largest error, in standard errors of the mean of as many exact samples."""
    error = (exact.posterior_variance / plane.effective_samples[:, None]).sqrt()
    return float(((plane.model - exact.posterior_mean).abs() / error).max())


def test_importance_weights_find_the_exact_means_and_evidence(exact):
    plane = posterior_means(alive(2), SEQUENCES, NOISE, 4000)
    assert plane.valid.all()
    assert off_by(plane, exact) < 5
    assert (plane.log_evidence - exact.log_evidence).abs().max() < 0.1
    assert (plane.model - plane.inference).abs().max() > 0.1
    grid = exact_means(alive(2), SEQUENCES, exact)
    torch.testing.assert_close(grid.inference, plane.inference)
    assert grid.summary()["posterior_mean_sentences"] == 6


def test_the_solvable_models_means_are_met_in_eight_dimensions():
    model = solvable(8, 12, scale=0.5, seed=1)
    exact = model.exact_posterior()
    lazy = LinearPosterior(torch.zeros_like(exact.slope), torch.zeros(8).double(), torch.eye(8).double())
    set_posterior(model, lazy)
    _, x = model.sample(20, 0)
    means = exact(x).mean.detach()
    silent = posterior_means(model, observations(x), SentenceNoise(0, 8), 2000)
    variances = exact.covariance.diagonal().detach().log().expand(20, -1)
    refined = posterior_means(model, observations(x), SentenceNoise(0, 8), 500, DiagonalGaussian(means, variances))
    error = (exact.covariance.diagonal() / refined.effective_samples[:, None]).sqrt()
    assert ((refined.model - means).abs() < 5 * error).all()
    assert (refined.log_evidence - model.evidence.log_prob(x)).abs().max() < 0.3
    assert refined.valid.all()
    found = refined.summary()
    # The encoder that says nothing: the model's means spread, its own do not.
    assert found["posterior_mean_spread"] == pytest.approx(float(means.var(0).sum()), rel=0.1)
    assert found["inference_mean_spread"] == 0
    assert found["posterior_mean_slope"] is None
    assert silent.effective_samples.median() < refined.effective_samples.median()


def test_a_better_proposal_has_more_effective_samples(exact):
    better = DiagonalGaussian(exact.posterior_mean, exact.posterior_variance.log())
    by_q = posterior_means(alive(2), SEQUENCES, NOISE, 200)
    refined = posterior_means(alive(2), SEQUENCES, NOISE, 200, better)
    assert refined.effective_samples.mean() > by_q.effective_samples.mean()
    assert off_by(refined, exact) < 5
    torch.testing.assert_close(refined.inference, by_q.inference)


def test_a_proposal_that_is_the_posterior_leaves_no_error():
    """A deaf decoder's posterior is the prior: every mean is exactly 0, whatever the few samples."""
    model, count = deafen(alive(2)), len(SEQUENCES)
    prior = DiagonalGaussian(torch.zeros(count, 2).double(), torch.zeros(count, 2).double())
    plane = posterior_means(model, SEQUENCES, NOISE, 20, prior)
    assert plane.model.abs().max() < 1e-9
    found = plane.summary()
    assert found["posterior_mean_spread"] < 1e-15 < found["inference_mean_spread"]
    assert found["posterior_mean_slope"] == pytest.approx(0, abs=1e-9)


def test_an_encoder_that_says_less_than_it_should_has_a_slope_above_1(exact):
    shrunk = alive(2)
    shrunk.posterior.mean.weight.data *= 0.2
    plane = exact_means(shrunk, SEQUENCES, exact)
    own = exact_means(alive(2), SEQUENCES, exact)
    assert plane.summary()["posterior_mean_slope"] == pytest.approx(5 * own.summary()["posterior_mean_slope"])


def test_the_spread_is_not_raised_by_the_noise_of_the_means():
    """16 dimensions and a q whose means are those of the posterior: their noise alone would pass for lag."""
    model = solvable(16, 24, scale=0.15, seed=1)
    set_posterior(model, model.best_diagonal())
    _, x = model.sample(400, 0)
    plane = posterior_means(model, observations(x), SentenceNoise(0, 16), 256)
    kept, found = plane.valid, plane.summary()
    exact = float(model.exact_posterior()(x).mean.detach()[kept].var(0).sum())
    assert kept.sum() > 350
    assert float(plane.model[kept].var(0).sum()) - exact > 0.12
    assert found["posterior_mean_spread"] == pytest.approx(exact, abs=0.05)
    assert found["inference_mean_spread"] == pytest.approx(exact)


def test_batches_change_nothing():
    one, two = (posterior_means(alive(2), SEQUENCES, NOISE, 50, batch_size=size) for size in (3, 64))
    torch.testing.assert_close(one.model, two.model, atol=1e-9, rtol=0)


def test_what_too_few_samples_found_is_left_out():
    plane = posterior_means(alive(2), SEQUENCES, NOISE, 5)
    assert not plane.valid.any()
    assert plane.summary() == {
        "posterior_mean_sentences": 0,
        "posterior_mean_void": 6,
        "effective_samples": pytest.approx(float(plane.effective_samples.median())),
    }


def test_bad_input_is_one_sentence():
    with pytest.raises(ConfigError, match="samples"):
        posterior_means(alive(2), SEQUENCES, NOISE, 0)
    with pytest.raises(ConfigError, match="autoencoder"):
        posterior_means(tiny(2, posterior="dirac"), SEQUENCES, NOISE, 5)
    with pytest.raises(ConfigError, match="language model"):
        posterior_means(tiny(0, encoder=("none", {})), SEQUENCES, SentenceNoise(0, 0), 5)
