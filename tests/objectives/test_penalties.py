"""Penalties against an independent computation in numpy; the two forms of free bits share their gradient."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import SIZES, batch_of, make, members, tiny

from textvae.models.terms import Terms, forward_pass

RATES = np.array([[0.1, 0.9, 0.0, 2.0], [0.2, 0.2, 0.4, 0.1], [0.7, 1.1, 0.05, 0.0]])
FREE = [p for p in members("objective.penalty") if p.values[0].startswith("free_bits")]


def pass_with(rates, distortion=1.0) -> SimpleNamespace:
    """All that a penalty reads: the terms of a pass with given rates (B, D)."""
    rates = torch.as_tensor(rates)
    return SimpleNamespace(terms=Terms(torch.full((len(rates),), distortion).double(), rates.sum(-1), rates))


def by_hand(kind: str, rates: np.ndarray, options: dict) -> float:
    """Loops, as the formulas of the literature are written."""
    if kind == "none":
        return 0.0
    if kind == "rate":
        return rates.sum(1).mean()
    per_dimension = kind == "free_bits_per_dimension"
    nats = options["nats_per_dimension" if per_dimension else "nats_total"]

    def free(rate: float) -> float:
        if options["form"] == "max":
            return max(nats, rate)
        return rate if rate > nats else 0.0

    groups = rates.T if per_dimension else rates.sum(1)[None]
    if options["over"] == "batch":
        return sum(free(sum(group) / len(group)) for group in groups)
    return sum(sum(free(rate) for rate in group) / len(group) for group in groups)


@pytest.mark.parametrize(("kind", "options"), members("objective.penalty"))
@pytest.mark.parametrize("seed", range(4))
def test_every_penalty_is_the_formula(kind, options, seed):
    rates = RATES if seed == 0 else np.random.default_rng(seed).exponential(0.3, (7, 3))
    penalty = make("objective.penalty", kind, **options)(pass_with(rates))
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(by_hand(kind, rates, options), abs=1e-12)


@pytest.mark.parametrize(("kind", "options"), FREE)
def test_no_free_bits_are_the_rate(kind, options):
    unit = next(name for name in options if name.startswith("nats"))
    penalty = make("objective.penalty", kind, **{**options, unit: 0.0})
    assert penalty(pass_with(RATES)).item() == pytest.approx(RATES.sum(1).mean(), abs=1e-12)


def gradient(penalty, rates) -> tuple[float, torch.Tensor]:
    leaf = torch.tensor(rates, requires_grad=True)
    value = penalty(pass_with(leaf))
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
    for kind, options in (p.values for p in FREE):
        unit = next(name for name in options if name.startswith("nats"))
        name = (kind, options["over"], options["form"])
        nats = {"nats_total": 2.0, "nats_per_dimension": 0.5}[unit]
        values[name] = make("objective.penalty", kind, **{**options, unit: nats})(pass_with(RATES)).item()
    assert len(values) == 8
    assert len({round(value, 9) for value in values.values()}) == 8


def test_free_bits_never_cost_less_than_lambda_nor_the_rate():
    penalty = make("objective.penalty", "free_bits_total", nats_total=3.0)
    assert penalty(pass_with(np.zeros((4, 2)))).item() == 3.0
    assert penalty(pass_with(np.full((4, 2), 5.0))).item() == 10.0


def test_penalty_none_never_reads_the_rate():
    class Guarded:
        """Terms whose rate must not be touched."""

        distortion = torch.ones(3)

        def __getattr__(self, name):
            raise AssertionError(f"{name} was read")

    value = make("objective.penalty", "none")(SimpleNamespace(terms=Guarded()))
    assert value.item() == 0
    assert value.shape == ()
    with pytest.raises(AssertionError, match="rate was read"):
        make("objective.penalty", "rate")(SimpleNamespace(terms=Guarded()))


def test_an_autoencoder_has_only_the_penalty_none():
    done = forward_pass(tiny(2, posterior="dirac"), batch_of([4], [5, 6]), torch.zeros(1, 2, 2))
    assert make("objective.penalty", "none")(done).item() == 0
    assert math.isnan(make("objective.penalty", "rate")(done).item())
    assert math.isnan(make("objective.penalty", "free_bits_total", nats_total=1.0)(done).item())
    with pytest.raises(ValueError, match="factorise"):
        make("objective.penalty", "free_bits_per_dimension", nats_per_dimension=1.0)(done)


@pytest.mark.parametrize(("kind", "options"), members("objective.penalty"))
def test_a_language_model_has_nothing_to_be_penalised_for(kind, options):
    model = tiny(0, encoder=("none", {}), decoder=("lstm", SIZES))
    done = forward_pass(model, batch_of([4], [5, 6]), torch.zeros(1, 2, 0))
    value = make("objective.penalty", kind, **options)(done)
    slopes = torch.autograd.grad(value, list(model.parameters()), allow_unused=True) if value.requires_grad else ()
    assert value.isfinite()
    assert all(slope is None or (slope == 0).all() for slope in slopes)
