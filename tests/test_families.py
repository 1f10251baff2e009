"""Every pair of posterior and prior, end to end: weights that average to the evidence, evaluation, and the API."""

import math

import pytest
import torch
from families import posterior_module, together
from helpers import MEMBERS, SIZES, VOCABULARY, batch_of, draw_log_weights, make, randomise
from torch import Tensor

from textvae import builder
from textvae.api import Vae
from textvae.config import Config, Draft
from textvae.data.tokenizers import WordTokenizer
from textvae.errors import ConfigError
from textvae.evaluation.evaluate import evaluate
from textvae.generation import interpolate
from textvae.models.text_vae import TextVAE

BATCH = batch_of([4, 5], [], [6, 6, 4])
SMALL = {"mixture": {"components": 4}, "vamp": {"components": 4}, "flow": {"hidden_dim": 8}}
WIDE = {"fixed_variance": {"deviation": 1.2}, "vmf": {"concentration": 1.0}}
KINDS = [
    pytest.param(posterior, prior, id=f"{posterior}-{prior}")
    for posterior in MEMBERS["model.posterior"]
    for prior in MEMBERS["model.prior"]
    if together(posterior, prior)
]
DENSE = [p for p in KINDS if p.values[0] != "dirac"]
TOKENIZER = WordTokenizer(["a", "b", "c"])
SENTENCES = ["a b c", "", "c zebra", "a", "b b zebra b", "c c a", "zebra zebra"]


def model_of(posterior: str, prior: str, latent_dim: int = 2) -> TextVAE:
    """A random float64 model, its q no narrower than importance sampling can do with."""
    model = TextVAE(
        posterior_module(posterior, WIDE.get(posterior, {}), latent_dim),
        make("model.prior", prior, latent_dim, **SMALL.get(prior, {})),
        make("model.decoder", "lstm", VOCABULARY, latent_dim, **SIZES),
    ).double()
    randomise(model.prior, 0.4, 1)
    randomise(model.decoder, 1.0, 2)
    for name, parameter in model.posterior.named_parameters():
        if not name.startswith("encoder."):
            parameter.data *= 0.3
    return model.eval()


def evidence(model: TextVAE) -> Tensor:
    """log p(x) (B,) by quadrature over the plane, or over the circle."""
    if model.prior.spherical:
        turn = 2 * math.pi * torch.arange(500, dtype=torch.float64) / 500
        z, log_volume = torch.stack([turn.cos(), turn.sin()], -1), math.log(2 * math.pi / 500)
    else:
        axis = torch.arange(-9, 9, 0.15, dtype=torch.float64)
        z, log_volume = torch.cartesian_prod(axis, axis), 2 * math.log(0.15)
    with torch.no_grad():
        likelihood = model.decoder(BATCH, z[:, None].expand(-1, BATCH.sentences, -1)).sum(-1)
        joint = likelihood + model.prior().log_prob(z)[:, None]
    return (joint + log_volume).logsumexp(0)


@pytest.mark.parametrize(("posterior", "prior"), DENSE)
def test_weights_average_to_the_evidence(posterior, prior):
    """E_q w = p(x), the evidence by quadrature: transport, both densities and the decoder in one identity."""
    model = model_of(posterior, prior)
    weights = (draw_log_weights(model, BATCH, 4000, seed=1) - evidence(model)).exp()
    error = weights.std(0) / math.sqrt(len(weights))
    assert (error < 0.15).all()
    assert ((weights.mean(0) - 1).abs() < 4.5 * error + 1e-6).all()


@pytest.mark.parametrize(("posterior", "prior"), KINDS)
def test_evaluation_and_api_know_every_family(posterior, prior):
    model = model_of(posterior, prior, latent_dim=3).float()
    values = evaluate(model, TOKENIZER, SENTENCES, samples=3)
    assert math.isfinite(values["distortion"])
    assert values["active_units"] is not None
    assert math.isfinite(values["listening"])
    if posterior != "dirac":
        assert math.isfinite(values["rate"])
        assert math.isfinite(values["iwae_nll"])
        assert -0.1 < values["mutual_information"] <= math.log(len(SENTENCES)) + 1e-9
    vae = Vae(model, TOKENIZER, Config())
    z = vae.encode(SENTENCES)
    assert z.shape == (len(SENTENCES), 3)
    assert len(vae.sample(3, max_length=5)) == len(vae.reconstruct(SENTENCES[:3])) == 3
    assert len(vae.interpolate("a b c", "c c a", steps=4)) == 4
    if model.posterior.spherical:
        assert torch.allclose(z.norm(dim=-1), torch.ones(len(z)), atol=1e-6)
        way = interpolate(z[0], z[2], 5, spherical=True)
        assert torch.allclose(way.norm(dim=-1), torch.ones(5), atol=1e-6)


def test_on_the_sphere_interpolation_stays_there(monkeypatch):
    vae = Vae(model_of("vmf", "uniform_sphere", latent_dim=3).float(), TOKENIZER, Config())
    seen: list[Tensor] = []
    monkeypatch.setattr(vae, "_decode", lambda z, *how: seen.append(z) or [])
    vae.interpolate("a b c", "c c a", steps=6)
    assert torch.allclose(seen[0].norm(dim=-1), torch.ones(6), atol=1e-6)
    assert not torch.allclose(seen[0][0], seen[0][-1], atol=1e-2)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"posterior.kind": "vmf"}, "model.prior: a posterior on the sphere needs a prior on it"),
        ({"prior.kind": "uniform_sphere"}, "model.prior: a prior on the sphere needs a posterior on it"),
        ({"prior.kind": "vamp", "posterior.kind": "scale"}, "model.prior: vamp needs a posterior without"),
        ({"prior.kind": "flow", "latent_dim": 0}, "model.prior: a flow needs a latent_dim of at least 1, not 0"),
        ({"prior.kind": "mixture", "latent_dim": 0}, "model.prior: a mixture needs a latent_dim of at least 1"),
        ({"posterior.kind": "vmf", "latent_dim": 1}, "model.posterior: a sphere needs a latent_dim of at least 2"),
        ({"posterior.kind": "vmf", "encoder.kind": "none"}, "model.posterior: .* needs an encoder"),
        ({"posterior.kind": "du", "posterior.floor": 0}, "model.posterior: dropout on the variance needs a floor"),
        ({"posterior.kind": "vmf", "posterior.concentration": 0}, "concentration: must be more than 0"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_sentence(settings, sentence):
    draft = Draft()
    for name, value in settings.items():
        draft.set(f"model.{name}", value)
    with pytest.raises(ConfigError, match=sentence) as error:
        builder.complete(draft)
    assert "\n" not in str(error.value)
