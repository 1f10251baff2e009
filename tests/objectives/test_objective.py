"""The objective: weight 1 and the identity penalty are −ELBO; word dropout is noise on decoder inputs alone."""

import math

import pytest
import torch
from helpers import SIZES, batch_of, make, members, objective_of, random_rows, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from textvae.data.tokenizers import BOS, PAD, UNK
from textvae.models.terms import forward_pass
from textvae.objectives.inputs import drop_words

ROWS = [[4, 5, 6, 4], [], [6], [5, 5, 6]]
BATCH = batch_of(*ROWS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same_pass(model, samples: int, seed: int = 0):
    noise = torch.randn((samples, len(ROWS), model.latent_dim), generator=generator(seed))
    return forward_pass(model, BATCH, noise)


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("latent_dim", [0, 3])
def test_weight_one_and_the_rate_are_minus_the_elbo(samples, latent_dim):
    model = tiny(latent_dim, scale=1.2)
    loss = objective_of(model, samples=samples)(BATCH, 0, generator())
    done = same_pass(model, samples)
    assert loss.value.item() == pytest.approx(-done.terms.elbo.mean().item(), abs=1e-10)
    assert loss.value.item() == pytest.approx(-loss.terms.elbo.mean().item(), abs=1e-10)
    weights = done.token_log_probs.sum(-1).mean(0) - done.terms.rate
    assert loss.value.item() == pytest.approx(-weights.mean().item(), abs=1e-10)
    assert loss.weight == 1


@pytest.mark.parametrize(("kind", "options"), members("objective.penalty"))
@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_the_loss_is_distortion_plus_weight_times_penalty(kind, options, weight):
    model = tiny(2, scale=1.2)
    loss = objective_of(model, weight=weight, penalty=(kind, options))(BATCH, 0, generator())
    penalty = make("objective.penalty", kind, **options)(same_pass(model, 1), 0)
    assert loss.penalty.item() == pytest.approx(penalty.item(), abs=1e-12)
    assert loss.value.item() == pytest.approx(
        loss.terms.distortion.mean().item() + weight * penalty.item(), abs=1e-12
    )
    # What is logged as the ELBO knows neither weight nor penalty.
    torch.testing.assert_close(loss.terms.elbo, same_pass(model, 1).terms.elbo, atol=1e-12, rtol=0)


def test_free_bits_of_zero_train_like_the_rate():
    model = tiny(2)
    gradients = []
    for penalty, options in [("rate", {}), ("free_bits_per_dimension", {"nats_per_dimension": 0.0})]:
        value = objective_of(model, penalty=(penalty, options))(BATCH, 0, generator()).value
        gradients.append(torch.autograd.grad(value, list(model.parameters()), allow_unused=True))
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, atol=1e-14, rtol=0)


def test_warm_up_stays_outside_of_lambda():
    """β · max(λ, KL): at β = ½ and KL under λ, the loss pays λ/2, and not max(λ, KL/2)."""
    model = tiny(2, scale=0.1)
    loss = objective_of(model, weight=0.5, penalty=("free_bits_total", {"nats_total": 4.0}))(BATCH, 0, generator())
    assert loss.terms.rate.max() < 1
    assert loss.value.item() - loss.terms.distortion.mean().item() == pytest.approx(2.0, abs=1e-12)


def test_an_autoencoder_trains_on_the_distortion():
    model = tiny(2, posterior="dirac")
    loss = objective_of(model, penalty="none")(BATCH, 0, generator())
    assert loss.value.item() == pytest.approx(loss.terms.distortion.mean().item(), abs=1e-12)
    loss.value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.posterior.mean.weight.grad.abs().sum() > 0


def test_schedules_are_read_at_the_step():
    weight = make("objective.weight", "linear", steps=10)
    objective = objective_of(tiny(2), weight=weight)
    assert [objective(BATCH, step, generator()).weight for step in (0, 2, 7, 20)] == [0.0, 0.2, 0.7, 1.0]
    dropping = objective_of(
        tiny(2), word_dropout=make("objective.word_dropout", "linear", steps=4, start=1.0, end=0.0)
    )
    kept = objective_of(tiny(2))
    same = [
        torch.equal(dropping(BATCH, step, generator()).value, kept(BATCH, step, generator()).value)
        for step in (0, 2, 4, 20)
    ]
    assert same == [False, False, True, True]


