"""Annealed importance sampling with Hamiltonian transitions, forward and reverse.

    f_β(z) = q₀(z)^(1−β) · p(x, z)^β,    0 = β₀ < … < β_T = 1
    log w  = Σ_t (β_t − β_{t−1}) log (p(x, z_{t−1}) / q₀(z_{t−1})),    z_t by Hamiltonian Monte Carlo under f_{β_t}

Forward, from z₀ ~ q₀, w is unbiased for p(x): the mean of log w is a lower bound. In reverse, from an
exact sample of p(z|x), 1/w is unbiased for 1/p(x): the mean of log w is an upper bound. An exact sample
is known only for sentences that were simulated from the model itself; there the two enclose log p(x).

References
----------
Neal 2001, *Annealed Importance Sampling*.
Grosse, Ghahramani & Adams 2015, *Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo*.
Wu et al. 2017, *On the Quantitative Analysis of Decoder-Based Generative Models*.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from textvae.data.batches import Batch, Sequences
from textvae.evaluation.estimators import Tick, by_sentence
from textvae.evaluation.hamiltonian import Bridge, Point
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.requirements import require_counts, require_density
from textvae.models.modes import fixed
from textvae.models.terms import importance_weighted
from textvae.models.text_vae import TextVAE

__all__ = ["Annealing", "Sandwich", "annealed", "sandwich"]

ACCEPTANCE = 0.75
"""Acceptance probability to which the step sizes are tuned."""
GAIN = 0.2
"""Change of a step size's logarithm per unit of deviation from that acceptance."""
FIRST, LONGEST = 0.5, 1.5
"""Initial and largest step size, in standard deviations of q₀."""


@dataclass(frozen=True)
class Annealing:
    """Annealing settings: z₀ ~ `origin`, β along a sigmoid, one transition of `leapfrogs` steps at each β.

    q₀ is q(z|x) or the prior; the prior is independent of the encoder's quality but needs more temperatures.
    Both give valid bounds; if the encoder misses a mode of p(z|x), those from q(z|x) are far apart.

    `chains` paths are averaged in each direction. Step sizes, one per sentence and temperature, are tuned on
    `pilots` separate paths and then frozen.
    """

    temperatures: int = 100
    leapfrogs: int = 4
    chains: int = 2
    pilots: int = 1
    origin: Literal["posterior", "prior"] = "posterior"
    seed: int = 0

    @property
    def gradients(self) -> int:
        """Forward-backward passes through the decoder per sentence and direction, tuning included."""
        return ((self.temperatures - 1) * self.leapfrogs + 1) * (self.chains + self.pilots)

    @property
    def powers(self) -> Tensor:
        """β₀ = 0 … β_T = 1, densest at both ends."""
        curve = torch.linspace(-4, 4, self.temperatures + 1, dtype=torch.float64).sigmoid()
        return (curve - curve[0]) / (curve[-1] - curve[0])


@dataclass(frozen=True)
class Sandwich:
    """Lower and upper bounds on log p(x) of N simulated sentences, each valid in expectation."""

    lower: Tensor  # (N,)
    upper: Tensor  # (N,)

    @property
    def gap(self) -> Tensor:
        """(N,): its expectation is the sum of the biases of the two bounds."""
        return self.upper - self.lower


def annealed(
    model: TextVAE,
    sequences: Sequences,
    how: Annealing,
    batch_size: int = 32,
    tick: Tick = lambda n: None,
) -> Tensor:
    """Lower bound, in expectation, on log p(x) of every sentence (N,), simulated or not.

    Raises
    ------
    ConfigError
        If a number is not positive, or the model has no likelihood.
    """

    (lower,) = _bounds(model, sequences, how, batch_size, tick, lambda path, rows: (path.lower(),))
    return lower


