"""The posterior gap split in two: the error of the encoder, and that of its family of distributions.

    log p(x) − elbo(q)  =  (elbo(q*) − elbo(q))  +  (log p(x) − elbo(q*))
      posterior_gap          amortisation_gap          family_gap

q* is the Gaussian refined for each sentence, with a full covariance if q has one, else diagonal. If q is not
Gaussian (a flow), the amortisation gap compares two families and may be negative. Both ELBOs are scored on the
same noise, independent of the noise used for refining, so each is a valid bound. Nothing is selected: neither
the best iterate nor the better of the two.

References
----------
Cremer et al. 2018, *Inference Suboptimality in Variational Autoencoders*.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from textvae.data.batches import Batch, Sequences, in_order
from textvae.evaluation.estimators import Tick, inert
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.requirements import require_counts, require_density
from textvae.models.distributions import Reparameterised
from textvae.models.refine import Gaussian, gaussian_of, refine
from textvae.models.terms import Terms, pass_under
from textvae.models.text_vae import TextVAE

__all__ = ["Gaps", "Refinement", "gaps", "refinement"]

CHUNK = 16


@dataclass(frozen=True)
class Refinement:
    """Terms of each of N sentences under the encoder's q and under the refined one, in the order of the split.

    Each sentence took `passes` decoder passes: `refining` forward and backward, the rest forward only.
    """

    amortised: Terms
    refined: Terms
    q: Gaussian  # the refined one
    refining: int
    passes: int


@dataclass(frozen=True)
class Gaps:
    """The posterior gap (N,) and its two parts, in nats."""

    posterior_gap: Tensor
    amortisation_gap: Tensor
    family_gap: Tensor


def gaps(log_evidence: Tensor, found: Refinement) -> Gaps:
    """The gaps against log p(x) (N,), exact or estimated; an estimate that is too low makes them too small."""
    amortised, refined = found.amortised.elbo, found.refined.elbo
    return Gaps(log_evidence - amortised, refined - amortised, log_evidence - refined)


def refinement(
    model: TextVAE,
    sequences: Sequences,
    noise: SentenceNoise,
    steps: int = 150,
    samples: int = 2,
    learning_rate: float = 0.1,
    scoring: int = 64,
    batch_size: int = 32,
    tick: Tick = lambda n: None,
) -> Refinement:
    """Refine q for every sentence with `samples` fresh pairs of z per step; score both on `scoring` other z.

    The first `scoring` samples of a sentence's noise are used for scoring, the later ones for refining.

    Raises
    ------
    ConfigError
        If a number is not positive, or the model has no likelihood.
    """
    for name, count in {"steps": steps, "samples": samples, "scoring": scoring}.items():
        require_counts(name, [count])
    require_density(model, sequences, "refinement")
    device = next(model.parameters()).device
    order, parts = [], []
    with inert(model):
        for indices, batch in in_order(sequences, batch_size):
            batch = batch.to(device)
            q = model.posterior(batch)
            draw = partial(_draw, noise, batch, scoring, samples)
            start = gaussian_of(q)
            refined = refine(model, batch, start, draw, steps, learning_rate)
            scores = [_score(model, batch, each, noise, scoring) for each in (q, refined)]
            parts.append((*scores[0], *scores[1], *refined.unconstrained))
            order.append(torch.from_numpy(indices))
            tick(batch.sentences)
    places = torch.cat(order).argsort()
    columns = [torch.cat(column).cpu()[places] for column in zip(*parts, strict=True)]
    amortised, better = Terms(columns[0], columns[1], None), Terms(columns[2], columns[3], None)
    refining = 2 * steps * samples
    return Refinement(amortised, better, start.of(*columns[4:]), refining, refining + 2 * scoring)


def _draw(noise: SentenceNoise, batch: Batch, scoring: int, samples: int, step: int) -> Tensor:
    begin = scoring + step * samples
    return noise(batch, begin, begin + samples)


def _score(
    model: TextVAE, batch: Batch, q: Reparameterised, noise: SentenceNoise, samples: int
) -> tuple[Tensor, Tensor]:
    """Distortion and rate (B,) of q, over the first samples of the noise."""
    distortion = rate = torch.zeros(batch.sentences, dtype=torch.float64, device=batch.targets.device)
    for start in range(0, samples, CHUNK):
        stop = min(start + CHUNK, samples)
        terms = pass_under(model, batch, q, q.transport(noise(batch, start, stop))).terms
        distortion = distortion + terms.distortion * (stop - start) / samples
        rate = rate + terms.rate * (stop - start) / samples
    return distortion, rate
