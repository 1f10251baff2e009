"""Generation against enumeration: greedy paths, exact modes, sampling frequencies, hard limits."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from chains import ENDLESS, GARDEN, GREEDY, MODE, Chain
from helpers import SIZES, WORDS, alive, complete_strings, members, rows_of, tiny, unfinished
from hypothesis import given, settings
from hypothesis import strategies as st

from textvae.data.batches import collate
from textvae.data.tokenizers import BOS, EOS, PAD, UNK
from textvae.generation import Decoding, beam_search, generate, greedy, interpolate, sampling
from textvae.models.decoders import Decoder

LIMIT = 4
SHARP = 4.0
Z = torch.randn((6, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def decoder_of(seed: int = 0, scale: float = 1.6, kind: str = "lstm", **options) -> Decoder:
    sizes = SIZES if kind == "lstm" else {}
    return tiny(2, decoder=(kind, {**sizes, **options}), scale=scale, seed=seed).decoder


@torch.no_grad()
def probabilities(decoder: Decoder, z: torch.Tensor, limit: int = LIMIT) -> dict[tuple[int, ...], float]:
    """Of every outcome under a limit of words, for one z (D,): rows shorter than the limit have ended."""
    ended, cut = list(complete_strings(limit)), unfinished(limit)
    batch = collate([*rows_of(*ended), *cut])
    scores = decoder(batch, z.expand(1, batch.sentences, -1)).sum(-1)[0]
    keys = [*ended, *(tuple(row.tolist()) for row in cut)]
    return dict(zip(keys, scores.exp().tolist(), strict=True))


@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_greedy_is_the_argmax_path(kind, options):
    decoder = decoder_of(kind=kind, **options)
    rows = generate(decoder, Z, greedy, 6)
    for z, row in zip(Z, rows, strict=True):
        prefix: list[int] = []
        while len(prefix) < 6:
            batch = collate([np.array([*prefix, word]) for word in (UNK, EOS, 4, 5, 6)])
            with torch.no_grad():
                scores = decoder(batch, z.expand(1, 5, -1))[0, :, -1]
            word = (UNK, EOS, 4, 5, 6)[int(scores.argmax())]
            if word == EOS:
                break
            prefix.append(word)
        assert row == prefix
    assert len({tuple(row) for row in rows}) > 1 or options.get("inputless") or options.get("z_to") == "state"


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_of_many_sentences_a_few_are_decoded_at_a_time(temperature, monkeypatch):
    decoder, widths = decoder_of(), []
    how, choose = Decoding(temperature, max_length=6), sampling(seeded()) if temperature else greedy
    expected = [row for some in (Z[:4], Z[4:]) for row in generate(decoder, some, choose, 6)]
    step = decoder.step
    monkeypatch.setattr(decoder, "step", lambda words, state: widths.append(len(words)) or step(words, state))
    monkeypatch.setattr("textvae.generation.ROWS", 4)
    assert how(decoder, Z, seeded()) == expected
    assert set(widths) == {4, 2}


def test_generation_ends_at_the_length_limit():
    z = torch.zeros(3, 2)
    for limit in (1, 2, 7):
        expected = [([4, 5] * 4)[:limit]] * 3
        assert generate(ENDLESS, z, greedy, limit) == expected
        assert generate(ENDLESS, z, sampling(seeded()), limit) == expected
        assert beam_search(ENDLESS, z, 3, limit) == expected


def test_a_decoder_that_ends_at_once_says_nothing():
    silent = Chain({BOS: {EOS: 1.0}})
    assert generate(silent, torch.zeros(2, 2), greedy, 5) == [[], []]
    assert beam_search(silent, torch.zeros(2, 2), 4, 5) == [[], []]


def test_sentences_that_ended_stay_ended():
    """One row ends at once, another never: what follows EOS is never read."""
    rows = generate(decoder_of(), Z.repeat(40, 1), sampling(seeded(3)), 12)
    assert {len(row) for row in rows} >= {0, 1, 2, 12}
    assert all(EOS not in row and PAD not in row and BOS not in row for row in rows)


@pytest.mark.parametrize("how", ["greedy", "sampling", "beam"])
@pytest.mark.parametrize("forbidden", [[UNK], [UNK, 4], [EOS], [4, 5, 6]])
def test_forbidden_words_never_appear(how, forbidden):
    decoder, z = decoder_of(4, SHARP), Z.repeat(20, 1)
    if how == "beam":
        rows = beam_search(decoder, Z, 4, 8, forbidden)
    else:
        rows = generate(decoder, z, greedy if how == "greedy" else sampling(seeded()), 8, forbidden)
    said = {word for row in rows for word in row}
    assert said or forbidden == [4, 5, 6]
    assert not said & set(forbidden)
    if EOS in forbidden:
        assert {len(row) for row in rows} == {8}
    free = {word for row in generate(decoder, z, sampling(seeded()), 8) for word in row}
    assert free == set(WORDS)


def test_the_same_seed_draws_the_same_sentences():
    decoder = decoder_of()
    one, two, other = (generate(decoder, Z, sampling(seeded(seed)), 10) for seed in (1, 1, 2))
    assert one == two != other


def test_generation_moves_neither_modes_nor_random_streams():
    decoder = decoder_of(layers=2, dropout_in=0.9, dropout_out=0.9).train()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two = (generate(decoder, Z, greedy, 6) for _ in range(2))
    beams = beam_search(decoder, Z, 3, 6)
    generate(decoder, Z, sampling(seeded()), 6)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in decoder.modules())
    assert one == two == generate(decoder.eval(), Z, greedy, 6)
    assert beams == beam_search(decoder, Z, 3, 6)


def chi_square(counts: Counter, expected: dict) -> None:
    """Counts agree with expected counts, those of rare outcomes pooled."""
    assert set(counts) <= set(expected)
    rare = {key for key, e in expected.items() if e < 10}
    cells = [(counts[key], e) for key, e in expected.items() if key not in rare]
    cells.append((sum(counts[key] for key in rare), sum(expected[key] for key in rare) + 1e-9))
    statistic = sum((found - e) ** 2 / e for found, e in cells if e > 5)
    degrees = len(cells) - 1
    assert degrees >= 3
    assert statistic < degrees + 4 * math.sqrt(2 * degrees), f"{statistic:.1f} at {degrees} degrees of freedom"


@pytest.mark.parametrize("inputless", [False, True])
def test_ancestral_samples_have_the_decoders_probabilities(inputless):
    decoder, count = decoder_of(inputless=inputless), 20_000
    exact = probabilities(decoder, Z[0], 3)
    assert sum(exact.values()) == pytest.approx(1, abs=1e-9)
    rows = generate(decoder, Z[:1].expand(count, -1), sampling(seeded(5)), 3)
    chi_square(Counter(map(tuple, rows)), {key: count * p for key, p in exact.items()})


def test_a_wrong_distribution_of_samples_is_noticed():
    decoder, count = decoder_of(), 20_000
    exact = probabilities(decoder, Z[0], 3)
    rows = generate(decoder, Z[:1].expand(count, -1), sampling(seeded(5), temperature=0.9), 3)
    with pytest.raises(AssertionError, match="degrees of freedom"):
        chi_square(Counter(map(tuple, rows)), {key: count * p for key, p in exact.items()})


PROBABILITIES = torch.tensor([0.05, 0.4, 0.3, 0.15, 0.1], dtype=torch.float64)


def frequencies(count: int = 40_000, **options) -> Counter:
    choose = sampling(seeded(1), **options)
    return Counter(choose(PROBABILITIES.log().expand(count, -1)).tolist())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_is_a_power_of_the_probabilities(temperature):
    powered = PROBABILITIES ** (1 / temperature)
    powered /= powered.sum()
    chi_square(frequencies(temperature=temperature), {i: 40_000 * p for i, p in enumerate(powered.tolist())})


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.01, {1}), (0.39, {1}), (0.41, {1, 2}), (0.69, {1, 2}), (0.71, {1, 2, 3}), (0.84, {1, 2, 3}),
     (0.86, {1, 2, 3, 4}), (0.94, {1, 2, 3, 4}), (0.96, {0, 1, 2, 3, 4}), (1.0, {0, 1, 2, 3, 4})],
)  # fmt: skip
def test_top_p_keeps_the_fewest_words_that_hold_the_mass(top_p, kept):
    found = frequencies(5_000, top_p=top_p)
    assert set(found) == kept


def test_top_p_keeps_the_proportions_of_what_it_keeps():
    found = frequencies(top_p=0.86)
    total = 0.95
    chi_square(found, {i: 40_000 * PROBABILITIES[i].item() / total for i in (1, 2, 3, 4)})


@settings(max_examples=60, deadline=None)
@given(weights=st.lists(st.integers(1, 1000), min_size=2, max_size=8, unique=True), top_p=st.floats(0.02, 0.999))
def test_the_nucleus_is_the_smallest_set(weights, top_p):
    probs = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    choose = sampling(seeded(), top_p=top_p)
    # Only what has probability can be drawn: 400 draws of each row see words of at least 1 in 40.
    drawn = set(choose(probs.log().expand(2000, -1)).tolist())
    ranked = sorted(range(len(weights)), key=lambda i: -weights[i])
    size = next(
        n for n in range(1, len(ranked) + 1) if sum(weights[i] for i in ranked[:n]) >= top_p * sum(weights) - 1e-9
    )
    assert drawn <= set(ranked[:size])
    assert {i for i in ranked[:size] if weights[i] > 0.02 * sum(weights)} <= drawn


def test_temperature_towards_zero_is_greedy():
    for seed in range(5):
        decoder = decoder_of(seed)
        cold = generate(decoder, Z, sampling(seeded(seed), temperature=1e-4), 8)
        assert cold == generate(decoder, Z, greedy, 8)
    hot = generate(decoder, Z, sampling(seeded(), temperature=1.0), 8)
    assert hot != cold


def score(decoder: Decoder, z: torch.Tensor, row: list[int], limit: int = LIMIT) -> float:
    """log p of what a search returned: with its EOS, unless it ran into the limit."""
    ids = np.array(row if len(row) == limit else [*row, EOS])
    with torch.no_grad():
        return decoder(collate([ids]), z.expand(1, 1, -1)).sum().item()


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_exact_mode(seed):
    decoder = decoder_of(seed, SHARP)
    found = beam_search(decoder, Z, 400, LIMIT)
    for z, row in zip(Z, found, strict=True):
        ended = {key: p for key, p in probabilities(decoder, z).items() if len(key) < LIMIT}
        assert tuple(row) == max(ended, key=ended.get)


def test_modes_are_worth_searching():
    """Sharp decoders whose modes are not all the empty sentence: else the test above would mean little."""
    modes = Counter(tuple(row) for seed in range(8) for row in beam_search(decoder_of(seed, SHARP), Z, 400, LIMIT))
    assert len(modes) >= 8
    assert sum(count for row, count in modes.items() if len(row) >= 2) >= 5


@pytest.mark.parametrize("width", [1, 400])
def test_beam_search_is_never_worse_than_greedy(width):
    better = 0
    for seed in range(8):
        decoder = decoder_of(seed, SHARP)
        for z, beam, one in zip(
            Z, beam_search(decoder, Z, width, LIMIT), generate(decoder, Z, greedy, LIMIT), strict=True
        ):
            if len(one) < LIMIT:
                gain = score(decoder, z, beam) - score(decoder, z, one)
                assert gain >= -1e-9
                better += gain > 1e-6
    assert better > 0 or width == 1


def test_a_beam_sees_past_a_greedy_mistake():
    z = torch.zeros(1, 2)
    assert generate(GARDEN, z, greedy, 5) == beam_search(GARDEN, z, 1, 5) == [GREEDY]
    assert beam_search(GARDEN, z, 2, 5) == [MODE]


def test_a_beam_is_searched_for_every_z_on_its_own():
    decoder = decoder_of(4, SHARP)
    together = beam_search(decoder, Z, 5, 8)
    assert together == [beam_search(decoder, z[None], 5, 8)[0] for z in Z]
    assert len({tuple(row) for row in together}) > 1


@pytest.mark.parametrize("width", [1, 2, 10, 1000])
def test_a_beam_wider_than_what_can_be_said_is_no_error(width):
    assert beam_search(Chain({BOS: {4: 1.0}, 4: {EOS: 1.0}}), torch.zeros(2, 2), width, 5) == [[4], [4]]


def test_a_language_model_generates_too():
    decoder = tiny(0, encoder=("none", {}), scale=1.6).decoder
    z = torch.zeros(4, 0, dtype=torch.float64)
    assert len({tuple(row) for row in generate(decoder, z, greedy, 6)}) == 1
    assert len({tuple(row) for row in generate(decoder, z.expand(4, 0).repeat(20, 1), sampling(seeded()), 6)}) > 5
    assert len(beam_search(decoder, z, 3, 6)) == 4


def test_the_state_of_the_search_follows_its_hypotheses():
    """With z in the first state only, a state that did not follow its words would break the mode."""
    for seed in range(4):
        decoder = decoder_of(seed, SHARP, z_to="state", layers=2)
        ended = {k: p for k, p in probabilities(decoder, Z[1]).items() if len(k) < LIMIT}
        assert tuple(beam_search(decoder, Z[1:2], 60, LIMIT)[0]) == max(ended, key=ended.get)


# Interpolation.

A, B = torch.tensor([3.0, 0.0, 4.0]), torch.tensor([0.0, 5.0, 0.0])


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("steps", [2, 3, 9])
def test_an_interpolation_begins_and_ends_at_its_ends(spherical, steps):
    path = interpolate(A, B, steps, spherical)
    assert path.shape == (steps, 3)
    torch.testing.assert_close(path[0], A, atol=1e-6, rtol=0)
    torch.testing.assert_close(path[-1], B, atol=1e-6, rtol=0)
    torch.testing.assert_close(interpolate(B, A, steps, spherical).flip(0), path, atol=1e-6, rtol=0)


def test_a_straight_path_has_equal_steps():
    path = interpolate(A, B, 5)
    torch.testing.assert_close(path[2], (A + B) / 2)
    torch.testing.assert_close(path.diff(dim=0), ((B - A) / 4).expand(4, -1))


def test_a_spherical_path_keeps_the_norm_and_turns_evenly():
    path = interpolate(A, B, 7, spherical=True)
    torch.testing.assert_close(path.norm(dim=1), torch.full((7,), 5.0))
    cosines = torch.nn.functional.cosine_similarity(path[:-1], path[1:])
    torch.testing.assert_close(cosines, torch.full((6,), math.cos(math.pi / 12)), atol=1e-6, rtol=0)
    assert (interpolate(A, B, 7).norm(dim=1)[1:-1] < 4.6).all()


@pytest.mark.parametrize("b", [A, 2 * A, -A, torch.zeros(3)])
def test_a_spherical_path_between_parallel_points_is_finite(b):
    path = interpolate(A, b, 5, spherical=True)
    assert path.isfinite().all()
    torch.testing.assert_close(path[0], A, atol=1e-6, rtol=0)
    torch.testing.assert_close(path[-1], b, atol=1e-6, rtol=0)


def test_sentences_along_a_path_begin_and_end_with_those_of_its_ends():
    model = alive(2)
    path = interpolate(Z[0], Z[1], 5)
    rows = generate(model.decoder, path, greedy, 8)
    assert [rows[0], rows[-1]] == generate(model.decoder, Z[:2], greedy, 8)
