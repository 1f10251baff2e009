"""Every picture is drawn from its numbers, says its axes and units, and is left out where numbers are missing."""

from itertools import pairwise

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from textvae.plots import diagnosis
from textvae.plots.figure import png

NUMBERS = {
    "mean_variances": [0.9, 0.5, 0.002],
    "rates": [1.2, 0.6, 0.001],
    "collapse_epsilons": [0.001, 0.01, 0.1],
    "collapsed_dimensions": [0, 1, 1],
    "collapse_delta": 0.01,
    "aggregate_mean": [0.1, 0.0, 0.0],
    "aggregate_variance": [1.0, 0.9, 1.1],
    "prior_mean": [0.0, 0.0, 0.0],
    "prior_variance": [1.0, 1.0, 1.0],
    "distortion_own_z": 20.0,
    "distortion_prior_z": 40.0,
    "distortion_shuffled_z": 41.0,
    "posterior_means": [[0.1, 2.0, 0.0], [0.4, -1.0, 0.1]],
    "inference_means": [[0.1, 1.0, 0.0], [0.2, -0.5, 0.0]],
    "distortion_own_z_se": 0.5,
    "distortion_shuffled_z_se": 0.7,
    "iwae_curve_samples": [1, 10, 100],
    "iwae_curve_nll": [30.0, 29.6, 29.4],
    "iwae_curve_nll_se": [0.3, 0.2, 0.1],
    "prior_curve_samples": [1, 1000],
    "prior_curve_nll": [44.0, 33.0],
    "prior_curve_nll_se": [0.9, None],
    "ais_nll": 29.0,
    "evidence": "ais",
    "refined_elbo": -29.5,
    "amortised_elbo": -30.5,
    "gap_sentences": 64,
    "lm_gain_by_position": [1.0, 0.5, 0.2],
    "lm_gain_by_position_se": [0.1, 0.1, None],
    "sentences_by_position": [100, 100, 50],
    "lm_gain": 1.6,
    "lm_gain_net_of_rate": -0.4,
}
PICTURES = ("dimensions", "density", "curves", "listening", "plane", "bounds", "positions")


def drawn(line):
    """The points of a line."""
    return list(map(tuple, line.get_xydata().tolist()))


def errors(container):
    """Half the length of every error bar."""
    (bars,) = container.lines[2] if hasattr(container, "lines") else container.errorbar.lines[2]
    return [float(abs(end - start).max() / 2) for start, end in bars.get_segments()]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_says_what_it_shows(name):
    figure = getattr(diagnosis, name)(NUMBERS)
    assert png(figure).startswith(b"\x89PNG")
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    for axes in figure.axes:
        assert axes.get_title()
        assert axes.get_xlabel()
        labels = [label for label in axes.get_xticklabels() if label.get_text() and label.get_visible()]
        low, high = axes.get_window_extent().x0 - 1, axes.get_window_extent().x1 + 1
        boxes = [label.get_window_extent(renderer) for label in labels]
        boxes = sorted((box for box in boxes if low <= (box.x0 + box.x1) / 2 <= high), key=lambda box: box.x0)
        assert all(a.x1 <= b.x0 + 1 for a, b in pairwise(boxes)), "tick labels overlap"


def test_dimensions_show_the_variances_the_rates_and_how_many_have_collapsed():
    spectrum, collapsed = diagnosis.dimensions(NUMBERS).axes
    variances, rates, threshold = spectrum.lines
    assert drawn(variances) == [(1, 0.9), (2, 0.5), (3, 0.002)]
    assert drawn(rates) == [(1, 1.2), (2, 0.6), (3, 0.001)]
    assert set(threshold.get_ydata()) == {0.01}
    assert [line.get_label() for line in spectrum.lines[:2]] == ["variance of the posterior mean", "rate (nats)"]
    assert drawn(collapsed.lines[0]) == [(0.001, 0), (0.01, 1), (0.1, 1)]
    assert "in 99% of sentences" in collapsed.get_title()
    low, high = spectrum.get_ylim()
    assert low < 0.001
    assert high > 1.2


def test_density_shows_each_moment_beside_the_priors():
    for axes, moment in zip(diagnosis.density(NUMBERS).axes, ("mean", "variance"), strict=True):
        assert moment in axes.get_title()
        for line, whose, label in zip(axes.lines, ("prior", "aggregate"), ("p(z)", "aggregate q(z)"), strict=True):
            assert drawn(line) == list(enumerate(NUMBERS[f"{whose}_{moment}"], 1))
            assert line.get_label() == label


def test_curves_show_each_estimate_with_its_error_where_it_has_one():
    (axes,) = diagnosis.curves(NUMBERS).axes
    by_q, by_prior = axes.containers
    assert [each.get_label() for each in axes.containers] == ["z from q", "z from the prior"]
    assert drawn(by_q.lines[0]) == [(1, 30.0), (10, 29.6), (100, 29.4)]
    assert drawn(by_prior.lines[0]) == [(1, 44.0), (1000, 33.0)]
    assert errors(by_q) == pytest.approx([0.3, 0.2, 0.1])
    assert errors(by_prior) == pytest.approx([0.9, 0])
    known = {key: value for key, value in NUMBERS.items() if not key.startswith("iwae_curve")}
    (axes,) = diagnosis.curves(known).axes
    assert [each.get_label() for each in axes.containers] == ["z from the prior"]


