"""Where jobs run: processes on this machine, a Ray cluster, or Slurm's queue.

All three run the same commands; Ray and Slurm need the study's folder on a file system shared by all machines.
"""

import logging
import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol

import torch

from textvae.data.workers import cores
from textvae.errors import ConfigError
from textvae.studies.jobs import Job, Requeued, Work, note, perform

__all__ = ["Handle", "Launcher", "LauncherName", "Local", "OnRay", "OnSlurm", "launcher_named"]

DAY = 24 * 60


class Handle(Protocol):
    """A started job."""

    def poll(self) -> int | None:
        """Its exit code; None while it waits or runs."""

    def stop(self) -> None:
        """Ask it to save and exit."""


class Launcher(ABC):
    """Starts jobs; at most `jobs` run at once, each on `threads` threads."""

    jobs: int
    threads: int

    @abstractmethod
    def start(self, job: Job) -> Handle:
        """Start a job, or put it into a queue."""

    def check(self, job: Job) -> None:  # noqa: B027 (most can run any job)
        """Refuse a job that would wait for ever.

        Raises
        ------
        ConfigError
            Naming the setting that asks for too much.
        """

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Release what the launcher holds."""


class Local(Launcher):
    """Processes on this machine, which share its cores; by default, one per core.

    With `cards`, GPU jobs share its GPUs: by default one per card, which is all that it sees.
    """

    def __init__(self, jobs: int | None = None, *, cards: bool = False) -> None:
        self.cards = _cards() if cards else []
        self.jobs, self.threads = _shared(cores(), jobs or len(self.cards) or None)
        self.started: list[Work] = []

    def start(self, job: Job) -> Handle:
        self.started = [work for work in self.started if work.poll() is None]
        busy = [work.job.card for work in self.started]
        card = min(self.cards, key=busy.count) if self.cards and job.gpu else None
        work = Work(replace(job, card=card))
        self.started.append(work)
        return work


class OnRay(Launcher):
    """Tasks on the Ray cluster of $RAY_ADDRESS, or on a local one that is shut down with the study.

    A GPU job gets an equal share of the cluster's GPUs, at most one; with `cards`, there is by default one job
    per GPU.

    Raises
    ------
    ConfigError
        If ray is not installed or its cluster cannot be reached.
    """

    def __init__(self, jobs: int | None = None, *, cards: bool = False) -> None:
        try:
            import ray
        except ImportError:
            raise ConfigError("--launcher ray: ray is not installed; pip install 'textvae[ray]'") from None
        here = None if "RAY_ADDRESS" in os.environ else max(jobs or 1, cores())
        try:
            ray.init(num_cpus=here, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError:
            address = os.environ.get("RAY_ADDRESS", "this machine")
            raise ConfigError(f"--launcher ray: no cluster at {address}; unset RAY_ADDRESS or start one") from None
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = int(resources.get("GPU", 0))
        self.jobs, self.threads = _shared(int(resources["CPU"]), jobs or (gpus if cards else None) or None)
        # So many jobs share a GPU, and none has parts of two.
        self.gpus = 1 / math.ceil(self.jobs / gpus) if gpus else 0.0
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        self.widest = int(max(node["Resources"].get("CPU", 0) for node in nodes if node["Alive"]))

    def check(self, job: Job) -> None:
        if job.threads > self.widest:
            raise ConfigError(
                f"--launcher ray: threads: {job.name} asks for {job.threads}, and no machine of the cluster has"
                f" more than {self.widest}; set threads to at most that, or leave it out"
            )

    def start(self, job: Job) -> Handle:
        import ray

        needs = {"num_cpus": job.threads, "num_gpus": self.gpus if job.gpu else 0}
        return _OnRay(ray.remote(perform).options(**needs, name=job.name).remote(job), job)

    def close(self) -> None:
        import ray

        ray.shutdown()


class _OnRay:
    def __init__(self, task: Any, job: Job) -> None:
        self.task, self.job = task, job

    def poll(self) -> int | None:
        import ray

        if not ray.wait([self.task], timeout=0)[0]:
            return None
        try:
            return int(ray.get(self.task))
        except ray.exceptions.RayError as error:
            note(self.job, _said(error))
            return 1

    def stop(self) -> None:
        import ray

        ray.cancel(self.task)


class OnSlurm(Launcher):
    """Jobs in Slurm's queue through submitit, which keeps its files in `folder`.

    `options` are submitit's parameters, `slurm_partition`, `timeout_min`, `mem_gb` and the like; `cluster: local`
    runs the same jobs without Slurm. A job that reaches its time limit, or is preempted, is requeued.

    Raises
    ------
    ConfigError
        If submitit or Slurm is not installed, or an option is unknown.
    """

    def __init__(self, jobs: int | None, folder: Path, options: Mapping[str, Any]) -> None:
        given = {"timeout_min": DAY, "cpus_per_task": 1, **options}
        self.folder, self.cluster = folder, given.pop("cluster", "slurm")
        self.given = given
        try:
            with TemporaryDirectory() as elsewhere:  # some executors make their folder at once
                self._executor(Path(elsewhere))
            self.threads = int(given["cpus_per_task"])
        except ImportError:
            raise ConfigError("--launcher slurm: submitit is not installed; pip install 'textvae[slurm]'") from None
        except (RuntimeError, ValueError, TypeError, NameError, AssertionError) as error:
            raise ConfigError(f"--launcher slurm: {_said(error)}") from None
        self.jobs = jobs or sys.maxsize

    @cached_property
    def executor(self) -> Any:
        """Made when the first job is started: only then may there be a folder."""
        return self._executor(self.folder)

    def _executor(self, folder: Path) -> Any:
        import submitit

        made = submitit.AutoExecutor(folder, cluster=self.cluster)
        made.update_parameters(**self.given)
        return made

    def start(self, job: Job) -> Handle:
        mine = {"name": job.name.replace("/", "-"), "gpus_per_node": int(job.gpu), **self.given}
        self.executor.update_parameters(**{**mine, "cpus_per_task": job.threads})
        from submitit.core.utils import FailedJobError

        try:
            return _OnSlurm(self.executor.submit(Requeued(), job), job)
        except FailedJobError as error:
            raise ConfigError(
                f"--launcher slurm: {_said(error)}; see slurm: in {self.folder.parent / 'study.yaml'}"
            ) from None


class _OnSlurm:
    def __init__(self, submitted: Any, job: Job) -> None:
        self.submitted, self.job = submitted, job

    def poll(self) -> int | None:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if not self.submitted.done():
            return None
        try:
            return int(self.submitted.result())
        except (FailedJobError, UncompletedJobError) as error:
            note(self.job, _said(error))
            return 1

    def stop(self) -> None:
        self.submitted.cancel()


def _said(error: BaseException) -> str:
    """An external error as part of a sentence."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _cards() -> list[str]:
    """The names of this machine's GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    count, visible = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(card) for card in range(count)]


def _shared(cores: int, jobs: int | None) -> tuple[int, int]:
    """Number of jobs at once, by default one per core, and the threads of each."""
    jobs = jobs or cores
    return jobs, max(1, cores // jobs)


LauncherName = Literal["local", "ray", "slurm"]


def launcher_named(
    name: LauncherName, jobs: int | None, folder: Path, options: Mapping[str, Any], *, cards: bool = False
) -> Launcher:
    """The launcher of this name; with `cards`, its jobs are shared among the GPUs."""
    if name == "slurm":
        return OnSlurm(jobs, folder, options)
    return OnRay(jobs, cards=cards) if name == "ray" else Local(jobs, cards=cards)
