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
PICTURES = ("dimensions", "density", "listening", "plane", "bounds", "positions")


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
