"""Jobs in processes: every result once, failures carried over, a death told."""

import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection

import pytest

from textvae.data import workers
from textvae.data.workers import in_processes
from textvae.errors import DataError


@pytest.fixture(autouse=True)
def _two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 2)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_job_is_done_once_elsewhere(count: int) -> None:
    results = list(in_processes(lambda job: (job * job, os.getpid()), range(count)))
    assert sorted(square for square, _ in results) == [job * job for job in range(count)]
    processes = {process for _, process in results}
    assert len(processes) == min(count, 2)
    assert os.getpid() not in processes


def test_what_a_job_raises_is_raised_here() -> None:
    def work(job: int) -> int:
        if job == 3:
            raise DataError("three is no number.")
        return job

    with pytest.raises(DataError, match="three is no number"):
        list(in_processes(work, range(10)))


def test_a_death_is_told() -> None:
    def work(job: int) -> int:
        if job == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return job

    with pytest.raises(DataError, match=r"died \(exit code -9\).*; start again"):
        list(in_processes(work, range(4)))


def test_a_death_while_a_result_is_sent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(job: int) -> bytes:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return bytes(1 << 24)  # more than a pipe holds, so it is sent until somebody reads

    def late(connections: list[Connection]) -> list[object]:
        time.sleep(1)
        return wait(connections)

    wait = workers.wait
    monkeypatch.setattr(workers, "wait", late)
    with pytest.raises(DataError, match=r"died \(exit code -9\)"):
        list(in_processes(work, range(2)))


ORPHANS = """
import os, time
from pathlib import Path
from textvae.data.workers import in_processes

def work(job):
    Path("started-%d" % job).touch()
    time.sleep(0.2)
    return job

for result in in_processes(work, range(400)):
    print(os.getpid(), flush=True)
"""


@pytest.mark.slow
def test_no_process_outlives_a_killed_parent_by_more_than_its_job(tmp_path) -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHANS], cwd=tmp_path, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.kill()
    time.sleep(1)
    before = len(list(tmp_path.iterdir()))
    time.sleep(1)
    assert before == len(list(tmp_path.iterdir())) < 40
