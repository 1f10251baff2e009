"""Scale-VAE's charge: the rate of q before its mean was scaled; what is recorded stays the true one."""

import pytest
import torch
from families import posterior_module
from helpers import SIZES, VOCABULARY, batch_of, make, objective_of, tiny
from torch.distributions import kl_divergence

from textvae.models.text_vae import TextVAE

BATCH = batch_of([4, 5], [], [6, 6, 2], [4])


def scaled() -> TextVAE:
    return TextVAE(
        posterior_module("scale", {}),
        make("model.prior", "standard_normal", 2),
        make("model.decoder", "lstm", VOCABULARY, 2, **SIZES),
    ).double()


def test_the_penalty_is_the_rate_without_the_factor():
    model = scaled().train()
    loss = objective_of(model, penalty="unscaled_rate")(BATCH, 0, torch.Generator().manual_seed(0))
    features = model.posterior.encoder(BATCH)
    mean, log_variance = model.posterior.mean(features), model.posterior.log_variance(features)
    by_hand = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1).mean()
    assert loss.penalty.item() == pytest.approx(by_hand.item(), abs=1e-12)
    factor = 1 / mean.std(0, correction=0)
    true = 0.5 * ((factor * mean) ** 2 + log_variance.exp() - 1 - log_variance).sum(-1)
    assert torch.allclose(loss.terms.rate, true, atol=1e-9)


def test_shrinking_the_mean_empties_the_penalty_and_not_the_rate():
    """Why it bounds nothing: the same z, the same true rate, at a thousandth of the charge for the mean."""
    model = scaled().train()
    one = model.posterior(BATCH)
    model.posterior.mean.weight.data *= 1e-3
    two, p = model.posterior(BATCH), model.prior()
    noise = torch.randn((5, 4, 2), dtype=torch.float64)
    assert torch.allclose(one.transport(noise), two.transport(noise), atol=1e-6)
    assert torch.allclose(kl_divergence(one, p), kl_divergence(two, p), atol=1e-6)
    assert (kl_divergence(two.unscaled, p) < kl_divergence(one.unscaled, p)).all()


def test_a_posterior_that_scales_nothing_pays_its_rate():
    model = tiny(2)
    values = [
        objective_of(model, penalty=penalty)(BATCH, 0, torch.Generator().manual_seed(0)).value
        for penalty in ("rate", "unscaled_rate")
    ]
    assert torch.equal(*values)


def test_under_a_prior_without_a_closed_form_it_is_averaged_over_the_z_of_the_unscaled_q():
    plain = scaled()
    prior = make("model.prior", "mixture", 2).double()
    model = TextVAE(plain.posterior, prior, plain.decoder).double().train()
    model.posterior.deviation = 5.0
    q, noise = model.posterior(BATCH), torch.randn((20_000, 4, 2), dtype=torch.float64)
    z = q.unscaled.transport(noise)
    true = (q.unscaled.log_prob(z) - model.prior().log_prob(z)).mean(1)
    loss = objective_of(model, penalty="unscaled_rate", samples=20_000)(BATCH, 0, torch.Generator().manual_seed(0))
    assert loss.penalty.item() == pytest.approx(true.mean().item(), abs=5 * true.std().item() / 100)
    assert loss.penalty.item() > 0
