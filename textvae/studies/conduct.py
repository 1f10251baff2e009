"""Run every unfinished cell in order, as many at once as the launcher allows.

A finished cell is skipped, a killed one resumes from its checkpoint, a failed one is retried. A cell's first
stage runs before it. Ctrl-C and SIGTERM stop all jobs, which save before they exit.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from textvae.config import changed_keys
from textvae.errors import RunError, counted
from textvae.evaluation.estimators import REVISION
from textvae.evaluation.evaluate import asked
from textvae.runs import Run
from textvae.studies.grid import Cell
from textvae.studies.jobs import Job, last_line, probed
from textvae.studies.launchers import Handle, Launcher
from textvae.studies.manifest import Manifest, State
from textvae.studies.progress import share
from textvae.studies.study import Measures
from textvae.training.signals import stopping

__all__ = ["Conductor", "completed", "finished"]

POLL_SECONDS = 0.2
FAILED_BEFORE = "its first stage failed"


def finished(run: Run, cell: Cell, measures: Measures) -> bool:
    """Whether a run of these settings is trained and evaluated as the study asks."""
    if not run.exists() or run.status != "done":
        return False
    made = run.config
    same = made.training.budget == cell.config.training.budget and not changed_keys(made, cell.config)
    if not same or cell.stage:
        return same
    weights, kept = run.weights_sha256, run.evaluation
    wanted = asked(measures.samples, 0, weights).items()
    if not all(kept.get(split, {}).items() >= wanted for split in measures.splits):
        return False
    return not probed(cell, measures) or "knowledge" in run.parts(measures.splits[0], weights, estimators=REVISION)


def completed(out: Path, cells: Mapping[str, Cell], manifest: Manifest) -> float:
    """Number of cells that ended, done or failed, plus the fractions completed of all others."""
    others = [path for path, record in manifest.records.items() if record.state not in ("done", "failed")]
    return manifest.count(["done", "failed"]) + sum(share(Run(out / path), cells[path].config) for path in others)


class Conductor:
    """Runs a study from its current state to its end."""

    def __init__(
        self,
        out: Path,
        cells: Mapping[str, Cell],
        manifest: Manifest,
        launcher: Launcher,
        job: Callable[[Cell], Job],
        tell: Callable[[float, str], None],
    ) -> None:
        self.out = out
        self.cells = cells
        self.manifest = manifest
        self.launcher = launcher
        self.job = job
        self.tell = tell
        self.running: dict[str, tuple[Handle, Job, float]] = {}
        self.elsewhere: set[str] = set()

    def conduct(self) -> None:
        """Run all waiting cells.

        Raises
        ------
        RunError
            If it was asked to stop; every job has then saved and exited.
        """
        with stopping() as stop:
            try:
                while not stop.is_set() and (self._waiting() or self.running):
                    self._end()
                    self._begin()
                    self.tell(completed(self.out, self.cells, self.manifest), "")
                    time.sleep(POLL_SECONDS)
            finally:
                self._stop()
        if stop.is_set():
            left = len(self.cells) - self.manifest.count(["done"])
            raise RunError(
                f"{self.out}: stopped and saved with {counted(left, 'run')} to go; the same command continues"
            )

    def _waiting(self) -> list[str]:
        return [path for path in self.cells if self._state(path) in ("waiting", "interrupted")]

    def _state(self, path: str) -> State:
        return self.manifest.records[path].state

    def _begin(self) -> None:
        """Start every cell that is ready. A run still trained by a leftover process counts towards the limit."""
        elsewhere = {path for path in self._waiting() if Run(self.out / path).locked}
        for path in sorted(elsewhere - self.elsewhere):
            self._say(path, "is trained by a process that an earlier start left behind; waiting for it")
        self.elsewhere |= elsewhere
        for path in self._waiting():
            first = self.cells[path].first
            if first and self._state(first.path) == "failed":
                self._mark(path, "failed", FAILED_BEFORE)
                continue
            ready = path not in elsewhere and (not first or self._state(first.path) == "done")
            if ready and len(self.running) + len(elsewhere) < self.launcher.jobs:
                job = self.job(self.cells[path])
                self.running[path] = self.launcher.start(job), job, time.monotonic()
                self._mark(path, "running")

    def _end(self, otherwise: State = "failed") -> None:
        """Record the jobs that have ended, as done or, if they failed, as `otherwise`."""
        for path, (handle, job, began) in list(self.running.items()):
            code = handle.poll()
            if code is not None:
                del self.running[path]
                self.manifest.records[path].seconds += time.monotonic() - began
                self._mark(path, otherwise if code else "done", last_line(job.log) if code else "")
                self._say(path, self._outcome(path))

    def _stop(self) -> None:
        """Ask every job to save and exit, and wait for it."""
        for handle, _, _ in self.running.values():
            handle.stop()
        while self.running:
            self._end("interrupted")
            time.sleep(POLL_SECONDS)

    def _mark(self, path: str, state: State, reason: str = "") -> None:
        record = self.manifest.records[path]
        record.state, record.reason = state, reason
        self.manifest.write(self.out)

    def _outcome(self, path: str) -> str:
        record = self.manifest.records[path]
        return f"done in {record.seconds:.0f} s" if record.state == "done" else f"{record.state}: {record.reason}"

    def _say(self, path: str, what: str) -> None:
        self.tell(completed(self.out, self.cells, self.manifest), f"{path}: {what}")
