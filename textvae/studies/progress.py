"""The progress of a run, from its metrics."""

import json

from textvae.config import Config, epochs
from textvae.runs import Run

__all__ = ["share"]

TAIL_BYTES = 1 << 16
TRAINING = 0.9
"""Training's share of a cell; evaluation is the rest."""


def share(run: Run, config: Config) -> float:
    """The completed fraction of a cell, between 0 and 1."""
    row, budget = _last_row(run), config.training.budget
    length = epochs(budget)
    done, whole = (row.get("step", 0), int(budget)) if length is None else (row.get("epoch", 0), length)
    return TRAINING * min(1.0, done / whole) if whole else 0.0


def _last_row(run: Run) -> dict[str, float]:
    """The last complete training row of `metrics.jsonl`."""
    if not run.metrics.exists():
        return {}
    with run.metrics.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
        lines = file.read().split(b"\n")[:-1]
    for line in reversed(lines):
        if b'"split": "train"' in line and line.startswith(b"{"):
            return dict(json.loads(line))
    return {}
