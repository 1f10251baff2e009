"""`textvae train`: what a run directory holds, how a run goes on, and when it is refused."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import TINY, refused, textvae, worked
from patience import PATIENCE, wait_until

from textvae.config import Config, Draft, signature
from textvae.runs import Run
from textvae.studies.report.provenance import code_of
from textvae.tasks.train import train
from textvae.training import precision

FILES = {
    "config.yaml", "environment.json", "tokenizer", "metrics.jsonl", "tensorboard", "last.pt", "best.safetensors",
    "samples.txt", "reconstructions.txt", "interpolations.txt", "status",
}  # fmt: skip


MINUTE = {
    "data.min_count": 20,
    "model.latent_dim": 2,
    "model.encoder": {"kind": "lstm", "embedding_dim": 4, "hidden_dim": 4},
    "model.decoder": {"kind": "lstm", "embedding_dim": 4, "hidden_dim": 4},
}


def rows(run):
    """The rows of `metrics.jsonl` without their clock fields."""
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if not key.endswith(("_seconds", "_per_second"))}
        for line in lines
    ]


def weights(run):
    return (run / "best.safetensors").read_bytes()


def state(run):
    """Everything in `last.pt` but the clock."""
    found = torch.load(run / "last.pt", weights_only=True)
    del found["progress"]["seconds"], found["progress"]["row_seconds"]
    return found


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b or a != a


# What is there


def test_threads_random_streams_and_flags_are_for_the_run_alone(monkeypatch):
    before, seen = torch.get_num_threads(), []

    def stage(*_):
        seen.append(torch.get_num_threads())
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        precision.switch("tf32")

    def drawn():
        return random.random(), np.random.random(), torch.rand(()).item()

    monkeypatch.setattr("textvae.tasks.train.stage", stage)
    draws = []
    for settings in ({"threads": before + 1}, {}):
        train([], settings)
        draws.append(drawn())
    assert seen == [before + 1, before]
    assert torch.get_num_threads() == before
    assert all(a != b for a, b in zip(*draws, strict=True))
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_run_directory_holds_all_of_itself(vae_run):
    assert {path.name for path in vae_run.iterdir()} - {"lock", "evaluation.json"} == FILES
    assert (vae_run / "status").read_text() == "done\n"
    environment = json.loads((vae_run / "environment.json").read_text("utf-8"))
    assert environment["libraries"]["torch"] == torch.__version__
    assert len(environment["corpus_sha256"]) == 64
    assert len((vae_run / "samples.txt").read_text("utf-8").splitlines()) == 20
    pairs = [line.split("\t") for line in (vae_run / "reconstructions.txt").read_text("utf-8").splitlines()]
    assert len(pairs) == 20
    assert all(len(pair) == 2 for pair in pairs)
    assert len((vae_run / "interpolations.txt").read_text("utf-8").splitlines()) == 7
    assert list((vae_run / "tensorboard").glob("events*"))


def test_a_run_that_other_code_continues_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, later = {"commit": "a" * 40, "diff_sha256": None}, {"commit": "b" * 40, "diff_sha256": "c" * 64}

    def trained(commit: dict[str, str | None], steps: int) -> dict[str, Any]:
        monkeypatch.setattr("textvae.tasks.environment._commit", lambda: commit)
        return train([], {**MINUTE, "training.budget": steps}, tmp_path / "run").environment

    assert "continued" not in trained(begun, 1)
    assert "continued" not in trained(begun, 2)
    assert trained(later, 3)["continued"] == [{"step": 2, **later}]
    assert trained(later, 4)["continued"] == [{"step": 2, **later}]
    found = trained(begun, 5)
    assert found["continued"] == [{"step": 2, **later}, {"step": 4, **begun}]
    first, second = "commit aaaaaaaaaa", "commit bbbbbbbbbb with changes cccccccc"
    assert code_of([found]) == f"Made by {first}, then {second}, then {first}."


def test_a_run_without_z_has_nothing_to_reconstruct(lm_run):
    assert {path.name for path in lm_run.iterdir()} - {"lock", "evaluation.json"} == FILES
    assert len((lm_run / "samples.txt").read_text("utf-8").splitlines()) == 20
    for name in ("reconstructions.txt", "interpolations.txt"):
        assert (lm_run / name).read_text("utf-8") == ""


def test_rows_of_training_come_at_least_every_50_steps(vae_run):
    lines = [json.loads(line) for line in (vae_run / "metrics.jsonl").read_text("utf-8").splitlines()]
    steps = [line["step"] for line in lines if line["split"] == "train"]
    assert steps == [50, 100, 150, 200, 250]
    assert all(line["tokens_per_second"] > 0 for line in lines if line["split"] == "train")
    assert [line["step"] for line in lines if line["split"] == "valid"] == steps


def test_training_says_nothing_on_stdout(corpus, tmp_path):
    done = worked("train", *TINY, "--corpus", corpus, "--run", tmp_path / "run", "--steps", 2)
    assert done.out == ""
    assert f"{tmp_path}/run: done at step 2" in done.err


def test_the_default_directory_is_named_after_corpus_remedies_and_settings(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(corpus, "words")
    for seed in (0, 1, 1):
        worked("train", *TINY, "--corpus", "words", "--steps", 1, "--seed", seed)
    Path("mine.yaml").write_text("objective: {word_dropout: {kind: constant, value: 0.5}}\n", "utf-8")
    worked("train", "demo", *TINY, "free_bits", "mine.yaml", "--corpus", "words", "--steps", 1)
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert sorted(name.rpartition("-")[0] for name in runs) == ["words", "words", "words-free_bits-mine"]
    assert all(name.endswith(f"-{signature(Run(tmp_path / 'runs' / name).config)}") for name in runs)
    again = worked("train", f"runs/{runs[-1]}/config.yaml")
    assert f"runs/{runs[-1]}: trained already" in again.err


def test_config_yaml_reproduces_the_run(vae_run, corpus, tmp_path):
    again = tmp_path / "again"
    worked("train", vae_run / "config.yaml", "--run", again)
    assert rows(again) == rows(vae_run)
    assert weights(again) == weights(vae_run)
    assert (again / "config.yaml").read_bytes() == (vae_run / "config.yaml").read_bytes()
    for name in ("samples.txt", "reconstructions.txt", "interpolations.txt"):
        assert (again / name).read_bytes() == (vae_run / name).read_bytes()


def test_another_seed_is_another_run(vae_run, tmp_path):
    worked("train", vae_run / "config.yaml", "--run", tmp_path / "other", "--seed", 1, "--steps", 50)
    assert rows(tmp_path / "other")[0] != rows(vae_run)[0]


def test_checkpoints_change_nothing(corpus, tmp_path):
    short = ("--corpus", corpus, "--steps", 12)
    worked("train", *TINY, *short, "--run", tmp_path / "a")
    worked("train", *TINY, *short, "--run", tmp_path / "b", "--training.checkpoint_every", 5)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


# Going on


def test_a_finished_run_is_left_as_it_is(own_vae_run):
    before = {path.name: path.read_bytes() for path in own_vae_run.iterdir() if path.is_file()}
    done = worked("train", own_vae_run / "config.yaml", "--run", own_vae_run)
    assert "trained already, 250 steps" in done.err
    assert {path.name: path.read_bytes() for path in own_vae_run.iterdir() if path.is_file()} == before


def test_a_finished_run_keeps_its_budget_when_asked_for_fewer_steps(own_vae_run):
    before = (own_vae_run / "config.yaml").read_bytes()
    done = worked("train", own_vae_run / "config.yaml", "--run", own_vae_run, "--steps", 10)
    assert "trained already, 250 steps" in done.err
    assert (own_vae_run / "config.yaml").read_bytes() == before


def test_a_finished_run_without_its_checkpoint_does_not_start_again(own_vae_run):
    before = (own_vae_run / "best.safetensors").read_bytes()
    (own_vae_run / "last.pt").unlink()
    sentence = refused("train", own_vae_run / "config.yaml", "--run", own_vae_run, code=1)
    assert "last.pt is missing, so it cannot go on" in sentence
    assert (own_vae_run / "best.safetensors").read_bytes() == before


def test_a_run_of_no_steps_has_no_checkpoint_to_lose(corpus, tmp_path):
    command = ("train", *TINY, "--corpus", corpus, "--run", tmp_path / "run", "--steps")
    worked(*command, 0)
    worked(*command, 2)
    worked("train", *TINY, "--corpus", corpus, "--run", tmp_path / "other", "--steps", 2)
    weights = [(tmp_path / run / "best.safetensors").read_bytes() for run in ("run", "other")]
    assert weights[0] == weights[1]


def test_a_run_is_evaluated_from_another_folder_only_where_its_corpus_is_found(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(corpus.parent)
    worked("train", *TINY, "--corpus", corpus.name, "--run", tmp_path / "run", "--steps", 2)
    monkeypatch.chdir(tmp_path)
    sentence = refused("evaluate", tmp_path / "run", code=1)
    assert sentence.startswith(f"{tmp_path / 'run' / 'config.yaml'}: data.corpus: there is no corpus")
    assert f"in {tmp_path}" in sentence
    moved = Run(tmp_path / "run")
    settings = moved.config.plain()
    moved.config = Config.model_validate({**settings, "data": {**settings["data"], "corpus": str(corpus)}})
    worked("evaluate", tmp_path / "run", "--samples", 1)


def test_a_finished_run_is_extended_by_more_steps(corpus, tmp_path):
    both = ("train", *TINY, "--corpus", corpus, "--training.validate_every", 10, "--training.log_every", 10)
    worked(*both, "--run", tmp_path / "long", "--steps", 40)
    worked(*both, "--run", tmp_path / "short", "--steps", 20)
    done = worked(*both, "--run", tmp_path / "short", "--steps", 40)
    assert "continuing from step 20" in done.err
    assert rows(tmp_path / "short") == rows(tmp_path / "long")
    assert same(state(tmp_path / "short"), state(tmp_path / "long"))
    assert Run(tmp_path / "short").config.training.budget == 40


def test_an_extended_run_says_where_it_was_validated_off_schedule(corpus, tmp_path):
    both = ("train", *TINY, "--corpus", corpus, "--training.validate_every", 10, "--run", tmp_path / "run")
    worked(*both, "--steps", 15)
    assert "was validated at step 15, where its budget ended" in worked(*both, "--steps", 20).err
    assert "where its budget ended" not in worked(*both, "--steps", 30).err


def test_other_settings_are_refused_by_name(own_vae_run):
    before = (own_vae_run / "config.yaml").read_bytes()
    sentence = refused(
        "train",
        own_vae_run / "config.yaml",
        "--run",
        own_vae_run,
        "--seed",
        1,
        "--training.optimiser.lr",
        1,
        code=1,
    )
    assert "other settings of seed, training.optimiser.lr;" in sentence
    assert "latent_dim" not in sentence
    assert (own_vae_run / "config.yaml").read_bytes() == before


def test_a_run_that_could_not_start_leaves_no_settings_behind(corpus, tmp_path):
    run = tmp_path / "run"
    common = ("train", *TINY, "--corpus", corpus, "--run", run, "--steps", 1)
    assert "vocabulary" in refused(*common, "--data.min_count", 10_000, code=1)
    worked(*common)


def test_a_second_process_is_refused(own_vae_run):
    run = Run(own_vae_run)
    again = ("train", own_vae_run / "config.yaml", "--run", own_vae_run, "--steps", 300)
    with run.lock():
        assert "another process is working on this run" in refused(*again, code=1)
        worked("evaluate", own_vae_run, "--samples", 1)
    assert run.config.training.budget == 250
    assert "continuing from step 250" in worked(*again).err


def test_a_process_that_died_holds_no_lock(own_vae_run):
    code = f"import os, textvae.runs as r\nwith r.Run({str(own_vae_run)!r}).lock(): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    with Run(own_vae_run).lock():
        pass


# Signals


def training(run, corpus, *more):
    """A process that trains until it is told to stop, and has saved once."""
    command = [sys.executable, "-m", "textvae.cli", "train", *TINY, "--corpus", corpus, "--run", run,
               "--training.validate_every", 100_000, "--training.log_every", 10, *more]  # fmt: skip
    started = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: started.poll() is not None or (run / "last.pt").exists())
    assert started.poll() is None, started.communicate()
    return started


@contextmanager
def sent_when(path: Path, number: int) -> Iterator[None]:
    """Send a signal to this process as soon as a file is there, if ever it is before the block ends.

    A signal that comes too late to stop a training is ignored: it would end the tests.
    """
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.01):
            if path.exists():
                return os.kill(os.getpid(), number)
        return None

    before = signal.signal(number, lambda number, frame: None)
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_saves_and_says_how_to_go_on(number, corpus, tmp_path):
    run = tmp_path / "run"
    long = ("--steps", 2000, "--training.checkpoint_every", 5, "--training.validate_every", 2000)
    with sent_when(run / "last.pt", number):
        sentence = refused("train", *TINY, "--corpus", corpus, "--run", run, *long, code=1)
    step = state(run)["progress"]["step"]
    assert step > 0
    assert sentence == f"{run}: stopped at step {step} and saved; the same command continues"
    assert (run / "status").read_text() == "interrupted\n"
    assert "has no trained weights yet" in refused("evaluate", run, code=1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_process_exits_with_1_and_one_sentence(number, corpus, tmp_path):
    started = training(tmp_path / "run", corpus, "--steps", 1_000_000, "--training.checkpoint_every", 20)
    started.send_signal(number)
    out, err = started.communicate(timeout=PATIENCE)
    assert (started.returncode, out) == (1, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].endswith("and saved; the same command continues")


def test_an_interrupted_run_is_not_given_fewer_steps_than_it_has(own_vae_run):
    before = (own_vae_run / "config.yaml").read_bytes()
    (own_vae_run / "status").write_text("interrupted\n")
    command = ("train", own_vae_run / "config.yaml", "--run", own_vae_run, "--steps")
    assert "has 250 steps already; to end it, give --steps 251 or more" in refused(*command, 10, code=1)
    assert (own_vae_run / "config.yaml").read_bytes() == before
    assert "done at step 250" in worked(*command, 250).err


def test_an_interrupted_run_does_not_end_where_it_was_not_validated(own_vae_run):
    file = own_vae_run / "config.yaml"
    file.write_text(file.read_text("utf-8").replace("budget: 250", "budget: 400"), "utf-8")
    (own_vae_run / "status").write_text("interrupted\n")
    command = ("train", file, "--run", own_vae_run, "--steps")
    assert "has 250 steps already; to end it, give --steps 251 or more" in refused(*command, 250, code=1)
    worked(*command, 251)
    assert [row["step"] for row in Run(own_vae_run).rows() if row["split"] == "valid"][-1] == 251


def test_a_run_that_has_lost_its_best_weights_is_not_trained_on(own_vae_run):
    command = ("train", own_vae_run / "config.yaml", "--run", own_vae_run, "--steps", 260)
    (own_vae_run / "best.safetensors").write_bytes(b"")
    assert "best.safetensors: damaged weights" in refused(*command, code=1)
    (own_vae_run / "best.safetensors").unlink()
    assert "has lost best.safetensors, the weights of step" in refused(*command, code=1)
    assert Run(own_vae_run).rows()[-1]["step"] == 250


def test_a_run_of_no_epochs_is_finished_whenever_it_is_trained_again(corpus, tmp_path):
    for _ in range(2):
        train(["grammar"], {"corpus": str(corpus), "training.budget": "0 epochs"}, tmp_path / "none")
    assert Run(tmp_path / "none").status == "done"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(number, corpus, tmp_path):
    budget = ("--steps", 600, "--training.checkpoint_every", 20)
    started = training(tmp_path / "a", corpus, *budget)
    started.send_signal(number)
    started.communicate(timeout=PATIENCE)
    again = ("train", *TINY, "--corpus", corpus, "--training.validate_every", 100_000, "--training.log_every", 10)
    assert "continuing from step " in worked(*again, *budget, "--run", tmp_path / "a").err
    worked(*again, *budget, "--run", tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert same(state(tmp_path / "a"), state(tmp_path / "b"))
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


# Places that cannot be written to


def test_a_directory_that_cannot_be_made_is_one_sentence(corpus, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for run in (file, file / "run", "/proc/run"):
        sentence = refused("train", *TINY, "--corpus", corpus, "--run", run, "--steps", 1, code=1)
        assert sentence.startswith(f"{run}: cannot be written to: ")
    assert file.read_text() == "mine"


def test_a_directory_with_other_files_is_not_made_a_run(corpus, tmp_path):
    own = shutil.copytree(corpus, tmp_path / "words")
    before = sorted(path.name for path in own.iterdir())
    assert "holds other files" in refused("train", *TINY, "--corpus", own, "--run", own, "--steps", 1, code=1)
    assert sorted(path.name for path in own.iterdir()) == before


@contextmanager
def files_no_larger_than(size):
    """What a full disk does to a process: writing beyond `size` bytes of a file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1, 800, 2000, 6000, 20_000])
