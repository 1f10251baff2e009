"""Boxes that tile a part of ℝᴰ, with Gauss–Legendre points in each, and their halving.

    ∫ f dz  ≈  Σ over cells and points of  w f(z),      w = volume of the cell × Gauss–Legendre weights

With n points along an axis the rule is exact for polynomials of degree 2n − 1: halving a cell on which the
integrand is smooth makes its error 2²ⁿ times smaller.

References
----------
Davis & Rabinowitz 1984, *Methods of Numerical Integration*, §2.7 and chapter 6.
"""

from dataclasses import dataclass

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

__all__ = ["Cells", "tiling"]

NODES = 6
"""Points along an axis of a cell: among 5 to 16, this reached 1e-6 on text with the fewest points in all."""


@dataclass(frozen=True)
class Cells:
    """P boxes of the same shape but different sizes, in float64."""

    centre: Tensor  # (P, D)
    width: Tensor  # (P, D)

    def points(self) -> tuple[Tensor, Tensor]:
        """The points (P · nᴰ, D), cell by cell, and the logarithms of their weights (P · nᴰ, 1)."""
        dim = self.centre.shape[1]
        nodes, weights = (torch.from_numpy(each).to(self.centre) / 2 for each in leggauss(NODES))
        log_weights = _product(weights.log(), dim).sum(1) + self.width.log().sum(1, keepdim=True)
        return self._at(_product(nodes, dim)), log_weights.reshape(-1, 1)

    def halves(self) -> "Cells":
        """Every cell split in two along each axis: P · 2ᴰ cells, cell by cell."""
        dim = self.centre.shape[1]
        quarters = torch.tensor([-0.25, 0.25]).to(self.centre)
        return Cells(self._at(_product(quarters, dim)), (self.width / 2).repeat_interleave(2**dim, 0))

    def graded(self, rough: Tensor) -> Tensor:
        """The mask `rough` (P,) plus larger neighbours, into which a narrow peak may extend undetected."""
        size, chosen = self.width[:, 0], self.where(rough)
        apart = (self.centre[:, None] - chosen.centre).abs() * 2 / (self.width[:, None] + chosen.width)
        larger = size[:, None] > 1.5 * chosen.width[:, 0]
        return rough | ((apart < 1.01).all(2) & larger).any(1)

    def where(self, kept: Tensor) -> "Cells":
        """The cells selected by a mask (P,)."""
        return Cells(self.centre[kept], self.width[kept])

    def beside(self, others: "Cells") -> "Cells":
        """These cells followed by `others`."""
        return Cells(torch.cat([self.centre, others.centre]), torch.cat([self.width, others.width]))

    def _at(self, places: Tensor) -> Tensor:
        """Points of every cell at offsets `places` (n, D) from its centre, in cell widths: (P · n, D)."""
        return (self.centre[:, None] + self.width[:, None] * places).flatten(0, 1)


def tiling(low: Tensor, high: Tensor, count: int) -> Cells:
    """The box from `low` to `high`, both (D,), as `count`ᴰ cells."""
    width = (high - low) / count
    steps = _product(torch.arange(count).to(low) + 0.5, len(low))
    return Cells(low + width * steps, width.expand(len(steps), -1))


def _product(axis: Tensor, dim: int) -> Tensor:
    """The D-fold Cartesian product (nᴰ, D) of an axis with itself."""
    return torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
