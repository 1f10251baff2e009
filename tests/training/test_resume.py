"""A run killed at any moment and started again is the same run, to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import write_corpus
from patience import wait_until
from torch import Tensor

from textvae.config import recipe_files
from textvae.runs import Run
from textvae.tasks.showcase import Showcase
from textvae.tasks.train import train
from textvae.training.trainer import Trainer
from textvae.training.updates import Joint, Step

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
    "aggressive": {"training.update": {"kind": "aggressive", "batches": 6, "window": 2}},
    "batch_norm": {"model.posterior": {"kind": "batch_norm"}},
    "scale": {"model.posterior": {"kind": "scale"}, "objective.penalty": {"kind": "unscaled_rate"}},
    "du": {"model.posterior": {"kind": "du"}},
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
    assert last_state(a) == last_state(b)
    for name in ("samples.txt", "reconstructions.txt", "interpolations.txt"):
        assert a.read_text(name) == b.read_text(name)


def reproducible(run: Run) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.endswith(("_seconds", "_per_second"))} for row in rows]


def last_state(run: Run) -> Any:
    """Every bit of `last.pt` but the seconds: weights, controllers, optimiser, stream and random streams."""
    state = torch.load(run.checkpoint, weights_only=True)
    del state["progress"]["seconds"], state["progress"]["row_seconds"]
    return comparable(state)


def comparable(value: Any) -> Any:
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, Mapping):
        return {name: comparable(inner) for name, inner in value.items()}
    return [comparable(inner) for inner in value] if isinstance(value, (list, tuple)) else repr(value)


DEATHS = ((1,), (5, 14), (8, 9, 20))
WATCHED = ("pi", "soft_free_bits", "minimum_rate", "geco")
"""Those whose weight has a state of its own: one line of deaths is enough to lose it."""


@pytest.mark.parametrize(
    ("name", "deaths"),
    [
        *((name, deaths) for name in ("vae", "lm", "ae", "stream") for deaths in DEATHS),
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


# Every remedy that ships, at a tiny size: 24 steps of two an epoch, so that what takes 10 epochs is over after 20.

REMEDIES = {file.stem: yaml.safe_load(file.read_text("utf-8")) for file in recipe_files("remedies")}
FITTING: dict[str, dict[str, Any]] = {
    "aggressive": {"training.update.batches": 6, "training.update.window": 2},
    "control_vae": {"objective.weight.target_rate": 0.01},  # at 5 its integral would wait at its limit, the same
    "free_bits_group": {"objective.penalty.groups": 2},
    "semi_amortised": {"objective.inference.steps": 2},
    "transformer": {"model.decoder.layers": 2, "model.decoder.embedding_dim": 8, "model.decoder.hidden_dim": 8},
}
"""What is too large for such a size, or does not fit it."""
STATEFUL = (
    *("aggressive", "bn_vae", "control_vae", "du_vae", "geco", "minimum_rate", "scale_vae", "soft_free_bits"),
    *("capacity", "coupled", "lm_frozen", "pretrained_free_bits", "semi_amortised", "vamp_prior"),
)
"""Those with a state of their own, and one of every kind besides; the others are a slow test."""


def tiny_files(folder: Path) -> str:
    """A corpus of 32 sentences and the settings to train on it."""
    settings = {
        "threads": 1,
        "data": {"corpus": str(write_corpus(folder / "corpus", train=32)), "batch_size": 16},
        "model": {
            "latent_dim": 4,
            "encoder": {"kind": "lstm", "embedding_dim": 6, "hidden_dim": 6},
            "decoder": {"kind": "lstm", "embedding_dim": 6, "hidden_dim": 6},
        },
        "training": {
            "budget": 24,
            "validate_every": 11,
            "log_every": 5,
            "checkpoint_every": 3,
            "decay": {"patience": 1},
        },
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return str(folder / "tiny.yaml")


@pytest.mark.parametrize(
    "remedy", [pytest.param(name, marks=() if name in STATEFUL else pytest.mark.slow) for name in REMEDIES]
)
def test_killed_and_continued_whatever_the_remedy(
    remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its first stage too where it has one, between the stages, and before and after weights have settled."""
    for module in ("train", "assembly"):  # half of the time
        monkeypatch.setattr(f"textvae.tasks.{module}.showcase", lambda *given: Showcase([], [], []))
    names, step = [tiny_files(tmp_path), remedy], Trainer._step
    whole = train(names, FITTING.get(remedy), tmp_path / "whole")
    killed = Run(tmp_path / "killed")
    two_stages = "first" in REMEDIES[remedy]

    def dying(self: Trainer) -> Step:
        if (self.run.path, self.progress.step) == death:
            raise Killed
        return step(self)

    first = killed.path / "first"
    for death in [*([(first, 7), (killed.path, 0)] if two_stages else []), (killed.path, 7), (killed.path, 23)]:
        monkeypatch.setattr(Trainer, "_step", dying)
        with pytest.raises(Killed):
            train(names, FITTING.get(remedy), killed.path)
        assert Run(death[0]).status == "failed"
        assert killed.checkpoint.exists() == (death in ((killed.path, 7), (killed.path, 23)))
    trained_at = written(first / "best.safetensors")
    monkeypatch.setattr(Trainer, "_step", step)
    same(whole, train(names, FITTING.get(remedy), killed.path))
    assert first.exists() == two_stages
    if two_stages:
        same(Run(whole.path / "first"), Run(first))
        assert written(first / "best.safetensors") == trained_at


