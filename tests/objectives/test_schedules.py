"""Schedules are pure functions of the step, and constant from settles_at on, not before."""

import math

import pytest
from helpers import make, members

from textvae.objectives.weights.schedules import SCHEDULES, Constant, Cosine, Cyclical, Linear, Sigmoid, Tanh

ALL = members("objective.weight", kinds=SCHEDULES)


def values_of(schedule, steps: int) -> list[float]:
    return [schedule(step) for step in range(steps)]


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_a_schedule_is_a_pure_function_of_the_step(kind, options):
    schedule = make("objective.weight", kind, **options)
    forward = values_of(schedule, 300)
    backward = [schedule(step) for step in reversed(range(300))][::-1]
    assert forward == backward == values_of(make("objective.weight", kind, **options), 300)
    assert not schedule.state_dict()


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_a_schedule_stays_between_its_ends(kind, options):
    schedule = make("objective.weight", kind, **options)
    end = options.get("end", options.get("value", 1.0))
    start = options.get("start", 0.0)
    values = values_of(schedule, schedule.settles_at + 50)
    assert all(min(start, end) <= value <= max(start, end) for value in values)
    assert all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
    assert schedule(schedule.settles_at) == schedule(10**9) == end


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_the_value_is_constant_from_settles_at_on_and_not_before(kind, options):
    schedule = make("objective.weight", kind, **options)
    values = values_of(schedule, schedule.settles_at + 100)
    first = next(step for step in range(len(values)) if len(set(values[step:])) == 1)
    assert first == schedule.settles_at


def test_constant():
    assert values_of(Constant(), 3) == [1, 1, 1]
    assert values_of(Constant(value=0.25), 3) == [0.25] * 3


def test_linear_by_hand():
    assert values_of(Linear(steps=4), 7) == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert values_of(Linear(steps=2, start=1.0, end=0.5), 4) == [1, 0.75, 0.5, 0.5]
    assert values_of(Linear(steps=0, start=0.3), 2) == [1, 1]


def test_sigmoid_by_hand():
    schedule = Sigmoid(midpoint=100, steepness=0.1)
    assert schedule(100) == 0.5
    assert schedule(110) == pytest.approx(1 / (1 + math.exp(-1)))
    assert schedule(90) == pytest.approx(1 / (1 + math.e))
    assert schedule(0) == pytest.approx(1 / (1 + math.exp(10)))
    assert schedule(110) + schedule(90) == pytest.approx(1)
    # ln 999 / 0.1 = 69.07 steps behind the midpoint the logistic function is within 0.1 % of its end.
    assert schedule.settles_at == 170
    assert 0.9989 < schedule(169) < 0.999
    assert schedule(170) == 1
    assert Sigmoid(midpoint=100, steepness=0.1, end=0.2)(100) == pytest.approx(0.1)
    assert Sigmoid()(2500) == 0.5


def test_a_steep_sigmoid_far_from_its_midpoint_does_not_overflow():
    assert Sigmoid(midpoint=10**6, steepness=5.0)(0) < 1e-300


def test_tanh_by_hand():
    schedule = Tanh(midpoint=100, width=10.0)
    assert schedule(100) == 0.5
    assert schedule(110) == pytest.approx((1 + math.tanh(1)) / 2)
    assert schedule(110) + schedule(90) == pytest.approx(1)
    # It is the logistic function of twice the distance.
    assert schedule(93) == pytest.approx(Sigmoid(midpoint=100, steepness=0.2)(93))
    # artanh .998 · 10 = 34.5 steps behind the midpoint it is within 0.1 % of its end.
    assert schedule.settles_at == 135
    assert 0.9988 < schedule(134) < 0.999
    assert schedule(135) == 1
    assert Tanh(midpoint=100, width=10.0, end=0.2)(100) == pytest.approx(0.1)


def test_cosine_by_hand():
    values = values_of(Cosine(steps=6), 9)
    root = math.sqrt(3) / 2
    assert values == pytest.approx([0, (1 - root) / 2, 0.25, 0.5, 0.75, (1 + root) / 2, 1, 1, 1])
    assert values_of(Cosine(steps=2, start=1.0, end=0.5), 4) == pytest.approx([1, 0.75, 0.5, 0.5])


def test_cyclical_by_hand():
    values = values_of(Cyclical(length=8, cycles=2), 20)
    ramp = [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert values == [*ramp, *ramp, 1, 1, 1, 1]
    # The second cycle reaches the end at 8 + 4 and stays.
    assert Cyclical(length=8, cycles=2).settles_at == 12
    values = values_of(Cyclical(length=4, cycles=3, ratio=1.0, start=0.2, end=0.6), 14)
    ramp = [0.2, 0.3, 0.4, 0.5]
    assert values == pytest.approx([*ramp, *ramp, *ramp, 0.6, 0.6])


def test_a_cyclical_weight_ends_at_full_weight_after_its_last_cycle():
    schedule = Cyclical(length=10, cycles=4, ratio=0.5)
    falls = [step for step in range(1, 200) if schedule(step) < schedule(step - 1)]
    assert falls == [10, 20, 30]
    assert schedule(1000) == 1


@pytest.mark.parametrize("length", [7, 10, 100, 1000])
@pytest.mark.parametrize("ratio", [0.05, 0.1, 0.2, 0.3, 0.5, 0.55, 0.56, 0.57, 0.7, 0.9, 1.0])
def test_a_cyclical_weight_settles_where_its_ramp_ends(length, ratio):
    """Also where `ratio * length` is not exact in binary: .55 · 100 is a little more than 55."""
    schedule = Cyclical(length=length, cycles=2, ratio=ratio)
    values = values_of(schedule, 3 * length)
    first = next(step for step in range(len(values)) if len(set(values[step:])) == 1)
    assert first == schedule.settles_at