def sandwich(
    model: TextVAE,
    sequences: Sequences,
    z: Tensor,
    how: Annealing,
    batch_size: int = 32,
    tick: Tick = lambda n: None,
) -> Sandwich:
    """Both bounds for sentences simulated from the model, given the z (N, D) that generated each.

    In a draw (z, x) from the model, z is an exact sample of p(z|x); `textvae.generation.simulate` makes them.

    Raises
    ------
    ConfigError
        If a number is not positive, or the model has no likelihood.
    """

    def both(path: "_Paths", rows: Tensor) -> Sequence[Tensor]:
        return path.lower(), path.upper(z[rows])

    return Sandwich(*_bounds(model, sequences, how, batch_size, tick, both))


def _bounds(
    model: TextVAE,
    sequences: Sequences,
    how: Annealing,
    batch_size: int,
    tick: Tick,
    of: "Callable[[_Paths, Tensor], Sequence[Tensor]]",
) -> list[Tensor]:
    """`of` the paths of every batch; results (N,) in the order of the split."""
    for name in ("temperatures", "leapfrogs", "chains", "pilots"):
        require_counts(name, [getattr(how, name)])
    require_density(model, sequences, "annealed importance sampling")

    def along(batch: Batch, rows: Tensor) -> Sequence[Tensor]:
        with fixed(model):
            return of(_Paths(model, batch, how), rows)

    return by_sentence(model, sequences, along, batch_size=batch_size, tick=tick)


class _Paths:
    """The annealed paths of one batch, with step sizes (B,) tuned on its pilots for β₁ … β_{T−1}."""

    def __init__(self, model: TextVAE, batch: Batch, how: Annealing) -> None:
        self.how, self.batch = how, batch
        batch = batch.to(model.device)
        self.powers: list[float] = how.powers.tolist()
        self.increments = [after - before for before, after in pairwise(self.powers)]
        self.noise = SentenceNoise(how.seed, model.latent_dim + 2)
        self.bridge = Bridge(model, batch, model.posterior(batch) if how.origin == "posterior" else model.prior())
        self.steps = self._tuned()

    def lower(self) -> Tensor:
        """log of the mean of w over the chains, forward from q₀: (B,)."""
        first = self.how.pilots
        point = self._begin(first, self.how.chains)
        total = self.increments[0] * point.ratio.double()
        for t in range(1, self.how.temperatures):
            point, _ = self._move(point, t, self.steps[t - 1], first)
            total = total + self.increments[t] * point.ratio.double()
        return importance_weighted(total)

    def upper(self, z: Tensor) -> Tensor:
        """−log of the mean of 1/w over the chains, in reverse from exact samples z (B, D) of p(z|x): (B,)."""
        first = self.how.pilots + self.how.chains
        point = self.bridge.at(z.to(self.bridge.scale).expand(self.how.chains, -1, -1))
        total = self.increments[-1] * point.ratio.double()
        for t in range(self.how.temperatures - 1, 0, -1):
            point, _ = self._move(point, t, self.steps[t - 1], first)
            total = total + self.increments[t - 1] * point.ratio.double()
        return -importance_weighted(-total)

    def _tuned(self) -> list[Tensor]:
        point, steps = self._begin(0, self.how.pilots), []
        size = torch.full_like(self.bridge.scale[:, 0], math.log(FIRST))
        for t in range(1, self.how.temperatures):
            steps.append(size.exp())
            point, acceptance = self._move(point, t, steps[-1], 0)
            size = (size + GAIN * (acceptance.mean(0) - ACCEPTANCE)).clamp_max(math.log(LONGEST))
        return steps

    def _begin(self, first: int, count: int) -> Point:
        return self.bridge.at(self.bridge.origin.transport(self._draw(0, first, count)[..., :-2]))

    def _move(self, point: Point, t: int, step: Tensor, first: int) -> tuple[Point, Tensor]:
        noise = self._draw(t, first, len(point.z))
        return self.bridge.move(point, self.powers[t], step, noise, self.how.leapfrogs)

    def _draw(self, t: int, first: int, count: int) -> Tensor:
        """Noise (count, B, D + 2) of transition t for the paths from `first` on; no two paths share noise."""
        start = t * (self.how.pilots + 2 * self.how.chains) + first
        return self.noise(self.batch, start, start + count).to(self.bridge.scale)