def test_a_full_disk_is_one_sentence_and_leaves_whole_files_only(size, corpus, tmp_path):
    run = tmp_path / "run"
    with files_no_larger_than(size):
        done = textvae("train", *TINY, "--corpus", corpus, "--run", run, "--steps", 20)
    assert (done.code, done.out) == (1, "")
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1].startswith(f"textvae: {run}")
    assert done.err.endswith("cannot be written: File too large\n")
    assert not [path for path in run.rglob(".*") if path.is_file()]
    assert not (run / "last.pt").exists()
    if (run / "config.yaml").exists():
        assert Run(run).config.training.budget == 20
    worked("train", *TINY, "--corpus", corpus, "--run", run, "--steps", 20)


def test_a_disk_that_fills_up_later_keeps_the_last_checkpoint(own_vae_run):
    before = state(own_vae_run)
    with files_no_larger_than(20_000):
        done = textvae("train", own_vae_run / "config.yaml", "--run", own_vae_run, "--steps", 300)
    assert done.code == 1
    assert same(state(own_vae_run), before)
    assert (own_vae_run / "status").read_text() == "failed\n"
    assert (
        "continuing from step 250"
        in worked("train", own_vae_run / "config.yaml", "--run", own_vae_run, "--steps", 300).err
    )


# Options


