"""Estimators of one split, sentence by sentence, for a frozen model.

    distortion, rate     one sample of z each; −elbo is their sum
    iwae_nll             −log (1/K) Σₖ wₖ, in chunks of constant memory

Nothing here changes a weight, buffer, mode or random stream of the caller.

References
----------
Burda et al. 2016, *Importance Weighted Autoencoders*.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textvae.data.batches import Batch, Sequences, longest_first, to_device
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.requirements import require_counts, require_rate, require_sentences
from textvae.models.distributions import Reparameterised
from textvae.models.modes import inert
from textvae.models.terms import forward_pass, importance_weighted, log_weight, pass_under
from textvae.models.text_vae import TextVAE

__all__ = [
    "REVISION",
    "Draw",
    "Survey",
    "Tick",
    "by_sentence",
    "draws_under_q",
    "importance_weighted_nll",
    "mean_with_error",
    "perplexity",
    "standard_error",
]

REVISION = 2
"""Stored with every result; raised when a change of code changes one, so that old ones are measured again."""

Tick = Callable[[int], None]
"""Called with the number of sentences, or steps, just completed."""

Draw = Callable[[int, int], Tensor]
"""Log-weights (stop − start, B) of the samples start ≤ k < stop of a batch."""


@dataclass(frozen=True)
class Survey:
    """Results of one pass over N sentences, in the order of the split; on the CPU except `posteriors`."""

    tokens: Tensor  # (N,)
    distortion: Tensor  # (N,)
    rate: Tensor  # (N,)
    rate_per_dimension: Tensor | None  # (N, D)
    mean: Tensor  # (N, D), posterior means
    z: Tensor  # (N, D), one sample each
    posteriors: tuple[tuple[Tensor, Reparameterised], ...]  # (indices, q) batch by batch

    @property
    def elbo(self) -> Tensor:
        """−(distortion + rate) (N,)."""
        return -(self.distortion + self.rate)

    def means(self) -> dict[str, Any]:
        """Means over sentences, with their standard errors over sentences."""
        per_dimension = self.rate_per_dimension
        return {
            **mean_with_error("distortion", self.distortion),
            **mean_with_error("rate", self.rate),
            "rate_per_dimension": None if per_dimension is None else per_dimension.double().mean(0).tolist(),
            **mean_with_error("elbo", self.elbo),
        }

    @classmethod
    def of(
        cls,
        model: TextVAE,
        sequences: Sequences,
        noise: SentenceNoise,
        batch_size: int = 64,
        tick: Tick = lambda n: None,
    ) -> "Survey":
        """Distortion, rate, posterior and one z of every sentence.

        Raises
        ------
        ConfigError
            If there are no sentences.
        """
        require_sentences(sequences)
        posteriors = []

        def seen(batch: Batch, rows: Tensor) -> Sequence[Tensor]:
            done = forward_pass(model, batch.to(model.device), to_device(noise(batch), model.device))
            posteriors.append((rows, done.posterior))
            terms, per_dimension = done.terms, done.terms.rate_per_dimension
            columns = (batch.lengths, terms.distortion, terms.rate, done.posterior.mean, done.z[0])
            return columns if per_dimension is None else (*columns, per_dimension)

        tokens, distortion, rate, mean, z, *per_dimension = by_sentence(
            model, sequences, seen, batch_size=batch_size, tick=tick
        )
        return cls(
            tokens=tokens,
            distortion=distortion,
            rate=rate,
            rate_per_dimension=per_dimension[0] if per_dimension else None,
            mean=mean,
            z=z,
            posteriors=tuple(posteriors),
        )


def by_sentence(
    model: TextVAE,
    sequences: Sequences,
    of: Callable[[Batch, Tensor], Sequence[Tensor]],
    *,
    batch_size: int = 64,
    tick: Tick = lambda n: None,
) -> list[Tensor]:
    """`of(batch, rows)` for every batch, with the model inert: its tensors (B, …) joined over the split, (N, …).

    `rows` (B,) are the places of the batch's sentences in the split. The batch is still on the host, where
    noise is best drawn; the results are on the host, in the order of the split.
    """
    order, parts = [], []
    with inert(model):
        for indices, batch in longest_first(sequences, batch_size):
            order.append(torch.from_numpy(indices))
            parts.append(of(batch, order[-1]))
            tick(batch.sentences)
    places = torch.cat(order).argsort()
    return [torch.cat(column).cpu()[places] for column in zip(*parts, strict=True)]


def importance_weighted_nll(
    model: TextVAE,
    sequences: Sequences,
    samples: int,
    noise: SentenceNoise,
    batch_size: int = 32,
    chunk: int = 16,
    tick: Tick = lambda n: None,
) -> Tensor:
    """−log (1/K) Σₖ wₖ of every sentence (N,): an upper bound on −log p(x) in expectation.

    A model without z (`latent_dim` 0) takes one sample, since its log-weights are all equal.

    Raises
    ------
    ConfigError
        If `samples` is not positive, there is no sentence, or the model is an autoencoder.
    """
    require_counts("samples", [samples])
    require_sentences(sequences)
    require_rate(model, "importance weights")
    samples = samples if model.has_z else 1

    def nll(batch: Batch, rows: Tensor) -> Sequence[Tensor]:
        draw = draws_under_q(model, batch, noise)
        weights = [draw(start, min(start + chunk, samples)) for start in range(0, samples, chunk)]
        return (-importance_weighted(torch.cat(weights)),)

    (found,) = by_sentence(model, sequences, nll, batch_size=batch_size, tick=tick)
    return found


def draws_under_q(model: TextVAE, batch: Batch, noise: SentenceNoise) -> Draw:
    """Log-weights of a batch on the host, with z ~ q(z|x); its sentences are encoded once, the passes not kept."""
    on_device = batch.to(model.device)
    posterior = model.posterior(on_device)

    def draw(start: int, stop: int) -> Tensor:
        # Drawn on the host from its own copy, so no chunk waits for the device to finish the one before.
        drawn = to_device(noise(batch, start, stop), model.device)
        return log_weight(pass_under(model, on_device, posterior, posterior.transport(drawn)))

    return draw


def standard_error(values: Tensor) -> float:
    """Standard error of the mean over sentences; NaN for fewer than two."""
    return float(values.double().std() / math.sqrt(len(values))) if len(values) > 1 else math.nan


def mean_with_error(name: str, values: Tensor) -> dict[str, float]:
    """The mean over sentences under `name`, and its standard error under `name`_se."""
    return {name: float(values.double().mean()), f"{name}_se": standard_error(values)}


def perplexity(nats: float, tokens: int) -> float:
    """exp(total nats ÷ total tokens), EOS counted, BOS not; infinite where that overflows."""
    if tokens == 0:
        return math.nan
    return math.inf if nats / tokens > 700 else math.exp(nats / tokens)
