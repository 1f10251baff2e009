"""Runs over their rate: the rate–distortion plane, and the likelihood at each rate.

A remedy at several strengths has a colour, a marker and a line through its means; one at a single strength
is a grey point with its name beside it. Those that would not be legible are left to the caption: `crowd`, which
overlap at a rate near 0, and `beyond`, which are far from all others.

References
----------
Alemi et al. 2018, *Fixing a Broken ELBO*: the rate–distortion plane. A model of the true
distribution p* lies on distortion + rate = H(p*), the corpus's entropy, and no model lies below that line.
"""

import math
from collections.abc import Sequence
from statistics import median

from textvae.plots.figure import Axes, Figure
from textvae.studies.report.columns import KNOWN
from textvae.studies.report.entries import Row
from textvae.studies.report.marks import Point, by_remedy, figure_of, marks, mean_of, points_of
from textvae.studies.report.names import name_points

__all__ = ["CROWDED", "beyond", "crowd", "likelihood_by_rate", "plane"]

CROWDED = 0.1
"""Rate in nats below which points at a single strength are not named."""
TOO_HIGH = 1.3
"""Runs above this multiple of the median −ELBO are outside the frame; they would flatten all others."""
GREY = "0.55"
DASHED = {"color": "0.3", "linewidth": 1.1, "linestyle": "--"}


def plane(rows: Sequence[Row], split: str, baseline: str | None = None) -> Figure:
    """Distortion over rate, one point per run; strengths joined by their means; grey lines have equal −ELBO."""
    figure, axes = figure_of(11, 6.2)
    points = _runs(axes, rows, split, "distortion")
    reach = _reach(points)
    for level in _levels([point.value + point.rate for point in points]):
        axes.plot([0, reach], [level, level - reach], color="0.88", linewidth=0.7, zorder=0)
        place = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(f"{level:g}", (reach, level - reach), fontsize=6.5, color="0.5", **place)
    edges = [point.value for point in points]
    truth = _truth(rows, split)
    if truth is not None:
        axes.plot([0, reach], [truth, truth - reach], label=_said(truth), **DASHED)
        edges += [truth, max(truth - reach, 0.0)]
    _limits(axes, reach, edges)
    axes.set_xlabel("rate  KL(q(z|x) ‖ p(z)), nats per sentence")
    axes.set_ylabel("distortion  −E log p(x|z), nats per sentence")
    return _named(figure, axes, rows, split, "distortion", baseline)


def likelihood_by_rate(rows: Sequence[Row], split: str, baseline: str | None = None) -> Figure:
    """The importance-weighted NLL over the rate: the cost of using z, at matched rate."""
    figure, axes = figure_of(11, 5.4)
    points = _runs(axes, rows, split, "iwae_nll")
    edges = [point.value for point in points] or [0.0]
    truth = _truth(rows, split)
    if truth is not None:
        near = truth >= 2 * min(edges) - max(edges)  # else it would flatten the points to compare
        axes.axhline(truth, label=_said(truth) + ("" if near else ", below the frame"), **DASHED)
        edges += [truth] if near else []
    _limits(axes, _reach(points), edges)
    axes.set_xlabel("rate, nats per sentence")
    made = KNOWN["iwae_nll"].estimators(rows, split)
    axes.set_ylabel(f"importance-weighted NLL{f' ({made})' if made else ''}, nats per sentence")
    return _named(figure, axes, rows, split, "iwae_nll", baseline)


def crowd(rows: Sequence[Row], split: str, metric: str, baseline: str | None = None) -> list[str]:
    """The remedies at a single strength with a rate near 0, except the baseline, which has its own marker."""
    single = _single(rows, split, metric)
    return [name for name, point in single if point.rate < CROWDED and name != baseline]


def beyond(rows: Sequence[Row], split: str, metric: str) -> list[tuple[str, Point]]:
    """Rows with a run outside the frame, and their means."""
    found = ((row.label, points_of(row, split, metric)) for row in rows)
    scale = _scale(rows, split)
    return [(label, mean_of(points)) for label, points in found if any(_outside(point, scale) for point in points)]


def _scale(rows: Sequence[Row], split: str) -> float:
    """The median −ELBO, roughly the information in a sentence; a higher rate cannot pay off."""
    costs = [-value for row in rows for value in row.summary(split, "elbo").values]
    return median(costs) if costs else math.inf


def _outside(point: Point, scale: float) -> bool:
    return point.rate > scale or point.value > TOO_HIGH * scale


def _reach(points: Sequence[Point]) -> float:
    return max([1.0, *(1.06 * point.rate for point in points)])


def _runs(axes: Axes, rows: Sequence[Row], split: str, metric: str) -> list[Point]:
    """Draw every run, and return those inside the frame."""
    drawn: list[Point] = []
    styles, scale = marks(rows), _scale(rows, split)
    for name, strengths in by_remedy(rows).items():
        seeds = [points for row in strengths if (points := points_of(row, split, metric))]
        colour, marker = styles.get(name, (GREY, "o"))
        every = [point for points in seeds for point in points]
        shown = {"label": name, "markersize": 5.5, "zorder": 3} if name in styles else {"markersize": 3.5}
        if every:
            _draw(axes, every, color=colour, marker=marker, linestyle="", alpha=0.85, markeredgewidth=0, **shown)
            means = sorted((mean_of(points) for points in seeds), key=lambda point: point.rate)
            _draw(axes, means, color=colour, linewidth=1.1, alpha=0.6)
        drawn += [point for point in every if not _outside(point, scale)]
    return drawn


def _draw(axes: Axes, points: Sequence[Point], **style: object) -> None:
    axes.plot([point.rate for point in points], [point.value for point in points], **style)


def _single(rows: Sequence[Row], split: str, metric: str) -> list[tuple[str, Point]]:
    """The remedies at one strength, with the mean of their runs."""
    styles = marks(rows)
    found = ((row.remedy, points_of(row, split, metric)) for row in rows if row.remedy not in styles)
    return [(name, mean_of(points)) for name, points in found if points]


def _named(
    figure: Figure, axes: Axes, rows: Sequence[Row], split: str, metric: str, baseline: str | None
) -> Figure:
    """The figure with its legend and the names of grey points, now that its limits are known."""
    single = _single(rows, split, metric)
    for name, point in single:
        if name == baseline:
            _draw(axes, [point], marker="*", markersize=11, color="black", linestyle="", label=name, zorder=4)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    scale = _scale(rows, split)
    taken = [(point.rate, point.value) for row in rows for point in points_of(row, split, metric)]
    shown = [(n, p) for n, p in single if p.rate >= CROWDED and n != baseline and not _outside(p, scale)]
    name_points(axes, [(name, point.rate, point.value) for name, point in shown], taken)
    return figure


def _said(truth: float) -> str:
    return f"mean exact NLL of the split, {truth:.2f}"


def _limits(axes: Axes, reach: float, edges: Sequence[float]) -> None:
    axes.set_xlim(-0.02 * reach, reach)
    if edges:
        margin = 0.06 * (max(edges) - min(edges)) + 0.1
        axes.set_ylim(min(edges) - margin, max(edges) + margin)


def _truth(rows: Sequence[Row], split: str) -> float | None:
    """The mean exact NLL of the split, if the corpus has one."""
    known = [value for row in rows for value in row.summary(split, "exact_nll").values]
    return known[0] if known else None


def _levels(values: Sequence[float]) -> list[float]:
    """About six round numbers over the range of values."""
    if not values:
        return []
    low, high = min(values), max(values)
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, math.inf) if (high - low) / s <= 6)
    return [] if math.isinf(step) else [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
