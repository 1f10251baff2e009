"""The same jobs as local processes, as Ray tasks and through submitit; on real ones of each."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from patience import ended, wait_until

from textvae.errors import ConfigError
from textvae.studies.jobs import Job, Requeued, last_line
from textvae.studies.launchers import Launcher, LauncherName, Local, OnRay, OnSlurm, _OnSlurm, launcher_named
from textvae.training.signals import stopping

LISTS, FAILS = ("corpus", "list"), ("evaluate", "nowhere")
CORES = len(os.sched_getaffinity(0))
LONG = (
    "train", "grammar", "lm", "--run", "run", "--steps", "1000000", "--threads", "1",
    "--model.decoder.hidden_dim=8", "--model.decoder.embedding_dim=8",
)  # fmt: skip
LAUNCHERS = ["local", pytest.param("ray", marks=pytest.mark.slow), pytest.param("slurm", marks=pytest.mark.slow)]


def job(folder: Path, *commands: tuple[str, ...], name: str = "grammar/lm/seed-0") -> Job:
    return Job(name, commands, folder / f"{name}.log", folder, threads=1, gpu=False)


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
    rows = tmp_path / "run/metrics.jsonl"

    def listens() -> bool:
        """Its first row is there: from then on it listens to signals."""
        assert handle.poll() is None, (tmp_path / "grammar/lm/seed-0.log").read_text("utf-8")
        return rows.exists() and rows.stat().st_size > 0

    wait_until(listens)
    handle.stop()
    assert ended(handle) != 0
    wait_until((tmp_path / "run/last.pt").exists)
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


def test_a_refused_submission_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utils = pytest.importorskip("submitit.core.utils")
    made = OnSlurm(None, tmp_path / "slurm", {"cluster": "local"})

    def refused(*given: object) -> None:
        raise utils.FailedJobError("sbatch: error: invalid partition specified: lnog\n")

    monkeypatch.setattr(made.executor, "submit", refused)
    sentence = "--launcher slurm: sbatch: error: invalid partition specified: lnog; see slurm: in "
    with pytest.raises(ConfigError, match=f"^{sentence}{tmp_path}/study.yaml$"):
        made.start(job(tmp_path, LISTS))


def test_slurm_is_asked_for_what_a_job_needs_and_the_study_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own options come last, but for the threads, which the job's commands are told too."""
    submitit = pytest.importorskip("submitit")
    asked: dict[str, object] = {}
    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", lambda self, **given: asked.update(given))
    monkeypatch.setattr(submitit.AutoExecutor, "submit", lambda self, work, given: (work, given))
    plain = OnSlurm(None, tmp_path / "slurm", {"cluster": "local"})
    assert asked == {"timeout_min": 24 * 60, "cpus_per_task": 1}
    assert (plain.jobs, plain.threads) == (sys.maxsize, 1)
    for gpu in (True, False):
        handle = plain.start(replace(job(tmp_path, LISTS), threads=5, gpu=gpu))
        needs = {"name": "grammar-lm-seed-0", "gpus_per_node": int(gpu), "cpus_per_task": 5}
        assert asked == {"timeout_min": 24 * 60, **needs}
        work, given = handle.submitted  # type: ignore[attr-defined]
        assert isinstance(work, Requeued)
        assert given.threads == 5
    asked.clear()
    options = {"timeout_min": 7, "cpus_per_task": 4, "gpus_per_node": 2, "slurm_partition": "long"}
    wide = OnSlurm(6, tmp_path / "slurm", {"cluster": "local", **options})
    assert asked == options
    assert (wide.jobs, wide.threads) == (6, 4)
    wide.start(replace(job(tmp_path, LISTS), threads=4, gpu=True))
    assert asked == {**options, "name": "grammar-lm-seed-0"}


def test_the_reason_of_a_failed_slurm_job_is_in_its_log(tmp_path: Path) -> None:
    utils = pytest.importorskip("submitit.core.utils")

    class Lost:
        def done(self) -> bool:
            return True

        def result(self) -> int:
            raise utils.UncompletedJobError("Job 7 was killed: out of memory")

    failed = job(tmp_path, LISTS)
    assert _OnSlurm(Lost(), failed).poll() == 1
    assert last_line(failed.log) == "Job 7 was killed: out of memory"


class Ray(ModuleType):
    """A cluster of two machines, played."""

    def __init__(self, cpus: tuple[int, ...] = (4, 2), gpus: int = 0) -> None:
        super().__init__("ray")
        self.cpus, self.gpus = cpus, gpus
        self.asked: dict[str, float] = {}
        self.begun_with: dict[str, object] = {}
        self.performed: list[object] = []

    def remote(self, work: object) -> "Ray":
        return self

    def options(self, **needs: Any) -> SimpleNamespace:
        self.asked = needs
        return SimpleNamespace(remote=self.performed.append)

    def init(self, **given: object) -> None:
        self.begun_with = given
        if not self.cpus:
            raise ConnectionError("Could not connect")

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(sum(self.cpus)), **({"GPU": float(self.gpus)} if self.gpus else {})}

    def nodes(self) -> list[dict[str, object]]:
        return [{"Alive": True, "Resources": {"CPU": float(cpus)}} for cpus in self.cpus]


