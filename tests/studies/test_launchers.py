"""The same jobs as local processes, as Ray tasks and through submitit; on real ones of each."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from textvae.errors import ConfigError
from textvae.studies.jobs import Job, last_line
from textvae.studies.launchers import Handle, Launcher, Local, OnRay, OnSlurm, launcher_named
from textvae.training.signals import stopping

PATIENCE = 900
"""Seconds: a busy machine is no failure."""
LISTS, FAILS = ("corpus", "list"), ("evaluate", "nowhere")
CORES = len(os.sched_getaffinity(0))
LONG = (
    "train", "grammar", "lm", "--run", "run", "--steps", "1000000", "--threads", "1",
    "--model.decoder.hidden_dim=8", "--model.decoder.embedding_dim=8",
)  # fmt: skip
LAUNCHERS = ["local", pytest.param("ray", marks=pytest.mark.slow), pytest.param("slurm", marks=pytest.mark.slow)]


def job(folder: Path, *commands: tuple[str, ...], name: str = "grammar/lm/seed-0") -> Job:
    return Job(name, commands, folder / f"{name}.log", folder, threads=1, gpu=False)


def ended(handle: Handle) -> int:
    end = time.monotonic() + PATIENCE
    while (code := handle.poll()) is None:
        assert time.monotonic() < end, "still under way"
        time.sleep(0.05)
    return code


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Launcher]:
    pytest.importorskip({"ray": "ray", "slurm": "submitit", "local": "textvae"}[request.param])
    made = launcher_named(request.param, 2, tmp_path / "slurm", {"cluster": "local"})
    yield made
    made.close()


def test_jobs_end_with_their_code_and_leave_their_log(launcher: Launcher, tmp_path: Path) -> None:
    good = launcher.start(job(tmp_path, LISTS, LISTS, name="a/good"))
    bad = launcher.start(job(tmp_path, FAILS, LISTS, name="a/bad"))
    assert (ended(good), ended(bad)) == (0, 1)
    assert (tmp_path / "a/good.log").read_text("utf-8").count("Penn Treebank") >= 2
    assert last_line(tmp_path / "a/bad.log") == "nowhere: no such run directory"


@pytest.mark.slow
def test_a_job_that_is_stopped_saves_first(launcher: Launcher, tmp_path: Path) -> None:
    with stopping():  # as a study starts them: else a job in the background would inherit that Ctrl-C is ignored
        handle = launcher.start(job(tmp_path, LONG, LISTS))
    end = time.monotonic() + PATIENCE
    rows = tmp_path / "run/metrics.jsonl"
    while not (rows.exists() and rows.stat().st_size):  # its first row: from then on it listens to signals
        assert time.monotonic() < end
        assert handle.poll() is None, (tmp_path / "grammar/lm/seed-0.log").read_text("utf-8")
        time.sleep(0.1)
    handle.stop()
    assert ended(handle) != 0
    saved = tmp_path / "run/last.pt"
    while not saved.exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert "saved; the same command continues" in (tmp_path / "grammar/lm/seed-0.log").read_text("utf-8")


@pytest.mark.parametrize(("jobs", "expected"), [(None, (CORES, 1)), (1, (1, CORES)), (2 * CORES, (2 * CORES, 1))])
def test_local_jobs_share_the_cores(jobs: int | None, expected: tuple[int, int]) -> None:
    made = Local(jobs)
    assert (made.jobs, made.threads) == expected


def test_a_local_job_has_its_share_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: list[str], **options: object) -> None:
            seen.update(options["env"])  # type: ignore[call-overload]
            super().__init__([sys.executable, "-c", ""])

    monkeypatch.setattr("textvae.studies.jobs.subprocess.Popen", Recorded)
    assert ended(Local(2).start(Job("a", (LISTS,), tmp_path / "a.log", tmp_path, threads=5, gpu=False))) == 0
    assert seen["OMP_NUM_THREADS"] == "5"


def test_without_slurm_the_launcher_says_so(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match="--launcher slurm: "):
        OnSlurm(None, tmp_path / "slurm", {})


def test_an_option_that_slurm_does_not_know_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match="slurm_partitoin"):
        OnSlurm(None, tmp_path / "slurm", {"cluster": "local", "slurm_partitoin": "long"})


@pytest.mark.parametrize(("name", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_launcher_that_is_not_installed_names_its_extra(
    name: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    sentence = rf"--launcher {name}: {library} is not installed; pip install 'textvae\[{name}\]'"
    with pytest.raises(ConfigError, match=sentence):
        launcher_named(name, None, tmp_path, {})  # type: ignore[arg-type]


@pytest.mark.slow
def test_ray_gives_each_job_its_cores(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    made = OnRay(1)
    try:
        assert (made.jobs, made.threads) == (1, CORES)
        handle = made.start(job(tmp_path, LISTS))
        assert ended(handle) == 0
    finally:
        made.close()


@pytest.mark.slow
def test_a_killed_ray_task_is_a_failure(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    made = OnRay(2)
    try:
        handle = made.start(job(tmp_path, LONG))
        log = tmp_path / "grammar/lm/seed-0.log"
        while not log.exists():
            time.sleep(0.1)
        ray.cancel(handle.task, force=True)  # type: ignore[attr-defined]
        assert ended(handle) == 1
    finally:
        made.close()
        for pid in trainers(tmp_path):
            os.kill(pid, signal.SIGKILL)


def trainers(folder: Path) -> list[int]:
    """Processes whose working folder this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve():
                found.append(int(process.name))
        except OSError:
            continue
    return found
