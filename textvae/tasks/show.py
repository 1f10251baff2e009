"""`textvae show`: print a run's results from its directory alone."""

from pathlib import Path

from textvae.console.results import evaluation_table
from textvae.runs import Run

__all__ = ["show"]

SAMPLES = RECONSTRUCTIONS = 5


def show(directory: Path) -> None:
    """Print the table of numbers, samples, reconstructions, an interpolation and how to see the curves."""
    run = Run.open(directory)
    if run.evaluation:
        evaluation_table(str(run.path), run.evaluation)
    else:
        trained = run.status == "done"
        state = f"run textvae evaluate {run.path}" if trained else f"its training is {run.status or 'waiting'}"
        print(f"{run.path}: not evaluated yet; {state}")
    _section("samples, z from the prior", run.read_text("samples.txt")[:SAMPLES])
    pairs = [line.split("\t") for line in run.read_text("reconstructions.txt")[:RECONSTRUCTIONS]]
    _section("reconstructions", [f"{a}\n  → {b}" for a, b in pairs])
    _section("interpolation", run.read_text("interpolations.txt"))
    print(f"\ncurves: tensorboard --logdir {run.path}")


def _section(title: str, lines: list[str]) -> None:
    if lines:
        print(f"\n{title}")
        print(*(f"  {line}" for line in lines), sep="\n")
