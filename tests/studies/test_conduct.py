"""What runs when: order, how many at once, first stages, failures, stopping. Jobs are played, nothing trains."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from textvae.config import Config
from textvae.errors import ConfigError, RunError
from textvae.evaluation.estimators import REVISION
from textvae.runs import Run
from textvae.studies.conduct import FAILED_BEFORE, Conductor, completed, finished
from textvae.studies.grid import Cell
from textvae.studies.jobs import Job
from textvae.studies.launchers import Launcher
from textvae.studies.manifest import Manifest, Record
from textvae.studies.progress import TRAINING
from textvae.studies.study import Measures


class Played:
    """A job that ends with a code after some polls."""

    def __init__(self, code: int, polls: int) -> None:
        self.code, self.polls, self.stopped = code, polls, False

    def poll(self) -> int | None:
        self.polls -= 1
        if self.stopped:
            return 1
        return self.code if self.polls <= 0 else None

    def stop(self) -> None:
        self.stopped = True


class Stage(Launcher):
    """Plays every job, and remembers which began and how many ran at once."""

    def __init__(self, jobs: int, codes: dict[str, int] | None = None, polls: int = 2) -> None:
        self.jobs, self.threads, self.codes, self.polls = jobs, 1, codes or {}, polls
        self.begun: list[str] = []
        self.played: list[Played] = []
        self.most = 0

    def start(self, job: Job) -> Played:
        self.begun.append(job.name)
        self.played.append(Played(self.codes.get(job.name, 0), self.polls))
        self.most = max(self.most, sum(played.polls > 0 and not played.stopped for played in self.played))
        return self.played[-1]


def cell(name: str, first: Cell | None = None) -> Cell:
    return Cell("grammar", name, "", 0, ("grammar", name), {}, Config(), first)


def conductor(
    out: Path, launcher: Launcher, *cells: Cell, tell: Callable[[float, str], None] | None = None
) -> Conductor:
    records = {c.path: Record(c.path, c.corpus, c.remedy, c.strength, c.seed) for c in cells}
    manifest = Manifest("a study", [], ["valid"], None, {}, records)

    def job(c: Cell) -> Job:
        log = out / f"{c.path}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("textvae: it went wrong\n", "utf-8")
        return Job(c.path, (("train",),), log, out, 1, False)

    return Conductor(out, {c.path: c for c in cells}, manifest, launcher, job, tell or (lambda share, event: None))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textvae.studies.conduct.POLL_SECONDS", 0.001)


def states(made: Conductor) -> dict[str, str]:
    return {record.remedy: record.state for record in made.manifest.records.values()}


def test_all_run_in_order_and_never_more_at_once_than_allowed(tmp_path: Path) -> None:
    launcher = Stage(jobs=2)
    made = conductor(tmp_path, launcher, *map(cell, "abcde"))
    made.conduct()
    assert launcher.begun == [f"grammar/{name}/seed-0" for name in "abcde"]
    assert launcher.most == 2
    assert set(states(made).values()) == {"done"}
    assert Manifest.read(tmp_path) == made.manifest


def test_what_is_done_or_failed_before_is_not_begun(tmp_path: Path) -> None:
    launcher = Stage(jobs=2)
    made = conductor(tmp_path, launcher, *map(cell, "abc"))
    made.manifest.records["grammar/a/seed-0"].state = "failed"
    made.manifest.records["grammar/b/seed-0"].state = "done"
    made.conduct()
    assert launcher.begun == ["grammar/c/seed-0"]


def test_a_failure_is_kept_with_its_last_words_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    launcher = Stage(jobs=1, codes={"grammar/a/seed-0": 1})
    made = conductor(tmp_path, launcher, *map(cell, "ab"), tell=lambda share, event: said.append(event))
    made.conduct()
    assert states(made) == {"a": "failed", "b": "done"}
    assert made.manifest.records["grammar/a/seed-0"].reason == "it went wrong"
    assert "grammar/a/seed-0: failed: it went wrong" in said


def test_what_the_launcher_refuses_was_not_begun(tmp_path: Path) -> None:
    launcher = Stage(jobs=2)
    made = conductor(tmp_path, launcher, *map(cell, "ab"))
    start = launcher.start

    def refusing(job: Job) -> Played:
        if job.name == "grammar/b/seed-0":
            raise ConfigError("--launcher slurm: invalid partition")
        return start(job)

    launcher.start = refusing  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="invalid partition"):
        made.conduct()
    assert states(made) == {"a": "interrupted", "b": "waiting"}
    assert Manifest.read(tmp_path) == made.manifest


def test_a_cell_waits_for_its_first_stage(tmp_path: Path) -> None:
    stage = replace(cell("stage"), recipes=())
    launcher = Stage(jobs=3)
    made = conductor(tmp_path, launcher, cell("a", stage), stage, cell("b"))
    begun_with: dict[str, str] = {}
    start = launcher.start

    def watching(job: Job) -> Played:
        begun_with[job.name] = states(made)["stage"]
        return start(job)

    launcher.start = watching  # type: ignore[method-assign]
    made.conduct()
    assert begun_with["grammar/a/seed-0"] == "done"
    assert begun_with["grammar/b/seed-0"] == "running"


def test_what_starts_from_a_failed_stage_fails_unbegun(tmp_path: Path) -> None:
    stage = replace(cell("stage"), recipes=())
    launcher = Stage(jobs=2, codes={stage.path: 1})
    made = conductor(tmp_path, launcher, stage, cell("a", stage), cell("b"))
    made.conduct()
    assert states(made) == {"stage": "failed", "a": "failed", "b": "done"}
    assert made.manifest.records["grammar/a/seed-0"].reason == FAILED_BEFORE
    assert "grammar/a/seed-0" not in launcher.begun


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_job_and_what_waits_still_waits(number: int, tmp_path: Path) -> None:
    launcher = Stage(jobs=2, polls=10**9)

    def tell(share: float, event: str) -> None:
        if len(launcher.begun) == 2 and not any(played.stopped for played in launcher.played):
            os.kill(os.getpid(), number)

    made = conductor(tmp_path, launcher, *map(cell, "abc"), tell=tell)
    with pytest.raises(RunError, match="stopped and saved with 3 runs to go; the same command continues"):
        made.conduct()
    assert all(played.stopped for played in launcher.played)
    assert states(made) == {"a": "interrupted", "b": "interrupted", "c": "waiting"}
    again = conductor(tmp_path, Stage(jobs=2), *map(cell, "abc"))
    again.manifest.keep(Manifest.read(tmp_path).records)
    again.conduct()
    assert set(states(again).values()) == {"done"}


def test_what_ctrl_c_ended_with_the_study_is_interrupted_and_did_not_fail(tmp_path: Path) -> None:
    """A terminal sends it to every process: a job may end before the study has looked at it again."""
    launcher = Stage(jobs=2, polls=10**9)

    def tell(share: float, event: str) -> None:
        if len(launcher.begun) == 2 and not launcher.played[0].stopped:
            os.kill(os.getpid(), signal.SIGINT)
            launcher.played[0].stopped = True

    made = conductor(tmp_path, launcher, *map(cell, "abc"), tell=tell)
    with pytest.raises(RunError, match="stopped and saved"):
        made.conduct()
    assert states(made) == {"a": "interrupted", "b": "interrupted", "c": "waiting"}


def test_a_run_that_another_process_trains_is_waited_for(tmp_path: Path) -> None:
    run = Run(tmp_path / "grammar/a/seed-0")
    run.path.mkdir(parents=True)
    launcher = Stage(jobs=2)
    with run.lock():
        said: list[str] = []

        def tell(share: float, event: str) -> None:
            said.extend(filter(None, [event]))
            if "grammar/c/seed-0" in launcher.begun:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            conductor(tmp_path, launcher, *map(cell, "abc"), tell=tell).conduct()
    assert launcher.begun == ["grammar/b/seed-0", "grammar/c/seed-0"]
    assert launcher.most == 1  # the other process counts as one of the two
    assert [sentence for sentence in said if "left behind; waiting" in sentence] == said[:1]
    assert said[0].startswith("grammar/a/seed-0: ")


def test_progress_counts_what_is_completed(tmp_path: Path) -> None:
    shares: list[float] = []
    made = conductor(tmp_path, Stage(jobs=1), *map(cell, "abc"), tell=lambda share, event: shares.append(share))
    made.conduct()
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 3)


def test_what_a_signal_interrupted_stays_completed(tmp_path: Path) -> None:
    """Progress never falls: a job that saved and exited is as far as it was."""
    counted: list[float] = []

    def tell(share: float, event: str) -> None:
        counted.append(share)
        for path in launcher.begun:
            Run(tmp_path / path).path.mkdir(parents=True, exist_ok=True)
            Run(tmp_path / path).metrics.write_text('{"step": 5, "split": "train"}\n', "utf-8")
        if len(counted) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    half = Config.model_validate({"training": {"budget": 10}})
    cells = [replace(cell(name), config=half) for name in "abc"]
    launcher = Stage(jobs=2, polls=10**9)
    made = conductor(tmp_path, launcher, *cells, tell=tell)
    with pytest.raises(RunError, match="stopped and saved"):
        made.conduct()
    assert counted == sorted(counted)
    assert counted[-1] == pytest.approx(2 * 0.5 * TRAINING)
    made.manifest.records["grammar/c/seed-0"].state = "failed"
    assert completed(tmp_path, made.cells, made.manifest) == pytest.approx(1 + 2 * 0.5 * TRAINING)


def test_finished_means_trained_and_evaluated_as_asked(tmp_path: Path) -> None:
    asked = Measures(splits=["valid", "test"], samples=9)
    one = cell("a")
    run = Run(tmp_path / "run")
    assert not finished(run, one, asked)
    run.create()
    run.config, run.status = one.config, "done"
    assert not finished(run, one, asked)
    numbers = {"iwae_samples_asked": 9, "seed": 0, "weights_sha256": None, "estimators": REVISION}
    for other in ({"seed": 1}, {"estimators": REVISION - 1}, {"weights_sha256": "of other weights"}):
        run.evaluation = {"valid": numbers, "test": numbers | other}
        assert not finished(run, one, asked)
    run.evaluation = {"valid": numbers, "test": numbers}
    assert finished(run, one, asked)
    assert not finished(run, one, Measures(splits=["valid"], samples=10))
    longer = one.config.model_copy(update={"training": one.config.training.model_copy(update={"budget": 3})})
    assert not finished(run, replace(one, config=longer), asked)
    other = one.config.model_copy(update={"seed": 7})
    assert not finished(run, replace(one, config=other), asked)
    run.status = "interrupted"
    assert not finished(run, one, asked)


def test_a_first_stage_is_finished_once_it_is_trained(tmp_path: Path) -> None:
    stage = replace(cell("stage"), recipes=())
    run = Run(tmp_path / "run")
    run.create()
    run.config = stage.config
    assert not finished(run, stage, Measures(probe=True))
    run.status = "done"
    assert finished(run, stage, Measures(probe=True))


def test_a_study_that_probes_is_finished_once_its_first_split_is_probed_with_these_weights(tmp_path: Path) -> None:
    asked = Measures(splits=["valid", "test"], samples=9, probe=True)
    one = cell("a")
    run = Run(tmp_path / "run")
    run.create()
    run.config, run.status = one.config, "done"
    settings = {"seed": 0, "weights_sha256": None, "estimators": REVISION}
    run.evaluation = {split: {"iwae_samples_asked": 9, **settings} for split in asked.splits}
    assert not finished(run, one, asked)
    others: list[dict[str, Any]] = [{"weights_sha256": "of others"}, {"estimators": REVISION - 1}]
    for split, other in (("test", {}), *(("valid", each) for each in others)):
        run.write_part(split, "knowledge", settings | other, {})
        assert not finished(run, one, asked)
    run.write_part("valid", "knowledge", settings, {})
    assert finished(run, one, asked)