# Killed by the operating system.


def command(name: str, directory: Path, steps: int) -> list[str]:
    settings = [f"--{key}={json.dumps(value)}" for key, value in options(name, steps).items()]
    return [sys.executable, "-m", "textvae.cli", "train", "--run", str(directory), *settings]


@pytest.mark.slow
def test_sigkill_of_the_command_at_random_moments(tmp_path: Path) -> None:
    moments = random.Random(os.urandom(8))
    subprocess.run(command("vae", tmp_path / "whole", 120), check=True, capture_output=True)
    run = Run(tmp_path / "killed")
    for kill in range(4):
        child = subprocess.Popen(command("vae", run.path, 120), stderr=subprocess.DEVNULL)
        if kill % 2:  # at any moment, starting up included
            time.sleep(moments.uniform(0, 4))
        else:  # while it trains
            old = written(run.checkpoint)
            wait_until(lambda old=old, child=child: written(run.checkpoint) != old or child.poll() is not None)
            time.sleep(moments.uniform(0, 0.1))
        child.kill()
        child.wait()
    last = subprocess.run(command("vae", run.path, 120), check=True, capture_output=True, text=True)
    assert "continuing from step" in last.stderr
    same(Run(tmp_path / "whole"), run)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["first", ""])
def test_sigkill_in_either_stage(stage: str, tmp_path: Path) -> None:
    """The same command continues from where it was killed: in the first stage, or in the second."""
    names, steps = [tiny_files(tmp_path), "pretrained_free_bits"], ("--steps", "600", "--first.training.budget=600")
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    start = [sys.executable, "-m", "textvae.cli", "train", *names, *steps, "--run"]
    subprocess.run([*start, str(whole.path)], check=True, capture_output=True)
    child = subprocess.Popen([*start, str(run.path)], stderr=subprocess.DEVNULL)
    wait_until(Run(run.path / stage).checkpoint.exists)
    child.kill()
    child.wait()
    assert (run.path / "status").exists() == (not stage)
    assert Run(run.path / stage).status == "interrupted"
    last = subprocess.run([*start, str(run.path)], check=True, capture_output=True, text=True)
    assert "continuing from step" in last.stderr
    same(whole, run)
    same(Run(whole.path / "first"), Run(run.path / "first"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*WATCHED, "aggressive", "batch_norm", "scale", "du", "stream"])
def test_sigkill_at_random_moments(name: str, tmp_path: Path) -> None:
    """Of those that keep a state of their own beside the weights; a forked process has nothing to import."""
    moments = random.Random(os.urandom(8))
    given = options(name, 16 if name == "stream" else 60)
    began = time.monotonic()
    whole, run = train([], given, tmp_path / "whole"), Run(tmp_path / "killed")
    seconds = time.monotonic() - began
    for kill in range(4):
        child = get_context("fork").Process(target=train, args=([], given, run.path))
        old = written(run.checkpoint)
        child.start()
        if kill % 2 == 0:  # while it trains; else at any moment
            wait_until(lambda old=old, child=child: written(run.checkpoint) != old or not child.is_alive())
        time.sleep(moments.uniform(0, seconds / 8))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert run.status in (None, "interrupted")
    same(whole, train([], given, run.path))


def written(path: Path) -> int | None:
    """When a file was last written, or None if it is not there."""
    return path.stat().st_mtime_ns if path.exists() else None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_same_command_continues(number: int, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    child = subprocess.Popen(command("lm", run.path, 100_000), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (run.metrics.exists() and run.metrics.stat().st_size > 0) or child.poll() is not None)
    child.send_signal(number)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 1
    assert "stopped at step" in said
    assert "the same command continues" in said
    assert "Traceback" not in said
    assert run.status == "interrupted"
    assert run.checkpoint.exists()
