"""A cell as a job: its commands, each a separate process, run one after another on one machine.

Their output goes to a log file beside the run's folder. When asked to stop, training saves and exits; the same
commands resume it.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textvae.config.draft import OPTIONS, SECTIONS
from textvae.studies.grid import Cell
from textvae.studies.study import Measures
from textvae.training.signals import stopping

__all__ = ["Job", "Requeued", "Work", "job_of", "last_line", "log_of", "note", "perform", "probed"]

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
Command = tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """`textvae` commands, run one after another in `folder` until one fails.

    They see only the `card` of this name, if it is given.
    """

    name: str
    commands: tuple[Command, ...]
    log: Path
    folder: Path
    threads: int
    gpu: bool
    card: str | None = None


def job_of(cell: Cell, out: Path, settings: Path, measures: Measures, threads: int) -> Job:
    """Train, evaluate on every split, then probe if asked to; a first stage only trains."""
    config, run = cell.config, out / cell.path
    names = (str(out / f"{cell.path}.yaml"),) if cell.stage else (cell.recipes[0], str(settings), *cell.recipes[1:])
    train = ("train", *names, *_options(cell), "--threads", str(config.threads or threads), "--run", str(run))
    if cell.first:
        train += ("--init", str(out / cell.first.path))
    evaluate = ("evaluate", str(run), "--samples", str(measures.samples), "--device", config.device)
    commands: list[Command] = [train]
    if not cell.stage:
        commands += [(*evaluate, "--split", split) for split in measures.splits]
    if probed(cell, measures):
        commands.append(("probe", str(run), "--split", measures.splits[0], "--device", config.device))
    return Job(
        name=cell.path,
        commands=tuple(commands),
        log=log_of(cell, out),
        folder=Path.cwd(),
        threads=config.threads or threads,
        gpu=config.device.startswith("cuda"),
    )


def probed(cell: Cell, measures: Measures) -> bool:
    """Whether the study asks for probes and the run has a z."""
    return measures.probe and not cell.stage and cell.config.model.latent_dim > 0


def log_of(cell: Cell, out: Path) -> Path:
    return out / f"{cell.path}.log"


def last_line(log: Path) -> str:
    """The last non-empty line of a log, without the program's name."""
    lines = log.read_text("utf-8", "replace").split("\n") if log.exists() else []
    said = [line.strip() for line in lines if line.strip()]
    return said[-1].removeprefix("textvae: ") if said else "nothing was said"


class Work:
    """A running job on this machine."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.commands = iter(job.commands)
        self.code: int | None = None
        self.stopped = False
        self.process = self._begin(next(self.commands))

    def poll(self) -> int | None:
        """0 once all commands are done, the exit code of the first that failed or was stopped, else None."""
        if self.code is not None or (code := self.process.poll()) is None:
            return self.code
        if code == 0 and not self.stopped and (command := next(self.commands, None)):
            self.process = self._begin(command)
            return None
        if code < 0:
            note(self.job, f"ended by {signal.Signals(-code).name}")
        self.code = 1 if self.stopped else code
        return self.code

    def stop(self) -> None:
        """Start no further command, and ask the running one to save and exit."""
        self.stopped = True
        self.process.terminate()

    def wait(self) -> None:
        """Wait until a command that was asked to stop has saved and exited, for a minute at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_SECONDS)

    def _begin(self, command: Command) -> "subprocess.Popen[bytes]":
        note(self.job, f"$ textvae {shlex.join(command)}")
        card = {} if self.job.card is None else {"CUDA_VISIBLE_DEVICES": self.job.card}
        with self.job.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "textvae.cli", *command],
                cwd=self.job.folder,
                env={**os.environ, **card, "OMP_NUM_THREADS": str(self.job.threads)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def note(job: Job, line: str) -> None:
    """Append a line to a job's log."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("a", encoding="utf-8") as log:
        log.write(f"{line}\n")


def perform(job: Job) -> int:
    """Run a job here and return its exit code; Ctrl-C, SIGTERM or an exception stop its command."""
    with stopping() as stop:
        work = Work(job)
        try:
            while work.poll() is None:
                time.sleep(POLL_SECONDS)
                if stop.is_set() and not work.stopped:
                    work.stop()
        finally:
            work.stop()
            work.wait()
    return work.poll() or 0


class Requeued:
    """`perform` for Slurm: a job ended early, by its time limit or preemption, is requeued and resumes."""

    def __call__(self, job: Job) -> int:
        return perform(job)

    def checkpoint(self, job: Job) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


def _options(cell: Cell) -> Iterator[str]:
    """Settings as command-line options: JSON (which is YAML), or plain text for options with their own flag."""
    for key, value in cell.options.items():
        full = OPTIONS.get(key, key)
        if full != "threads":  # which `job_of` sets
            setting = full.split(".")[0] in SECTIONS
            yield f"--{full}={json.dumps(value, ensure_ascii=False) if setting else value}"
