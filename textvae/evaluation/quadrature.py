"""The truth about sentences under a model with D of 1 or 2, by quadrature over z.

Cells are laid over all that prior and q reach, a sentence at a time, and those are halved where halving changes
an integral: posteriors of text are narrow in the middle, and long where the decoder hardly minds z. Cells are
judged by their share of the mass found so far: so a posterior or a q between the points is found all the same,
since most of what is found of it lies at the point nearest to it. What the last halving of every cell changes is
the error of the coarser cells, far above that of the finer ones; it is stated, unless more mass was missed.

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
from textvae.evaluation.estimators import Tick, inert
from textvae.evaluation.grid import BORDER, INTEGRALS, Quadrature, densities, in_float64, on_grid
from textvae.evaluation.requirements import require_density
from textvae.models.text_vae import TextVAE

__all__ = ["Integrals", "Quadrature", "integrate", "on_grid", "quadrature"]

TILES = {1: 24, 2: 6}
"""Cells along an axis to begin with."""
REACH = 8.0
"""Standard deviations of the prior and of q on either side within which cells are laid, and a border around."""
POINTS = 400_000
"""Points of one sentence at which halving is given up."""
LEFT, LITTLE = 0.2, 0.05
"""The changes that may be left to the cells not halved in a round: a share of all, or of the tolerance."""


@dataclass(frozen=True)
class Integrals:
    """The truth about N sentences, in the order of the split; nats."""

    log_evidence: Tensor  # (N,)
    distortion: Tensor  # (N,)
    rate: Tensor  # (N,)
    elbo: Tensor  # (N,)
    posterior_gap: Tensor  # (N,)
    information: Tensor  # (N,)
    posterior_mean: Tensor  # (N, D), of p(z|x)
    posterior_variance: Tensor  # (N, D)
    error: Tensor  # (N,), of all the above: what halving every cell changes, or mass that was missed


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
        If sentences miss the tolerance, how many and by how much.
    """
    require_density(model, sequences, "quadrature")
    _require_narrow(model)
    model, rows = in_float64(model), []
    for index in range(len(sequences)):
        rows.append(_integrals(model, collate([sequences[index]]), tolerance))
        tick(1)
    return _together(rows, tolerance)


def quadrature(model: TextVAE, batch: Batch, tolerance: float = 1e-6) -> Integrals:
    """The same for the sentences of one batch; raises and warns as `integrate` does."""
    _require_narrow(model)
    model = in_float64(model)
    rows = [batch.part(slice(index, index + 1)) for index in range(batch.sentences)]
    return _together([_integrals(model, row, tolerance) for row in rows], tolerance)


def _require_narrow(model: TextVAE) -> None:
    if model.latent_dim not in TILES:
        raise ConfigError(f"quadrature: cells of z need a latent_dim of 1 or 2, not {model.latent_dim}")


def _together(rows: list[Integrals], tolerance: float) -> Integrals:
    names = list(Integrals.__dataclass_fields__)
    found = Integrals(**{name: torch.cat([getattr(row, name) for row in rows]).cpu() for name in names})
    missing = int((~(found.error <= tolerance)).sum())
    if missing:
        warnings.warn(
            f"quadrature: {missing} of {len(rows)} sentences are not within {tolerance:.0e} of the truth: "
            f"the error is up to {found.error.max():.1e}",
            stacklevel=3,
        )
    return found


def _integrals(model: TextVAE, sentence: Batch, tolerance: float) -> Integrals:
    """What the finest cells say of one sentence."""
    with inert(model):
        fine, error = _refined(model, sentence, tolerance)
    return Integrals(**{name: getattr(fine, name) for name in INTEGRALS}, error=error)


def _refined(model: TextVAE, sentence: Batch, tolerance: float) -> tuple[Quadrature, Tensor]:
    """Points of one sentence on which its integrals are within the tolerance, if they can be, and the error (1,).

    Every cell is known whole and by its halves. Where the two agree it stays, else its halves take its place.
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
    """All that prior and q reach, and around it a border that ought to be empty."""
    prior = model.prior()
    q = model.posterior(sentence.to(next(model.parameters()).device))
    spans = [(p.mean.reshape(-1), REACH * p.variance.sqrt().reshape(-1)) for p in (prior, q)]
    low = torch.stack([mean - span for mean, span in spans]).amin(0)
    high = torch.stack([mean + span for mean, span in spans]).amax(0)
    border = (high - low) / (BORDER - 2)
    return tiling(low - border, high + border, TILES[model.latent_dim])


def _points(table: Tensor) -> Quadrature:
    """The points of all cells (P, n, D + 4)."""
    z, *columns = table.flatten(0, 1).split([table.shape[-1] - 4, 1, 1, 1, 1], 1)
    return Quadrature(z, *columns)


def _shares(table: Tensor, fine: Quadrature, coarse: Quadrature) -> Tensor:
    """What every cell adds to each integral (P, F), densities taken relative to the mass found on both points.

    Mass itself counts at the size of the integrals: what is missed of it is missed from all.
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
    """Which cells (P,) are to be halved: all but the many whose changes (P, F) add up to little."""
    worst = changes.abs().amax(1)
    ascending, order = worst.sort()
    little = max(LITTLE * tolerance, LEFT * float(worst.sum()))
    rough = torch.zeros(len(worst), dtype=torch.bool, device=worst.device)
    rough[order[ascending.cumsum(0) > little]] = True
    return rough
