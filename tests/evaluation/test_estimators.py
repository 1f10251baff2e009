"""Estimators do not depend on how the work is cut up, and leave everything as it was."""

import contextlib
import math
import random

import numpy as np
import pytest
import torch
from helpers import SIZES, alive, batch_of, draw_pass, members, random_rows, sequences_of, tiny
from surveys import told

from textvae.errors import ConfigError
from textvae.evaluation.estimators import Survey, importance_weighted_nll, perplexity, standard_error
from textvae.evaluation.listening import listening
from textvae.evaluation.noise import SentenceNoise
from textvae.models.distributions import Dirac
from textvae.models.modes import inert
from textvae.models.posteriors import Posterior

ROWS = random_rows(37, 6, seed=4)
SEQUENCES = sequences_of(ROWS)
COLUMNS = ("tokens", "distortion", "rate", "rate_per_dimension", "mean", "z")
LOUD = {"dropout_in": 0.9, "dropout_out": 0.9, "layers": 2, **SIZES}


def noise(seed: int = 0, dim: int = 2) -> SentenceNoise:
    return SentenceNoise(seed, dim)


def agree(one, two, names=COLUMNS, atol=1e-6) -> None:
    for name in names:
        torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=atol, rtol=0)


def loud() -> torch.nn.Module:
    """A model with all dropout rates at .9."""
    options = {**SIZES, "layers": 2, "bidirectional": True, "dropout": 0.9}
    return tiny(2, encoder=("lstm", options), decoder=("lstm", LOUD))


@pytest.mark.parametrize(("kind", "options"), members("model.encoder"))
@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_survey_does_not_depend_on_the_batch_size(kind, options, precision):
    model = tiny(2, encoder=(kind, options)).to(precision)
    atol = 5e-6 if precision is torch.float32 else 1e-12
    whole = Survey.of(model, SEQUENCES, noise(), batch_size=64)
    for size in (1, 5):
        agree(Survey.of(model, SEQUENCES, noise(), batch_size=size), whole, atol=atol)


@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_importance_weighted_nll_does_not_depend_on_batch_or_chunk(kind, options):
    model = tiny(2, decoder=(kind, options))
    whole = importance_weighted_nll(model, SEQUENCES, 20, noise(), batch_size=64, chunk=20)
    assert whole.shape == (len(ROWS),)
    for size, chunk in ((1, 20), (7, 3), (64, 1), (16, 100)):
        cut = importance_weighted_nll(model, SEQUENCES, 20, noise(), batch_size=size, chunk=chunk)
        torch.testing.assert_close(cut, whole, atol=1e-6, rtol=0)


def test_a_survey_stands_in_the_order_of_the_split():
    model = alive(2)
    found = Survey.of(model, SEQUENCES, noise(), batch_size=8)
    for i, row in enumerate(ROWS):
        agree(Survey.of(model, sequences_of([row]), noise()), SimpleRow(found, i), atol=1e-12)
        assert found.tokens[i] == len(row) + 1
    shuffled = np.random.default_rng(0).permutation(len(ROWS))
    again = Survey.of(model, sequences_of([ROWS[i] for i in shuffled]), noise(), batch_size=8)
    torch.testing.assert_close(again.elbo, found.elbo[torch.from_numpy(shuffled)], atol=1e-12, rtol=0)
    for indices, posterior in found.posteriors:
        torch.testing.assert_close(posterior.mean, found.mean[indices], atol=0, rtol=0)
    assert sorted(i for indices, _ in found.posteriors for i in indices.tolist()) == list(range(len(ROWS)))


class SimpleRow:
    """One sentence of a survey, as a survey of one."""

    def __init__(self, found, index: int) -> None:
        for name in COLUMNS:
            setattr(self, name, getattr(found, name)[index : index + 1])


def test_a_survey_is_the_pass_it_says_it_is():
    model, batch = alive(2), batch_of(*ROWS)
    found, done = Survey.of(model, SEQUENCES, noise(3)), draw_pass(model, batch, 1, seed=3)
    torch.testing.assert_close(found.distortion, -done.token_log_probs[0].sum(-1), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.z, done.z[0], atol=1e-12, rtol=0)
    torch.testing.assert_close(found.elbo, -(found.distortion + found.rate), atol=0, rtol=0)
    torch.testing.assert_close(found.rate_per_dimension.sum(1), found.rate, atol=1e-12, rtol=0)
    assert (found.z - found.mean).abs().min() > 1e-6


def test_an_autoencoders_survey_has_no_rate():
    found = Survey.of(tiny(2, posterior="dirac"), SEQUENCES, noise())
    assert found.rate.isnan().all()
    assert found.rate_per_dimension is None
    assert found.distortion.isfinite().all()
    assert torch.equal(found.z, found.mean)


class Corner(Posterior):
    """A class from outside that has no density: all mass at 1."""

    has_density = False

    def distribution(self, features: torch.Tensor) -> Dirac:
        return Dirac(torch.ones(len(features), self.latent_dim, dtype=features.dtype))


