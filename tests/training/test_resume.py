"""A run killed at any moment and started again is the same run, to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from textvae.runs import Run
from textvae.tasks.train import train
from textvae.training.updates import Joint

SETTINGS: dict[str, dict[str, Any]] = {
    "vae": {
        "objective.word_dropout.value": 0.3,
        "objective.weight": {"kind": "cyclical", "length": 8, "cycles": 2},
        "objective.penalty": {"kind": "free_bits_per_dimension", "nats_per_dimension": 0.1},
        "model.encoder": {"kind": "lstm", "bidirectional": True, "pooling": "max", "dropout": 0.1},
    },
    "lm": {"model.latent_dim": 0, "model.encoder": {"kind": "none"}},
    "ae": {"model.posterior": {"kind": "dirac"}, "objective.penalty": {"kind": "none"}},
    "pi": {
        "objective.weight": {"kind": "pi", "target_rate": 0.5, "kp": 0.1, "ki": 0.05, "kd": 0.01, "settles": 6},
        "objective.auxiliary": {"kind": "bag_of_words", "hidden_dim": 4},
    },
    "soft_free_bits": {
        "objective.weight": {"kind": "soft_free_bits", "target_rate": 0.5, "change": 0.2, "settles": 6},
        "objective.auxiliary": {"kind": "mmd"},
        "objective.teacher_forcing.value": 0.6,
    },
    "minimum_rate": {
        "objective.weight": {"kind": "minimum_rate", "target_rate": 0.5, "lr": 0.05, "settles": 6},
        "objective.auxiliary": {"kind": "mutual_divergence"},
        "objective.corruption": {"kind": "words", "delete": 0.3, "blank": 0.1, "shuffle": 2},
    },
    "geco": {
        "objective.distortion_weight": {"kind": "constraint", "target_distortion": 25.0, "lr": 0.01, "settles": 6},
        "objective.bound": {"kind": "iwae", "gradient": "dreg"},
        "objective.samples": 2,
    },
    "stream": {"data.corpus": "grammar-stream", "data.batch_size": 2000, "training.optimiser": {"kind": "sgd"}},
}
SMALL = {
    "model.latent_dim": 3,
    "model.encoder.hidden_dim": 6,
    "model.encoder.embedding_dim": 5,
    "model.decoder.hidden_dim": 6,
    "model.decoder.embedding_dim": 5,
    "data.batch_size": 16,
    "data.min_count": 20,
    "training.decay": {"factor": 0.5, "patience": 1, "times": 3},
    "training.validate_every": 7,
    "training.log_every": 3,
    "training.checkpoint_every": 4,
    "threads": 1,
}


class Killed(BaseException):
    """What no code of ours catches."""


def options(name: str, steps: int) -> dict[str, Any]:
    return {**SMALL, **SETTINGS[name], "training.budget": steps}


def same(a: Run, b: Run) -> None:
    assert a.best.read_bytes() == b.best.read_bytes()
    assert reproducible(a) == reproducible(b)
    for name in ("samples.txt", "reconstructions.txt", "interpolations.txt"):
        assert a.read_text(name) == b.read_text(name)


def reproducible(run: Run) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.endswith(("_seconds", "_per_second"))} for row in rows]


DEATHS = ((1,), (5, 14), (8, 9, 20))
WATCHED = ("pi", "soft_free_bits", "minimum_rate", "geco")
"""Those whose weight has a state of its own: one line of deaths is enough to lose it."""


@pytest.mark.parametrize(
    ("name", "deaths"),
    [
        *((name, deaths) for name in SETTINGS if name not in WATCHED for deaths in DEATHS),
        *((name, DEATHS[1]) for name in WATCHED),
    ],
)
def test_killed_between_any_two_steps(
    name: str, deaths: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train([], options(name, 21), tmp_path / "whole")
    step = Joint.__call__

    def dying(self: Joint, stream: Any, number: int, generator: Any) -> Any:
        if number == death:
            raise Killed
        return step(self, stream, number, generator)

    for death in deaths:  # noqa: B007 (read by the closure)
        monkeypatch.setattr(Joint, "__call__", dying)
        with pytest.raises(Killed):
            train([], options(name, 21), tmp_path / "killed")
        assert Run(tmp_path / "killed").status == "failed"
    monkeypatch.undo()
    same(whole, train([], options(name, 21), tmp_path / "killed"))


def command(name: str, directory: Path, steps: int) -> list[str]:
    settings = [f"--{key}={json.dumps(value)}" for key, value in options(name, steps).items()]
    return [sys.executable, "-m", "textvae.cli", "train", "--run", str(directory), *settings]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae", "pi", "minimum_rate", "geco", "stream"])
def test_sigkill_at_random_moments(name: str, tmp_path: Path) -> None:
    moments = random.Random(os.urandom(8))
    steps = 60 if name == "stream" else 400
    subprocess.run(command(name, tmp_path / "whole", steps), check=True, capture_output=True)
    run = Run(tmp_path / "killed")
    for kill in range(4):
        child = subprocess.Popen(command(name, run.path, steps), stderr=subprocess.DEVNULL)
        if kill % 2:  # at any moment, starting up included
            time.sleep(moments.uniform(0, 4))
        else:  # while it trains
            old = written(run.checkpoint)
            wait_until(lambda old=old: written(run.checkpoint) != old, child)
            time.sleep(moments.uniform(0, 0.5))
        child.kill()
        child.wait()
    last = subprocess.run(command(name, run.path, steps), check=True, capture_output=True, text=True)
    assert "continuing from step" in last.stderr
    same(Run(tmp_path / "whole"), run)


def written(path: Path) -> int | None:
    """When a file was last written, or None if it is not there."""
    return path.stat().st_mtime_ns if path.exists() else None


def wait_until(ready: Any, child: "subprocess.Popen[str]") -> None:
    while not ready() and child.poll() is None:
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_same_command_continues(number: int, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    child = subprocess.Popen(command("lm", run.path, 100_000), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: run.metrics.exists() and run.metrics.stat().st_size > 0, child)
    child.send_signal(number)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 1
    assert "stopped at step" in said
    assert "the same command continues" in said
    assert "Traceback" not in said
    assert run.status == "interrupted"
    assert run.checkpoint.exists()
