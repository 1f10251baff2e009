"""Open-loop schedules: a value that is a pure function of the optimiser step.

They serve the weight of the penalty and the rate of word dropout alike. `settles_at` is the step from
which the value no longer changes; nothing is selected, decayed or stopped before it.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*: sigmoid annealing.
Sønderby et al. 2016, *Ladder Variational Autoencoders*: linear warm-up.
Fu et al. 2019, *Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing*.
"""

import math
from abc import ABC, abstractmethod
from typing import Annotated

from annotated_types import Ge, Gt

from textvae.fields import Count, NonNegative, Positive, Probability, Steps

__all__ = ["SCHEDULES", "Constant", "Cyclical", "Linear", "Schedule", "Sigmoid"]


class Schedule(ABC):
    """A value for every optimiser step, counted from 0."""

    settles_at: int

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The value at this step."""


class Constant(Schedule):
    """value, always."""

    def __init__(self, *, value: NonNegative = 1.0) -> None:
        self.value = value
        self.settles_at = 0

    def __call__(self, step: int) -> float:
        return self.value


class Linear(Schedule):
    """start + (end − start) · min(1, t / steps)."""

    def __init__(self, *, steps: Steps, start: NonNegative = 0.0, end: NonNegative = 1.0) -> None:
        self.start, self.end = start, end
        self.settles_at = steps

    def __call__(self, step: int) -> float:
        if step >= self.settles_at:
            return self.end
        return self.start + (self.end - self.start) * step / self.settles_at


class Sigmoid(Schedule):
    """end / (1 + exp(−steepness · (t − midpoint))), set to `end` once it is within 0.1 % of it."""

    def __init__(self, *, midpoint: Steps = 2500, steepness: Positive = 0.0025, end: NonNegative = 1.0) -> None:
        self.midpoint, self.steepness, self.end = midpoint, steepness, end
        self.settles_at = midpoint + math.ceil(math.log(999) / steepness)

    def __call__(self, step: int) -> float:
        if step >= self.settles_at:
            return self.end
        return self.end / (1 + math.exp(min(-self.steepness * (step - self.midpoint), 700)))


class Cyclical(Schedule):
    """`cycles` linear ramps from `start` to `end`, each over the first `ratio` of `length` steps.

    With τ = (t mod length) / length: start + (end − start) · min(1, τ / ratio), and `end` after the
    last cycle, so that a run ends at full weight. The released code of Fu et al. starts at 0.1.
    """

    def __init__(
        self,
        *,
        length: Annotated[Steps, Ge(1)],
        cycles: Count = 4,
        ratio: Annotated[Probability, Gt(0)] = 0.5,
        start: NonNegative = 0.0,
        end: NonNegative = 1.0,
    ) -> None:
        self.length, self.cycles, self.ratio = length, cycles, ratio
        self.start, self.end = start, end
        self.settles_at = (cycles - 1) * length + math.ceil(round(ratio * length, 9))

    def __call__(self, step: int) -> float:
        if step >= self.settles_at:
            return self.end
        phase = (step % self.length) / self.length
        return self.start + (self.end - self.start) * min(1.0, phase / self.ratio)


SCHEDULES = {"constant": Constant, "linear": Linear, "sigmoid": Sigmoid, "cyclical": Cyclical}
