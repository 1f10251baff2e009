"""The plan of a run, its progress, and the interface for reporting it."""

import math
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Decay", "Plan", "Progress", "Watcher"]


class Watcher(Protocol):
    """Receives reports of progress."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """Show a row of training means."""

    def remark(self, sentence: str) -> None:
        """Show a one-sentence remark."""


@dataclass(frozen=True)
class Decay:
    """Multiply the learning rate by `factor` after `patience` validations without improvement, from step `after`
    on, at most `times` times; when one more is due, the run ends.

    The best weights are reloaded, those of a trained auxiliary with the model's; the optimiser keeps its moments.
    """

    factor: float
    patience: int
    after: int
    times: int


@dataclass(frozen=True)
class Plan:
    """When to validate, log, save and stop: in optimiser steps, except that `stop_after` counts validations."""

    budget: int
    validate_every: int
    log_every: int
    checkpoint_every: int | None
    decay: Decay | None
    stop_after: int | None


@dataclass
class Progress:
    """The progress of training; all of it is saved in the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    row_seconds: float = 0.0  # since the last row
    best: float = math.inf
    best_step: int | None = None
    waited: int = 0
    waited_since_decay: int = 0
    decays: int = 0
    stopped: bool = False

    def improved(self, cost: float) -> bool:
        """Count a validation; whether its cost is the least yet."""
        if cost < self.best:
            self.best, self.best_step = cost, self.step
            self.waited = self.waited_since_decay = 0
            return True
        self.waited += 1
        self.waited_since_decay += 1
        return False

    def decay_due(self, decay: Decay) -> bool:
        """Whether the learning rate decays now; the run is stopped if it has decayed as often as it may."""
        if self.step < decay.after or self.waited_since_decay < decay.patience:
            return False
        self.waited_since_decay = 0
        self.stopped = self.decays == decay.times
        self.decays += not self.stopped
        return not self.stopped

    @property
    def unselected(self) -> str | None:
        """Why no best weights were selected; None if some were."""
        if self.best_step is not None:
            return None
        never_finite = "the loss on valid was never a finite number"
        return never_finite if self.waited else "no validation came after the weight had settled"
