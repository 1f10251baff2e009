"""Closed-loop weights: each is its formula, reaches its target, keeps its state in buffers and never winds up."""

import math
from typing import Any

import pytest
import torch
from helpers import make, members
from torch import Tensor
from torch.overrides import TorchFunctionMode

from textvae.models.terms import Terms
from textvae.objectives.weights.constraint import Constraint
from textvae.objectives.weights.minimum_rate import MinimumRate
from textvae.objectives.weights.proportional_integral import ProportionalIntegral
from textvae.objectives.weights.schedules import SCHEDULES, Constant
from textvae.objectives.weights.soft_free_bits import SoftFreeBits

ALL = [
    pytest.param(slot, *entry.values, id=f"{slot}:{entry.id}")
    for slot in ("objective.weight", "objective.distortion_weight")
    for entry in members(slot)
    if entry.values[0] not in SCHEDULES
]


def terms(rate: float | Tensor = 0.0, distortion: float | Tensor = 0.0) -> Terms:
    """Terms of a batch of four whose means are these."""
    spread = torch.tensor([-0.2, 0.1, 0.3, -0.2])
    return Terms(distortion + spread, rate + spread, None)


def readings(count: int, seed: int = 0) -> list[Terms]:
    """Rates and distortions around 3, above and below it for a while each."""
    generator = torch.Generator().manual_seed(seed)
    draws = 3 + torch.randn((count, 2), generator=generator) + 2 * torch.sin(torch.arange(count) / 7)[:, None]
    return [terms(rate, distortion) for rate, distortion in draws.clamp_min(0)]


def follow(weight: Any, seen: list[Terms]) -> list[float]:
    """The value before every step."""
    values = []
    for step, found in enumerate(seen):
        values.append(float(weight(step)))
        weight.observe(found)
    return values


# What all of them owe.


@pytest.mark.parametrize(("slot", "kind", "options"), ALL)
def test_asking_for_the_value_changes_nothing(slot, kind, options):
    weight = make(slot, kind, **options)
    for found in readings(20):
        before = {name: value.clone() for name, value in weight.state_dict().items()}
        values = {float(weight(step)) for step in (0, 5, 10**6)}
        assert len(values) == 1
        assert all(torch.equal(v, before[n]) or v.isnan() for n, v in weight.state_dict().items())
        weight.observe(found)


@pytest.mark.parametrize(("slot", "kind", "options"), ALL)
def test_the_state_is_in_buffers_and_a_copy_of_it_goes_on_to_the_bit(slot, kind, options):
    weight, twin = make(slot, kind, **options), make(slot, kind, **options)
    seen = readings(60)
    follow(weight, seen[:30])
    assert not list(weight.parameters())
    twin.load_state_dict(weight.state_dict())
    assert follow(weight, seen[30:]) == follow(twin, seen[30:])
    assert all(torch.equal(v, twin.state_dict()[n]) for n, v in weight.state_dict().items())


@pytest.mark.parametrize(("slot", "kind", "options"), ALL)
def test_observing_keeps_no_graph_and_leaves_values_handed_out_alone(slot, kind, options):
    weight = make(slot, kind, **options)
    for found in readings(5):
        handed = weight(0)
        kept = handed.clone()
        leaf = torch.zeros((), requires_grad=True)
        weight.observe(Terms(found.distortion + leaf, found.rate + leaf, None))
        assert torch.equal(handed, kept)
        assert not weight(0).requires_grad
        assert weight(0).shape == ()
        assert weight(0).dtype == torch.float32
    weight.observe(Terms(found.distortion.double(), found.rate.double(), None))
    assert {buffer.dtype for buffer in weight.buffers()} == {torch.float32}


