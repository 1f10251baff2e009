"""The angle θ of a density on the sphere that depends only on θ, p(θ) ∝ exp(κ T(cos θ)) sin^(D−2) θ on [0, π].

All integrals are numerical, in float64, by Simpson's rule on a grid where the density is not negligible, with
one row per κ.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Polar", "Statistic"]

Statistic = Callable[[Tensor], Tensor]
"""T as a function of cos θ."""

COARSE, CELLS = 512, 2048
FAINT = 50.0
"""A density is negligible this many nats below its peak."""
TINY = 1e-300


@dataclass(frozen=True)
class Polar:
    """The density of θ for R values of κ, on a grid of cells and their midpoints; differentiable in κ."""

    angle: Tensor  # (R, 2 · CELLS + 1)
    log_density: Tensor  # (R, 2 · CELLS + 1), not normalised

    @classmethod
    def of(cls, statistic: Statistic, concentration: Tensor, dim: int) -> "Polar":
        """For a κ of any shape with R elements."""
        concentration = concentration.double().reshape(-1, 1)

        def log_density(angle: Tensor) -> Tensor:
            return concentration * statistic(angle.cos()) + (dim - 2) * angle.sin().clamp_min(TINY).log()

        unit = torch.linspace(0, 1, 2 * CELLS + 1, dtype=torch.float64, device=concentration.device)
        with torch.no_grad():
            coarse = math.pi * unit[:: 2 * CELLS // COARSE]
            values = log_density(coarse)
            lit = (values > values.amax(1, keepdim=True) - FAINT).byte()
            first = (lit.argmax(1) - 1).clamp_min(0)
            last = (COARSE + 1 - lit.flip(1).argmax(1)).clamp_max(COARSE)
            low, high = coarse[first, None], coarse[last, None]
            angle = low + (high - low) * unit
        return cls(angle, log_density(angle))

    @property
    def log_integral(self) -> Tensor:
        """log ∫ exp(κ T(cos θ)) sin^(D−2) θ dθ, (R,)."""
        return self._cells.sum(1).log() + self._peak[:, 0]

    def expectation(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """E of a function of θ, (R,)."""
        density = (self.log_density - self._peak).exp()
        return _simpson(density * function(self.angle), self.angle).sum(1) / self._cells.sum(1)

    def quantile(self, score: Tensor) -> Tensor:
        """θ where the cumulative density is Φ(score), for scores (…, R), interpolated between the ends of cells."""
        scores, ends = self._scores, self.angle[:, ::2]
        rows = score.double().reshape(-1, len(scores)).T.contiguous()
        right = torch.searchsorted(scores.detach(), rows).clamp(1, scores.shape[1] - 1)
        (s0, s1), (a0, a1) = ((t.gather(1, right - 1), t.gather(1, right)) for t in (scores, ends))
        return (a0 + (a1 - a0) * ((rows - s0) / (s1 - s0)).clamp(0, 1)).T.reshape(score.shape)

    @cached_property
    def _scores(self) -> Tensor:
        """Φ⁻¹ of the cumulative density at the ends of the cells (R, CELLS + 1), summed from the nearer side."""
        mass = self._cells / self._cells.sum(1, keepdim=True)
        below = F.pad(mass.cumsum(1), (1, 0)).clamp(TINY, 0.5)
        above = F.pad(mass.flip(1).cumsum(1).flip(1), (0, 1)).clamp(TINY, 0.5)
        scores: Tensor = torch.special.ndtri(below) - torch.special.ndtri(above)
        return scores

    @property
    def _peak(self) -> Tensor:
        return self.log_density.detach().amax(1, keepdim=True)

    @cached_property
    def _cells(self) -> Tensor:
        """The integral over each cell (R, CELLS), of the density scaled to a peak of 1."""
        return _simpson((self.log_density - self._peak).exp(), self.angle)


def _simpson(values: Tensor, angle: Tensor) -> Tensor:
    """The integral over each cell (R, CELLS) of values at its ends and its middle."""
    width = angle[:, 2::2] - angle[:, :-2:2]
    return width / 6 * (values[:, :-2:2] + 4 * values[:, 1::2] + values[:, 2::2])
