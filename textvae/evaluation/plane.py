"""Locate the collapse: the mean of the model's posterior p(z|x) against the mean of q(z|x).

    E_{p(z|x)} z  =  Σₖ w̄ₖ zₖ,      zₖ ~ r(z|x),  w̄ ∝ p(x|z) p(z) / r(z|x)

If the model ignores z, its posterior is the prior for every sentence and its means do not vary. If they vary
and those of q do not, the model uses z and the inference lags behind. The proposal r is q itself, or q refined
for each sentence, which also covers a posterior far from q. The mean is computed as
Σₖ (w̄ₖ − 1/K) zₖ + E_r z, which has no sampling error if the proposal equals the posterior. Otherwise its error,
summed over D, would add to the variance of the means over sentences; that is therefore the covariance of two
means, one from every other sample and one from the rest, whose errors are independent.

References
----------
He et al. 2019, *Lagging Inference Networks and Posterior Collapse*: the plane of the two means.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textvae.data.batches import Batch, Sequences, to_device
from textvae.evaluation.curves import TRUSTED
from textvae.evaluation.estimators import Tick, by_sentence
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.quadrature import Integrals
from textvae.evaluation.refinement import Gaussian
from textvae.evaluation.requirements import require_counts, require_likelihood
from textvae.models.terms import importance_weighted, log_weight, pass_under
from textvae.models.text_vae import TextVAE

__all__ = ["Plane", "exact_means", "posterior_means"]

CHUNK = 32


@dataclass(frozen=True)
class Plane:
    """Both means of N sentences, the effective sample size behind the model's, and log p(x).

    From samples, `log_evidence` is their importance-weighted bound, a lower bound in expectation.
    """

    model: Tensor  # (N, D), E under p(z|x)
    halves: Tensor  # (N, 2, D), the same from one half of the samples each; twice `model` where that is exact
    inference: Tensor  # (N, D), E under q(z|x)
    effective_samples: Tensor  # (N,)
    log_evidence: Tensor  # (N,)

    @property
    def valid(self) -> Tensor:
        """(N,): whether the model's mean is reliable."""
        return self.effective_samples >= TRUSTED

    def summary(self) -> dict[str, Any]:
        """Spread (total variance over sentences) of both means, and the slope of the model's against q's.

        Slope 1: both means agree; above 1: the means of q vary less than those of the model's posterior.
        """
        kept = self.valid
        values = {
            "posterior_mean_sentences": int(kept.sum()),
            "posterior_mean_void": int((~kept).sum()),
            "effective_samples": float(self.effective_samples.double().median()),
        }
        if kept.sum() < 2:
            return values
        inference, one, other = self.inference[kept], *self.halves[kept].unbind(1)
        spread = _covariance(inference, inference)
        return values | {
            "posterior_mean_spread": _covariance(one, other),
            "inference_mean_spread": spread,
            "posterior_mean_slope": _covariance(self.model[kept], inference) / spread if spread > 0 else None,
        }


def posterior_means(
    model: TextVAE,
    sequences: Sequences,
    noise: SentenceNoise,
    samples: int,
    proposal: Gaussian | None = None,
    batch_size: int = 32,
    tick: Tick = lambda n: None,
) -> Plane:
    """Both means of every sentence, from `samples` draws each from q, or from `proposal` (N, D).

    `noise` must be independent of the noise that the proposal was fitted to; otherwise the bound is invalid.

    Raises
    ------
    ConfigError
        If there are no samples, or the model has no likelihood.
    """
    require_counts("samples", [samples])
    require_likelihood(model, sequences, "the mean of p(z|x)")

    def means(batch: Batch, rows: Tensor) -> Sequence[Tensor]:
        on_device = batch.to(model.device)
        q = model.posterior(on_device)
        drawn = q if proposal is None else _rows(proposal, rows, model.device)
        chunks = (noise(batch, first, min(first + CHUNK, samples)) for first in range(0, samples, CHUNK))
        passes = [
            pass_under(model, on_device, drawn, drawn.transport(to_device(chunk, model.device))) for chunk in chunks
        ]
        z = torch.cat([done.z for done in passes])
        log_weights = torch.cat([log_weight(done) for done in passes])
        halves = [_weighted_mean(drawn.mean, log_weights[first::2], z[first::2]) for first in (0, 1)]
        return (
            _weighted_mean(drawn.mean, log_weights, z),
            torch.stack(halves, 1),
            q.mean,
            1 / log_weights.softmax(0).square().sum(0),
            importance_weighted(log_weights),
        )

    return Plane(*by_sentence(model, sequences, means, batch_size=batch_size, tick=tick))


def exact_means(model: TextVAE, sequences: Sequences, exact: Integrals) -> Plane:
    """Both means, the model's by quadrature; every sentence is valid."""

    def mean(batch: Batch, rows: Tensor) -> Sequence[Tensor]:
        return (model.posterior(batch.to(model.device)).mean,)

    (inference,) = by_sentence(model, sequences, mean)
    means, everything = exact.posterior_mean, torch.full((len(sequences),), math.inf)
    return Plane(means, torch.stack([means, means], 1), inference.to(means), everything, exact.log_evidence)


def _weighted_mean(centre: Tensor, log_weights: Tensor, z: Tensor) -> Tensor:
    """Σₖ (w̄ₖ − 1/K) zₖ + E_r z (B, D), from log-weights (K, B), z (K, B, D) and `centre`, E_r z."""
    share = log_weights.softmax(0)
    return centre + ((share - 1 / max(len(z), 1))[..., None] * z).sum(0)


def _covariance(a: Tensor, b: Tensor) -> float:
    """Σ_d Cov(a_d, b_d) over sentences, of a and b (N, D) with N ≥ 2."""
    a, b = a.double() - a.double().mean(0), b.double() - b.double().mean(0)
    return float((a * b).sum() / (len(a) - 1))


def _rows(proposal: Gaussian, rows: Tensor, device: torch.device) -> Gaussian:
    return proposal.of(*(parameter[rows].to(device) for parameter in proposal.unconstrained))
