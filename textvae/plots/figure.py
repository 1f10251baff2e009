"""The common style of all plots, and their conversion to PNG or pixels; drawn by matplotlib without a display.

References
----------
Okabe & Ito 2008, *Color Universal Design*: colours that colour-blind readers can distinguish.
"""

import io
from typing import Any

import numpy as np

from textvae.errors import ConfigError

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "RED",
    "Axes",
    "Figure",
    "canvas",
    "legend",
    "pixels",
    "png",
    "require_matplotlib",
]

Figure = Any
Axes = Any
"""matplotlib's types; matplotlib is imported only where it draws."""

BLACK, BLUE, ORANGE, GREEN, RED, GREY = "#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"


def require_matplotlib() -> None:
    """Require what draws, before the work whose results are drawn.

    Raises
    ------
    ConfigError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ConfigError("plots need matplotlib: pip install 'textvae[plots]'") from None


def canvas(panels: int, width: float = 5.2) -> tuple[Figure, list[Axes]]:
    """A figure with `panels` panels side by side, each `width` inches wide.

    Raises
    ------
    ConfigError
        If matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure as Made

    figure = Made(figsize=(width * panels, 3.9), dpi=130, layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0].tolist()
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(color="#e6e6e6")
        each.set_axisbelow(True)
    return figure, axes


def legend(axes: Axes, **where: Any) -> None:
    """Draw the legend, without a frame."""
    axes.legend(frameon=False, fontsize=9, **where)


def png(figure: Figure) -> bytes:
    """The content of a PNG file."""
    out = io.BytesIO()
    figure.savefig(out, format="png", bbox_inches="tight")
    return out.getvalue()


def pixels(content: bytes) -> np.ndarray:
    """A PNG as an array (height, width, 3), for TensorBoard."""
    from matplotlib.image import imread

    return np.asarray(imread(io.BytesIO(content)))[..., :3]
