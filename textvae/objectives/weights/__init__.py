"""The weights a configuration can name: all schedules, and controllers that react to the training terms.

A controller of the rate must weight the rate, and one of the distortion the distortion: exchanged, each
would push away from its target.
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
