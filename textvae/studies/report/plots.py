"""The report's figures; a remedy has one colour and marker in all of them, told apart without colour.

References
----------
Alemi et al. 2018, *Fixing a Broken ELBO*: the rate–distortion plane. A model of the truth lies on
distortion + rate = H(p*), the corpus's entropy, and none lies below that line.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

from textvae.plots.figure import Axes, Figure, canvas
from textvae.studies.report.entries import Row

__all__ = ["courses", "likelihood_by_rate", "plane", "spectra"]

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*X<>"
LINES = ("-", "--", ":", "-.")
PANELS_ACROSS = 4
SMALLEST_RATE = 1e-3

Points = Sequence[tuple[float, float]]


def plane(rows: Sequence[Row], split: str) -> Figure:
    """Distortion over rate, a point a run; strengths joined through their means; grey lines have equal −ELBO."""
    figure, axes = _figure(8.6, 5.2)
    points = _scatter(axes, rows, split, "distortion")
    truth = _truth(rows, split)
    rates = [rate for rate, _ in points] or [0.0]
    reach = max(max(rates) * 1.08, 1.0)
    if truth is not None:
        label = f"distortion + rate = {truth:.2f}, the entropy"
        axes.plot([0, reach], [truth, truth - reach], color="0.35", linewidth=1, linestyle="--", label=label)
    for level in _levels([distortion + rate for rate, distortion in points]):
        axes.plot([0, reach], [level, level - reach], color="0.85", linewidth=0.7, zorder=0)
        axes.annotate(f"{level:g}", (0, level), (3, 2), textcoords="offset points", fontsize=7, color="0.5")
    axes.set_xlim(-0.03 * reach, reach)
    lows = [distortion for _, distortion in points]
    if lows:
        margin = 0.08 * (max(lows) - min(lows)) + 0.3
        axes.set_ylim(min(lows) - margin, max(lows) + margin)
    axes.set_xlabel("rate  KL(q(z|x) ‖ p(z)), nats per sentence")
    axes.set_ylabel("distortion  −E log p(x|z), nats per sentence")
    return _with_legend(figure, axes)


def likelihood_by_rate(rows: Sequence[Row], split: str) -> Figure:
    """The importance-weighted NLL over the rate: what using z costs, at matched rate."""
    figure, axes = _figure(8.6, 4.6)
    _scatter(axes, rows, split, "iwae_nll")
    truth = _truth(rows, split)
    if truth is not None:
        axes.axhline(
            truth, color="0.35", linewidth=1, linestyle="--", label=f"exact NLL of the grammar, {truth:.2f}"
        )
    axes.set_xlabel("rate, nats per sentence")
    axes.set_ylabel("importance-weighted NLL, nats per sentence")
    return _with_legend(figure, axes)


def courses(rows: Sequence[Row]) -> Figure:
    """Valid rate over training, a panel a remedy, a line a run; strengths differ in line style."""
    figure, panels = _panels(rows, "training step", "valid rate, nats")
    for axes, strengths in panels:
        for style, row in zip(cycle(LINES), strengths):
            for place, entry in enumerate(row.entries):
                steps, rates = entry.course("valid", "rate")
                label = (row.strength or "all seeds") if place == 0 else None
                axes.plot(steps, rates, style, color=OKABE_ITO[0], linewidth=1.2, alpha=0.85, label=label)
        _small_legend(axes, strengths)
    return figure


def spectra(rows: Sequence[Row], split: str) -> Figure:
    """Rate of each dimension, largest first, a panel a remedy, a line a run."""
    figure, panels = _panels(rows, "dimension, by rate", "rate of the dimension, nats")
    largest = SMALLEST_RATE
    for axes, strengths in panels:
        for style, row in zip(cycle(LINES), strengths):
            for place, entry in enumerate(row.entries):
                rates = sorted(entry.measured(split).get("rate_per_dimension") or [], reverse=True)
                drawn = [max(rate, SMALLEST_RATE) for rate in rates]
                largest = max([largest, *drawn])
                label = (row.strength or "all seeds") if place == 0 else None
                places = range(1, len(drawn) + 1)
                axes.plot(places, drawn, style, color=OKABE_ITO[0], linewidth=1.2, alpha=0.85, label=label)
        axes.set_yscale("log")
        _small_legend(axes, strengths)
    axes.set_ylim(SMALLEST_RATE * 0.8, largest * 1.3)  # of every panel: they share it
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure, (axes,) = canvas(1)
    figure.set_size_inches(width, height)
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(labelsize=8)


def _panels(rows: Sequence[Row], x: str, y: str) -> tuple[Figure, Iterator[tuple[Axes, list[Row]]]]:
    """A figure with a panel for each remedy, on shared axes, and each panel with its strengths."""
    remedies = _by_remedy(rows)
    across = min(PANELS_ACROSS, max(1, len(remedies)))
    down = math.ceil(len(remedies) / across) or 1
    figure, first = _figure(2.9 * across + 0.4, 2.1 * down + 0.6)
    first.remove()
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten()
    for axes in grid[len(remedies) :]:
        axes.remove()
    for axes, name in zip(grid, remedies, strict=False):
        _plain(axes)
        axes.set_title(name, fontsize=9, loc="left")
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    return figure, zip(grid, remedies.values(), strict=False)


def _scatter(axes: Axes, rows: Sequence[Row], split: str, metric: str) -> list[tuple[float, float]]:
    """Runs as points over their rate, one colour and marker a remedy, means of its strengths joined."""
    drawn: list[tuple[float, float]] = []
    for place, (name, strengths) in enumerate(_by_remedy(rows).items()):
        style = {"color": OKABE_ITO[place % len(OKABE_ITO)], "marker": MARKERS[place % len(MARKERS)]}
        points = [point for row in strengths for point in _points(row, split, metric)]
        means = sorted(mean for row in strengths for mean in _mean(_points(row, split, metric)))
        if points:
            axes.plot(*zip(*points, strict=True), linestyle="", markersize=5.5, alpha=0.8, label=name, **style)
            axes.plot(*zip(*means, strict=True), linewidth=0.9, color=style["color"], alpha=0.6)
            drawn += points
    return drawn


def _points(row: Row, split: str, metric: str) -> list[tuple[float, float]]:
    pairs = ((entry.value(split, "rate"), entry.value(split, metric)) for entry in row.entries)
    return [(rate, value) for rate, value in pairs if rate is not None and value is not None]


def _mean(points: Points) -> Points:
    """One point, or none for none."""
    return [(sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points))] if points else []


def _by_remedy(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    return {name: [row for row in rows if row.remedy == name] for name in dict.fromkeys(row.remedy for row in rows)}


def _truth(rows: Sequence[Row], split: str) -> float | None:
    """The exact NLL of the split, where the corpus knows it."""
    known = [value for row in rows for value in row.summary(split, "exact_nll").values]
    return known[0] if known else None


def _levels(values: Sequence[float]) -> list[float]:
    """Some six round numbers over the range of values."""
    if not values:
        return []
    low, high = min(values), max(values)
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, math.inf) if (high - low) / s <= 6)
    return [] if math.isinf(step) else [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        columns = 1 if len(labels) <= 20 else 2
        figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False, ncols=columns)
    return figure


def _small_legend(axes: Axes, strengths: Sequence[Row]) -> None:
    if any(row.strength for row in strengths) and axes.lines:
        axes.legend(fontsize=6.5, frameon=False, handlelength=2.2, labelspacing=0.2)
