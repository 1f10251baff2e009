"""Terms and degenerate identities: latent_dim 0 is the language model, Dirac has no rate, K = 1 is the ELBO."""

import math

import pytest
import torch
from helpers import SIZES, alive, batch_of, deafen, members, tiny, truth
from torch import nn

from textvae.data.tokenizers import BOS
from textvae.models.distributions import Reparameterised
from textvae.models.terms import Terms, forward_pass, importance_weighted, log_weight
from textvae.models.text_vae import initialise

ROWS = [[4, 5, 6, 2, 4], [], [6], [5, 5, 4]]
BATCH = batch_of(*ROWS)


def noise_of(model, samples=1, batch=BATCH, seed=0) -> torch.Tensor:
    shape = (samples, batch.sentences, model.latent_dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class PlainLanguageModel(nn.Module):
    """An LSTM language model written without a word of textvae, sentence by sentence."""

    def __init__(self, decoder, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SIZES["embedding_dim"], SIZES["hidden_dim"], layers, batch_first=True).double()
        of_layers = [lstm.state_dict() for lstm in decoder.lstm]
        self.lstm.load_state_dict(
            {k.replace("l0", f"l{i}"): v for i, layer in enumerate(of_layers) for k, v in layer.items()}
        )
        self.embedding, self.output = decoder.embedding.weight, decoder.output_weight

    def nll(self, row: list[int]) -> torch.Tensor:
        hidden, _ = self.lstm(self.embedding[torch.tensor([[BOS, *row]])])
        logits = hidden[0] @ self.output.T
        return nn.functional.cross_entropy(logits, torch.tensor([*row, 3]) - 2, reduction="sum")


@pytest.mark.parametrize("encoder", ["none", "lstm"])
@pytest.mark.parametrize("posterior", ["diagonal"])
@pytest.mark.parametrize(("kind", "options"), members("model.decoder", kinds=["lstm"]))
def test_latent_dim_0_is_the_plain_language_model(kind, options, encoder, posterior):
    model = tiny(
        0,
        encoder=(encoder, SIZES if encoder == "lstm" else {}),
        posterior=posterior,
        decoder=(kind, {**options, "inputless": False}),
        scale=1.2,
    )
    plain = PlainLanguageModel(model.decoder, options["layers"])
    done = forward_pass(model, BATCH, noise_of(model, samples=3))
    expected = torch.stack([plain.nll(row) for row in ROWS])
    torch.testing.assert_close(done.terms.distortion, expected, atol=1e-10, rtol=0)
    assert torch.equal(done.terms.rate, torch.zeros(len(ROWS), dtype=torch.float64))
    assert done.terms.rate_per_dimension.shape == (len(ROWS), 0)
    torch.testing.assert_close(log_weight(done), -expected.expand(3, -1), atol=1e-10, rtol=0)
    torch.testing.assert_close(importance_weighted(log_weight(done)), -expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(done.terms.elbo, -expected, atol=1e-10, rtol=0)
    mine = torch.autograd.grad(done.terms.distortion.sum(), model.decoder.lstm[0].weight_hh_l0)[0]
    theirs = torch.autograd.grad(expected.sum(), plain.lstm.weight_hh_l0)[0]
    torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize("samples", [1, 4])
def test_the_terms_of_a_pass_by_hand(samples):
    model = tiny(2, scale=1.2)
    noise = noise_of(model, samples)
    done = forward_pass(model, BATCH, noise)
    q = model.posterior(BATCH)
    mean, deviation = q.mean, q.variance.sqrt()
    torch.testing.assert_close(done.z, mean + deviation * noise)
    tokens = torch.stack([model.decoder(BATCH, z[None])[0] for z in done.z])
    torch.testing.assert_close(done.token_log_probs, tokens, atol=1e-12, rtol=0)
    torch.testing.assert_close(done.terms.distortion, -tokens.sum(-1).mean(0), atol=1e-12, rtol=0)
    kl = 0.5 * (deviation**2 + mean**2 - 1) - deviation.log()
    torch.testing.assert_close(done.terms.rate_per_dimension, kl, atol=1e-12, rtol=0)
    torch.testing.assert_close(done.terms.rate, kl.sum(-1), atol=1e-12, rtol=0)
    torch.testing.assert_close(done.terms.elbo, -(done.terms.distortion + kl.sum(-1)), atol=1e-12, rtol=0)
    log_prior = (-0.5 * done.z**2 - 0.5 * math.log(2 * math.pi)).sum(-1)
    log_q = (-0.5 * noise**2 - 0.5 * math.log(2 * math.pi) - deviation.log()).sum(-1)
    torch.testing.assert_close(log_weight(done), tokens.sum(-1) + log_prior - log_q, atol=1e-12, rtol=0)


def test_terms_are_frozen_and_the_elbo_is_never_weighted():
    terms = Terms(torch.tensor([3.0]), torch.tensor([2.0]), None)
    assert terms.elbo.item() == -5
    with pytest.raises(AttributeError):
        terms.elbo = torch.tensor([0.0])
    with pytest.raises(AttributeError):
        terms.rate = torch.tensor([0.0])


def test_an_autoencoder_has_a_distortion_and_no_rate():
    model = tiny(2, posterior="dirac")
    done = forward_pass(model, BATCH, noise_of(model, samples=3))
    assert done.terms.rate.isnan().all()
    assert done.terms.elbo.isnan().all()
    assert done.terms.rate_per_dimension is None
    assert log_weight(done).isnan().all()
    assert done.terms.distortion.isfinite().all()
    assert torch.equal(done.z, model.posterior(BATCH).mean.expand(3, -1, -1))


def test_importance_weighted_by_hand():
    weights = torch.tensor([[1.0, 10.0], [3.0, 1e-300], [2.0, 2.0]], dtype=torch.float64)
    expected = weights.mean(0).log()
    torch.testing.assert_close(importance_weighted(weights.log()), expected, atol=1e-14, rtol=0)
    shifted = importance_weighted(weights.log() - 5000)
    torch.testing.assert_close(shifted, expected - 5000, atol=1e-9, rtol=0)
    assert torch.equal(importance_weighted(weights[:1].log()), weights[0].log())


def test_the_importance_weighted_bound_is_never_below_the_mean_log_weight():
    weights = log_weight(forward_pass(tiny(2, scale=1.5), BATCH, noise_of(tiny(2), samples=50)))
    assert (importance_weighted(weights) > weights.mean(0) + 1e-3).all()
    assert (importance_weighted(weights) <= weights.amax(0)).all()


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_where_q_is_the_posterior_every_log_weight_is_the_evidence(latent_dim):
    """The decoder ignores z, so that the posterior is the prior; q is made the prior too."""
    model = deafen(tiny(latent_dim, scale=1.5))
    for parameter in model.posterior.parameters():
        parameter.data.zero_()
    done = forward_pass(model, BATCH, noise_of(model, samples=20))
    evidence = truth(model, BATCH).log_evidence
    assert done.z.std() > 0.5
    torch.testing.assert_close(log_weight(done), evidence.expand(20, -1), atol=1e-10, rtol=0)
    assert done.terms.rate.abs().max() < 1e-12


class ExactPosterior(Reparameterised):
    """p(z|x) of a model with D = 1, normalised by quadrature, drawn by inverting its distribution function."""

    def __init__(self, model, batch) -> None:
        self.model, self.batch, self.exact = model, batch, truth(model, batch)
        super().__init__(torch.Size([batch.sentences]), 1)

    @property
    def mean(self):
        density = (self.exact.log_posterior + self.exact.log_volume).exp()
        return (density[..., None] * self.exact.z[:, None]).sum(0)

    def transport(self, noise):
        levels = torch.special.ndtr(noise[..., 0])
        distribution = (self.exact.log_posterior + self.exact.log_volume).exp().cumsum(0)
        places = torch.searchsorted(distribution.T.contiguous(), levels.T.contiguous()).T
        return self.exact.z[places.clamp(max=len(distribution) - 1)]

    def log_prob(self, value):
        likelihood = self.model.decoder(self.batch, value).sum(-1)
        return likelihood + self.model.prior().log_prob(value) - self.exact.log_evidence


@torch.no_grad()
def test_the_exact_posterior_of_a_listening_decoder_has_constant_weights_and_no_gap():
    model = alive(1)
    exact = truth(model, BATCH)
    q = ExactPosterior(model, BATCH)
    model.posterior.forward = lambda batch: q
    done = forward_pass(model, BATCH, noise_of(model, samples=4000))
    weights = log_weight(done)
    assert (-done.token_log_probs.sum(-1)).std(0).max() > 0.3
    torch.testing.assert_close(weights, exact.log_evidence.expand(4000, -1), atol=1e-10, rtol=0)
    # No closed form is known for this q, so the rate is sampled at the very z that were decoded.
    torch.testing.assert_close(done.terms.elbo, exact.log_evidence, atol=1e-10, rtol=0)


def test_a_model_is_initialised_by_its_two_widths():
    model = tiny(2, decoder=("lstm", {**SIZES, "tied": True}), scale=9.0)
    initialise(model, 0.01, 0.5)
    embeddings = [model.posterior.encoder.embedding.weight, model.decoder.embedding.weight]
    others = [p for p in model.parameters() if not any(p is e for e in embeddings)]
    assert all(0.25 < e.abs().max() <= 0.5 for e in embeddings)
    assert all(p.abs().max() <= 0.01 for p in others)
    assert max(p.abs().max() for p in others) > 0.008
    before = [p.clone() for p in model.parameters()]
    initialise(model, None, None)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    initialise(model, None, 0.1)
    assert embeddings[0].abs().max() <= 0.1
    assert max(p.abs().max() for p in others) > 0.008
