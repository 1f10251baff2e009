"""Mutual information against closed forms, active units, listening, and the verdict's thresholds."""

import math

import numpy as np
import pytest
import torch
from helpers import alive, batch_of, deafen, random_rows, sequences_of, tiny
from surveys import gaussian_survey, linear_gaussian

from textvae.data.batches import collate
from textvae.evaluation.diagnostics import active_units, listening, mutual_information, verdict
from textvae.evaluation.estimators import Survey, survey
from textvae.evaluation.noise import SentenceNoise
from textvae.models.distributions import DiagonalGaussian, kl_per_dimension
from textvae.models.terms import forward_pass

ROWS = sorted({tuple(row) for row in random_rows(90, 6, seed=8)})
SEQUENCES = sequences_of(ROWS)


def check_information(estimator, signal: list[float], noise: list[float], count: int = 1200) -> None:
    """The mean over replications meets the closed form, where that is at most ln N − 4."""
    runs = [linear_gaussian(signal, noise, count, seed) for seed in range(8)]
    exact = runs[0][1]
    assert 0 < exact <= math.log(count) - 4
    estimates = np.array([estimator(found) for found, _ in runs])
    error = estimates.std(ddof=1) / math.sqrt(len(estimates))
    assert abs(estimates.mean() - exact) < 3.5 * error + 0.02, f"{estimates.mean():.3f}, exactly {exact:.3f}"


CASES = [([1.0], [1.0]), ([3.0], [0.5]), ([2.0, 0.5], [0.5, 0.5]), ([1.0, 0.1, 1.0], [0.6, 1.0, 0.6])]


@pytest.mark.parametrize(("signal", "noise"), CASES)
def test_mutual_information_meets_the_linear_gaussian_closed_form(signal, noise):
    check_information(lambda found: mutual_information(found)[0], signal, noise)


def in_minibatches(found: Survey, size: int = 32) -> float:
    """The broken estimator of the field: the aggregate posterior of a minibatch, capped at ln 32."""
    whole = DiagonalGaussian(found.mean, torch.cat([q.log_variance for _, q in found.posteriors]))
    parts = []
    for rows in torch.arange(len(found.z)).split(size):
        q = DiagonalGaussian(whole.mean[rows], whole.log_variance[rows])
        joint = q.log_prob(found.z[rows, None])
        parts.append((joint.diagonal() - joint.logsumexp(1) + math.log(len(rows))).mean())
    return float(torch.stack(parts).mean())


@pytest.mark.parametrize(("signal", "noise"), CASES[1:3])
def test_broken_mutual_information_in_a_minibatch(signal, noise):
    with pytest.raises(AssertionError, match="exactly"):
        check_information(in_minibatches, signal, noise)


def test_broken_mutual_information_is_the_rate():
    """The rate also counts what all sentences have in common."""
    with pytest.raises(AssertionError, match="exactly"):
        check_information(lambda found: float(found.rate.mean()), [2.0], [0.5])


def test_rate_is_information_plus_marginal_kl():
    """Three closed forms of the linear-Gaussian case, each computed on its own, and our estimate of the first."""
    found, information = linear_gaussian([2.0], [0.5], 40_000, seed=0)
    aggregate = DiagonalGaussian(torch.zeros(1), torch.tensor([math.log(4.25)]))
    marginal = float(kl_per_dimension(aggregate, DiagonalGaussian(torch.zeros(1), torch.zeros(1))))
    rate = 0.5 * (0.25 + 4.0 - 1 - math.log(0.25))
    assert rate == pytest.approx(information + marginal, abs=1e-6)
    assert float(found.rate.mean()) == pytest.approx(rate, abs=0.06)


def test_identical_posteriors_tell_nothing():
    found = gaussian_survey(torch.full((300, 2), 0.7), torch.zeros(300, 2))
    information, reference = mutual_information(found)
    assert information == pytest.approx(0, abs=1e-5)
    assert reference == 300


def test_well_separated_posteriors_tell_the_logarithm_of_their_number():
    means = 100.0 * torch.arange(300.0)[:, None]
    information, _ = mutual_information(gaussian_survey(means, torch.zeros(300, 1)))
    assert information == pytest.approx(math.log(300), abs=1e-5)


@pytest.mark.parametrize("signal", [0.1, 3.0, 50.0, 1e4])
@pytest.mark.parametrize("count", [2, 10, 257])
def test_mutual_information_never_exceeds_the_logarithm_of_the_reference(signal, count):
    found, _ = linear_gaussian([signal], [0.1], count, seed=0)
    assert mutual_information(found)[0] <= math.log(count) + 1e-6


def test_groups_of_posteriors_tell_which_group():
    """Four places with a hundred sentences each: ln 4, whatever the batches."""
    means = 1000.0 * torch.arange(4.0).repeat(100)[:, None]
    for batch in (7, 400):
        information, _ = mutual_information(gaussian_survey(means, torch.zeros(400, 1), batch=batch))
        assert information == pytest.approx(math.log(4), abs=1e-4)


@pytest.mark.parametrize("reference", [1, 40, 300, 1000])
def test_the_reference_is_the_first_sentences(reference):
    found, _ = linear_gaussian([2.0], [0.5], 300, seed=0)
    information, size = mutual_information(found, reference)
    assert size == min(reference, 300)
    head = DiagonalGaussian(found.mean[:size], torch.full((size, 1), 2 * math.log(0.5), dtype=torch.float64))
    joint = head.log_prob(found.z[:size, None])
    expected = (joint.diagonal() - joint.logsumexp(1) + math.log(size)).mean()
    assert information == pytest.approx(float(expected), abs=1e-4)


