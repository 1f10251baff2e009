"""Run independent jobs in forked processes."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any, TypeVar, cast

from textvae.errors import DataError

__all__ = ["cores", "in_processes"]

Job = TypeVar("Job")
Result = TypeVar("Result")


def cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """Yield work(job) for every job, in order of completion; an exception in a job is raised here.

    If this process is killed, the others end after their current job.
    """
    # Forked, not spawned: scripts then need no `if __name__ == "__main__"`, and `work` may hold objects that
    # cannot be pickled, such as a memory map.
    context = get_context("fork")
    count = min(cores(), len(jobs))
    running: dict[Connection, ForkProcess] = {}
    for share in (jobs[k::count] for k in range(count)):
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(work, share, writer, os.getpid()), daemon=True)
        process.start()
        writer.close()
        running[reader] = process
    try:
        while running:
            for reader in cast("list[Connection]", wait(list(running))):
                try:
                    result = reader.recv()
                except (EOFError, OSError):  # OSError if it died while sending
                    _refuse_death(running.pop(reader))
                    continue
                if isinstance(result, Exception):
                    raise result
                yield result
    finally:
        for process in running.values():
            process.terminate()
            process.join()


def _refuse_death(process: ForkProcess) -> None:
    process.join()
    if process.exitcode:
        raise DataError(
            f"a process that prepares the corpus died (exit code {process.exitcode}), often for lack of memory;"
            " start again; finished parts are reused"
        )


def _serve(work: Callable[[Any], Any], jobs: Sequence[Any], out: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for job in jobs:
        if os.getppid() != parent:
            return
        try:
            result = work(job)
        except Exception as error:  # sent to the parent, which raises it
            result = error
        out.send(result)