def test_options_come_after_files_which_merge_left_to_right(corpus, tmp_path):
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text("seed: 1\ntraining: {budget: 9 epochs, optimiser: {kind: sgd, lr: 0.5}}\n")
    b.write_text("seed: 2\ntraining: {optimiser: {lr: 0.25}}\n")
    run = tmp_path / "run"
    worked("train", a, b, *TINY[:-2], "--corpus", corpus, "--run", run, "--steps", 3, "--seed=3",
           "--training.optimiser.momentum=0.5")  # fmt: skip
    config = Run(run).config
    assert (config.seed, config.training.budget) == (3, 3)
    assert config.training.optimiser.model_dump() == {"kind": "sgd", "lr": 0.25, "momentum": 0.5}


def test_values_are_read_as_yaml(corpus, tmp_path):
    run = tmp_path / "run"
    worked("train", *TINY, "--corpus", corpus, "--run", run, "--steps", 1, "--training.optimiser.lr", "1e-4",
           "--data.max_length", "null", "--model.encoder.bidirectional=true",
           "--objective.weight", "{kind: linear, steps: 2 epochs}")  # fmt: skip
    config = Run(run).config
    assert config.training.optimiser.arguments["lr"] == 1e-4
    assert config.data.max_length is None
    assert config.model.encoder.arguments["bidirectional"] is True
    assert config.objective.weight.model_dump() == {"kind": "linear", "steps": "2 epochs", "start": 0.0, "end": 1.0}


