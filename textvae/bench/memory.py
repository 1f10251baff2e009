"""Peak memory of one piece of work, in a process that does nothing else.

`python -m textvae.bench.memory CELL WORK THREADS` prints it; `peak` runs that and reads the answer.
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

__all__ = ["NOTHING", "peak"]

NOTHING = "nothing"
"""The work of a process that only imports torch and textvae: what all others start from."""
UNITS = 2
"""Of work: the second finds the gradients and caches of the first."""


def peak(cell: Cell, work: str, threads: int) -> int:
    """Bytes at the peak: of the process on a processor, of the allocator on a CUDA device.

    Raises
    ------
    TextvaeError
        If the process fails, for want of memory say.
    """
    command = [sys.executable, "-m", "textvae.bench.memory", json.dumps(asdict(cell)), work, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise TextvaeError(f"{work} at {cell.name} failed: {last}")
    return int(done.stdout)


def measure(cell: Cell, work: str) -> int:
    """The peak of this very process after some units of work."""
    load = Workload(cell)
    if work != NOTHING:
        unit = {**WHOLE, **PLAIN, **STEP}[work](load)
        for _ in range(UNITS):
            unit()
    return torch.cuda.max_memory_allocated(load.device) if load.device.type == "cuda" else resident_peak()


def resident_peak() -> int:
    """The most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands a parent's ru_maxrss down to its children; VmHWM is the process's own.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(measure(Cell(**json.loads(sys.argv[1])), sys.argv[2]))
