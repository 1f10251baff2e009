"""Penalties against an independent computation in numpy; the two forms of free bits share their gradient."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import SIZES, batch_of, make, members, tiny

from textvae.models.distributions import DiagonalGaussian
from textvae.models.terms import Terms, forward_pass

RATES = np.array([[0.1, 0.9, 0.0, 2.0], [0.2, 0.2, 0.4, 0.1], [0.7, 1.1, 0.05, 0.0]])
FREE = [p for p in members("objective.penalty") if p.values[0].startswith("free_bits")]


def pass_with(rates, distortion=1.0) -> SimpleNamespace:
    """All that a penalty reads: the terms of a pass with given rates (B, D)."""
    rates = torch.as_tensor(rates)
    terms = Terms(torch.full((len(rates),), distortion).double(), rates.sum(-1), rates)
    # Some q whose variances are exp(rates).
    return SimpleNamespace(terms=terms, posterior=DiagonalGaussian(rates - 0.5, rates))


def by_hand(kind: str, rates: np.ndarray, options: dict) -> float:
    """Loops, as the formulas of the literature are written."""
    if kind == "none":
        return 0.0
    if kind in ("rate", "unscaled_rate"):
        # No posterior here was scaled.
        return rates.sum(1).mean()
    if kind == "capacity":
        # At step 3 of 10.
        return abs(rates.sum(1).mean() - options["target_rate"] * (0.3 if "steps" in options else 1))
    if kind == "unit_variance":
        return sum(0.5 * (math.exp(rate) - 1 - rate) for rate in rates.flat) / len(rates)
    nats = next(value for name, value in options.items() if name.startswith("nats"))

    def free(rate: float) -> float:
        if options["form"] == "max":
            return max(nats, rate)
        return rate if rate > nats else 0.0

    count = {"free_bits_per_dimension": rates.shape[1], "free_bits_per_group": options.get("groups")}.get(kind, 1)
    groups = [group.sum(1) for group in np.split(rates, count, axis=1)]
    if options["over"] == "batch":
        return sum(free(sum(group) / len(group)) for group in groups)
    return sum(sum(free(rate) for rate in group) / len(group) for group in groups)


@pytest.mark.parametrize(("kind", "options"), members("objective.penalty"))
@pytest.mark.parametrize("seed", range(4))
def test_every_penalty_is_the_formula(kind, options, seed):
    rates = RATES if seed == 0 else np.random.default_rng(seed).exponential(0.3, (7, 4))
    penalty = make("objective.penalty", kind, **options)(pass_with(rates), 3)
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(by_hand(kind, rates, options), abs=1e-12)


@pytest.mark.parametrize(("kind", "options"), FREE)
def test_no_free_bits_are_the_rate(kind, options):
    unit = next(name for name in options if name.startswith("nats"))
    penalty = make("objective.penalty", kind, **{**options, unit: 0.0})
    assert penalty(pass_with(RATES), 0).item() == pytest.approx(RATES.sum(1).mean(), abs=1e-12)


def gradient(penalty, rates) -> tuple[float, torch.Tensor]:
    leaf = torch.tensor(rates, requires_grad=True)
    value = penalty(pass_with(leaf), 0)
    return value.item(), torch.autograd.grad(value, leaf)[0]


def inactive_groups(kind: str, over: str, rates: np.ndarray, nats: float) -> float:
    """How many groups lie under λ; averaged over sentences where each sentence has its own."""
    groups = rates if kind == "free_bits_per_dimension" else rates.sum(1, keepdims=True)
    if over == "batch":
        return (groups.mean(0) < nats).sum()
    return (groups < nats).sum(1).mean()


@pytest.mark.parametrize("kind", ["free_bits_per_dimension", "free_bits_total"])
@pytest.mark.parametrize("over", ["batch", "sentence"])
@pytest.mark.parametrize("nats", [0.15, 0.3, 1.0, 2.5, 5.0])
def test_max_and_mask_have_one_gradient_and_differ_by_lambda_per_inactive_group(kind, over, nats):
    rates = RATES + 1e-3 * np.random.default_rng(0).random(RATES.shape)
    unit = "nats_per_dimension" if kind == "free_bits_per_dimension" else "nats_total"
    (high, one), (low, other) = (
        gradient(make("objective.penalty", kind, **{unit: nats, "over": over, "form": form}), rates)
        for form in ("max", "mask")
    )
    assert torch.equal(one, other)
    assert high - low == pytest.approx(nats * inactive_groups(kind, over, rates, nats), abs=1e-12)


def test_the_gradient_of_free_bits_by_hand():
    """Only what lies above λ is pushed: over the batch by dimension, over the sentence entry by entry."""
    for over, pushed in {"batch": RATES.mean(0) > 0.3, "sentence": RATES > 0.3}.items():
        penalty = make("objective.penalty", "free_bits_per_dimension", nats_per_dimension=0.3, over=over)
        _, slope = gradient(penalty, RATES)
        np.testing.assert_allclose(slope, np.broadcast_to(pushed, RATES.shape) / 3, atol=1e-15)


def test_the_variants_are_different_things():
    values = {}
    for kind, options in (p.values for p in FREE if p.values[1].get("groups") != 1):
        unit = next(name for name in options if name.startswith("nats"))
        name = (kind, options["over"], options["form"])
        nats = {"nats_total": 2.0, "nats_per_dimension": 0.5, "nats_per_group": 1.0}[unit]
        values[name] = make("objective.penalty", kind, **{**options, unit: nats})(pass_with(RATES), 0).item()
    assert len(values) == 12
    assert len({round(value, 9) for value in values.values()}) == 12


@pytest.mark.parametrize("over", ["batch", "sentence"])
@pytest.mark.parametrize("form", ["max", "mask"])
def test_groups_run_from_single_dimensions_to_the_whole(over, form):
    done = pass_with(RATES)
    for groups, kind, unit in ((4, "per_dimension", "nats_per_dimension"), (1, "total", "nats_total")):
        by_group = make(
            "objective.penalty", "free_bits_per_group", nats_per_group=0.4, groups=groups, over=over, form=form
        )
        known = make("objective.penalty", f"free_bits_{kind}", **{unit: 0.4}, over=over, form=form)
        assert by_group(done, 0).item() == pytest.approx(known(done, 0).item(), abs=1e-12)


def test_groups_are_consecutive_and_equal():
    penalty = make("objective.penalty", "free_bits_per_group", nats_per_group=1.0, groups=2)
    done = pass_with(np.array([[0.6, 0.6, 0.1, 0.2]]))
    assert penalty(done, 0).item() == pytest.approx(1.2 + 1.0)
    with pytest.raises(ValueError, match="4 dimensions cannot be cut into 3 equal groups"):
        make("objective.penalty", "free_bits_per_group", nats_per_group=1.0, groups=3)(done, 0)


def test_free_bits_never_cost_less_than_lambda_nor_the_rate():
    penalty = make("objective.penalty", "free_bits_total", nats_total=3.0)
    assert penalty(pass_with(np.zeros((4, 2))), 0).item() == 3.0
    assert penalty(pass_with(np.full((4, 2), 5.0)), 0).item() == 10.0


@pytest.mark.parametrize(("posterior", "prior"), [("flow", "standard_normal"), ("diagonal", "mixture")])
def test_a_rate_that_is_estimated_is_not_floored_for_each_sentence(posterior, prior):
    """E max(λ, R) of an estimate R is more than max(λ, E R)."""
    batch, noise = batch_of([4], [5, 6]), torch.zeros(1, 2, 2).double()
    done = forward_pass(tiny(2, posterior=posterior, prior=prior), batch, noise)
    make("objective.penalty", "free_bits_total", nats_total=1.0, over="batch")(done, 0)
    with pytest.raises(ValueError, match="need a rate in closed form; choose over: batch"):
        make("objective.penalty", "free_bits_total", nats_total=1.0, over="sentence")(done, 0)
    known = forward_pass(tiny(2, posterior="full"), batch, noise)
    assert make("objective.penalty", "free_bits_total", nats_total=1.0, over="sentence")(known, 0).isfinite()


def test_penalty_none_never_reads_the_rate():
    class Guarded:
        """Terms whose rate must not be touched."""

        distortion = torch.ones(3)

        def __getattr__(self, name):
            raise AssertionError(f"{name} was read")

    value = make("objective.penalty", "none")(SimpleNamespace(terms=Guarded()), 0)
    assert value.item() == 0
    assert value.shape == ()
    with pytest.raises(AssertionError, match="rate was read"):
        make("objective.penalty", "rate")(SimpleNamespace(terms=Guarded()), 0)


def test_an_autoencoder_has_only_the_penalty_none():
    done = forward_pass(tiny(2, posterior="dirac"), batch_of([4], [5, 6]), torch.zeros(1, 2, 2))
    assert make("objective.penalty", "none")(done, 0).item() == 0
    assert math.isnan(make("objective.penalty", "rate")(done, 0).item())
    assert math.isnan(make("objective.penalty", "free_bits_total", nats_total=1.0)(done, 0).item())
    with pytest.raises(ValueError, match="has none; choose the penalty none"):
        make("objective.penalty", "free_bits_per_dimension", nats_per_dimension=1.0)(done, 0)


@pytest.mark.parametrize(("kind", "options"), members("objective.penalty"))
def test_a_language_model_has_nothing_to_be_penalised_for(kind, options):
    model = tiny(0, encoder=("none", {}), decoder=("lstm", SIZES))
    done = forward_pass(model, batch_of([4], [5, 6]), torch.zeros(1, 2, 0))
    value = make("objective.penalty", kind, **options)(done, 0)
    slopes = torch.autograd.grad(value, list(model.parameters()), allow_unused=True) if value.requires_grad else ()
    assert value.isfinite()
    assert all(slope is None or (slope == 0).all() for slope in slopes)


# Capacity and unit variance.


def test_capacity_rises_to_its_target_and_stays():
    penalty = make("objective.penalty", "capacity", target_rate=6.0, steps=4)
    done = pass_with(np.zeros((3, 2)))
    assert [penalty(done, step).item() for step in range(6)] == [0, 1.5, 3, 4.5, 6, 6]
    assert penalty.settles_at == 4
    assert make("objective.penalty", "capacity", target_rate=6.0)(done, 0).item() == 6
    assert make("objective.penalty", "rate").settles_at == 0


def test_capacity_is_least_where_the_rate_is_the_capacity():
    penalty = make("objective.penalty", "capacity", target_rate=3.0)
    values = [penalty(pass_with(np.full((2, 1), rate)), 0).item() for rate in (1.0, 2.5, 3.0, 3.5, 9.0)]
    assert values == pytest.approx([2, 0.5, 0, 0.5, 6])
    for rate, sign in ((1.0, -1), (9.0, 1)):
        _, slope = gradient(penalty, np.full((2, 1), rate))
        assert slope.flatten().tolist() == [sign / 2] * 2
    # It is the mean over the batch that is drawn there, not each sentence's rate.
    assert penalty(pass_with(np.array([[1.0], [5.0]])), 0).item() == 0


def test_unit_variance_is_the_divergence_from_the_same_mean():
    q = DiagonalGaussian(torch.randn(5, 3).double(), 0.7 * torch.randn(5, 3).double())
    penalty = make("objective.penalty", "unit_variance")
    expected = torch.distributions.kl_divergence(q, DiagonalGaussian(q.mean, torch.zeros_like(q.mean))).mean()
    assert penalty(SimpleNamespace(posterior=q), 0).item() == pytest.approx(expected.item())
    assert penalty(SimpleNamespace(posterior=DiagonalGaussian(q.mean, 0 * q.mean)), 0).item() == 0
    done = forward_pass(tiny(2, posterior="dirac"), batch_of([4], [5, 6]), torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="diagonal"):
        penalty(done, 0)
