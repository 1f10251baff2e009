"""A trace of some training steps and one evaluation, operation by operation.

Perfetto (ui.perfetto.dev) and chrome://tracing open the file directly; TensorBoard's profiler shows it
if it is in a log directory and its name ends in `.pt.trace.json`.
"""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from textvae.bench.cell import Cell, Workload
from textvae.bench.contenders import evaluation, training
from textvae.errors import TextvaeError
from textvae.training.graphs import on_a_stream

__all__ = ["require_room", "write_trace"]

STEPS = 5


def require_room(path: Path) -> None:
    """Check that a file can be written at `path`.

    Raises
    ------
    TextvaeError
        If its folder does not exist, or `path` is a folder.
    """
    if not path.parent.is_dir():
        raise TextvaeError(f"{path}: there is no folder {path.parent} to write it to")
    if path.is_dir():
        raise TextvaeError(f"{path}: is a folder; name a file in it")


def write_trace(path: Path, cell: Cell) -> None:
    """Write the trace of one cell as JSON, gzipped if named `.gz`."""
    load = Workload(cell)
    step, estimate = training(load), evaluation(load)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with on_a_stream(load.device):
        step(), estimate()
        with profile(activities=activities) as profiler:
            for number in range(STEPS):
                with record_function(f"training step {number}"):
                    step()
            with record_function("importance-weighted evaluation"):
                estimate()
    profiler.export_chrome_trace(str(path))
