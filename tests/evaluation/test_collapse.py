"""(ε, δ)-collapse by its definition, active units, and the spectrum."""

import pytest
import torch
from surveys import gaussian_survey

from textvae.evaluation.collapse import ACTIVE, DELTA, EPSILONS, active_units, collapsed_dimensions, spectrum
from textvae.plots import diagnosis


def test_collapse_counts_dimensions_that_nearly_all_sentences_leave_alone():
    rates = torch.full((100, 3), 0.001)
    rates[:, 1] = 1.0  # never below ε
    rates[0, 2] = 1.0  # below it in 99 of 100 sentences
    assert collapsed_dimensions(rates, 0.01, delta=0.01) == 2
    assert collapsed_dimensions(rates, 0.01, delta=0.005) == 1
    assert collapsed_dimensions(rates, 2.0, delta=0.0) == 3
    assert collapsed_dimensions(rates, 0.001) == 0  # strictly below


def test_the_spectrum_is_sorted_and_the_curve_rises():
    means = torch.randn((500, 3), generator=torch.Generator().manual_seed(0)) * torch.tensor([0.01, 2.0, 0.5])
    values = spectrum(gaussian_survey(means, torch.zeros(500, 3)))
    assert values["mean_variances"] == pytest.approx(sorted(means.double().var(0).tolist(), reverse=True))
    assert values["active_units"] == 2
    assert values["rates"] == sorted(values["rates"], reverse=True)
    curve = values["collapsed_dimensions"]
    assert curve == sorted(curve)
    assert curve[EPSILONS.index(0.01)] == 1
    assert values["collapse_delta"] == DELTA


def test_no_curve_without_rates_by_dimension():
    found = gaussian_survey(torch.zeros(5, 2), torch.zeros(5, 2))
    values = spectrum(type(found)(**{**vars(found), "rate_per_dimension": None}))
    assert values["collapsed_dimensions"] is None
    assert values["rates"] is None
    assert values["active_units"] == 0


def test_active_units_are_those_whose_mean_varies_by_a_hundredth():
    """Variance over sentences with n − 1: (0, 0.2) varies by 0.02, (0, 0.14) by 0.0098."""
    means = torch.tensor([[0.0, 0.0, 5.0, 0.0], [0.2, 0.14, 5.0, 0.1415]])
    assert active_units(means) == 2
    assert active_units(means[:, :1]) == 1
    assert active_units(means[:, 1:3]) == 0
    assert active_units(means[:1]) is None
    # Three sentences, (−a, 0, a): n − 1 gives a², n would give two thirds of it.
    assert active_units(torch.tensor([[-0.11], [0.0], [0.11]])) == 1


def test_plots_draw_the_threshold_that_is_counted_by():
    assert diagnosis.ACTIVE == ACTIVE
