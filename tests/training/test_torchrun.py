"""torchrun from outside: the same run as one process makes, one that is killed, and what is written by whom."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import TINY, process, write_corpus

from textvae.runs import Run

pytestmark = pytest.mark.slow

SETTINGS = (
    *TINY, "--objective.penalty", "{kind: free_bits_per_dimension, nats_per_dimension: 0.1}",
    "--objective.word_dropout.value", "0.2", "--training.validate_every", "20", "--training.log_every", "5",
)  # fmt: skip


def torchrun(*arguments: object, scratch: Path | None = None) -> "subprocess.Popen[str]":
    command = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--", "textvae", *arguments)
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)} if scratch else None,
    )


def rows(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [{k: v for k, v in row.items() if not k.endswith(("_seconds", "_per_second"))} for row in found]


def workers(runner: "subprocess.Popen[str]") -> list[int]:
    """The processes that torchrun started."""
    children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children").read_text().split()
    return [int(child) for child in children if b"textvae" in Path(f"/proc/{child}/cmdline").read_bytes()]


def started(run: Path) -> None:
    """Wait until a checkpoint is there."""
    for _ in range(600):
        if (run / "last.pt").exists():
            return
        time.sleep(0.1)
    raise AssertionError("no checkpoint after a minute")


def test_two_processes_make_the_run_that_one_makes(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    given = (*SETTINGS, "--corpus", corpus, "--steps", 40)
    assert process("train", *given, "--run", tmp_path / "one").returncode == 0
    (scratch := tmp_path / "scratch").mkdir()
    with torchrun("train", *given, "--run", tmp_path / "two", scratch=scratch) as runner:
        _, err = runner.communicate(timeout=300)
    assert runner.returncode == 0, err
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    assert two.status == "done"
    assert one.config == two.config
    assert len(rows(one.path)) == len(rows(two.path)) == 10
    for a, b in zip(rows(one.path), rows(two.path), strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            exact = isinstance(value, (str, int, type(None)))
            assert b[key] == (value if exact else pytest.approx(value, rel=1e-4, abs=1e-5)), key
    assert {p.name for p in two.path.iterdir()} == {p.name for p in one.path.iterdir()}
    # Two writers: the settings' and the numbers', both of the main process.
    assert len(list(two.tensorboard.iterdir())) == len(list(one.tensorboard.iterdir()))
    assert err.count("step 40/40") == 1
    assert "Traceback" not in err
    assert list(scratch.glob("textvae-*")) == []


def test_two_processes_measure_what_one_measures(tmp_path: Path) -> None:
    corpus, run = write_corpus(tmp_path / "corpus"), tmp_path / "run"
    valid = corpus / "valid.txt"
    valid.write_text(valid.read_text("utf-8").split("\n", 1)[1], "utf-8")  # an odd number of sentences
    assert process("train", *SETTINGS, "--corpus", corpus, "--steps", 10, "--run", run).returncode == 0
    asked = ("evaluate", run, "--samples", 5, "--json")
    alone = json.loads(process(*asked).stdout)["valid"]
    assert alone["sentences"] % 2 == 1
    (run / "evaluation.json").unlink()
    with torchrun(*asked) as runner:
        out, err = runner.communicate(timeout=120)
    assert runner.returncode == 0, err
    together = json.loads(out)["valid"]
    assert json.loads((run / "evaluation.json").read_text())["valid"] == together
    for key, value in alone.items():
        near = pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, (float, list)) else value
        assert together[key] == near, key
    with torchrun("evaluate", run, "--all") as runner:
        _, err = runner.communicate(timeout=120)
    assert runner.returncode != 0
    assert err.count("textvae: this command runs in a single process; start it without torchrun") == 1


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_job_and_one_goes_on(tmp_path: Path, victim: int) -> None:
    corpus, told = (
        write_corpus(tmp_path / "corpus"),
        "textvae: another process of this job has died; the same command",
    )
    for attempt in range(3):  # torchrun may end the survivor before it has noticed
        run = tmp_path / f"run-{attempt}"
        given = (*SETTINGS, "--corpus", corpus, "--run", run)
        with torchrun("train", *given, "--steps", 100_000) as runner:
            started(run)
            os.kill(sorted(workers(runner))[victim], signal.SIGKILL)
            _, err = runner.communicate(timeout=120)
        assert runner.returncode != 0
        if told in err:
            break
    assert told in err
    assert Run(run).status == ("failed" if victim else "interrupted")
    steps = rows(run)[-1]["step"]
    done = process("train", *given, "--steps", steps + 10)
    assert done.returncode == 0, done.stderr
    assert "continuing from step" in done.stderr
    assert Run(run).status == "done"


def test_a_stopped_job_is_saved_and_goes_on(tmp_path: Path) -> None:
    corpus, run = write_corpus(tmp_path / "corpus"), tmp_path / "run"
    given = (*SETTINGS, "--corpus", corpus, "--run", run)
    with torchrun("train", *given, "--steps", 100_000) as runner:
        started(run)
        runner.send_signal(signal.SIGTERM)
        _, err = runner.communicate(timeout=120)
    assert err.count("the same command continues") == 1
    assert Run(run).status == "interrupted"
    steps = rows(run)[-1]["step"]
    with torchrun("train", *given, "--steps", steps + 10) as runner:
        _, err = runner.communicate(timeout=300)
    assert runner.returncode == 0, err
    assert Run(run).status == "done"


def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    with torchrun("train", "--corpus", tmp_path / "nowhere", "--run", tmp_path / "run") as runner:
        _, err = runner.communicate(timeout=120)
    assert runner.returncode != 0
    assert err.count("textvae: there is no corpus") == 1
