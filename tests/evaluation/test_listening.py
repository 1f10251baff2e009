"""What a decoder says under other z, against direct computation; a deaf one, against none at all."""

import math

import numpy as np
import pytest
import torch
from helpers import SIZES, alive, batch_of, deafen, random_rows, sequences_of, tiny
from surveys import told

from textvae.data.batches import collate
from textvae.evaluation.estimators import Survey
from textvae.evaluation.listening import (
    another,
    distortion_under,
    gradient_norms,
    listening,
    position_gain,
    token_log_probs,
    words_right,
)
from textvae.evaluation.noise import SentenceNoise
from textvae.models.terms import forward_pass

ROWS = [[4, 5, 6], [], [6, 6, 5, 4, 2], [5], [4, 4]]
SEQUENCES = sequences_of(ROWS)
LINES = sorted({tuple(row) for row in random_rows(90, 6, seed=8)})
MANY = sequences_of(LINES)


def z_of(count: int = len(ROWS), dim: int = 2) -> torch.Tensor:
    return torch.randn((count, dim), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_another_is_one_cycle(count):
    other, at, seen = another(count, seed=3), 0, set()
    for _ in range(count):
        seen.add(at)
        at = int(other[at])
    assert (at, len(seen)) == (0, count)


@torch.no_grad()
def test_distortion_and_tokens_are_those_of_each_sentence_alone():
    model, z = alive(2), z_of()
    alone = [model.decoder(batch_of(row), z[None, i : i + 1])[0, 0] for i, row in enumerate(ROWS)]
    for size in (2, 64):
        tokens = token_log_probs(model, SEQUENCES, z, batch_size=size)
        torch.testing.assert_close(tokens, torch.cat(alone), atol=1e-9, rtol=0)
        whole = distortion_under(model, SEQUENCES, z, batch_size=size)
        torch.testing.assert_close(whole, -torch.stack([each.sum() for each in alone]), atol=1e-9, rtol=0)


@torch.no_grad()
def test_right_words_are_counted_by_asking_for_each_prefix():
    model, z = alive(2), z_of()
    expected = []
    for i, row in enumerate(ROWS):
        right = 0
        for t in range(len(row) + 1):
            state = model.decoder.start(z[i : i + 1])
            words = [1, *row[:t]]
            for word in words:
                log_probs, state = model.decoder.step(torch.tensor([word]), state)
            right += int(log_probs.argmax()) == [*row, 3][t]
        expected.append(right)
    assert words_right(model, SEQUENCES, z, batch_size=2).tolist() == expected
    assert 0 < sum(expected) < sum(len(row) + 1 for row in ROWS)


def test_gradient_norms_are_finite_differences():
    model, z, step = alive(2), z_of(), 1e-5
    slopes = []
    for d in range(2):
        shift = step * torch.eye(2, dtype=torch.float64)[d]
        slopes.append(distortion_under(model, SEQUENCES, z + shift) - distortion_under(model, SEQUENCES, z - shift))
    expected = (torch.stack(slopes) / (2 * step)).norm(dim=0)
    torch.testing.assert_close(gradient_norms(model, SEQUENCES, z, batch_size=2), expected, rtol=1e-5, atol=1e-7)


def test_a_deaf_decoder_has_no_slope_and_no_other_words():
    model, z = deafen(alive(2)), z_of()
    assert (gradient_norms(model, SEQUENCES, z) == 0).all()
    assert torch.equal(words_right(model, SEQUENCES, z), words_right(model, SEQUENCES, -5 * z))


def test_looking_moves_nothing():
    model, z = alive(2).train(), z_of()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()
    gradient_norms(model, SEQUENCES, z)
    words_right(model, SEQUENCES, z)
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(stream, torch.get_rng_state())


def test_gain_by_position_by_hand():
    sequences = sequences_of([[4], [4, 5]])  # two and three tokens with EOS
    own = torch.tensor([-1.0, -1.0, -2.0, -1.0, -3.0])
    lm = torch.tensor([-2.0, -1.5, -2.5, -1.0, -2.0])
    values = position_gain(own, lm, sequences, rate=torch.tensor([0.5, 1.0]))
    assert values["lm_gain_by_position"] == pytest.approx([(1 + 0.5) / 2, (0.5 + 0) / 2])
    assert values["sentences_by_position"] == [2, 2]  # the third is reached by one alone
    assert values["lm_gain"] == pytest.approx((1.5 - 0.5) / 2)
    assert values["lm_gain_net_of_rate"] == pytest.approx((1.0 - 1.5) / 2)
    assert values["lm_gain_net_of_rate_se"] == pytest.approx(np.std([1.0, -1.5], ddof=1) / np.sqrt(2))


def test_a_model_gains_nothing_over_itself():
    model = tiny(0, encoder=("none", {}), decoder=("lstm", SIZES))
    sequences = sequences_of(random_rows(40, 5, seed=2))
    found = Survey.of(model, sequences, SentenceNoise(0, 0))
    own = token_log_probs(model, sequences, found.z)
    values = position_gain(own, own, sequences, found.rate)
    assert values["lm_gain"] == values["lm_gain_net_of_rate"] == 0
    assert float(own.sum()) == pytest.approx(-float(found.distortion.sum()))


def record_decoded(model) -> list[torch.Tensor]:
    decoded: list[torch.Tensor] = []
    model.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(inputs[1][0]))
    return decoded


