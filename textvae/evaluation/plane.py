"""Where the collapse sits: the mean of the model's posterior p(z|x) against the mean of q(z|x).

    E_{p(z|x)} z  =  Σₖ w̄ₖ zₖ,      zₖ ~ r(z|x),  w̄ ∝ p(x|z) p(z) / r(z|x)

A model that ignores z has its posterior at the prior for every sentence: its means do not spread. If they
spread and those of q do not, the model uses z and the inference lags behind it. The proposal r is q itself,
or q refined for each sentence, which finds a posterior that q is far from. The weights are taken off their
average, Σₖ (w̄ₖ − 1/K) zₖ + E_r z, so that a proposal which is the posterior leaves no sampling error.

References
----------
He et al. 2019, *Lagging Inference Networks and Posterior Collapse*: the plane of the two means.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textvae.data.batches import Sequences, in_order
from textvae.evaluation.curves import TRUSTED
from textvae.evaluation.estimators import Tick, inert
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.quadrature import Integrals
from textvae.evaluation.requirements import require_counts, require_likelihood
from textvae.models.refine import Gaussian
from textvae.models.terms import importance_weighted, log_weight, pass_under
from textvae.models.text_vae import TextVAE

__all__ = ["Plane", "exact_means", "posterior_means"]

CHUNK = 32


@dataclass(frozen=True)
class Plane:
    """Both means of N sentences, from how many effective samples the model's was found, and log p(x) beside it.

    The latter is the importance-weighted bound of the same samples, in expectation from below.
    """

    model: Tensor  # (N, D), E under p(z|x)
    inference: Tensor  # (N, D), E under q(z|x)
    effective_samples: Tensor  # (N,)
    log_evidence: Tensor  # (N,)

    @property
    def valid(self) -> Tensor:
        """(N,), where the model's mean can be believed."""
        return self.effective_samples >= TRUSTED

    def summary(self) -> dict[str, Any]:
        """Spread (total variance over sentences) of both means, and what slope leads from one to the other.

        Slope 1: q is where the model's posterior is; above 1: q stays nearer to a common place than it should.
        """
        kept = self.valid
        values = {
            "posterior_mean_sentences": int(kept.sum()),
            "posterior_mean_void": int((~kept).sum()),
            "effective_samples": float(self.effective_samples.double().median()),
        }
        if kept.sum() < 2:
            return values
        model = self.model[kept].double() - self.model[kept].double().mean(0)
        inference = self.inference[kept].double() - self.inference[kept].double().mean(0)
        degrees = len(model) - 1
        spread = float(inference.square().sum() / degrees)
        return values | {
            "posterior_mean_spread": float(model.square().sum() / degrees),
            "inference_mean_spread": spread,
            "posterior_mean_slope": float((model * inference).sum() / degrees) / spread if spread > 0 else None,
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

    The noise must be other than any that the proposal was fitted to: else nothing here is a bound or unbiased.

    Raises
    ------
    ConfigError
        If there are no samples, or the model has no likelihood.
    """
    require_counts("samples", [samples])
    require_likelihood(model, sequences, "the mean of p(z|x)")
    device = next(model.parameters()).device
    order, parts = [], []
    with inert(model):
        for indices, batch in in_order(sequences, batch_size):
            batch = batch.to(device)
            q = model.posterior(batch)
            drawn = q if proposal is None else _rows(proposal, indices, device)
            passes = [
                pass_under(model, batch, drawn, drawn.transport(noise(batch, first, min(first + CHUNK, samples))))
                for first in range(0, samples, CHUNK)
            ]
            z = torch.cat([done.z for done in passes])
            log_weights = torch.cat([log_weight(done) for done in passes])
            share = log_weights.softmax(0)
            weighted = drawn.mean + ((share - 1 / samples)[..., None] * z).sum(0)
            effective = 1 / share.square().sum(0)
            parts.append((weighted, q.mean, effective, importance_weighted(log_weights)))
            order.append(torch.from_numpy(indices))
            tick(batch.sentences)
    places = torch.cat(order).argsort()
    return Plane(*(torch.cat(column).cpu()[places] for column in zip(*parts, strict=True)))


def exact_means(model: TextVAE, sequences: Sequences, exact: Integrals) -> Plane:
    """Both means where quadrature knows the model's; every sentence counts."""
    inference = torch.empty_like(exact.posterior_mean)
    device = next(model.parameters()).device
    with inert(model):
        for indices, batch in in_order(sequences, 64):
            inference[torch.from_numpy(indices)] = model.posterior(batch.to(device)).mean.to(inference)
    everything = torch.full((len(sequences),), math.inf)
    return Plane(exact.posterior_mean, inference, everything, exact.log_evidence)


def _rows(proposal: Gaussian, indices: np.ndarray, device: torch.device) -> Gaussian:
    rows = torch.from_numpy(indices)
    return proposal.of(*(parameter[rows].to(device) for parameter in proposal.unconstrained))
