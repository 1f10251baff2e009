"""How the rate divides, against closed forms; q(z) against the prior; the cap on what can be seen."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import alive, random_rows, sequences_of, set_posterior, solvable, tiny
from surveys import gaussian_survey, linear_gaussian, told

from textvae.errors import ConfigError
from textvae.evaluation.density import information, log_densities, mismatch, mutual_information, saturated
from textvae.evaluation.estimators import Survey
from textvae.evaluation.noise import SentenceNoise
from textvae.models.distributions import DiagonalGaussian, kl_per_dimension
from textvae.models.linear_gaussian import observations

SEQUENCES = sequences_of(random_rows(60, 6, seed=8))
LINES = sorted({tuple(row) for row in random_rows(90, 6, seed=8)})
MANY = sequences_of(LINES)


def normal_kl(mean: float, variance: float) -> float:
    """KL(N(mean, variance) ‖ N(0, 1))."""
    return 0.5 * (variance + mean**2 - 1 - math.log(variance))


@pytest.mark.parametrize(("signal", "noise"), [(1.0, 0.6), (2.0, 0.5), (0.3, 1.5)])
def test_three_closed_forms_of_a_gaussian_world(signal, noise):
    """μ(x) ~ N(0, s²), q = N(μ, σ²): rate, information and marginal KL each have a form of their own."""
    found = [linear_gaussian([signal, signal], [noise, noise], 800, seed)[0] for seed in range(5)]
    values = [information(tiny(2), each) | {"rate": float(each.rate.mean())} for each in found]
    exact = {
        "mutual_information": math.log(1 + (signal / noise) ** 2),
        "marginal_kl": 2 * normal_kl(0, signal**2 + noise**2),
        "rate": noise**2 + signal**2 - 1 - math.log(noise**2),
    }
    for name, truth in exact.items():
        estimates = torch.tensor([each[name] for each in values], dtype=torch.float64)
        error = estimates.std() / math.sqrt(len(estimates))
        assert abs(estimates.mean() - truth) < 3.5 * error + 0.05, (
            f"{name}: {estimates.mean():.3f} is not {truth:.3f}"
        )
    both = torch.tensor([each["mutual_information"] + each["marginal_kl"] for each in values])
    assert float(both.mean()) == pytest.approx(exact["rate"], rel=0.05)


@pytest.mark.parametrize("dim", [1, 3])
def test_the_solvable_models_closed_forms_are_met(dim):
    """A q that is off on purpose, over observations that the linear-Gaussian model itself made."""
    model = solvable(dim, 4, scale=0.6, seed=2)
    best = model.best_diagonal()
    off = replace(best, offset=best.offset + 0.7, slope=0.8 * best.slope)
    set_posterior(model, off)
    values = []
    for seed in range(4):
        _, x = model.sample(700, seed)
        found = Survey.of(model, observations(x), SentenceNoise(seed, dim))
        values.append(information(model, found))
    for name in ("mutual_information", "marginal_kl"):
        exact = float(getattr(off, name)(model.evidence).detach())
        estimates = torch.tensor([each[name] for each in values])
        error = max(float(estimates.std()) / 2, values[0][f"{name}_se"] / 2)
        assert abs(float(estimates.mean()) - exact) < 3.5 * error + 0.02, (
            f"{name}: {estimates.mean()}, exactly {exact}"
        )
    assert not values[0]["mutual_information_saturated"]


def test_a_marginal_elsewhere_is_paid_for_in_full():
    """Equal posteriors tell nothing: the whole rate is KL(q(z) ‖ p(z))."""
    found = gaussian_survey(torch.full((2000, 1), 2.0, dtype=torch.float64), torch.full((2000, 1), -1.0).double())
    values = information(tiny(1), found)
    assert values["mutual_information"] == pytest.approx(0, abs=1e-9)
    exact = normal_kl(2.0, math.exp(-1.0))
    assert abs(values["marginal_kl"] - exact) < 3.5 * values["marginal_kl_se"]


def test_information_is_marked_where_it_comes_near_its_cap():
    assert saturated(math.log(2000) - 3.9, 2000)
    assert not saturated(math.log(2000) - 4.1, 2000)
    assert not saturated(0.0, 2)  # equal posteriors, whose information no cap hides
    assert saturated(0.6, 2)
    assert saturated(0.0, 1)  # a sentence alone cannot be told from others
    loud, _ = linear_gaussian([50.0], [0.01], 300, seed=0)
    quiet, _ = linear_gaussian([1.0], [1.0], 300, seed=0)
    said = information(tiny(1), loud)
    assert said["mutual_information_saturated"] is True
    assert said["mutual_information"] <= said["mutual_information_cap"] == pytest.approx(math.log(300))
    assert information(tiny(1), quiet)["mutual_information_saturated"] is False


@pytest.mark.parametrize(("signal", "count"), [(0.3, 20), (1.5, 20), (3.0, 20), (3.0, 100)])
def test_a_cap_hides_what_it_is_taken_to_hide(signal, count):
    """About log(1 + (eᴵ − 1) / N) of I, the rule behind `saturated`."""
    exact = linear_gaussian([signal], [1.0], 2, seed=0)[1]
    estimates = torch.tensor([told(linear_gaussian([signal], [1.0], count, seed)[0])[0] for seed in range(200)])
    hidden = math.log1p(math.expm1(exact) / count)
    assert abs(exact - float(estimates.mean()) - hidden) < 4 * float(estimates.std()) / math.sqrt(200)


def test_the_reference_is_recorded_and_may_not_be_empty():
    found, _ = linear_gaussian([1.0], [1.0], 300, seed=0)
    values = information(tiny(1), found)
    assert values["mutual_information_reference"] == values["marginal_kl_reference"] == 300
    values = mutual_information(*log_densities(found, 40))
    assert values["mutual_information_reference"] == 40
    assert values["mutual_information_cap"] == pytest.approx(math.log(40))
    with pytest.raises(ConfigError, match="reference sentences: an estimate needs at least 1"):
        log_densities(found, 0)


def test_a_language_model_has_no_information():
    model = tiny(0, encoder=("none", {}))
    with pytest.raises(ConfigError, match="language model"):
        information(model, Survey.of(model, SEQUENCES, SentenceNoise(0, 0)))


def test_standard_errors_are_those_of_the_mean():
    found, _ = linear_gaussian([1.0, 1.0], [0.6, 0.6], 300, seed=0)
    values = information(tiny(2), found)
    runs = [information(tiny(2), linear_gaussian([1.0, 1.0], [0.6, 0.6], 300, seed)[0]) for seed in range(40)]
    spread = torch.tensor([each["marginal_kl"] for each in runs]).std()
    assert 0.6 < values["marginal_kl_se"] / float(spread) < 1.7


def test_moments_of_all_sentences_together():
    found, _ = linear_gaussian([2.0, 0.1], [0.5, 1.0], 2000, seed=3)
    values = mismatch(tiny(2), found, seed=0)
    assert values["aggregate_variance"] == pytest.approx([4.25, 1.01], rel=0.1)
    assert values["aggregate_mean"] == pytest.approx([0, 0], abs=0.15)
    assert values["prior_variance"] == pytest.approx([1, 1], rel=0.1)
    assert values["mmd"] > 5 * values["mmd_se"]


def test_the_error_of_a_discrepancy_is_that_of_the_mean():
    runs = [mismatch(tiny(1), linear_gaussian([2.0], [0.5], 60, seed)[0], seed) for seed in range(200)]
    stated, estimates = (torch.tensor([each[name] for each in runs]) for name in ("mmd_se", "mmd"))
    assert 0.8 < float(stated.mean() / estimates.std()) < 1.25


def test_a_matching_marginal_has_no_discrepancy():
    found, _ = linear_gaussian([0.8, 0.6], [0.6, 0.8], 1000, seed=1)
    values = mismatch(tiny(2), found, seed=0)
    assert abs(values["mmd"]) < 4 * values["mmd_se"]


def test_it_looks_and_does_not_touch():
    model = alive(2).train()
    found = Survey.of(model, SEQUENCES, SentenceNoise(0, 2))
    before = torch.get_rng_state()
    assert information(model, found) == information(model, found)
    assert mismatch(model, found, 0) == mismatch(model, found, 0)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training


def check_information(estimator, signal: list[float], noise: list[float], count: int = 1200) -> None:
    """The mean over replications meets the closed form, where that is at most ln N − 4."""
    runs = [linear_gaussian(signal, noise, count, seed) for seed in range(8)]
    exact = runs[0][1]
    assert 0 < exact <= math.log(count) - 4
    estimates = np.array([estimator(found) for found, _ in runs])
    error = estimates.std(ddof=1) / math.sqrt(len(estimates))
    assert abs(estimates.mean() - exact) < 3.5 * error + 0.02, f"{estimates.mean():.3f}, exactly {exact:.3f}"


CASES = [([1.0], [1.0]), ([3.0], [0.5]), ([2.0, 0.5], [0.5, 0.5]), ([1.0, 0.1, 1.0], [0.6, 1.0, 0.6])]


@pytest.mark.parametrize(("signal", "noise"), CASES)
def test_mutual_information_meets_the_linear_gaussian_closed_form(signal, noise):
    check_information(lambda found: told(found)[0], signal, noise)


def in_minibatches(found: Survey, size: int = 32) -> float:
    """The broken estimator of the field: the aggregate posterior of a minibatch, capped at ln 32."""
    whole = DiagonalGaussian(found.mean, torch.cat([q.log_variance for _, q in found.posteriors]))
    parts = []
    for rows in torch.arange(len(found.z)).split(size):
        q = DiagonalGaussian(whole.mean[rows], whole.log_variance[rows])
        joint = q.log_prob(found.z[rows, None])
        parts.append((joint.diagonal() - joint.logsumexp(1) + math.log(len(rows))).mean())
    return float(torch.stack(parts).mean())


@pytest.mark.parametrize(("signal", "noise"), CASES[1:3])
def test_broken_mutual_information_in_a_minibatch(signal, noise):
    with pytest.raises(AssertionError, match="exactly"):
        check_information(in_minibatches, signal, noise)


def test_broken_mutual_information_is_the_rate():
    """The rate also counts what all sentences have in common."""
    with pytest.raises(AssertionError, match="exactly"):
        check_information(lambda found: float(found.rate.mean()), [2.0], [0.5])


def test_rate_is_information_plus_marginal_kl():
    """Three closed forms of the linear-Gaussian case, each computed on its own, and our estimate of the first."""
    found, information = linear_gaussian([2.0], [0.5], 40_000, seed=0)
    aggregate = DiagonalGaussian(torch.zeros(1), torch.tensor([math.log(4.25)]))
    marginal = float(kl_per_dimension(aggregate, DiagonalGaussian(torch.zeros(1), torch.zeros(1))))
    rate = 0.5 * (0.25 + 4.0 - 1 - math.log(0.25))
    assert rate == pytest.approx(information + marginal, abs=1e-6)
    assert float(found.rate.mean()) == pytest.approx(rate, abs=0.06)


def test_identical_posteriors_tell_nothing():
    found = gaussian_survey(torch.full((300, 2), 0.7), torch.zeros(300, 2))
    information, reference = told(found)
    assert information == pytest.approx(0, abs=1e-5)
    assert reference == 300


def test_well_separated_posteriors_tell_the_logarithm_of_their_number():
    means = 100.0 * torch.arange(300.0)[:, None]
    information, _ = told(gaussian_survey(means, torch.zeros(300, 1)))
    assert information == pytest.approx(math.log(300), abs=1e-5)


@pytest.mark.parametrize("signal", [0.1, 3.0, 50.0, 1e4])
@pytest.mark.parametrize("count", [2, 10, 257])
def test_mutual_information_never_exceeds_the_logarithm_of_the_reference(signal, count):
    found, _ = linear_gaussian([signal], [0.1], count, seed=0)
    assert told(found)[0] <= math.log(count) + 1e-6


def test_groups_of_posteriors_tell_which_group():
    """Four places with a hundred sentences each: ln 4, whatever the batches."""
    means = 1000.0 * torch.arange(4.0).repeat(100)[:, None]
    for batch in (7, 400):
        information, _ = told(gaussian_survey(means, torch.zeros(400, 1), batch=batch))
        assert information == pytest.approx(math.log(4), abs=1e-4)


@pytest.mark.parametrize("reference", [1, 40, 300, 1000])
def test_the_reference_is_the_first_sentences(reference):
    found, _ = linear_gaussian([2.0], [0.5], 300, seed=0)
    information, size = told(found, reference)
    assert size == min(reference, 300)
    head = DiagonalGaussian(found.mean[:size], torch.full((size, 1), 2 * math.log(0.5), dtype=torch.float64))
    joint = head.log_prob(found.z[:size, None])
    expected = (joint.diagonal() - joint.logsumexp(1) + math.log(size)).mean()
    assert information == pytest.approx(float(expected), abs=1e-4)


def test_mutual_information_of_a_model_is_that_of_its_posteriors():
    model = alive(2)
    found = Survey.of(model, MANY, SentenceNoise(0, 2), batch_size=16)
    means, variances = torch.empty(len(LINES), 2).double(), torch.empty(len(LINES), 2).double()
    for indices, q in found.posteriors:
        means[indices], variances[indices] = q.mean, q.variance
    joint = torch.distributions.Independent(torch.distributions.Normal(means, variances.sqrt()), 1)
    table = joint.log_prob(found.z[:, None])
    expected = (table.diagonal() - table.logsumexp(1) + math.log(len(LINES))).mean()
    assert told(found)[0] == pytest.approx(float(expected), abs=1e-4)


def test_an_autoencoders_mutual_information_is_undefined():
    found = Survey.of(tiny(2, posterior="dirac"), MANY, SentenceNoise(0, 2))
    assert math.isnan(told(found)[0])