def test_listening_shows_the_three_distortions_with_two_errors():
    (axes,) = diagnosis.listening(NUMBERS).axes
    assert [point.lines[0].get_xdata()[0] for point in axes.containers] == [20.0, 40.0, 41.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "its own",
        "the prior's",
        "another sentence's",
    ]
    assert [error for point in axes.containers for error in errors(point)] == pytest.approx([1.0, 0, 1.4])
    assert [text.get_text() for text in axes.texts] == ["20.00", "40.00", "41.00"]


def test_the_plane_has_the_means_of_q_across_and_those_of_the_model_up():
    (axes,) = diagnosis.plane(NUMBERS).axes
    points, agree, ignored, lags = axes.lines
    assert drawn(points) == [(0.1, 0.1), (1.0, 2.0), (0.0, 0.0), (0.2, 0.4), (-0.5, -1.0), (0.0, 0.1)]
    assert all(x == y for x, y in drawn(agree))
    assert set(ignored.get_ydata()) == {0}
    assert set(lags.get_xdata()) == {0}
    assert "ignores z" in ignored.get_label()
    assert "lags" in lags.get_label()


def test_bounds_stand_in_their_order_each_with_its_number():
    (axes,) = diagnosis.bounds(NUMBERS).axes
    assert [drawn(line) for line in axes.lines] == [[(30.5, 0)], [(29.5, 1)], [(29.0, 2)]]
    assert [text.get_text() for text in axes.texts] == ["30.50", "29.50", "29.00"]
    assert "mean of 64 sentences" in axes.get_xlabel()


def test_positions_show_each_gain_with_two_errors():
    left, _ = diagnosis.positions(NUMBERS).axes
    (gains,) = left.containers
    assert drawn(gains.lines[0]) == [(1, 1.0), (2, 0.5), (3, 0.2)]
    assert errors(gains) == pytest.approx([0.2, 0.2, 0])


def test_training_shows_what_the_rows_hold():
    rows = [
        {"step": step, "split": split, "rate": rate, "distortion": 30.0 - step + shift}
        for step, rate in ((10, None), (20, 1.5), (30, 2.5), (40, None))
        for split, shift in (("train", 100), ("valid", 0))
    ]
    rates, distortions = diagnosis.training(rows).axes
    assert drawn(rates.lines[0]) == [(20, 1.5), (30, 2.5)]
    assert drawn(distortions.lines[0]) == [(10, 20.0), (20, 10.0), (30, 0.0), (40, -10.0)]
    assert (rates.get_title()[:4], distortions.get_title()[:10]) == ("rate", "distortion")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_without_numbers_is_left_out(name):
    assert getattr(diagnosis, name)({}) is None


def test_the_sum_begins_with_the_rate_and_ends_with_the_net_gain():
    (_, right) = diagnosis.positions(NUMBERS).axes
    curve = right.lines[0].get_ydata()
    assert curve[0] == pytest.approx(-2.0)
    assert curve[-1] == pytest.approx(-2.0 + 1.0 + 0.5 + 0.2 * 0.5)


def test_without_a_rate_nothing_is_summed_against_it():
    assert len(diagnosis.positions({**NUMBERS, "lm_gain_net_of_rate": None}).axes) == 1


def test_training_shows_valid_alone_and_a_rate_only_where_there_is_one():
    rows = [
        {"step": s, "split": split, "rate": 1.0, "distortion": 30.0 - s}
        for s in (1, 2)
        for split in ("train", "valid")
    ]
    assert len(diagnosis.training(rows).axes) == 2
    assert len(diagnosis.training([{**row, "rate": None} for row in rows]).axes) == 1
    assert diagnosis.training(rows[:2]) is None
    assert list(diagnosis.training(rows).axes[0].lines[0].get_xdata()) == [1, 2]


def test_a_q_that_is_not_refined_has_no_picture_of_the_gaps():
    assert diagnosis.bounds({"evidence": "iwae", "amortised_elbo": -30.0, "gap_sentences": 10}) is None


@pytest.mark.parametrize(
    ("way", "said", "nll"),
    [("quadrature", "quadrature", 28.9), ("ais", "annealing", 29.5), ("refined_iwae", "importance", 29.2)],
)
def test_the_log_p_that_the_gaps_rest_on_is_shown(way, said, nll):
    every = {"quadrature_nll": 28.9, "ais_nll": 29.5, "refined_iwae_nll": 29.2}
    (axes,) = diagnosis.bounds({**NUMBERS, **every, "evidence": way}).axes
    assert said in axes.get_yticklabels()[2].get_text()
    assert axes.lines[2].get_xdata()[0] == nll
