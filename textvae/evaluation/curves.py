"""Estimates of −log p(x) as the number of samples grows, all from the same draws.

    log p̂_K(x) = log (1/K) Σ_{k ≤ K} wₖ        wₖ = p(x|zₖ) p(zₖ) / q(zₖ|x),  zₖ ~ q(z|x)

The mean of wₖ is unbiased for p(x), so E[−log p̂_K] ≥ −log p(x). It falls as K grows, and the excess is
Var(w/p(x)) / 2K if K is large and that variance is finite. Sums are accumulated in log space, a chunk at a
time, so memory does not grow with K.

References
----------
Burda et al. 2016, *Importance Weighted Autoencoders*.
Kong 1992, *A Note on Importance Sampling using Standardized Weights*: the effective sample size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from textvae.data.batches import Batch, Sequences
from textvae.evaluation.estimators import Draw, Tick, by_sentence, draws_under_q
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.requirements import require_counts, require_likelihood
from textvae.models.text_vae import TextVAE

__all__ = ["TRUSTED", "Curve", "importance_curve", "sampled_curve"]

TRUSTED = 10.0
"""Effective sample size below which an estimate's standard error is meaningless."""


@dataclass(frozen=True)
class Curve:
    """Estimates of every sentence from the first K of the same samples, one row per K."""

    samples: tuple[int, ...]  # K
    nll: Tensor  # (len(samples), N)
    effective_samples: Tensor  # (len(samples), N), (Σw)² / Σw²

    @property
    def error(self) -> Tensor:
        """The Monte-Carlo standard error of each nll, NaN ("—") where the effective sample size is below 10.

        It is the relative standard error of the mean weight: √((K / effective − 1) / (K − 1)).
        """
        counts = torch.tensor(self.samples, dtype=torch.float64)[:, None]
        squared = (counts / self.effective_samples - 1).clamp_min(0) / (counts - 1)
        return squared.sqrt().where(self.effective_samples >= TRUSTED, math.nan)

    @property
    def mean_error(self) -> Tensor:
        """(len(samples),): Monte-Carlo standard error of the mean over sentences, NaN if any sentence's is."""
        return self.error.square().sum(1).sqrt() / self.error.shape[1]


def importance_curve(
    model: TextVAE,
    sequences: Sequences,
    samples: Sequence[int],
    noise: SentenceNoise,
    batch_size: int = 32,
    chunk: int = 16,
    tick: Tick = lambda n: None,
) -> Curve:
    """The importance-weighted bound for every K in `samples` (increasing); z ~ q(z|x).

    Raises
    ------
    ConfigError
        If `samples` is empty, not positive or not increasing, or the model has no likelihood to estimate.
    """

    def draws(batch: Batch) -> Draw:
        return draws_under_q(model, batch, noise)

    return sampled_curve(model, sequences, samples, draws, batch_size, chunk, tick)


def sampled_curve(
    model: TextVAE,
    sequences: Sequences,
    samples: Sequence[int],
    draws: Callable[[Batch], Draw],
    batch_size: int,
    chunk: int,
    tick: Tick,
) -> Curve:
    """The curve of any unbiased estimator of p(x), given by its log-weights."""
    require_counts("samples", samples)
    require_likelihood(model, sequences, "importance weights")
    log_counts = torch.tensor(samples, dtype=torch.float64).log()[:, None]

    def nothing(batch: Batch) -> Tensor:
        return torch.full((2, batch.sentences), -math.inf, dtype=torch.float64, device=model.device)

    def estimates(batch: Batch, rows: Tensor) -> Sequence[Tensor]:
        first, second = _sums(draws(batch), samples, nothing(batch), chunk)
        return (log_counts.to(first.device) - first).T, (2 * first - second).exp().T

    found = by_sentence(model, sequences, estimates, batch_size=batch_size, tick=tick)
    return Curve(tuple(samples), *(column.T.contiguous() for column in found))


def _sums(draw: Draw, samples: Sequence[int], total: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """log Σ w and log Σ w² (len(samples), B) over the first K samples, added to `total` (2, B)."""
    rows = []
    for begin, end in pairwise([0, *samples]):
        for start in range(begin, end, chunk):
            log_weights = draw(start, min(start + chunk, end)).double()
            powers = torch.stack([log_weights.logsumexp(0), (2 * log_weights).logsumexp(0)])
            total = torch.logaddexp(total, powers)
        rows.append(total)
    first, second = torch.stack(rows, 1)
    return first, second
