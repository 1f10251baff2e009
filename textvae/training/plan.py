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
    """Multiply the learning rate by `factor` and reload the best weights after `patience` validations without
    improvement, from step `after` on, at most `times` times; when one more is due, the run ends."""

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

    @property
    def unselected(self) -> str | None:
        """Why no best weights were selected; None if some were."""
        if self.best_step is not None:
            return None
        never_finite = "the loss on valid was never a finite number"
        return never_finite if self.waited else "no validation came after the weight had settled"
