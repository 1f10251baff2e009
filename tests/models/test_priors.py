"""Priors: with which posteriors they go, and what VampPrior holds of the posterior it mixes."""

import copy

import numpy as np
import pytest
import torch
from families import posterior_module, together
from helpers import MEMBERS, SIZES, VOCABULARY, batch_of, make
from scipy import stats
from torch import Tensor

from textvae import builder
from textvae.config import Draft
from textvae.models.terms import forward_pass
from textvae.models.text_vae import TextVAE

BATCH = batch_of([4, 5], [], [6, 6, 2])
KINDS = [(posterior, prior) for posterior in MEMBERS["model.posterior"] for prior in MEMBERS["model.prior"]]
SMALL = {"mixture": {"components": 4}, "vamp": {"components": 4}}


def model_of(posterior: str, prior: str, latent_dim: int = 3) -> TextVAE:
    return TextVAE(
        posterior_module(posterior, {}, latent_dim),
        make("model.prior", prior, latent_dim, **SMALL.get(prior, {})),
        make("model.decoder", "lstm", VOCABULARY, latent_dim, **SIZES),
    ).double()


@pytest.mark.parametrize(("posterior", "prior"), KINDS)
def test_what_goes_together_trains_and_what_does_not_is_refused(posterior, prior):
    if not together(posterior, prior):
        sentence = "batch statistics" if prior == "vamp" else "on the sphere needs a"
        with pytest.raises(ValueError, match=sentence):
            model_of(posterior, prior)
        return
    model = model_of(posterior, prior)
    done = forward_pass(model, BATCH, torch.randn((2, 3, 3), dtype=torch.float64))
    assert done.terms.distortion.shape == done.terms.rate.shape == (3,)
    if posterior == "dirac":
        assert done.terms.rate.isnan().all()
        return
    (-done.terms.elbo.mean()).backward()
    named = dict(model.prior.named_parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in named.values())
    assert all(p.grad.abs().sum() > 0 for name, p in named.items() if name != "logits" or len(p) > 1)


@pytest.mark.parametrize("prior", MEMBERS["model.prior"])
def test_a_prior_says_where_it_lies(prior):
    posterior = "vmf" if prior == "uniform_sphere" else "diagonal"
    assert model_of(posterior, prior).prior.spherical == (posterior == "vmf")
    if prior == "vamp":
        assert model_of("vmf", prior).prior.spherical


def test_vamp_is_the_mixture_of_the_posterior_at_its_pseudo_inputs():
    model = model_of("full", "vamp")
    z = torch.randn((5, 3), dtype=torch.float64)
    parts = model.posterior.distribution(model.prior.pseudo_inputs)
    expected = parts.log_prob(z[:, None]).exp().mean(-1).log()
    assert torch.allclose(model.prior().log_prob(z), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["mixture", "vamp"])
def test_the_density_of_z_is_scipys_mixture_and_integrates_to_one(kind):
    """At D = 1, from the parameters themselves: VampPrior's parts are the posterior's maps at the pseudo-inputs."""
    model = model_of("diagonal", kind, latent_dim=1)
    prior, q = model.prior, model.posterior
    with torch.no_grad():
        if kind == "mixture":
            prior.logits.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0]))
            prior.log_variances.copy_(torch.tensor([[0.5], [-2.0], [1.0], [0.0]]))
            mean, log_variance, logits = prior.means, prior.log_variances, prior.logits
        else:
            mean = prior.pseudo_inputs @ q.mean.weight.T
            log_variance = prior.pseudo_inputs @ q.log_variance.weight.T
            logits = torch.zeros(4, dtype=torch.float64)
        axis = torch.arange(-60, 60, 0.01, dtype=torch.float64)
        found = prior().log_prob(axis[:, None]).exp().numpy()
    mean, log_variance, logits = (part.detach().numpy() for part in (mean, log_variance, logits))
    weights = np.exp(logits) / np.exp(logits).sum()
    parts = stats.norm(mean[:, 0], np.exp(log_variance[:, 0] / 2))
    np.testing.assert_allclose(found, parts.pdf(axis.numpy()[:, None]) @ weights, atol=1e-12)
    assert 0.01 * found.sum() == pytest.approx(1, abs=1e-9)


def test_vamp_holds_no_second_copy_of_the_posterior():
    model = model_of("diagonal", "vamp")
    assert [name for name, _ in model.prior.named_parameters()] == ["pseudo_inputs"]
    assert not list(model.prior.children())
    assert sum(name.endswith("mean.weight") for name in model.state_dict()) == 1


def test_vamp_follows_the_posterior_of_its_own_model():
    model = model_of("diagonal", "vamp")
    twin = copy.deepcopy(model)
    twin.posterior.mean.weight.data *= 2
    z = torch.randn((5, 3), dtype=torch.float64)
    assert not torch.allclose(twin.prior().log_prob(z), model.prior().log_prob(z))
    assert twin.prior.met[0] is twin.posterior


def test_vamp_trains_the_posterior_too():
    model = model_of("diagonal", "vamp")
    model.prior().log_prob(torch.randn((5, 3), dtype=torch.float64)).sum().backward()
    weight: Tensor = model.posterior.mean.weight
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


def test_a_mixture_starts_with_components_apart():
    draft = Draft()
    draft.merge(
        {"model": {"latent_dim": 2, "prior": {"kind": "mixture", "components": 4}, "init_range": 0.01}}, "test"
    )
    means = builder.model(builder.complete(draft), 20).prior().components.mean
    assert means.shape == (4, 2)
    assert torch.cdist(means, means)[~torch.eye(4, dtype=torch.bool)].min() > 0.05