def test_mutual_information_of_a_model_is_that_of_its_posteriors():
    model = alive(2)
    found = survey(model, SEQUENCES, SentenceNoise(0, 2), batch_size=16)
    means, variances = torch.empty(len(ROWS), 2).double(), torch.empty(len(ROWS), 2).double()
    for indices, q in found.posteriors:
        means[indices], variances[indices] = q.mean, q.variance
    joint = torch.distributions.Independent(torch.distributions.Normal(means, variances.sqrt()), 1)
    table = joint.log_prob(found.z[:, None])
    expected = (table.diagonal() - table.logsumexp(1) + math.log(len(ROWS))).mean()
    assert mutual_information(found)[0] == pytest.approx(float(expected), abs=1e-4)


def test_an_autoencoders_mutual_information_is_undefined():
    found = survey(tiny(2, posterior="dirac"), SEQUENCES, SentenceNoise(0, 2))
    assert math.isnan(mutual_information(found)[0])


def test_active_units_are_those_whose_mean_varies_by_a_hundredth():
    """Variance over sentences with n − 1: (0, 0.2) varies by 0.02, (0, 0.14) by 0.0098."""
    means = torch.tensor([[0.0, 0.0, 5.0, 0.0], [0.2, 0.14, 5.0, 0.1415]])
    assert active_units(means) == 2
    assert active_units(means[:, :1]) == 1
    assert active_units(means[:, 1:3]) == 0
    assert active_units(means[:1]) is None
    # Three sentences, (−a, 0, a): n − 1 gives a², n would give two thirds of it.
    assert active_units(torch.tensor([[-0.11], [0.0], [0.11]])) == 1


def record_decoded(model) -> list[torch.Tensor]:
    decoded: list[torch.Tensor] = []
    model.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(inputs[1][0]))
    return decoded


@pytest.mark.parametrize("count", [2, 3, len(ROWS)])
@pytest.mark.parametrize("seed", range(5))
def test_no_sentence_keeps_its_z(count, seed):
    model, sequences = alive(2), sequences_of(ROWS[:count])
    found = survey(model, sequences, SentenceNoise(0, 2))
    decoded = record_decoded(model)
    listening(model, sequences, found, seed, batch_size=len(ROWS))
    order = np.argsort(sequences.lengths, kind="stable")
    used = torch.empty_like(found.z)
    used[torch.from_numpy(order)] = torch.cat(decoded)
    assert (used != found.z).any(1).all()
    assert sorted(used.tolist()) == sorted(found.z.tolist())


def test_listening_is_the_paired_difference_of_distortions():
    model = alive(2)
    found = survey(model, SEQUENCES, SentenceNoise(0, 2))
    one, two = (listening(model, SEQUENCES, found, seed=4, batch_size=size) for size in (7, 64))
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)
    pair = sequences_of(ROWS[3:5])
    found = survey(model, pair, SentenceNoise(0, 2))
    with torch.no_grad():
        swapped = [model.decoder(collate([pair[i]]), found.z[None, 1 - i : 2 - i]).sum() for i in range(2)]
    expected = -torch.stack(swapped) - found.distortion
    torch.testing.assert_close(listening(model, pair, found, seed=0), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_deaf_decoder_gains_exactly_nothing(precision):
    model = deafen(alive(2)).to(precision)
    found = survey(model, SEQUENCES, SentenceNoise(0, 2))
    assert found.z.std() > 0.5
    gain = listening(model, SEQUENCES, found, seed=0)
    assert gain.shape == (len(ROWS),)
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
    found = survey(model, sequences, SentenceNoise(0, 2))
    gain = listening(model, sequences, found, seed=0)
    assert gain.mean() > 1
    # A third of the sentences draws the z of an equal sentence, and gains next to nothing.
    assert 0.2 < (gain.abs() < 0.5).double().mean() < 0.6
    assert 0.8 < mutual_information(found)[0] <= math.log(len(rows))


@pytest.mark.parametrize(
    ("gain", "error", "word"),
    [
        (0.0, 0.0, "collapsed"),
        (-0.3, 0.01, "collapsed"),
        (0.099, 0.0, "collapsed"),
        (0.1, 0.0, "partly"),
        (0.3, 0.11, "collapsed"),
        (0.3, 0.09, "partly"),
        (0.99, 0.0, "partly"),
        (1.0, 0.0, "alive"),
        (1.5, 0.26, "partly"),
        (1.5, 0.24, "alive"),
        (20.0, 0.3, "alive"),
        (0.0, 0.49, "collapsed"),
        (0.0, 0.51, "undecided"),
        (3.0, 2.0, "undecided"),
    ],
)
def test_the_verdict_rests_on_what_is_sure(gain, error, word):
    said = verdict(gain, error)
    assert said.startswith(f"{word}: ")
    assert f"{gain:.2f} ± {error:.2f}" in said
    assert "0.1" in said or "1.0" in said or "too few sentences" in said


def test_no_verdict_is_given_on_an_undefined_gain():
    assert not verdict(math.nan, math.nan).startswith("alive")
    assert not verdict(5.0, math.nan).startswith("alive")
