"""Commands one after another, each a process; what they say, how they end, how they are stopped."""

from pathlib import Path

import pytest
from patience import ended

from textvae.studies.jobs import Job, Requeued, Work, last_line, perform

LISTS, FAILS = ("corpus", "list"), ("evaluate", "nowhere")


def job(tmp_path: Path, *commands: tuple[str, ...]) -> Job:
    return Job("a job", commands, tmp_path / "deep" / "job.log", tmp_path, threads=3, gpu=False)


def test_commands_follow_one_another_and_the_log_says_which(tmp_path: Path) -> None:
    work = Work(job(tmp_path, LISTS, ("--version",)))
    assert work.poll() is None
    assert ended(work) == work.poll() == 0
    log = work.job.log.read_text("utf-8")
    assert log.index("$ textvae corpus list") < log.index("Penn Treebank") < log.index("$ textvae --version")


def test_the_first_that_fails_is_the_last(tmp_path: Path) -> None:
    work = Work(job(tmp_path, FAILS, LISTS))
    assert ended(work) == 1
    assert last_line(work.job.log) == "nowhere: no such run directory"
    assert "corpus list" not in work.job.log.read_text("utf-8")


def test_a_process_that_is_killed_leaves_word_of_it(tmp_path: Path) -> None:
    work = Work(job(tmp_path, LISTS, LISTS))
    work.process.kill()
    assert ended(work) < 0
    assert last_line(work.job.log) == "ended by SIGKILL"


def test_a_job_that_was_stopped_is_not_done_and_starts_nothing_more(tmp_path: Path) -> None:
    work = Work(job(tmp_path, LISTS, LISTS))
    ended(work.process)
    work.stop()
    assert ended(work) == 1
    assert work.job.log.read_text("utf-8").count("corpus list") == 1


def test_perform_returns_the_code(tmp_path: Path) -> None:
    assert perform(job(tmp_path, LISTS)) == 0
    assert perform(job(tmp_path, FAILS)) == 1


def test_a_failure_on_the_way_stops_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Work] = []
    poll = Work.poll

    def failing(self: Work) -> int | None:
        begun.append(self)
        monkeypatch.setattr(Work, "poll", poll)
        raise RuntimeError

    monkeypatch.setattr(Work, "poll", failing)
    with pytest.raises(RuntimeError):
        perform(job(tmp_path, LISTS))
    assert begun[0].stopped
    assert begun[0].process.poll() not in (0, None)  # it was waited for


def test_a_log_without_a_word(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none.log") == "nothing was said"


def test_a_job_that_slurm_ends_early_is_submitted_again_as_it_was(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    again = Requeued().checkpoint(job(tmp_path, LISTS))
    assert again.args == (job(tmp_path, LISTS),)
    assert again.result() == 0
