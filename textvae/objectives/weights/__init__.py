"""The weights a configuration can name: all schedules, and the controllers that watch what a weight does.

A controller of the rate belongs on the rate, one of the distortion on the distortion: the other way
round, each would push away from its target.
"""

from textvae.objectives.weights.constraint import Constraint
from textvae.objectives.weights.minimum_rate import MinimumRate
from textvae.objectives.weights.proportional_integral import ProportionalIntegral
from textvae.objectives.weights.schedules import SCHEDULES, Schedule
from textvae.objectives.weights.soft_free_bits import SoftFreeBits
from textvae.objectives.weights.weight import Weight

__all__ = ["DISTORTION_WEIGHTS", "SCHEDULES", "WEIGHTS", "Schedule", "Weight"]

WEIGHTS = {
    **SCHEDULES,
    "pi": ProportionalIntegral,
    "soft_free_bits": SoftFreeBits,
    "minimum_rate": MinimumRate,
}

DISTORTION_WEIGHTS = {**SCHEDULES, "constraint": Constraint}