class NoNumbers(TorchFunctionMode):
    """Refuses to hand a tensor's number to the host, which would have to wait for the device."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        asked = {"item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__", "__index__"}
        assert function.__name__ not in asked, "the host asked for a number"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("slot", "kind", "options"), ALL)
def test_no_step_asks_the_device_for_a_number(slot, kind, options):
    weight, found = make(slot, kind, **options), terms(1.0, 1.0)
    with NoNumbers():
        weight.observe(found)
        value = weight(3)
        with pytest.raises(AssertionError, match="asked for a number"):
            float(value)


@pytest.mark.parametrize(("slot", "kind", "options"), ALL)
def test_nothing_is_selected_before_it_had_its_time(slot, kind, options):
    assert make(slot, kind, **options).settles_at == 2000
    assert make(slot, kind, **options, settles=7).settles_at == 7


# Formulas, computed otherwise.


@pytest.mark.parametrize("kd", [0.0, 0.1])
def test_pi_is_the_published_formula_where_no_limit_is_met(kd):
    seen = readings(80)
    weight = ProportionalIntegral(target_rate=1.5, kp=0.5, ki=0.01, kd=kd, low=0.0, high=9.0)
    weight.integral += 2.0
    errors = [1.5 - found.rate.mean().item() for found in seen]
    for t, found in enumerate(seen):
        weight.observe(found)
        change = errors[t] - errors[t - 1] if t else 0.0
        expected = 0.5 / (1 + math.exp(errors[t])) + 2.0 - 0.01 * sum(errors[: t + 1]) - kd * change
        assert 0.0 < expected < 9.0
        assert weight(t).item() == pytest.approx(expected, abs=1e-5)


def test_pi_by_hand():
    weight = ProportionalIntegral(target_rate=2.0, kp=1.0, ki=0.1)
    assert weight(0).item() == 0
    # e = 2: Kp / (1 + e²) = .1192, and the sum goes only as far below 0 as takes β to its limit, not to -.2.
    weight.observe(terms(rate=0.0))
    below = 1 / (1 + math.exp(2))
    assert weight.integral.item() == pytest.approx(-below)
    assert weight(0).item() == pytest.approx(0, abs=1e-7)
    # On the target half of Kp is left; above it the sum grows by .1 e.
    weight.observe(terms(rate=2.0))
    assert weight(0).item() == pytest.approx(0.5 - below)
    weight.observe(terms(rate=3.0))
    assert weight(0).item() == pytest.approx(1 / (1 + math.exp(-1)) + 0.1 - below)
    weight.observe(terms(rate=5.0))
    assert weight(0).item() == 1
    assert weight.integral.item() == pytest.approx(1 - 1 / (1 + math.exp(-3)))


def test_pi_never_winds_up():
    """After a thousand steps at either limit, the weight moves back at the first error of the other sign."""
    weight = ProportionalIntegral(target_rate=3.0, kp=0.01, ki=0.001)
    for stuck, back, limit in ((0.0, 6.0, 0.0), (30.0, 0.0, 1.0)):
        for _ in range(1000):
            weight.observe(terms(rate=stuck))
        assert weight(0).item() == pytest.approx(limit, abs=1e-7)
        weight.observe(terms(rate=back))
        assert abs(weight(0).item() - limit) > 0.002


def test_soft_free_bits_by_hand():
    weight = SoftFreeBits(target_rate=4.0, change=0.1, slack=0.05, start=0.5, low=0.4)
    values = follow(weight, [terms(rate) for rate in (3.9, 4.0, 4.1, 4.19, 4.3, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0)])
    half = 0.5 / 1.1
    expected = [0.5, half, half, half, half, 0.5, 0.55, 0.5, half, 0.5 / 1.1**2, 0.4]
    assert values == pytest.approx(expected, rel=1e-6)
    for _ in range(100):
        weight.observe(terms(rate=5.0))
    assert weight(0).item() == 1


@pytest.mark.parametrize(("lr", "decay", "start"), [(0.001, 0.99, 1.01), (0.05, 0.5, 0.2)])
def test_minimum_rate_climbs_as_torchs_own_rmsprop(lr, decay, start):
    weight = MinimumRate(target_rate=3.0, lr=lr, decay=decay, start=start)
    u = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.RMSprop([u], lr=lr, alpha=decay, maximize=True)
    for step, found in enumerate(readings(200)):
        assert weight(step).item() == pytest.approx(1 - u.item(), abs=1e-5)
        weight.observe(found)
        optimiser.zero_grad()
        (u * (3.0 - found.rate.mean())).backward()
        optimiser.step()
        u.data.clamp_(min=0)


def test_a_minimum_rate_may_reward_the_rate_and_never_charges_it_double():
    weight = MinimumRate(target_rate=3.0, lr=0.1)
    values = follow(weight, [terms(rate=0.0)] * 30)
    assert values[0] == pytest.approx(-0.01)
    assert values == sorted(values, reverse=True)
    assert values[-1] < -1
    assert follow(weight, [terms(rate=9.0)] * 200)[-1] == 1


def test_constraint_is_the_published_algorithm():
    weight = Constraint(target_distortion=3.0, lr=0.05, smoothing=0.9, start=2.0)
    average, value = None, 2.0
    for step, found in enumerate(readings(150)):
        assert weight(step).item() == pytest.approx(value, rel=1e-4)
        weight.observe(found)
        excess = found.distortion.mean().item() - 3.0
        average = excess if average is None else 0.9 * average + 0.1 * excess
        value *= math.exp(0.05 * average)


def test_a_constraint_grows_while_it_is_broken_and_stays_in_its_limits():
    weight = Constraint(target_distortion=3.0, lr=0.1, low=0.5, high=2.0)
    rising = follow(weight, [terms(distortion=5.0)] * 10)
    assert rising == sorted(rising)
    assert rising[-1] == 2.0
    assert follow(weight, [terms(distortion=0.0)] * 500)[-1] == 0.5


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ProportionalIntegral, {"target_rate": 1.0, "low": 2.0}),
        (SoftFreeBits, {"target_rate": 1.0, "start": 0.1, "low": 0.2}),
        (Constraint, {"target_distortion": 1.0, "start": 0.1, "low": 0.2}),
        (Constraint, {"target_distortion": 1.0, "start": 5.0, "high": 2.0}),
    ],
)
def test_limits_that_contradict_each_other(kind, options):
    with pytest.raises(ValueError, match=r"low must be at most high|start must be (at least|between) low"):
        kind(**options)


# Consequences: each reaches its target, on something that would otherwise collapse. Text: test_consequences.py.


def plant(weight: Any, *, on_distortion: bool = False, slope: float = 0.8, steps: int = 1000) -> tuple[float, ...]:
    """Gradient descent on a rate with distortion 10 · slope · exp(−rate / 10), watched by a weight.

    At weight 1 the rate falls to 0 if slope < 1, else to 10 ln slope. Returns distortion, rate and weight,
    averaged over the last quarter.
    """
    rate, kept = 1.0, []
    for step in range(steps):
        value = float(weight(step))
        distortion = 10 * slope * math.exp(-rate / 10)
        pull, push = (value, 1.0) if on_distortion else (1.0, value)
        rate = max(0.0, rate + pull * distortion / 10 - push)
        weight.observe(Terms(torch.tensor([distortion]), torch.tensor([rate]), None))
        kept.append((distortion, rate, value))
    late = kept[-steps // 4 :]
    return tuple(sum(column) / len(late) for column in zip(*late, strict=True))


@pytest.mark.parametrize(
    "weight",
    [
        ProportionalIntegral(target_rate=3.0, ki=0.0005),
        MinimumRate(target_rate=3.0, lr=0.002),
        SoftFreeBits(target_rate=3.0, change=0.01),
    ],
    ids=["pi", "minimum_rate", "soft_free_bits"],
)
def test_the_rate_reaches_its_target(weight):
    _, rate, value = plant(weight)
    slack = 1.05 if isinstance(weight, SoftFreeBits) else 1.0
    assert 3.0 * 0.99 < rate < 3.0 * slack * 1.01
    # What holds it there is the slope of the rate–distortion curve.
    assert value == pytest.approx(0.8 * math.exp(-rate / 10), rel=0.01)


def test_without_a_controller_the_same_plant_collapses():
    _, rate, _ = plant(Constant(value=1.0))
    assert rate == 0


def test_a_rate_that_is_high_enough_by_itself_is_left_alone():
    _, rate, value = plant(MinimumRate(target_rate=3.0, lr=0.002), slope=2.0)
    assert value == 1
    assert rate == pytest.approx(10 * math.log(2))


def test_a_constraint_reaches_its_distortion():
    distortion, _, value = plant(Constraint(target_distortion=6.0, lr=0.002), on_distortion=True)
    assert distortion == pytest.approx(6.0, rel=0.01)
    assert value == pytest.approx(10 / 6, rel=0.02)