@pytest.mark.parametrize("count", [2, 3, len(LINES)])
@pytest.mark.parametrize("seed", range(5))
def test_no_sentence_keeps_its_z(count, seed):
    model, sequences = alive(2), sequences_of(LINES[:count])
    found = Survey.of(model, sequences, SentenceNoise(0, 2))
    decoded = record_decoded(model)
    listening(model, sequences, found, seed, batch_size=len(LINES))
    order = np.argsort(sequences.lengths, kind="stable")
    used = torch.empty_like(found.z)
    used[torch.from_numpy(order)] = torch.cat(decoded)
    assert (used != found.z).any(1).all()
    assert sorted(used.tolist()) == sorted(found.z.tolist())


def test_listening_is_the_paired_difference_of_distortions():
    model = alive(2)
    found = Survey.of(model, MANY, SentenceNoise(0, 2))
    one, two = (listening(model, MANY, found, seed=4, batch_size=size) for size in (7, 64))
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)
    pair = sequences_of(LINES[3:5])
    found = Survey.of(model, pair, SentenceNoise(0, 2))
    with torch.no_grad():
        swapped = [model.decoder(collate([pair[i]]), found.z[None, 1 - i : 2 - i]).sum() for i in range(2)]
    expected = -torch.stack(swapped) - found.distortion
    torch.testing.assert_close(listening(model, pair, found, seed=0), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_deaf_decoder_gains_exactly_nothing(precision):
    model = deafen(alive(2)).to(precision)
    found = Survey.of(model, MANY, SentenceNoise(0, 2))
    assert found.z.std() > 0.5
    gain = listening(model, MANY, found, seed=0)
    assert gain.shape == (len(LINES),)
    assert (gain == 0).all()


def test_a_decoder_that_listens_loses_by_another_z():
    """A model fitted until z says which of three sentences it is."""
    torch.manual_seed(0)
    rows = [[4] * 4, [5] * 4, [6] * 4] * 10
    model = tiny(2, scale=0.5, seed=1)
    batch = batch_of(*rows)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for step in range(60):
        noise = torch.randn((1, len(rows), 2), generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        terms = forward_pass(model, batch, noise).terms
        loss = (terms.distortion + 0.1 * terms.rate).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    sequences = sequences_of(rows)
    found = Survey.of(model, sequences, SentenceNoise(0, 2))
    gain = listening(model, sequences, found, seed=0)
    assert gain.mean() > 1
    # A third of the sentences draws the z of an equal sentence, and gains next to nothing.
    assert 0.2 < (gain.abs() < 0.5).double().mean() < 0.6
    assert 0.8 < told(found)[0] <= math.log(len(rows))
