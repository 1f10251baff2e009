"""Averaging the likelihood over the prior: unbiased, honest about how few of its samples count, and exact on a
collapsed model; held against quadrature on a text model."""

import math

import pytest
import torch
from helpers import (
    NO_SENTENCES,
    alive,
    batch_of,
    check_standard_errors,
    check_unbiased,
    deafen,
    sequences_of,
    tiny,
    truth,
)

from textvae.errors import ConfigError
from textvae.evaluation.curves import Curve, importance_curve
from textvae.evaluation.density import log_densities
from textvae.evaluation.estimators import Survey, importance_weighted_nll
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.prior_monte_carlo import prior_curve

ROWS = [[4, 5, 6, 4], [], [6], [5, 5], [2, 6, 4]]


@pytest.mark.parametrize("dim", [1, 2])
def test_the_mean_likelihood_is_unbiased_for_the_evidence(dim):
    model = alive(dim)
    exact = truth(model, batch_of(*ROWS)).log_evidence
    curves = [
        prior_curve(model, sequences_of(ROWS), [200], SentenceNoise(seed, dim), chunk=200) for seed in range(200)
    ]
    ratios = torch.stack([(-curve.nll[0] - exact).exp() for curve in curves])
    check_unbiased(ratios, torch.ones(len(ROWS)))
    # The delta method: the error of a logarithm is the relative error of what is under it.
    relative = torch.stack([curve.error[0] for curve in curves])
    calm = relative.isfinite().all(0) & (relative.mean(0) < 0.1)
    assert calm.any()
    check_standard_errors(((ratios - 1) / (ratios * relative))[:, calm])


def test_the_effective_sample_size_and_the_error_by_hand():
    """Likelihoods 1, 3, 0.5 and 1.5 by the definitions."""
    weights = torch.tensor([1.0, 3.0, 0.5, 1.5], dtype=torch.float64)
    curve = Curve((4,), -weights.mean().log().view(1, 1), (weights.sum() ** 2 / (weights**2).sum()).view(1, 1))
    relative = weights.std() / math.sqrt(4) / weights.mean()
    assert curve.error.isnan().all()
    many = Curve((400,), curve.nll, 100 * curve.effective_samples)
    repeated = weights.repeat(100)
    expected = repeated.std() / math.sqrt(400) / repeated.mean()
    assert many.error.item() == pytest.approx(expected.item(), rel=1e-9)
    assert expected < relative / 9


def test_the_error_is_void_under_ten_effective_samples():
    effective = torch.tensor([[9.99, 10.0, 500.0]], dtype=torch.float64)
    curve = Curve((1000,), torch.zeros(1, 3), effective)
    assert curve.error.isnan().tolist() == [[True, False, False]]
    assert curve.mean_error.isnan().all()
    assert Curve((1000,), torch.zeros(1, 2), effective[:, 1:]).mean_error.isfinite().all()


def test_on_a_collapsed_model_one_sample_is_exact():
    model = deafen(tiny(2, scale=1.5))
    exact = truth(model, batch_of(*ROWS)).log_evidence
    curve = prior_curve(model, sequences_of(ROWS), [1, 30], SentenceNoise(0, 2))
    torch.testing.assert_close(-curve.nll, exact.expand(2, -1), atol=1e-10, rtol=0)
    torch.testing.assert_close(curve.effective_samples[1], torch.full((5,), 30.0).double(), atol=1e-6, rtol=0)
    assert curve.error[1].max() < 1e-6
    assert curve.error[0].isnan().all()


def test_q_that_is_the_prior_gives_the_same_curve():
    model = tiny(2, scale=1.5)
    for parameter in model.posterior.parameters():
        parameter.data.zero_()
    noise = SentenceNoise(0, 2)
    naive = prior_curve(model, sequences_of(ROWS), [1, 7, 40], noise)
    informed = importance_curve(model, sequences_of(ROWS), [1, 7, 40], noise)
    torch.testing.assert_close(naive.nll, informed.nll, atol=1e-10, rtol=0)
    torch.testing.assert_close(naive.effective_samples, informed.effective_samples, atol=1e-8, rtol=0)


def test_it_does_not_depend_on_batch_or_chunk_and_counts_sentences():
    model, ticks = alive(2), []
    whole = prior_curve(model, sequences_of(ROWS), [3, 20], SentenceNoise(0, 2), tick=ticks.append)
    assert sum(ticks) == len(ROWS)
    for size, chunk in ((1, 20), (2, 3), (5, 1)):
        cut = prior_curve(model, sequences_of(ROWS), [3, 20], SentenceNoise(0, 2), batch_size=size, chunk=chunk)
        torch.testing.assert_close(cut.nll, whole.nll, atol=1e-10, rtol=0)
        torch.testing.assert_close(cut.effective_samples, whole.effective_samples, atol=1e-8, rtol=0)


def test_very_unlikely_sentences_do_not_underflow():
    long = [[4, 5, 6] * 400]
    curve = prior_curve(alive(1), sequences_of(long), [50], SentenceNoise(0, 1))
    assert curve.nll.isfinite().all()
    assert curve.nll.item() > 800
    assert curve.effective_samples.isfinite().all()


@pytest.mark.parametrize("estimator", [prior_curve, importance_curve])
@pytest.mark.parametrize("samples", [[], [0], [-1, 5], [5, 5], [10, 2]])
def test_bad_numbers_of_samples_are_refused_in_a_sentence(estimator, samples):
    with pytest.raises(ConfigError, match="samples: an estimate needs at least 1"):
        estimator(alive(1), sequences_of(ROWS), samples, SentenceNoise(0, 1))


@pytest.mark.parametrize("estimator", [prior_curve, importance_curve])
def test_what_has_no_likelihood_is_refused_in_a_sentence(estimator):
    noise = SentenceNoise(0, 2)
    with pytest.raises(ConfigError, match="autoencoder"):
        estimator(tiny(2, posterior="dirac"), sequences_of(ROWS), [5], noise)
    with pytest.raises(ConfigError, match="language model has no z"):
        estimator(tiny(0, encoder=("none", {})), sequences_of(ROWS), [5], SentenceNoise(0, 0))
    with pytest.raises(ConfigError, match="empty"):
        estimator(alive(2), NO_SENTENCES, [5], noise)


def test_the_plain_estimate_and_the_information_refuse_the_same_in_a_sentence():
    noise = SentenceNoise(0, 2)
    for samples in (0, -3):
        with pytest.raises(ConfigError, match="samples: an estimate needs at least 1"):
            importance_weighted_nll(alive(2), sequences_of(ROWS), samples, noise)
    with pytest.raises(ConfigError, match="autoencoder"):
        importance_weighted_nll(tiny(2, posterior="dirac"), sequences_of(ROWS), 5, noise)
    with pytest.raises(ConfigError, match="empty"):
        importance_weighted_nll(alive(2), NO_SENTENCES, 5, noise)
    found = Survey.of(tiny(0, encoder=("none", {})), sequences_of(ROWS), SentenceNoise(0, 0))
    with pytest.raises(ConfigError, match="language model has no z"):
        log_densities(found)
    with pytest.raises(ConfigError, match="reference sentences: an estimate needs at least 1"):
        log_densities(Survey.of(alive(2), sequences_of(ROWS), noise), 0)
