"""A probe finds what is there, at most what is there, and nothing where there is nothing."""

import math
from functools import cache

import pytest
import torch

from textvae.probes import linear
from textvae.probes.linear import LinearProbe, hits, read_off


def noisy(labels: torch.Tensor, classes: int, noise: float, generator: torch.Generator) -> torch.Tensor:
    """One-hot labels behind Gaussian noise, beside three columns that know nothing."""
    features = torch.eye(classes)[labels]
    features = torch.cat([features, torch.zeros(len(labels), 3)], dim=1)
    return features + noise * torch.randn(features.shape, generator=generator)


def certain(entropy: float) -> torch.Tensor:
    """The surprisal of labels whose entropy is known."""
    return torch.tensor([entropy], dtype=torch.float64)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_all_of_a_label_that_lies_open(generator: torch.Generator) -> None:
    labels = torch.randint(3, (6000,), generator=generator)
    z = noisy(labels, 3, 0.05, generator)
    found = read_off(certain(math.log(3)), (z[:4000], labels[:4000]), (z[4000:], labels[4000:]), 3)
    assert found.information == pytest.approx(math.log(3), abs=0.02)
    assert found.accuracy > 0.999


def test_never_more_than_the_exact_information_of_two_gaussians(generator: torch.Generator) -> None:
    # f = ±1 with equal odds, z = f + N(0, 1): the optimal classifier is linear, so the bound is tight.
    labels = torch.randint(2, (40_000,), generator=generator)
    z = (2.0 * labels[:, None] - 1) + torch.randn((40_000, 1), generator=generator)
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    density = torch.exp(-((grid - 1) ** 2) / 2) / math.sqrt(2 * math.pi)
    exact = float((density * (math.log(2) - torch.log1p(torch.exp(-2 * grid)))).sum() * (grid[1] - grid[0]))
    found = read_off(certain(math.log(2)), (z[:20_000], labels[:20_000]), (z[20_000:], labels[20_000:]), 2)
    assert abs(found.information - exact) < 3 * found.information_se


def test_nothing_in_shuffled_labels(generator: torch.Generator) -> None:
    labels = torch.randint(3, (6000,), generator=generator)
    z = noisy(labels, 3, 0.05, generator)
    shuffled = labels[torch.randperm(6000, generator=generator)]
    found = read_off(certain(math.log(3)), (z[:4000], shuffled[:4000]), (z[4000:], labels[4000:]), 3)
    assert found.information < 3 * found.information_se


def test_many_questions_at_once_have_a_bound_each(generator: torch.Generator) -> None:
    """Two questions, one open and one nowhere in z: half of the mean entropy is found."""
    answers = torch.randint(2, (6000, 2), generator=generator)
    z = answers[:, :1] + 0.05 * torch.randn((6000, 3), generator=generator)
    found = read_off(certain(math.log(2)), (z[:4000], answers[:4000]), (z[4000:], answers[4000:]), 2)
    assert found.information == pytest.approx(math.log(2) / 2, abs=0.015)


@pytest.mark.parametrize("noise", [0.05, 0.7, 50.0])
def test_the_error_is_that_of_the_whole_estimate(
    generator: torch.Generator, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """z tells all, something or nothing of a label whose entropy is counted on the rows that score the probe.

    All score the probe of the same rows, which is fitted once.
    """
    train, replications, rows = 3000, 200, 300
    shares = torch.tensor([0.6, 0.3, 0.1])
    labels = torch.multinomial(shares, train + replications * rows, replacement=True, generator=generator)
    z = noisy(labels, 3, noise, generator)
    probed = (z[:train], labels[:train])
    monkeypatch.setattr(linear, "LinearProbe", cache(LinearProbe))
    found = []
    for held_out in torch.arange(train, len(labels)).split(rows):
        counted = labels[held_out].bincount(minlength=3).double() / rows
        found.append(read_off(-counted[labels[held_out]].log(), probed, (z[held_out], labels[held_out]), 3))
    spread = torch.tensor([each.information for each in found], dtype=torch.float64).std()
    stated = torch.tensor([each.information_se for each in found], dtype=torch.float64).mean()
    assert 0.8 < float(stated / spread) < 1.25


@pytest.mark.parametrize("questions", [False, True])
def test_the_ridge_is_a_thousandth_of_every_squared_weight_but_the_constants(questions: bool) -> None:
    """At the least of Σ −log p(label) + 0.001 Σ w², its slope is 0; these labels lie open, so that w would grow."""
    features = torch.tensor([[-2.0, 1.0], [-1.0, -1.0], [-0.5, 1.0], [0.5, -1.0], [3.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 0, 1])
    answers = torch.nn.functional.one_hot(labels, 2)
    probe = LinearProbe(features, answers if questions else labels, 2)
    scores = probe.logits(features)
    likely = scores.sigmoid() if questions else scores.softmax(1)
    standardised = (features - features.mean(0)) / features.std(0)
    rows = torch.cat([standardised, torch.ones(5, 1, dtype=torch.float64)], 1)
    weight = probe.weight.detach()
    slope = (likely - answers).T @ rows
    ridge = 2 * 0.001 * weight * torch.tensor([1.0, 1.0, 0.0])
    assert ridge.abs().max() > 0.005
    torch.testing.assert_close(slope, -ridge, rtol=0, atol=1e-4)


def test_hits_by_hand() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [0.0, 1.0, 5.0]])
    assert hits(scores, torch.tensor([0, 1])) == 0.5
    # Two yeses with one of them in the top two; one yes, at the top.
    assert hits(scores, torch.tensor([[1, 0, 1], [0, 0, 1]])) == pytest.approx(2 / 3)
