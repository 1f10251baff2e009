"""Every posterior and every prior goes through every diagnostic, or is told in one sentence why not."""

import math

import pytest
import torch
from families import together
from helpers import MEMBERS, SIZES, make, random_rows, randomise, sequences_of

from textvae.errors import ConfigError
from textvae.evaluation.collapse import spectrum
from textvae.evaluation.density import information, mismatch
from textvae.evaluation.estimators import Survey
from textvae.evaluation.listening import gradient_norms, listening, words_right
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.plane import posterior_means
from textvae.models.text_vae import TextVAE
from textvae.probes.inference_lag import inference_lag

SEQUENCES = sequences_of(random_rows(24, 4, seed=5))
NOISE = SentenceNoise(0, 3)
PAIRS = [
    pytest.param(posterior, prior, id=f"{posterior}-{prior}")
    for posterior in MEMBERS["model.posterior"]
    for prior in MEMBERS["model.prior"]
    if posterior != "dirac" and together(posterior, prior)
]


def model_of(posterior: str, prior: str) -> TextVAE:
    chosen = {
        slot: MEMBERS[f"model.{slot}"][kind][0] for slot, kind in (("posterior", posterior), ("prior", prior))
    }
    model = TextVAE(
        make("model.posterior", posterior, make("model.encoder", "lstm", 7, **SIZES), 3, **chosen["posterior"]),
        make("model.prior", prior, 3, **chosen["prior"]),
        make("model.decoder", "lstm", 7, 3, dropout_in=0.0, dropout_out=0.0, **SIZES),
    ).double()
    randomise(model, 0.5, seed=1)
    return model.eval()


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_diagnostics_of_every_family(posterior, prior):
    model = model_of(posterior, prior)
    found = Survey.of(model, SEQUENCES, NOISE)
    told = information(model, found)
    sampled = told["mutual_information"] + told["marginal_kl"]
    # The rate, in closed form or by the same z, is what the two are parts of.
    assert abs(sampled - float(found.rate.mean())) < 1.0
    assert -0.2 < told["mutual_information"] <= math.log(24) + 1e-6
    assert math.isfinite(mismatch(model, found, 0)["mmd"])
    assert len(spectrum(found)["mean_variances"]) == 3
    assert listening(model, SEQUENCES, found, 0).isfinite().all()
    assert gradient_norms(model, SEQUENCES, found.z).min() > 0
    assert words_right(model, SEQUENCES, found.z).sum() >= 0
    plane = posterior_means(model, SEQUENCES, NOISE, 64)
    assert plane.model.isfinite().all()
    assert (plane.log_evidence.mean() - found.elbo.mean()) > -0.5


@pytest.mark.parametrize(("posterior", "prior"), PAIRS[::3])
def test_another_encoder_of_every_family(posterior, prior):
    model, other = model_of(posterior, prior), model_of(posterior, prior)
    values = inference_lag(model, other.posterior, SEQUENCES, SEQUENCES, 3)
    assert math.isfinite(values["fresh_encoder_gain"])
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_a_dirac_is_told_why_not():
    model = model_of("dirac", "standard_normal")
    found = Survey.of(model, SEQUENCES, NOISE)
    assert math.isnan(information(model, found)["marginal_kl"])
    assert information(model, found)["mutual_information_saturated"] is None
    assert spectrum(found)["rates"] is None or all(math.isnan(rate) for rate in spectrum(found)["rates"])
    with pytest.raises(ConfigError, match="autoencoder"):
        posterior_means(model, SEQUENCES, NOISE, 4)
