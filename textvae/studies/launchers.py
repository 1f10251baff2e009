"""Where jobs run: processes on this machine, a Ray cluster, or Slurm's queue.

All three run the same commands; Ray and Slurm need the study's folder on a file system shared by all machines.
"""

import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from textvae.data.workers import cores
from textvae.errors import ConfigError
from textvae.studies.jobs import Job, Requeued, Work, perform

__all__ = ["LAUNCHERS", "Handle", "Launcher", "Local", "OnRay", "OnSlurm", "launcher_named"]

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

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Release what the launcher holds."""


class Local(Launcher):
    """Processes on this machine, which share its cores; by default, one per core."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs, self.threads = _shared(cores(), jobs)

    def start(self, job: Job) -> Handle:
        return Work(job)


class OnRay(Launcher):
    """Tasks on the Ray cluster of $RAY_ADDRESS, or on a local one that is shut down with the study.

    A GPU job gets an equal share of the cluster's GPUs, at most one.

    Raises
    ------
    ConfigError
        If ray is not installed.
    """

    def __init__(self, jobs: int | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise ConfigError("--launcher ray: ray is not installed; pip install 'textvae[ray]'") from None
        here = None if "RAY_ADDRESS" in os.environ else max(jobs or 1, cores())
        ray.init(num_cpus=here, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        self.resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self.jobs, self.threads = _shared(int(self.resources["CPU"]), jobs)

    def start(self, job: Job) -> Handle:
        import ray

        gpus = min(1.0, self.resources.get("GPU", 0) / self.jobs) if job.gpu else 0
        return _OnRay(ray.remote(perform).options(num_cpus=job.threads, num_gpus=gpus, name=job.name).remote(job))

    def close(self) -> None:
        import ray

        ray.shutdown()


class _OnRay:
    def __init__(self, task: Any) -> None:
        self.task = task

    def poll(self) -> int | None:
        import ray

        if not ray.wait([self.task], timeout=0)[0]:
            return None
        try:
            return int(ray.get(self.task))
        except ray.exceptions.RayError:
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
        try:
            import submitit
        except ImportError:
            raise ConfigError("--launcher slurm: submitit is not installed; pip install 'textvae[slurm]'") from None
        self.given = {"timeout_min": DAY, "cpus_per_task": 1, **options}
        try:
            self.executor = submitit.AutoExecutor(folder, cluster=self.given.pop("cluster", "slurm"))
            self.executor.update_parameters(**self.given)
        except (RuntimeError, ValueError, NameError, AssertionError) as error:
            raise ConfigError(f"--launcher slurm: {' '.join(str(error).split())}") from None
        self.jobs = jobs or sys.maxsize
        self.threads = int(self.given["cpus_per_task"])

    def start(self, job: Job) -> Handle:
        mine = {"name": job.name.replace("/", "-"), "gpus_per_node": int(job.gpu), **self.given}
        self.executor.update_parameters(**{**mine, "cpus_per_task": job.threads})
        return _OnSlurm(self.executor.submit(Requeued(), job))


class _OnSlurm:
    def __init__(self, submitted: Any) -> None:
        self.submitted = submitted

    def poll(self) -> int | None:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if not self.submitted.done():
            return None
        try:
            return int(self.submitted.result())
        except (FailedJobError, UncompletedJobError):
            return 1

    def stop(self) -> None:
        self.submitted.cancel()


def _shared(cores: int, jobs: int | None) -> tuple[int, int]:
    """Number of jobs at once, by default one per core, and the threads of each."""
    jobs = jobs or cores
    return jobs, max(1, cores // jobs)


LAUNCHERS = Literal["local", "ray", "slurm"]


def launcher_named(name: LAUNCHERS, jobs: int | None, folder: Path, options: Mapping[str, Any]) -> Launcher:
    """The launcher of this name."""
    if name == "slurm":
        return OnSlurm(jobs, folder, options)
    return OnRay(jobs) if name == "ray" else Local(jobs)
