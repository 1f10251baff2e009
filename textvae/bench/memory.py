"""Peak memory of one contender, measured in a process of its own.

`python -m textvae.bench.memory CELL WORK THREADS` prints it; `peak` runs that command and reads the output.
"""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from textvae.bench.cell import Cell, Workload
from textvae.bench.contenders import PLAIN, STEP, WHOLE
from textvae.errors import TextvaeError
from textvae.training.graphs import on_a_stream

__all__ = ["NOTHING", "peak"]

NOTHING = "nothing"
"""The work of a process that only imports torch and textvae: the baseline for all others."""
UNITS = 2
"""Units of work to run: the second runs with the gradients, caches and recordings of the first in place."""


def peak(cell: Cell, work: str, threads: int) -> int:
    """Peak memory in bytes: of the process on a CPU, of the allocator on a CUDA device.

    Raises
    ------
    TextvaeError
        If the process fails, for example for lack of memory.
    """
    command = [sys.executable, "-m", "textvae.bench.memory", json.dumps(asdict(cell)), work, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise TextvaeError(f"{work} at {cell.name} failed: {last}")
    return int(done.stdout)


def measure(cell: Cell, work: str) -> int:
    """The peak memory of this process after `UNITS` units of work."""
    load = Workload(cell)
    if work != NOTHING:
        unit = {**WHOLE, **PLAIN, **STEP}[work](load)
        with on_a_stream(load.device):
            for _ in range(UNITS):
                unit()
    return torch.cuda.max_memory_allocated(load.device) if load.device.type == "cuda" else resident_peak()


def resident_peak() -> int:
    """The peak resident memory of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux, children inherit their parent's ru_maxrss; VmHWM is the process's own.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(measure(Cell(**json.loads(sys.argv[1])), sys.argv[2]))
