"""Open-loop schedules: a value that is a pure function of the optimiser step.

They set the weights of the loss and the rates of word dropout and teacher forcing; `settles_at` is the step
from which the value no longer changes.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*: sigmoid annealing.
Sønderby et al. 2016, *Ladder Variational Autoencoders*: linear warm-up.
Bahuleyan et al. 2018, *Variational Attention for Sequence-to-Sequence Models*: tanh warm-up.
Fu et al. 2019, *Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing*.
"""

import math
from abc import abstractmethod
from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor

from textvae.fields import Count, NonNegative, Positive, Probability, Steps
from textvae.objectives.weights.weight import Weight

__all__ = ["SCHEDULES", "Constant", "Cosine", "Cyclical", "Linear", "Schedule", "Sigmoid", "Tanh"]


class Schedule(Weight):
    """A value for every optimiser step, independent of the training terms.

    While `held` is a tensor, it is the value: a recorded step reads it from there (`training.graphs`).
    """

    held: Tensor | None = None

    @abstractmethod
    def at(self, step: int) -> float:
        """The value at this step."""

    def forward(self, step: int) -> float | Tensor:
        return self.at(step) if self.held is None else self.held


class Constant(Schedule):
    """value, always."""

    def __init__(self, *, value: NonNegative = 1.0) -> None:
        super().__init__()
        self.value = value
        self.settles_at = 0

    def at(self, step: int) -> float:
        return self.value


class Linear(Schedule):
    """start + (end − start) · min(1, t / steps)."""

    def __init__(self, *, steps: Steps, start: NonNegative = 0.0, end: NonNegative = 1.0) -> None:
        super().__init__()
        self.start, self.end = start, end
        self.settles_at = steps

    def at(self, step: int) -> float:
        if step >= self.settles_at:
            return self.end
        return self.start + (self.end - self.start) * step / self.settles_at


class Sigmoid(Schedule):
    """end / (1 + exp(−steepness · (t − midpoint))), set to `end` once it is within 0.1 % of it."""

    def __init__(self, *, midpoint: Steps = 2500, steepness: Positive = 0.0025, end: NonNegative = 1.0) -> None:
        super().__init__()
        self.midpoint, self.steepness, self.end = midpoint, steepness, end
        self.settles_at = midpoint + math.ceil(math.log(999) / steepness)

    def at(self, step: int) -> float:
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
        super().__init__()
        self.length, self.cycles, self.ratio = length, cycles, ratio
        self.start, self.end = start, end
        self.settles_at = (cycles - 1) * length + math.ceil(round(ratio * length, 9))

    def at(self, step: int) -> float:
        if step >= self.settles_at:
            return self.end
        phase = (step % self.length) / self.length
        return self.start + (self.end - self.start) * min(1.0, phase / self.ratio)


class Tanh(Schedule):
    """end · (1 + tanh((t − midpoint) / width)) / 2, set to `end` once it is within 0.1 % of it.

    It is a sigmoid of steepness 2 / width.
    """

    def __init__(self, *, midpoint: Steps = 2500, width: Positive = 1000.0, end: NonNegative = 1.0) -> None:
        super().__init__()
        self.midpoint, self.width, self.end = midpoint, width, end
        self.settles_at = midpoint + math.ceil(width * math.atanh(0.998))

    def at(self, step: int) -> float:
        if step >= self.settles_at:
            return self.end
        return self.end * (1 + math.tanh((step - self.midpoint) / self.width)) / 2


class Cosine(Schedule):
    """start + (end − start) · (1 − cos(π min(1, t / steps))) / 2."""

    def __init__(self, *, steps: Steps, start: NonNegative = 0.0, end: NonNegative = 1.0) -> None:
        super().__init__()
        self.start, self.end = start, end
        self.settles_at = steps

    def at(self, step: int) -> float:
        if step >= self.settles_at:
            return self.end
        return self.start + (self.end - self.start) * (1 - math.cos(math.pi * step / self.settles_at)) / 2


SCHEDULES = {
    "constant": Constant,
    "linear": Linear,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "cosine": Cosine,
    "cyclical": Cyclical,
}
