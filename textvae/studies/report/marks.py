"""Colour and marker of each remedy in every figure, distinguishable without colour; and runs as points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textvae.plots.figure import Axes, Figure, canvas
from textvae.studies.report.entries import Row

__all__ = [
    "LINES",
    "MARKERS",
    "OKABE_ITO",
    "Point",
    "by_remedy",
    "figure_of",
    "marks",
    "mean_of",
    "plain",
    "points_of",
]

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*X<>"
LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Point:
    """A number over the rate, both in nats per sentence."""

    rate: float
    value: float


def by_remedy(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {row.remedy: [other for other in rows if other.remedy == row.remedy] for row in rows}


def marks(rows: Sequence[Row]) -> Mapping[str, tuple[str, str]]:
    """{remedy: colour and marker} of those at several strengths; the others are grey and named at their points."""
    several = [name for name, strengths in by_remedy(rows).items() if len(strengths) > 1]
    return {
        name: (OKABE_ITO[place % len(OKABE_ITO)], MARKERS[place % len(MARKERS)])
        for place, name in enumerate(several)
    }


def points_of(row: Row, split: str, metric: str) -> list[Point]:
    """One point per run."""
    pairs = ((entry.value(split, "rate"), entry.value(split, metric)) for entry in row.entries)
    return [Point(rate, value) for rate, value in pairs if rate is not None and value is not None]


def mean_of(points: Sequence[Point]) -> Point:
    count = len(points)
    return Point(sum(point.rate for point in points) / count, sum(point.value for point in points) / count)


def figure_of(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one panel, its size in inches."""
    figure, (axes,) = canvas(1)
    figure.set_size_inches(width, height)
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(labelsize=8)
