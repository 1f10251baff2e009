"""Progress on stderr: a live line if it is a terminal, else plain lines now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from textvae.console.output import number, remark

__all__ = ["StudyDisplay", "TrainingDisplay", "counting", "pacing"]

SECONDS = 5.0
"""Minimum interval between two progress lines."""


class TrainingDisplay:
    """Progress of training from step `start` to step `budget`: a live line on a terminal, else plain lines."""

    def __init__(self, start: int, budget: int) -> None:
        self.budget = budget
        self.live = sys.stderr.isatty()
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self.live,
        )
        self.task = self.bar.add_task("training", total=budget, completed=start, values="")
        self.shown = start

    def __enter__(self) -> "TrainingDisplay":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def step(self, step: int, values: dict[str, float]) -> None:
        """Show a row of training means."""
        speed = values["tokens_per_second"]
        distortion, rate = number(values["distortion"], 1), number(values["rate"])
        line = f"distortion {distortion}  rate {rate}  β {values['weight']:.2f}"
        line += f"  {speed:,.0f} tokens/s"
        self.bar.update(self.task, completed=step, values=line)
        if not self.live and (step - self.shown >= self.budget / 20 or step == self.budget):
            self.shown = step
            remark(f"step {step}/{self.budget}  {line}")

    def remark(self, sentence: str) -> None:
        """Print a line above the live one."""
        if self.live:
            self.bar.console.print(sentence, highlight=False, markup=False)
        else:
            remark(sentence)


class StudyDisplay:
    """Progress of a study of `total` runs: a live line, or a line for every finished run.

    `before` of them were completed before it began, which its estimate of the time left does not count as speed.
    """

    def __init__(self, before: float, total: int) -> None:
        self.before, self.began, self.total = before, time.monotonic(), total
        self.live = sys.stderr.isatty()
        self.bar = Progress(
            TextColumn("study"),
            BarColumn(),
            TextColumn("{task.fields[values]}"),
            console=Console(stderr=True),
            disable=not self.live,
        )
        self.task = self.bar.add_task("study", total=total, values="")
        self.bar.update(self.task, completed=before)

    def __enter__(self) -> "StudyDisplay":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, completed: float, event: str) -> None:
        """Show how many runs have ended, plus the fraction completed of running ones, and the latest event."""
        values = f"{completed:.1f} of {self.total} runs{self._left(completed)}"
        self.bar.update(self.task, completed=completed, values=values)
        if event and self.live:
            self.bar.console.print(event, highlight=False, markup=False)
        elif event:
            remark(f"{event}; {values}")

    def _left(self, completed: float) -> str:
        """The remaining time at the average speed so far, once a whole run's worth has been done."""
        gained = completed - self.before
        if gained < 1:
            return ""
        seconds = (time.monotonic() - self.began) * (self.total - completed) / gained
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress on stderr, as a bar or, without a terminal, as lines; call the result with increments."""
    if not sys.stderr.isatty():
        yield pacing(what, total)
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda n: bar.advance(task, n)


def pacing(what: str, total: int) -> Callable[[int], None]:
    """Print progress lines at intervals; call the result with the number of items just done."""
    began = said = time.monotonic()
    done = first = 0

    def tick(n: int) -> None:
        nonlocal began, done, first, said
        done += n
        now = time.monotonic()
        if not first:  # it pays for all beginnings, and would make a bad estimate
            began, first = now, done
        if now - said >= SECONDS and 0 < done < total:
            said = now
            left = f", about {(now - began) * (total - done) / (done - first):.0f} s left" if done > first else ""
            remark(f"{what}: {done / total:.0%}{left}")

    return tick
