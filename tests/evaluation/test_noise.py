"""Noise belongs to the sentence: whatever the batch, its order, the chunk, or where drawing starts."""

import random

import numpy as np
import pytest
import torch
from helpers import batch_of, random_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from textvae.evaluation.noise import SentenceNoise

ROWS = [[4, 5, 6], [], [6], [5, 5], [4, 5, 6, 4]]


def draw(*rows, seed=0, dim=3, start=0, stop=1) -> torch.Tensor:
    return SentenceNoise(seed, dim)(batch_of(*rows), start, stop)


def test_shape_and_precision():
    assert draw(*ROWS, dim=3, stop=7).shape == (7, 5, 3)
    assert draw(*ROWS, dim=0, stop=7).shape == (7, 5, 0)
    assert draw(*ROWS).shape == (1, 5, 3)
    assert draw(*ROWS).dtype == torch.float32


def test_noise_does_not_depend_on_batch_mates_order_or_padding():
    together = draw(*ROWS, stop=20)
    assert torch.equal(draw(*ROWS[::-1], stop=20).flip(1), together)
    for i, row in enumerate(ROWS):
        assert torch.equal(draw(row, stop=20)[:, 0], together[:, i])
        assert torch.equal(draw(row, [4] * 30, stop=20)[:, 0], together[:, i])


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 70), count=st.integers(1, 70))
def test_any_range_of_samples_can_be_drawn_on_its_own(start, count):
    whole = draw(*ROWS, stop=140)
    assert torch.equal(draw(*ROWS, start=start, stop=start + count), whole[start : start + count])


def test_samples_sentences_dimensions_and_seeds_all_differ():
    values = torch.stack([draw(*ROWS, seed=seed, stop=50) for seed in (0, 1, -1, 2**40)])
    assert len(values.unique()) == values.numel()
    # [4, 5, 6] is a prefix of [4, 5, 6, 4]: EOS keeps them apart.
    assert not torch.equal(draw(ROWS[0]), draw(ROWS[4]))


def test_noise_is_standard_normal_and_uncorrelated():
    rows = sorted({tuple(row) for row in random_rows(400, 8, seed=1)})
    values = draw(*rows, dim=2, stop=64).double().numpy()
    flat = values.ravel()
    assert len(flat) > 30_000
    assert stats.kstest(flat, "norm").pvalue > 0.001
    count = len(flat)
    assert abs(flat.mean()) < 4 / np.sqrt(count)
    assert abs(flat.var() - 1) < 4 * np.sqrt(2 / count)
    assert abs((flat**4).mean() - 3) < 4 * np.sqrt(96 / count)
    pairs = {
        "dimensions": (values[..., 0], values[..., 1]),
        "samples": (values[:-1], values[1:]),
        "blocks": (values[:-16], values[16:]),
        "sentences": (values[:, :-1], values[:, 1:]),
    }
    other = draw(*rows, dim=2, stop=64, seed=1).double().numpy()
    pairs["seeds"] = (values, other)
    for name, (one, two) in pairs.items():
        correlation = np.corrcoef(one.ravel(), two.ravel())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(one.size), name


def test_drawing_moves_no_shared_random_state():
    before = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())
    draw(*ROWS, stop=40)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize("seed", [0, 7])
def test_noise_is_a_pure_function(seed):
    assert torch.equal(draw(*ROWS, seed=seed, stop=9), draw(*ROWS, seed=seed, stop=9))


def test_the_largest_seed_leaves_room_for_what_is_added_to_it():
    """Refinement is weighed under the seed of the command line, below 2⁶³, plus 2⁴⁰."""
    one, two = (draw(*ROWS, seed=2**63 - 1 + more) for more in (0, 2**40))
    assert not torch.equal(one, two)


def test_noise_is_the_same_on_every_machine():
    """Evaluations made with one seed can be compared: these numbers may not change."""
    np.testing.assert_allclose(draw([4, 5], dim=2)[0, 0], [0.560409, -0.792682], atol=1e-6)
