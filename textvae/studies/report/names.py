"""Names beside points, without overlap: each takes the nearest free place, with a thin line if that is far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from textvae.plots.figure import Axes

__all__ = ["name_points"]

Place = tuple[float, float]

SIZE = 7.0
"""Height of a letter, in points."""
WIDE, HIGH = 0.66, 1.25
"""A letter's width and a line's height, in letter heights."""
RINGS = tuple(range(6, 150, 6))
DIRECTIONS = tuple(math.radians(angle) for angle in (0, 30, -30, 60, -60, 180, 150, -150, 90, -90, 120, -120))
FAR = 14
"""Distance in points from which a line connects a name to its point."""


@dataclass(frozen=True)
class Box:
    """A rectangle on the page, in points."""

    left: float
    low: float
    right: float
    high: float

    def meets(self, other: "Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.low < other.high and other.low < self.high


def name_points(
    axes: Axes, named: Sequence[tuple[str, float, float]], taken: Sequence[tuple[float, float]]
) -> None:
    """Write each name beside its point (x, y), inside the axes, clear of other names and of all points `taken`.

    Axis limits must be set before, since places are computed in page coordinates.
    """
    axes.figure.draw_without_rendering()  # fixes the position of the axes
    per_point = axes.figure.dpi / 72
    frame = Box(*(edge / per_point for edge in axes.get_window_extent().extents))
    occupied = [_dot(*_on_page(axes, x, y, per_point)) for x, y in taken]
    for name, x, y in named:
        right, up = _place(name, _on_page(axes, x, y, per_point), frame, occupied)
        line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5} if math.hypot(right, up) >= FAR else None
        style = {"fontsize": SIZE, "color": "0.25", "va": "center", "ha": "right" if right < 0 else "left"}
        axes.annotate(name, (x, y), (right, up), textcoords="offset points", arrowprops=line, **style)


def _place(name: str, at: Place, frame: Box, occupied: list[Box]) -> Place:
    """The nearest free offset of a name from its point, then marked as occupied; the nearest if none is free."""
    for ring in RINGS:
        for angle in DIRECTIONS:
            # Rounded, so that straight up is neither left nor right.
            right, up = round(ring * math.cos(angle), 3), round(ring * math.sin(angle), 3)
            box = _box(name, at[0] + right, at[1] + up, leftward=right < 0)
            if _inside(box, frame) and not any(box.meets(other) for other in occupied):
                occupied.append(box)
                return right, up
    return float(RINGS[0]), 0.0


def _on_page(axes: Axes, x: float, y: float, per_point: float) -> Place:
    across, up = axes.transData.transform((x, y))
    return across / per_point, up / per_point


def _box(name: str, x: float, y: float, leftward: bool) -> Box:
    width, half = WIDE * SIZE * len(name), HIGH * SIZE / 2
    left = x - width if leftward else x
    return Box(left, y - half, left + width, y + half)


def _dot(x: float, y: float) -> Box:
    return Box(x - 3, y - 3, x + 3, y + 3)


def _inside(box: Box, frame: Box) -> bool:
    across = frame.left <= box.left and box.right <= frame.right
    return across and frame.low <= box.low and box.high <= frame.high
