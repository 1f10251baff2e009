"""A model with a deliberately bad encoder is found to lag; one whose encoder is good, or decoder deaf, is not."""

import copy

import pytest
import torch
from helpers import SIZES, WORDS, deafen, sequences_of, tiny

from textvae.errors import ConfigError
from textvae.evaluation.diagnosis import lags
from textvae.probes.fitting import maximise_elbo
from textvae.probes.inference_lag import inference_lag, refitted
from textvae.probes.language import first

SENTENCES = sequences_of([[word] * 3 + [one, other] for word in WORDS for one in WORDS for other in WORDS])
STEPS, LR = 120, 0.03


@pytest.fixture(scope="module")
def trained():
    """A VAE whose z says which word is repeated, for its decoder sees none."""
    torch.manual_seed(0)
    model = tiny(2, scale=0.5, seed=1, decoder=("lstm", {**SIZES, "inputless": True}))
    maximise_elbo(model, model.parameters(), SENTENCES, 300, lr=LR)
    return model.eval()


def fresh(seed: int = 7):
    return tiny(2, scale=0.3, seed=seed).posterior


def lazy(model):
    """The same model with an encoder that says nothing: q is the prior."""
    other = copy.deepcopy(model)
    for head in (other.posterior.mean, other.posterior.log_variance):
        head.weight.data.zero_()
    return other


def test_a_model_whose_encoder_is_silent_lags(trained):
    values = inference_lag(lazy(trained), fresh(), SENTENCES, SENTENCES, STEPS, lr=LR)
    assert lags(values) is True
    assert values["fresh_encoder_gain"] > 1
    assert values["fresh_encoder_rate_gain"] > 0.5
    assert values["fresh_encoder_listening"] > 1
    assert values["lag_steps"] == STEPS
    assert values["lag_sentences"] == 64


def test_a_model_whose_encoder_is_good_does_not(trained):
    values = inference_lag(trained, fresh(), SENTENCES, SENTENCES, STEPS, lr=LR)
    assert lags(values) is False
    assert values["fresh_encoder_gain"] < 0.1
    assert abs(values["continued_encoder_gain"]) < 0.2


def test_no_encoder_makes_a_deaf_decoder_listen(trained):
    model = deafen(copy.deepcopy(lazy(trained)))
    values = inference_lag(model, fresh(), SENTENCES, SENTENCES, STEPS, lr=LR)
    assert lags(values) is False
    assert values["fresh_encoder_gain"] < 0.01
    assert values["fresh_encoder_listening"] == 0


def test_an_encoder_that_overpays_gains_by_saying_less_and_does_not_lag(trained):
    loud = copy.deepcopy(trained)
    loud.posterior.log_variance.weight.data -= 1.0
    deaf = deafen(loud)
    values = inference_lag(deaf, fresh(), SENTENCES, SENTENCES, STEPS, lr=LR)
    assert values["continued_encoder_gain"] > 0.1 > 0 > values["continued_encoder_rate_gain"]
    assert lags(values) is False


def test_the_model_and_what_is_frozen_stay_as_they_are(trained):
    model, encoder = copy.deepcopy(trained).train(), fresh()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()
    other = refitted(model, encoder, SENTENCES, 3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert model.training
    assert torch.equal(stream, torch.get_rng_state())
    for name, value in other.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith("posterior"))


def test_a_posterior_is_refitted_in_training_mode():
    model = tiny(2, posterior="batch_norm")
    other = refitted(model, model.posterior, SENTENCES, 3)
    assert (model.posterior.statistics.batches, other.posterior.statistics.batches) == (0, 3)
    assert not any(module.training for module in other.modules())


def test_twice_is_the_same_and_every_step_is_told(trained):
    ticks: list[int] = []
    one, two = (
        inference_lag(trained, fresh(), SENTENCES, SENTENCES, 4, seed=3, tick=tick)
        for tick in (ticks.append, lambda n: None)
    )
    assert one == two
    assert sum(ticks) == 8


def test_bad_input_is_one_sentence(trained):
    with pytest.raises(ConfigError, match="steps"):
        inference_lag(trained, fresh(), SENTENCES, SENTENCES, 0)
    with pytest.raises(ConfigError, match="autoencoder"):
        inference_lag(tiny(2, posterior="dirac"), fresh(), SENTENCES, SENTENCES, 2)
    with pytest.raises(ConfigError, match="empty"):
        inference_lag(trained, fresh(), SENTENCES, first(SENTENCES, 0), 2)