def test_a_cluster_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", Ray(cpus=()))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(ConfigError, match="ray: no cluster at head:6379; unset RAY_ADDRESS or start one"):
        OnRay()


def test_a_job_wider_than_every_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", Ray(cpus=(4, 2)))
    made = OnRay(2)
    made.check(replace(job(tmp_path, LISTS), threads=4))
    with pytest.raises(ConfigError, match=r"threads: grammar/lm/seed-0 asks for 5, and no machine .* more than 4"):
        made.check(replace(job(tmp_path, LISTS), threads=5))


def test_an_option_that_slurm_does_not_know_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match="slurm_partitoin"):
        OnSlurm(None, tmp_path / "slurm", {"cluster": "local", "slurm_partitoin": "long"})


@pytest.mark.parametrize("options", [{"cpus_per_task": None}, {1: 2}, {"timeout_min": "long"}])
def test_an_option_of_a_wrong_type_is_one_sentence(options: dict[Any, Any], tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match=r"^--launcher slurm: .+"):
        OnSlurm(None, tmp_path / "slurm", {"cluster": "local", **options})


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_a_launcher_writes_nothing_before_its_first_job(name: LauncherName, tmp_path: Path) -> None:
    """A study makes it first, and a folder that holds another file is none that a study may begin in."""
    pytest.importorskip("submitit")
    launcher_named(name, 2, tmp_path / "out/slurm", {"cluster": "local"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_launcher_that_is_not_installed_names_its_extra(
    name: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    sentence = rf"--launcher {name}: {library} is not installed; pip install 'textvae\[{name}\]'"
    with pytest.raises(ConfigError, match=sentence):
        launcher_named(name, None, tmp_path, {})  # type: ignore[arg-type]


def test_local_jobs_have_a_card_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    class Asleep(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: list[str], **options: object) -> None:
            seen.append(options["env"].get("CUDA_VISIBLE_DEVICES"))  # type: ignore[attr-defined]
            super().__init__(["sleep", "1000"])

    monkeypatch.setattr("textvae.studies.jobs.subprocess.Popen", Asleep)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    made = Local(cards=True)
    assert (made.jobs, made.threads) == (3, max(1, CORES // 3))
    assert Local(7, cards=True).jobs == 7
    handles = [made.start(replace(job(tmp_path, LISTS), gpu=True)) for _ in range(5)]
    assert seen == ["4", "5", "6", "4", "5"]  # two share a card only where more were asked for
    for freed in (1, 4):  # both on the second card
        handles[freed].stop()
        ended(handles[freed])
    handles.append(made.start(replace(job(tmp_path, LISTS), gpu=True)))
    made.start(job(tmp_path, LISTS)).stop()
    assert seen[5:] == ["5", "4,5,6"]  # a job without a GPU is left alone
    for handle in handles:
        handle.stop()
        ended(handle)


@pytest.mark.parametrize(("jobs", "expected"), [(None, (2, 1.0)), (1, (1, 1.0)), (3, (3, 0.5)), (4, (4, 0.5))])
def test_ray_shares_its_gpus_evenly(
    jobs: int | None, expected: tuple[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2 GPUs, 3 jobs have a half each: two of two thirds would not fit on one."""
    monkeypatch.setitem(sys.modules, "ray", Ray(cpus=(8, 8), gpus=2))
    made = OnRay(jobs, cards=True)
    assert (made.jobs, made.gpus) == expected


@pytest.mark.parametrize(("gpu", "share"), [(True, 0.5), (False, 0)])
def test_a_task_asks_ray_for_its_cores_and_its_share_of_a_gpu(
    gpu: bool, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Ray(cpus=(8, 8), gpus=2)
    monkeypatch.setitem(sys.modules, "ray", cluster)
    asked = replace(job(tmp_path, LISTS), threads=3, gpu=gpu)
    OnRay(3, cards=True).start(asked)
    assert cluster.asked == {"num_cpus": 3, "num_gpus": share, "name": asked.name}
    assert cluster.performed == [asked]


@pytest.mark.parametrize(("jobs", "cpus"), [(None, CORES), (CORES + 5, CORES + 5)])
def test_a_local_cluster_has_a_core_for_every_job_and_a_given_one_its_own(
    jobs: int | None, cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Ray()
    monkeypatch.setitem(sys.modules, "ray", cluster)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    OnRay(jobs)
    assert cluster.begun_with["num_cpus"] == cpus
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    OnRay(jobs)
    assert cluster.begun_with["num_cpus"] is None


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
        wait_until(log.exists)
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
