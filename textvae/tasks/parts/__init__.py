"""Every part of a full evaluation, in the order in which they are measured."""

from textvae.tasks.parts.language import Text
from textvae.tasks.parts.likelihood import BoundCurve, PosteriorGap, PriorCurve, Simulated
from textvae.tasks.parts.part import Part
from textvae.tasks.parts.trained import Knowledge, Lag
from textvae.tasks.parts.use import Dimensions, Listening, Positions

__all__ = ["BRIEF", "FULL", "Part"]

FULL: tuple[Part, ...] = (
    Dimensions(),
    Listening(),
    Positions(),
    PriorCurve(),
    BoundCurve(),
    PosteriorGap(),
    Simulated(),
    Lag(),
    Knowledge(),
    Text(),
)
BRIEF: tuple[Part, ...] = (
    Dimensions(),
    Listening(),
    Positions(),
    PriorCurve(prior_sentences=64, prior_samples=300),
    BoundCurve(gap_sentences=64, curve_samples=100),
    PosteriorGap(gap_sentences=64, refining_steps=100, temperatures=0),
    Lag(lag_steps=150, lag_sentences=500),
)
"""For a verdict in two minutes: enough to tell whether the model or the inference is to blame."""