@pytest.mark.parametrize(
    ("tokenizer", "size"), [("word", None), ("unigram", None), ("bpe", None), ("char", None), ("unigram", 40)]
)
def test_every_tokenizer_trains_and_is_saved_in_the_run(tokenizer, size, corpus, tmp_path):
    run = tmp_path / "run"
    few = () if size is None else ("--data.vocabulary_size", size)
    worked("train", *TINY, "--corpus", corpus, "--run", run, "--steps", 2, "--tokenizer", tokenizer, *few)
    assert Run(run).config.data.tokenizer == tokenizer
    assert len(worked("sample", run, "-n", 2, "--max-length", 20).out.splitlines()) == 2
    values = json.loads(worked("evaluate", run, "--samples", 1, "--json").out)["valid"]
    ratio = values["perplexity_per_word_elbo"] / values["perplexity_elbo"]
    assert ratio > 2 if tokenizer == "char" or size else ratio == 1, "this few words are pieces of their own"


def test_an_external_member_trains_and_is_read_back(corpus, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "cubic.py").write_text(
        "from textvae.fields import NonNegative\n"
        "from textvae.objectives.penalties.penalty import Penalty\n"
        "class Cubic(Penalty):\n"
        "    def __init__(self, *, scale: NonNegative = 0.5) -> None:\n"
        "        self.scale = scale\n"
        "    def __call__(self, done, step):\n"
        "        return self.scale * (done.terms.rate ** 3).mean()\n"
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", list(sys.path))
    common = ("train", *TINY, "--corpus", corpus, "--steps", 1, "--objective.penalty.kind", "cubic:Cubic")
    run = tmp_path / "run"
    worked(*common, "--run", run, "--objective.penalty.scale", "1e6")
    assert Run(run).config.objective.penalty.model_dump() == {"kind": "cubic:Cubic", "scale": 1e6}
    row = next(row for row in rows(run) if row["split"] == "train")
    assert row["penalty"] >= 1e6 * row["rate"] ** 3 > 0
    assert row["loss"] == pytest.approx(row["distortion"] + row["penalty"], rel=1e-5)
    assert len(worked("sample", run, "-n", 2).out.splitlines()) == 2
    assert "must be at least 0" in refused(*common, "--objective.penalty.scale", "-1", code=2)
    assert "valid keys are scale" in refused(*common, "--objective.penalty.scales", "1", code=2)


def test_a_name_that_is_a_corpus_directory_is_told_apart(corpus, monkeypatch):
    monkeypatch.chdir(corpus.parent)
    assert "or --corpus tiny" in refused("train", "tiny", code=2)


def test_a_draft_of_defaults_trains_nothing_unasked():
    assert Draft().config().data.corpus == "grammar"
    assert textvae("train", "--data.corpus", "/nowhere/at/all").code == 1
