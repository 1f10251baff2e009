"""Refinement of q, and the posterior gap split in two: the error of the encoder, and that of its family.

    q*                    the q of the encoder's family with the largest ELBO, sentence by sentence
    log p(x) − elbo(q)  =  (elbo(q*) − elbo(q))  +  (log p(x) − elbo(q*))
      posterior_gap          amortisation_gap          family_gap

The family is that of the posterior: Gaussians with a full or a diagonal covariance, or fewer, where it fixes the
variance or holds the rate above a floor. If q is not Gaussian (a flow), q* is the best diagonal Gaussian, and the
amortisation gap compares two families and may be negative. Both ELBOs are scored on the same noise, independent
of the noise used for refining, so each is a valid bound. Nothing is selected: neither the best iterate nor the
better of the two.

Adam updates the parameters of all sentences at once; it works per coordinate, so that no sentence depends on
the rest of its batch. The learning rate decays linearly to 0, which averages out the noise. The gradient is that
through z alone: the score of q, whose mean is 0, is left out, and with it all noise where q is p(z|x).

What refining leaves undone counts as `family_gap`. On the linear-Gaussian model, where q* is known, that is below
0.05 nats for diagonal covariances, and for full ones 0.02 with D = 16 and 0.3 with D = 32.

References
----------
Roeder et al. 2017, *Sticking the Landing*: the gradient without the score.
Hoffman et al. 2013, *Stochastic Variational Inference*.
Cremer et al. 2018, *Inference Suboptimality in Variational Autoencoders*.
Kim et al. 2018, *Semi-Amortized Variational Autoencoders*.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from textvae.data.batches import Batch, Sequences, to_device
from textvae.evaluation.estimators import Tick, by_sentence
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.requirements import require_counts, require_density
from textvae.models.distributions import DiagonalGaussian, FullGaussian, Reparameterised
from textvae.models.modes import fixed, inert
from textvae.models.terms import Terms, log_weight, pass_under
from textvae.models.text_vae import TextVAE

__all__ = ["Gaps", "Gaussian", "Refinement", "gaps", "refine", "refinement"]

Gaussian = DiagonalGaussian | FullGaussian
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
    found: list[Gaussian] = []

    def scores(batch: Batch, rows: Tensor) -> Sequence[Tensor]:
        on_device = batch.to(model.device)
        q = model.posterior(on_device)

        def draw(start: int, stop: int) -> Tensor:
            return to_device(noise(batch, start, stop), model.device)

        def fresh(step: int) -> Tensor:
            return draw(scoring + step * samples, scoring + (step + 1) * samples)

        found.append(refine(model, on_device, gaussian_of(q), fresh, steps, learning_rate))
        amortised, refined = (_score(model, on_device, each, draw, scoring) for each in (q, found[-1]))
        return *amortised, *refined, *found[-1].unconstrained

    own, own_rate, better, better_rate, *parameters = by_sentence(
        model, sequences, scores, batch_size=batch_size, tick=tick
    )
    with inert(model):  # a family may have dropout of its own
        q = found[0].of(*parameters)
    return Refinement(
        amortised=Terms(own, own_rate, None),
        refined=Terms(better, better_rate, None),
        q=q,
        refining=2 * steps * samples,
        passes=2 * steps * samples + 2 * scoring,
    )


def gaussian_of(q: Reparameterised) -> Gaussian:
    """q if it is Gaussian, else the diagonal Gaussian with its mean and variance."""
    if isinstance(q, (DiagonalGaussian, FullGaussian)):
        return q
    return DiagonalGaussian(q.mean, q.variance.log())


def refine(
    model: TextVAE,
    batch: Batch,
    start: Gaussian,
    noise: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
) -> Gaussian:
    """The Gaussian q(z|x) of each sentence after `steps` steps from `start`, of the family of `start`.

    `noise(step)` is the noise (K, B, D) of a step; it is used together with its negative, which removes
    the noise from the gradient with respect to μ where log p(x, z) is quadratic. The result is fitted to that
    noise: its ELBO is a bound only under fresh noise.
    """
    if isinstance(start, FullGaussian):  # each coordinate of z is a sum over D parameters, all of which move
        learning_rate /= math.sqrt(start.mean.shape[-1])
    free = [parameter.detach().clone().requires_grad_() for parameter in start.unconstrained]
    optimiser = torch.optim.Adam(free, lr=learning_rate, betas=(0.9, 0.95))
    with fixed(model):
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
            drawn = noise(step)
            q = start.of(*free)
            z = q.transport(torch.cat([drawn, -drawn]))
            resting = start.of(*(parameter.detach() for parameter in free))
            cost = -log_weight(pass_under(model, batch, resting, z)).mean(0).sum()
            for parameter, gradient in zip(free, torch.autograd.grad(cost, free), strict=True):
                parameter.grad = gradient
            optimiser.step()
    return start.of(*free).detached()


def _score(
    model: TextVAE, batch: Batch, q: Reparameterised, noise: Callable[[int, int], Tensor], samples: int
) -> tuple[Tensor, Tensor]:
    """Distortion and rate (B,) of q, over the first samples of the noise."""
    distortion = rate = torch.zeros(batch.sentences, dtype=torch.float64, device=batch.targets.device)
    for start in range(0, samples, CHUNK):
        stop = min(start + CHUNK, samples)
        terms = pass_under(model, batch, q, q.transport(noise(start, stop))).terms
        distortion = distortion + terms.distortion * (stop - start) / samples
        rate = rate + terms.rate * (stop - start) / samples
    return distortion, rate
