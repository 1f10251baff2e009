"""The aggregate posterior q(z): mutual information and marginal KL within the rate, and match with the prior.

    R = I_q(x; z) + KL(q(z) ‖ p(z)),      q(z) = (1/N) Σₙ q(z|xₙ)
    I_q(x; z) = E log q(z|x) − E log q(z)

The first term is the information of z about the sentence, the second the cost of q(z) differing from the
prior; that mismatch also harms a decoder fed with z from the prior. q(z) is the mixture over a reference set
of N sentences and includes each sentence's own component, so the first term cannot exceed ln N. Near that cap,
from about ln N − 4 on, it is `saturated`: it is underestimated, and the second term overestimated by as much.

References
----------
Hoffman & Johnson 2016, *ELBO surgery*: the decomposition.
Rosca et al. 2018, *Distribution Matching in Variational Inference*: q(z) against p(z).
"""

import math
from typing import Any

import torch
from torch import Tensor

from textvae.errors import ConfigError
from textvae.evaluation.estimators import Survey, mean_with_error, standard_error
from textvae.evaluation.requirements import require_counts
from textvae.models.mmd import discrepancies, width
from textvae.models.modes import inert
from textvae.models.text_vae import TextVAE

__all__ = ["from_prior", "information", "log_densities", "mismatch", "mutual_information", "saturated"]

SATURATED = 4.0
"""Nats below ln N from which on an estimate of the mutual information is taken for a lower bound."""
PAIRED = 1000
"""Maximum number of sentences, the first of the split, whose z are compared by MMD."""


def saturated(estimate: float, reference: int) -> bool:
    """Whether a mutual information (nats) is too close to the cap ln N of its reference set to be reliable.

    z's own component is one of N, which hides about log(1 + (eᴵ − 1) / N) of I: too much where that is more than
    4 nats below the cap of a large N, log(1 + e⁻⁴). One sentence tells nothing.
    """
    return reference < 2 or estimate > math.log1p(reference * math.exp(-SATURATED))


def information(model: TextVAE, survey: Survey) -> dict[str, Any]:
    """I_q(x; z) and KL(q(z) ‖ p(z)) in nats, with the surveyed sentences as the reference set.

    Standard errors are over sentences, with the mixture held fixed.

    Raises
    ------
    ConfigError
        If the model has no z.
    """
    own, aggregate = log_densities(survey)
    elsewhere = aggregate - _log_prior(model, survey.z)
    return {
        **mutual_information(own, aggregate),
        **mean_with_error("marginal_kl", elsewhere),
        "marginal_kl_reference": len(own),
    }


def mutual_information(own: Tensor, aggregate: Tensor) -> dict[str, Any]:
    """I_q(x; z) in nats from what `log_densities` gives, with its reference set and its cap."""
    told = own - aggregate
    estimate = float(told.mean())
    return {
        "mutual_information": estimate,
        "mutual_information_se": standard_error(told),
        "mutual_information_reference": len(told),
        "mutual_information_cap": math.log(len(told)),
        "mutual_information_saturated": None if math.isnan(estimate) else saturated(estimate, len(told)),
    }


@torch.no_grad()
def log_densities(survey: Survey, reference: int | None = None) -> tuple[Tensor, Tensor]:
    """log q(zₙ|xₙ) and log q(zₙ) of the first `reference` sentences (default all), each (N,) in float64.

    Raises
    ------
    ConfigError
        If the reference set is empty, or there is no z.
    """
    size = len(survey.z) if reference is None else min(reference, len(survey.z))
    require_counts("reference sentences", [size])
    if survey.z.shape[1] == 0:
        raise ConfigError("mutual information: a language model has no z; use a model with latent_dim above 0")
    own = torch.empty(size, dtype=survey.z.dtype)
    aggregate = torch.full_like(own, -math.inf)
    z = survey.z.to(survey.posteriors[0][1].mean.device)
    for indices, posterior in survey.posteriors:
        inside = indices < size
        own[indices[inside]] = posterior.log_prob(z[indices]).cpu()[inside]
        for rows in torch.arange(size).split(128) if inside.any() else ():
            scores = posterior.log_prob(z[rows, None]).cpu()[:, inside]
            aggregate[rows] = torch.logaddexp(aggregate[rows], scores.logsumexp(1))
    return own.double(), aggregate.double() - math.log(size)


def mismatch(model: TextVAE, survey: Survey, seed: int) -> dict[str, Any]:
    """Compare q(z) with p(z) from samples alone, for any family: moments of every dimension, and MMD²."""
    drawn = from_prior(model, survey.z, seed)
    kernel_width = width(model.latent_dim, spherical=model.posterior.spherical)
    rows = discrepancies(survey.z[:PAIRED].double(), drawn[:PAIRED].double(), kernel_width)
    return {
        "mmd": float(rows.mean()),
        # MMD² is a mean over pairs, which share sentences: this doubles the standard error of the row means.
        "mmd_se": 2 * standard_error(rows),
        "mmd_samples": len(rows),
        "aggregate_mean": survey.z.double().mean(0).tolist(),
        "aggregate_variance": _variances(survey.z),
        "prior_mean": drawn.double().mean(0).tolist(),
        "prior_variance": _variances(drawn),
    }


def _log_prior(model: TextVAE, z: Tensor) -> Tensor:
    with inert(model):
        found: Tensor = model.prior().log_prob(z.to(model.device)).double().cpu()
    return found


def _variances(z: Tensor) -> list[float]:
    """The variance of every dimension of z (N, D); undefined for fewer than two sentences."""
    found: list[float] = z.double().var(0).tolist() if len(z) > 1 else [math.nan] * z.shape[1]
    return found


def from_prior(model: TextVAE, like: Tensor, seed: int) -> Tensor:
    """Draws from the prior with the shape of `like` (N, D), from a separate generator."""
    noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)
    with inert(model):
        drawn: Tensor = model.prior().transport(noise.to(model.device)).cpu()
    return drawn
