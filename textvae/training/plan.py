"""What a run intends, where it stands, and who is told."""

import math
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Decay", "Plan", "Progress", "Watcher"]


class Watcher(Protocol):
    """Whoever shows progress."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """A row of training means."""

    def remark(self, sentence: str) -> None:
        """Something worth a line."""


@dataclass(frozen=True)
class Decay:
    """Multiply the learning rate by `factor` and go back to the best weights after `patience` validations
    without a better one, not before step `after`, at most `times`; one more ends the run."""

    factor: float
    patience: int
    after: int
    times: int


@dataclass(frozen=True)
class Plan:
    """When things happen, in optimiser steps."""

    budget: int
    validate_every: int
    log_every: int
    checkpoint_every: int | None
    decay: Decay | None
    stop_after: int | None


@dataclass
class Progress:
    """Where training stands; all of it is in the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    row_seconds: float = 0.0  # since the last row
    best: float = math.inf
    best_step: int | None = None
    waited: int = 0
    waited_since_decay: int = 0
    decays: int = 0
    stopped: bool = False