@pytest.mark.parametrize("slot", ["weight", "distortion_weight", "penalty"])
def test_it_settles_with_the_last_of_its_schedules(slot):
    changing = {
        "weight": ("linear", {"steps": 4}),
        "distortion_weight": ("linear", {"steps": 4}),
        "penalty": ("capacity", {"target_rate": 2.0, "steps": 4}),
    }
    changing[slot][1]["steps"] = 9
    assert objective_of(tiny(2), **changing).settles_at == 9


def test_both_weights_observe_the_terms():
    objective = objective_of(
        tiny(2),
        weight=("soft_free_bits", {"target_rate": 90.0, "start": 0.5}),
        distortion_weight=("constraint", {"target_distortion": 0.1, "lr": 0.1}),
    )
    before = objective(BATCH, 0, generator())
    objective.observe(before.terms)
    after = objective(BATCH, 0, generator())
    assert after.weight < before.weight
    assert after.distortion_weight > before.distortion_weight


@pytest.mark.parametrize("dropped", [0.0, 0.5])
def test_the_loss_is_a_function_of_step_and_generator_alone(dropped):
    objective = objective_of(tiny(2), word_dropout=dropped)
    torch.manual_seed(1)
    one = objective(BATCH, 0, generator(3)).value
    torch.manual_seed(2)
    assert torch.equal(objective(BATCH, 0, generator(3)).value, one)
    assert not torch.equal(objective(BATCH, 0, generator(4)).value, one)


def test_more_samples_estimate_the_same_loss_with_less_noise():
    model = tiny(2, scale=1.5)
    few, many = (
        torch.stack(
            [objective_of(model, samples=k)(BATCH, 0, generator(seed)).value.detach() for seed in range(300)]
        )
        for k in (1, 16)
    )
    assert abs(few.mean() - many.mean()) < 4 * few.std() / math.sqrt(300)
    assert many.std() < few.std() / 2.5


# Word dropout.


def test_no_word_dropout_is_the_same_batch():
    assert drop_words(BATCH, 0.0, generator()) is BATCH


def test_full_word_dropout_leaves_bos_and_padding():
    dropped = drop_words(BATCH, 1.0, generator())
    expected = torch.full_like(BATCH.inputs, UNK)
    expected[BATCH.inputs == BOS] = BOS
    expected[BATCH.inputs == PAD] = PAD
    assert torch.equal(dropped.inputs, expected)


@settings(max_examples=40, deadline=None)
@given(rate=st.floats(0, 1), seed=st.integers(0, 2**31), count=st.integers(1, 6))
def test_word_dropout_touches_decoder_inputs_only(rate, seed, count):
    batch = batch_of(*random_rows(count, 7, seed))
    dropped = drop_words(batch, rate, generator(seed))
    assert torch.equal(dropped.targets, batch.targets)
    assert torch.equal(dropped.lengths, batch.lengths)
    assert (dropped.padded, dropped.tokens) == (batch.padded, batch.tokens)
    changed = dropped.inputs != batch.inputs
    assert (dropped.inputs[changed] == UNK).all()
    assert not (changed & ((batch.inputs == BOS) | (batch.inputs == PAD))).any()
    assert (dropped.inputs[:, 0] == BOS).all()


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.75])
def test_words_are_dropped_as_often_as_they_should(rate):
    rows = [[4, 5, 6] * 20] * 500
    dropped = drop_words(batch_of(*rows), rate, generator(1)).inputs[:, 1:] == UNK
    share = dropped.double().mean().item()
    count = dropped.numel()
    assert abs(share - rate) < 4 * math.sqrt(rate * (1 - rate) / count)
    # Independent across positions: neighbours are dropped together as often as chance has it.
    both = (dropped[:, 1:] & dropped[:, :-1]).double().mean().item()
    assert abs(both - rate**2) < 6 * rate / math.sqrt(count)


def test_word_dropout_never_reaches_the_encoder():
    model = tiny(2)
    quiet, loud = (objective_of(model, word_dropout=rate)(BATCH, 0, generator()) for rate in (0.0, 1.0))
    assert torch.equal(quiet.terms.rate, loud.terms.rate)
    assert (quiet.terms.distortion != loud.terms.distortion).any()
    empty = ROWS.index([])
    assert quiet.terms.distortion[empty].item() == pytest.approx(loud.terms.distortion[empty].item(), abs=1e-12)


def test_full_word_dropout_is_what_an_inputless_decoder_always_reads():
    model = tiny(2)
    blind = tiny(2, decoder=("lstm", {**SIZES, "inputless": True}))
    dropped = objective_of(model, word_dropout=1.0)(BATCH, 0, generator())
    always = objective_of(blind)(BATCH, 0, generator())
    torch.testing.assert_close(dropped.terms.distortion, always.terms.distortion, atol=1e-12, rtol=0)
