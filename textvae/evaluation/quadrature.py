"""Numerically exact integrals over z for a model with D of 1 or 2, by adaptive quadrature.

For each sentence, cells tile the region that prior and q cover, and a cell is halved if halving changes an
integral: posteriors of text have a narrow peak, and long tails where the decoder hardly depends on z. Changes
are measured relative to the mass found so far, so a peak of the posterior or of q between the points is still
found: most of the mass found lies at the points nearest to it. The reported error is twice the change on the last
halving of every cell (the change is the error of the coarser cells, far above that of the finer ones), or the
missed mass if that is larger.

References
----------
Davis & Rabinowitz 1984, *Methods of Numerical Integration*, chapter 6: automatic integration.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from textvae.data.batches import Batch, Sequences, collate
from textvae.errors import ConfigError
from textvae.evaluation.cells import Cells, tiling
from textvae.evaluation.estimators import Tick
from textvae.evaluation.grid import BORDER, INTEGRALS, Quadrature, densities, in_float64, on_grid
from textvae.evaluation.requirements import require_density
from textvae.models.modes import inert
from textvae.models.text_vae import TextVAE

__all__ = ["Integrals", "Quadrature", "integrate", "on_grid", "quadrature"]

TILES = {1: 24, 2: 6}
"""Initial number of cells along an axis, by D."""
REACH = 8.0
"""Cells cover this many standard deviations of the prior and of q on either side, and a border around."""
POINTS = 400_000
"""Number of points of one sentence beyond which halving stops."""
LEFT, LITTLE = 0.2, 0.05
"""Total change left in the cells that a round does not halve: a share of all changes, or of the tolerance."""


@dataclass(frozen=True)
class Integrals:
    """The integrals of N sentences, in the order of the split, in nats."""

    log_evidence: Tensor  # (N,)
    distortion: Tensor  # (N,)
    rate: Tensor  # (N,)
    elbo: Tensor  # (N,)
    posterior_gap: Tensor  # (N,)
    information: Tensor  # (N,)
    posterior_mean: Tensor  # (N, D), of p(z|x)
    posterior_variance: Tensor  # (N, D)
    error: Tensor  # (N,), of all the above: twice the change on halving every cell, or missed mass


def integrate(
    model: TextVAE, sequences: Sequences, tolerance: float = 1e-6, tick: Tick = lambda n: None
) -> Integrals:
    """Quadrature for every sentence, with cells fine enough for `tolerance`.

    Raises
    ------
    ConfigError
        If D is not 1 or 2, or the model has no likelihood.

    Warns
    -----
    UserWarning
        If sentences miss the tolerance; states their number and the largest error.
    """
    require_density(model, sequences, "quadrature")
    _require_narrow(model)
    model, rows = in_float64(model), []
    for index in range(len(sequences)):
        rows.append(_integrals(model, collate([sequences[index]]), tolerance))
        tick(1)
    return _together(rows, tolerance)


def quadrature(model: TextVAE, batch: Batch, tolerance: float = 1e-6) -> Integrals:
    """Quadrature for the sentences of one batch; raises if D is not 1 or 2, and warns as `integrate` does."""
    _require_narrow(model)
    model = in_float64(model)
    rows = [batch.part(slice(index, index + 1)) for index in range(batch.sentences)]
    return _together([_integrals(model, row, tolerance) for row in rows], tolerance)


def _require_narrow(model: TextVAE) -> None:
    if model.latent_dim not in TILES:
        raise ConfigError(f"quadrature: needs a model with a latent_dim of 1 or 2, not {model.latent_dim}")


def _together(rows: list[Integrals], tolerance: float) -> Integrals:
    names = list(Integrals.__dataclass_fields__)
    found = Integrals(**{name: torch.cat([getattr(row, name) for row in rows]).cpu() for name in names})
    missing = int((~(found.error <= tolerance)).sum())
    if missing:
        warnings.warn(
            f"quadrature: {missing} of {len(rows)} sentences miss the tolerance of {tolerance:.0e}: "
            f"the error is up to {found.error.max():.1e}",
            stacklevel=3,
        )
    return found


def _integrals(model: TextVAE, sentence: Batch, tolerance: float) -> Integrals:
    """The integrals of one sentence on the finest cells."""
    with inert(model):
        fine, error = _refined(model, sentence, tolerance)
    return Integrals(**{name: getattr(fine, name) for name in INTEGRALS}, error=error)


def _refined(model: TextVAE, sentence: Batch, tolerance: float) -> tuple[Quadrature, Tensor]:
    """Points of one sentence on which its integrals are within the tolerance, if possible, and the error (1,).

    Every cell is evaluated whole and in halves. If the two agree it stays, else its halves replace it.
    """

    def measured(cells: Cells) -> Tensor:
        """(P, n, D + 4): z, volume, and the three densities at the points of every cell."""
        z, log_volume = cells.points()
        columns = torch.cat([z, log_volume, *densities(model, sentence, z)], 1)
        return columns.view(len(cells.width), -1, columns.shape[1])

    cells, parts = _first_cells(model, sentence), 2**model.latent_dim
    whole, halved = measured(cells), measured(cells.halves()).unflatten(0, (-1, parts)).flatten(1, 2)
    while True:
        fine, coarse = _points(halved), _points(whole)
        error = torch.maximum(fine.change(coarse), fine.unseen)
        rough = _rough(_shares(whole, fine, coarse) - _shares(halved, fine, coarse), tolerance)
        if bool(error <= tolerance) or not rough.any() or len(fine.z) > POINTS:
            return fine, torch.maximum(error, fine.beyond)
        rough = cells.graded(rough)
        opened = cells.halves().where(rough.repeat_interleave(parts))
        new = measured(opened.halves()).unflatten(0, (-1, parts)).flatten(1, 2)
        whole = torch.cat([whole[~rough], halved[rough].unflatten(1, (parts, -1)).flatten(0, 1)])
        halved = torch.cat([halved[~rough], new])
        cells = cells.where(~rough).beside(opened)


def _first_cells(model: TextVAE, sentence: Batch) -> Cells:
    """Cells over the region covered by prior and q, and a border around it that should hold no mass."""
    prior = model.prior()
    q = model.posterior(sentence.to(model.device))
    spans = [(p.mean.reshape(-1), REACH * p.variance.sqrt().reshape(-1)) for p in (prior, q)]
    low = torch.stack([mean - span for mean, span in spans]).amin(0)
    high = torch.stack([mean + span for mean, span in spans]).amax(0)
    border = (high - low) / (BORDER - 2)
    return tiling(low - border, high + border, TILES[model.latent_dim])


def _points(table: Tensor) -> Quadrature:
    """The points of a table (P, n, D + 4) of all cells."""
    z, *columns = table.flatten(0, 1).split([table.shape[-1] - 4, 1, 1, 1, 1], 1)
    return Quadrature(z, *columns)


def _shares(table: Tensor, fine: Quadrature, coarse: Quadrature) -> Tensor:
    """Contribution (P, F) of every cell to each integral, densities relative to the mass on both sets of points.

    The mass itself is scaled by the size of the integrals, since missing mass is missing from all of them.
    """
    seen = _points(table)
    p = seen.log_likelihood + seen.log_prior + seen.log_volume
    p = (p - torch.logaddexp(fine.log_evidence, coarse.log_evidence)).exp()
    q = (seen.log_q + seen.log_volume - torch.logaddexp(_log_mass(fine), _log_mass(coarse))).exp()
    under_p = [p * fine.size, p * seen.z, p * seen.z.square(), p * seen.log_likelihood]
    under_q = [q * fine.size, q * seen.log_likelihood, q * (seen.log_q - seen.log_prior)]
    return torch.cat([*under_p, *under_q], 1).view(*table.shape[:2], -1).sum(1)


def _log_mass(seen: Quadrature) -> Tensor:
    """log ∫ q (1,)."""
    return (seen.log_q + seen.log_volume).logsumexp(0)


def _rough(changes: Tensor, tolerance: float) -> Tensor:
    """Which cells (P,) to halve: all but those with the smallest changes (P, F), which add up to little."""
    worst = changes.abs().amax(1)
    ascending, order = worst.sort()
    little = max(LITTLE * tolerance, LEFT * float(worst.sum()))
    rough = torch.zeros(len(worst), dtype=torch.bool, device=worst.device)
    rough[order[ascending.cumsum(0) > little]] = True
    return rough
