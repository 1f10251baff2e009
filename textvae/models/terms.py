"""The terms of one pass through a model, for training and evaluation: distortion, rate, log-weights.

distortion(x) = −E_q log p(x|z)      rate(x) = KL(q(z|x) ‖ p(z))      elbo(x) = −(distortion + rate)
log_weight(x, z) = log p(x|z) + log p(z) − log q(z|x)

All in nats per sentence. Every bound on log p(x) is a reduction of the log-weights.

References
----------
Kingma & Welling 2014, *Auto-Encoding Variational Bayes*.
Burda et al. 2016, *Importance Weighted Autoencoders*.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, kl_divergence

from textvae.data.batches import Batch
from textvae.models.distributions import Reparameterised, kl_per_dimension
from textvae.models.text_vae import TextVAE

__all__ = [
    "Pass",
    "Terms",
    "closed_form",
    "forward_pass",
    "importance_weighted",
    "log_weight",
    "pass_under",
    "rate_of",
]


@dataclass(frozen=True)
class Terms:
    """Unweighted terms of each sentence. `rate` is NaN for a Dirac posterior, which has none."""

    distortion: Tensor  # (B,)
    rate: Tensor  # (B,)
    rate_per_dimension: Tensor | None  # (B, D), None where the posterior or the prior does not factorise

    @property
    def elbo(self) -> Tensor:
        """(B,), never weighted."""
        return -(self.distortion + self.rate)


@dataclass(frozen=True)
class Pass:
    """One pass of a batch through a model: all that a penalty, an auxiliary or an estimator may use."""

    model: TextVAE
    batch: Batch  # as the decoder read it
    posterior: Reparameterised
    prior: Reparameterised
    z: Tensor  # (K, B, D)
    token_log_probs: Tensor  # (K, B, T), 0 on padding
    terms: Terms
    generator: Generator | None = None  # in training, the source of any further noise


def forward_pass(model: TextVAE, batch: Batch, noise: Tensor) -> Pass:
    """Encode a batch, take z = transport(noise) for noise (K, B, D), decode, and collect the terms."""
    posterior = model.posterior(batch)
    return pass_under(model, batch, posterior, posterior.transport(noise))


def pass_under(model: TextVAE, batch: Batch, posterior: Reparameterised, z: Tensor) -> Pass:
    """Decode a batch under z (K, B, D) drawn from a given posterior, and collect the terms."""
    prior = model.prior()
    token_log_probs = model.decoder(batch, z)
    rate, per_dimension = rate_of(posterior, prior, z)
    terms = Terms(-token_log_probs.sum(-1).mean(0), rate, per_dimension)
    return Pass(model, batch, posterior, prior, z, token_log_probs, terms)


def rate_of(q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, Tensor | None]:
    """KL(q ‖ p) as (B,), and per dimension (B, D) where both factorise.

    In closed form where torch's registry knows one, else the mean of log q − log p over the samples z.
    """
    per_dimension = kl_per_dimension(q, p)
    if per_dimension is not None:
        return per_dimension.sum(-1), per_dimension
    rate = closed_form(q, p)
    return (q.log_prob(z) - p.log_prob(z)).mean(0) if rate is None else rate, None


def closed_form(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q ‖ p) as (B,) if torch's registry knows it in closed form."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def log_weight(done: Pass) -> Tensor:
    """log p(x|z) + log p(z) − log q(z|x), shape (K, B)."""
    likelihood = done.token_log_probs.sum(-1)
    return likelihood + done.prior.log_prob(done.z) - done.posterior.log_prob(done.z)


def importance_weighted(log_weights: Tensor) -> Tensor:
    """log (1/K) Σₖ wₖ over the first axis: (K, B) to (B,), a lower bound on log p(x) in expectation."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