def test_a_posterior_from_outside_says_whether_there_is_a_likelihood():
    model = tiny(2)
    assert model.has_likelihood
    model.posterior = Corner(model.posterior.encoder, 2)
    assert not model.has_likelihood
    with pytest.raises(ConfigError, match="has no density"):
        importance_weighted_nll(model, SEQUENCES, 3, noise())


@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_language_model_is_scored_exactly_with_one_sample(precision):
    model = tiny(0, encoder=("none", {})).to(precision)
    found = Survey.of(model, SEQUENCES, noise(dim=0))
    for samples in (1, 100):
        nll = importance_weighted_nll(model, SEQUENCES, samples, noise(dim=0))
        torch.testing.assert_close(nll.to(precision), found.distortion, atol=2e-6, rtol=0)


def everything(model) -> list:
    """All that evaluation could move."""
    state = np.random.get_state()
    return [
        random.getstate(),
        (state[1].tolist(), *state[2:]),
        torch.get_rng_state().tolist(),
        {name: value.tolist() for name, value in [*model.named_parameters(), *model.named_buffers()]},
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad for parameter in model.parameters()],
        [module.training for module in model.modules()],
        torch.is_grad_enabled(),
    ]


def evaluate_all(model) -> list[torch.Tensor]:
    found = Survey.of(model, SEQUENCES, noise())
    return [
        *(getattr(found, name) for name in COLUMNS),
        importance_weighted_nll(model, SEQUENCES, 10, noise()),
        listening(model, SEQUENCES, found, seed=0),
        torch.tensor(told(found)[0]),
    ]


@pytest.mark.parametrize("mode", ["training", "evaluation", "mixed"])
def test_evaluation_moves_nothing(mode):
    model = loud().train(mode == "training")
    if mode == "mixed":
        model.posterior.encoder.train()
        model.decoder.dropout_in.train()
    before = everything(model)
    evaluate_all(model)
    assert everything(model) == before


def test_evaluation_puts_modes_back_after_a_failure():
    model = loud()
    model.decoder.train()
    before = everything(model)
    with contextlib.suppress(RuntimeError), inert(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        raise RuntimeError
    assert everything(model) == before


def test_evaluating_twice_is_identical_also_under_heavy_dropout():
    """Training mode and other dropout rates change nothing, nor does what was drawn in between."""
    model = loud().train()
    first = evaluate_all(model)
    torch.randn(5), random.random(), np.random.rand()
    second = evaluate_all(model)
    silent = loud()
    for module in silent.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for one, two, three in zip(first, second, evaluate_all(silent), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_another_seed_gives_another_estimate():
    model = alive(2)
    one, two = (Survey.of(model, SEQUENCES, noise(seed)) for seed in (0, 1))
    assert (one.distortion != two.distortion).all()
    assert torch.equal(one.rate, two.rate)


def test_ticks_count_every_sentence_once_per_pass():
    ticks: list[int] = []
    Survey.of(alive(2), SEQUENCES, noise(), batch_size=10, tick=ticks.append)
    assert ticks == [7, 10, 10, 10]
    importance_weighted_nll(alive(2), SEQUENCES, 3, noise(), batch_size=20, tick=ticks.append)
    assert ticks[4:] == [17, 20]


def test_only_the_log_weights_of_many_samples_are_kept():
    """Constant memory: no pass ever holds more than a chunk of samples."""
    model, widest = alive(2), []
    model.decoder.register_forward_hook(lambda module, inputs, output: widest.append(inputs[1].shape[0]))
    importance_weighted_nll(model, SEQUENCES, 50, noise(), chunk=8)
    assert max(widest) == 8
    assert sum(widest) == 50 * 2


def test_standard_error_and_perplexity_by_hand():
    assert standard_error(torch.tensor([1.0, 2.0, 3.0, 6.0])) == pytest.approx(math.sqrt(14 / 3 / 4))
    assert math.isnan(standard_error(torch.tensor([1.0])))
    assert perplexity(math.log(50) * 7, 7) == pytest.approx(50)
    assert perplexity(1e6, 10) == math.inf


def test_an_undefined_perplexity_is_undefined():
    assert math.isnan(perplexity(math.nan, 10))


def test_an_importance_weighted_sentence_is_encoded_once_and_memory_does_not_grow_with_samples():
    model, encoded, decoded = tiny(2), [], []
    model.posterior.register_forward_hook(lambda module, inputs, found: encoded.append(len(inputs[0].targets)))
    model.decoder.register_forward_hook(lambda module, inputs, found: decoded.append(found.shape[:2].numel()))
    importance_weighted_nll(model, SEQUENCES, 50, noise(), batch_size=8, chunk=4)
    assert sum(encoded) == len(ROWS)
    assert sum(decoded) == 50 * len(ROWS)
    assert max(decoded) == 4 * 8
