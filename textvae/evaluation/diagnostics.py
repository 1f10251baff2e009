"""Is z used? Diagnostics of posterior collapse on one split.

    active_units         #{d : Var_x E_q[z_d | x] ≥ 0.01}
    mutual_information   I_q(x; z) = E log q(z|x) − E log q(z),  q(z) = (1/N) Σₙ q(z|xₙ), capped at ln N
    listening            G = distortion under another sentence's z − distortion under its own

References
----------
Burda et al. 2016, *Importance Weighted Autoencoders*: active units.
Hoffman & Johnson 2016, *ELBO surgery*: the mutual information inside the rate.
"""

import math

import torch
from torch import Tensor

from textvae.data.batches import Sequences
from textvae.errors import ConfigError
from textvae.evaluation.estimators import Survey
from textvae.evaluation.listening import another, distortion_under
from textvae.evaluation.requirements import require_counts
from textvae.models.text_vae import TextVAE

__all__ = [
    "ACTIVE",
    "active_units",
    "log_densities",
    "listening",
    "mean_variances",
    "mutual_information",
    "verdict",
]

ACTIVE = 0.01
COLLAPSED_BELOW, ALIVE_FROM = 0.1, 1.0


def active_units(means: Tensor) -> int | None:
    """Number of dimensions of the posterior means (N, D) with variance ≥ 0.01; None if N < 2 or D = 0."""
    spectrum = mean_variances(means)
    return None if spectrum is None else sum(variance >= ACTIVE for variance in spectrum)


def mean_variances(means: Tensor) -> list[float] | None:
    """Var_x E_q[z_d | x] of each dimension of the posterior means (N, D), descending; None if N < 2 or D = 0."""
    if len(means) < 2 or not means.shape[1]:
        return None
    variances: list[float] = means.double().var(0).sort(descending=True).values.tolist()
    return variances


def mutual_information(found: Survey, reference: int | None = None) -> tuple[float, int]:
    """I_q(x; z) in nats from the first `reference` sentences (default all), and their number.

    The aggregate q(z) includes a sentence's own component, so the estimate cannot exceed ln N.

    Raises
    ------
    ConfigError
        For a language model, which has no z, or an empty reference set.
    """
    own, aggregate = log_densities(found, reference)
    return float((own - aggregate).mean()), len(own)


@torch.no_grad()
def log_densities(found: Survey, reference: int | None = None) -> tuple[Tensor, Tensor]:
    """log q(zₙ|xₙ) and log q(zₙ) of the first `reference` sentences (default all), each (N,) in float64."""
    size = len(found.z) if reference is None else min(reference, len(found.z))
    require_counts("reference sentences", [size])
    if found.z.shape[1] == 0:
        raise ConfigError("mutual information: a language model has no z; use a model with latent_dim above 0")
    own = torch.empty(size, dtype=found.z.dtype)
    aggregate = torch.full_like(own, -math.inf)
    for indices, posterior in found.posteriors:
        inside = indices < size
        z = found.z.to(posterior.mean.device)
        own[indices[inside]] = posterior.log_prob(z[indices]).cpu()[inside]
        for rows in torch.arange(size).split(128) if inside.any() else ():
            scores = posterior.log_prob(z[rows, None]).cpu()[:, inside]
            aggregate[rows] = torch.logaddexp(aggregate[rows], scores.logsumexp(1))
    return own.double(), aggregate.double() - math.log(size)


def listening(model: TextVAE, sequences: Sequences, found: Survey, seed: int, batch_size: int = 64) -> Tensor:
    """G of every sentence (N,): its distortion under a random other sentence's z minus that under its own."""
    other = another(len(sequences), seed)
    return distortion_under(model, sequences, found.z[other], batch_size) - found.distortion


def verdict(gain: float, error: float) -> str:
    """Whether the decoder uses z: collapsed, partly, alive or undecided, with the thresholds it was judged by."""
    found = f"another sentence's z costs {gain:.2f} ± {error:.2f} nats per sentence more than its own"
    surely, at_most = gain - 2 * error, gain + 2 * error
    if math.isnan(surely):
        return f"undefined: {found}"
    if surely < COLLAPSED_BELOW and at_most >= ALIVE_FROM:
        return f"undecided: {found}; too few sentences to tell whether the decoder listens to z"
    if surely < COLLAPSED_BELOW:
        return f"collapsed: {found}, not surely {COLLAPSED_BELOW}; the decoder does not listen to z"
    if surely < ALIVE_FROM:
        return f"partly: {found}, surely {COLLAPSED_BELOW} but not {ALIVE_FROM}; the decoder hardly listens to z"
    return f"alive: {found}, surely at least {ALIVE_FROM}; the decoder listens to z"
