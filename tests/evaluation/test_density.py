"""How the rate divides, against closed forms; q(z) against the prior; the cap on what can be seen."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import alive, random_rows, sequences_of, set_posterior, solvable, tiny
from surveys import gaussian_survey, linear_gaussian

from textvae.errors import ConfigError
from textvae.evaluation.density import information, mismatch, saturated
from textvae.evaluation.estimators import survey
from textvae.evaluation.noise import SentenceNoise
from textvae.models.linear_gaussian import observations

SEQUENCES = sequences_of(random_rows(60, 6, seed=8))


def normal_kl(mean: float, variance: float) -> float:
    """KL(N(mean, variance) ‖ N(0, 1))."""
    return 0.5 * (variance + mean**2 - 1 - math.log(variance))


@pytest.mark.parametrize(("signal", "noise"), [(1.0, 0.6), (2.0, 0.5), (0.3, 1.5)])
def test_three_closed_forms_of_a_gaussian_world(signal, noise):
    """μ(x) ~ N(0, s²), q = N(μ, σ²): rate, information and marginal KL each have a form of their own."""
    found = [linear_gaussian([signal, signal], [noise, noise], 800, seed)[0] for seed in range(5)]
    values = [information(tiny(2), each) for each in found]
    exact = {
        "mutual_information": math.log(1 + (signal / noise) ** 2),
        "marginal_kl": 2 * normal_kl(0, signal**2 + noise**2),
    }
    for name, truth in exact.items():
        estimates = torch.tensor([each[name] for each in values], dtype=torch.float64)
        error = estimates.std() / math.sqrt(len(estimates))
        assert abs(estimates.mean() - truth) < 3.5 * error + 0.05, (
            f"{name}: {estimates.mean():.3f} is not {truth:.3f}"
        )
    rate = 2 * 0.5 * (noise**2 + signal**2 - 1 - math.log(noise**2))
    assert sum(exact.values()) == pytest.approx(rate, abs=1e-9)
    both = torch.tensor([each["mutual_information"] + each["marginal_kl"] for each in values])
    assert float(both.mean()) == pytest.approx(rate, rel=0.05)


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
        found = survey(model, observations(x), SentenceNoise(seed, dim))
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
    loud, _ = linear_gaussian([50.0], [0.01], 300, seed=0)
    quiet, _ = linear_gaussian([1.0], [1.0], 300, seed=0)
    said = information(tiny(1), loud)
    assert said["mutual_information_saturated"] is True
    assert said["mutual_information"] <= said["mutual_information_cap"] == pytest.approx(math.log(300))
    assert information(tiny(1), quiet)["mutual_information_saturated"] is False


def test_the_reference_is_recorded_and_may_not_be_empty():
    found, _ = linear_gaussian([1.0], [1.0], 300, seed=0)
    values = information(tiny(1), found, reference=40)
    assert values["mutual_information_reference"] == values["marginal_kl_reference"] == 40
    assert values["mutual_information_cap"] == pytest.approx(math.log(40))
    with pytest.raises(ConfigError, match="at least 1 sentence"):
        information(tiny(1), found, reference=0)


def test_a_language_model_has_no_information():
    model = tiny(0, encoder=("none", {}))
    with pytest.raises(ConfigError, match="language model"):
        information(model, survey(model, SEQUENCES, SentenceNoise(0, 0)))


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


def test_a_matching_marginal_has_no_discrepancy():
    found, _ = linear_gaussian([0.8, 0.6], [0.6, 0.8], 1000, seed=1)
    values = mismatch(tiny(2), found, seed=0)
    assert abs(values["mmd"]) < 4 * values["mmd_se"]


def test_it_looks_and_does_not_touch():
    model = alive(2).train()
    found = survey(model, SEQUENCES, SentenceNoise(0, 2))
    before = torch.get_rng_state()
    assert information(model, found) == information(model, found)
    assert mismatch(model, found, 0) == mismatch(model, found, 0)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
