"""The density of the codes: how the rate divides, and whether q(z) is where the prior is.

    R = I_q(x; z) + KL(q(z) ‖ p(z)),      q(z) = (1/N) Σₙ q(z|xₙ)

The first term is what z tells of the sentence, the second is paid for being elsewhere than the prior, and a
decoder that is fed from the prior pays for it again. q(z) is the mixture over a reference set of N sentences
and holds each one's own component, so the first term cannot exceed ln N; beyond ln N − 4 it is `saturated`,
and the second is then as much too large as the first too small.

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
from textvae.evaluation.diagnostics import log_densities
from textvae.evaluation.estimators import Survey, inert, standard_error
from textvae.evaluation.requirements import require_latent
from textvae.models.mmd import discrepancies
from textvae.models.text_vae import TextVAE

__all__ = ["SATURATED", "from_prior", "information", "mismatch", "saturated"]

SATURATED = 4.0
"""Nats below ln N from which on an estimate of the mutual information says little but its cap."""
PAIRED = 1000
"""Sentences whose z are compared with each other by MMD."""


def saturated(estimate: float, reference: int) -> bool:
    """Whether a mutual information (nats) comes too near to the cap ln N of its reference set to be believed."""
    return estimate > math.log(reference) - SATURATED


def information(model: TextVAE, found: Survey, reference: int | None = None) -> dict[str, Any]:
    """I_q(x; z) and KL(q(z) ‖ p(z)) in nats, from the first `reference` sentences (default all).

    Standard errors are over sentences, the mixture taken as given.

    Raises
    ------
    ConfigError
        If the reference set is empty, or the model has no z.
    """
    require_latent(model, "mutual information")
    if min(len(found.z), reference if reference is not None else 1) < 1:
        raise ConfigError("the mixture q(z) needs a reference set of at least 1 sentence")
    own, aggregate = log_densities(found, reference)
    size = len(own)
    told, elsewhere = own - aggregate, aggregate - _log_prior(model, found.z[:size])
    estimate = float(told.mean())
    return {
        "mutual_information": estimate,
        "mutual_information_se": standard_error(told),
        "mutual_information_reference": size,
        "mutual_information_cap": math.log(size),
        "mutual_information_saturated": None if math.isnan(estimate) else saturated(estimate, size),
        "marginal_kl": float(elsewhere.mean()),
        "marginal_kl_se": standard_error(elsewhere),
        "marginal_kl_reference": size,
    }


def mismatch(model: TextVAE, found: Survey, seed: int) -> dict[str, Any]:
    """q(z) against p(z) by samples alone, for any family: moments of every dimension, and MMD²."""
    drawn = from_prior(model, found.z, seed)
    rows = discrepancies(found.z[:PAIRED].double(), drawn[:PAIRED].double())
    return {
        "mmd": float(rows.mean()),
        # A mean over pairs: its terms share a sentence each, which doubles the deviation.
        "mmd_se": 2 * standard_error(rows),
        "mmd_samples": len(rows),
        "aggregate_mean": found.z.double().mean(0).tolist(),
        "aggregate_variance": found.z.double().var(0).tolist(),
        "prior_mean": drawn.double().mean(0).tolist(),
        "prior_variance": drawn.double().var(0).tolist(),
    }


def _log_prior(model: TextVAE, z: Tensor) -> Tensor:
    with inert(model):
        device = next(model.parameters()).device
        found: Tensor = model.prior().log_prob(z.to(device)).double().cpu()
    return found


def from_prior(model: TextVAE, like: Tensor, seed: int) -> Tensor:
    """As many draws from the prior as `like` (N, D) has rows, by a generator of their own."""
    noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)
    with inert(model):
        drawn: Tensor = model.prior().transport(noise.to(next(model.parameters()).device)).cpu()
    return drawn
