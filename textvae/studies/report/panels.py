"""One small panel per remedy, all on the same axes: the rate over training, and the spectrum of active units.

References
----------
Burda et al. 2016, *Importance Weighted Autoencoders*: a unit is active where Var_x E_q[z_d | x] is 0.01 or more.
"""

import math
from collections.abc import Iterator, Sequence

from textvae.plots.diagnosis import ACTIVE
from textvae.plots.figure import Axes, Figure
from textvae.studies.report.entries import Row
from textvae.studies.report.marks import LINES, OKABE_ITO, by_remedy, figure_of, plain

__all__ = ["SMALLEST", "courses", "spectra"]

SMALLEST = 1e-5
"""Smaller variances are drawn at this value."""
ACROSS = 6


def courses(rows: Sequence[Row]) -> Figure:
    """Valid rate over training, one line per run; linear below a nat, logarithmic above, so that all rates fit."""
    figure, panels = _panels(rows, "optimiser step", "valid rate, nats")
    for axes, strengths in panels:
        for place, row in enumerate(strengths):
            _lines(axes, row, place, [entry.course("valid", "rate") for entry in row.entries])
        axes.set_yscale("symlog", linthresh=1)
        _legend(axes, strengths)
    axes.set_ylim(bottom=0)  # shared by all panels; set once all lines are drawn
    return figure


def spectra(rows: Sequence[Row], split: str) -> Figure:
    """Var_x E_q[z_d | x] of every dimension, largest first, on a log axis, and the threshold of an active unit."""
    figure, panels = _panels(rows, "dimension, by its variance", "Var E[z|x]")
    for axes, strengths in panels:
        axes.axhline(ACTIVE, color="0.45", linewidth=0.8, linestyle=":")
        for place, row in enumerate(strengths):
            _lines(
                axes, row, place, [_spectrum(entry.measured(split).get("mean_variances")) for entry in row.entries]
            )
        axes.set_yscale("log")
        _legend(axes, strengths)
    return figure


def _spectrum(variances: Sequence[float] | None) -> tuple[list[int], list[float]]:
    drawn = [max(variance, SMALLEST) for variance in variances or []]
    return list(range(1, len(drawn) + 1)), drawn


def _lines(axes: Axes, row: Row, place: int, lines: Sequence[tuple[list[int], list[float]]]) -> None:
    """The runs of a row, which share a colour, a line style and an entry in the legend."""
    style = {"color": OKABE_ITO[place % len(OKABE_ITO)], "linestyle": LINES[place % len(LINES)]}
    for number, (x, y) in enumerate(lines):
        marker = "o" if len(x) == 1 else ""  # a line of one point would not be seen
        label = row.strength if number == 0 else None
        axes.plot(x, y, linewidth=1.1, alpha=0.85, marker=marker, markersize=3, label=label, **style)


def _panels(rows: Sequence[Row], x: str, y: str) -> tuple[Figure, Iterator[tuple[Axes, list[Row]]]]:
    """A figure with a panel for each remedy, on shared axes, and each panel with its strengths."""
    remedies = by_remedy(rows)
    across = min(ACROSS, max(1, len(remedies)))
    down = math.ceil(len(remedies) / across) or 1
    figure, first = figure_of(1.8 * across + 0.5, 1.35 * down + 0.6)
    first.remove()
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten()
    for axes in grid[len(remedies) :]:
        axes.remove()
    for axes in grid[max(0, len(remedies) - across) : len(remedies)]:
        axes.tick_params(labelbottom=True)  # the lowest of its column
    for axes, name in zip(grid, remedies, strict=False):
        plain(axes)
        axes.tick_params(labelsize=6.5)
        axes.set_title(name, fontsize=8, loc="left", pad=2)
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    return figure, zip(grid, remedies.values(), strict=False)


def _legend(axes: Axes, strengths: Sequence[Row]) -> None:
    if any(row.strength for row in strengths) and axes.lines:
        axes.legend(fontsize=5.5, frameon=False, handlelength=1.8, labelspacing=0.15, borderpad=0.1)
