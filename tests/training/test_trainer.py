"""What the loop does when: selection, decay, stopping, refusal of a loss that is no number, records."""

import copy
import json
import math
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from textvae.errors import RunError
from textvae.runs import Run
from textvae.tasks.evaluate import evaluate_run
from textvae.tasks.train import train
from textvae.training import trainer
from textvae.training.checkpoints import load_checkpoint
from textvae.training.plan import Decay, Progress
from textvae.training.processes import Processes
from textvae.training.trainer import NonFiniteLossError
from textvae.training.updates import Joint

TINY: dict[str, Any] = {
    "model.latent_dim": 2,
    "model.encoder": {"kind": "lstm", "embedding_dim": 4, "hidden_dim": 5},
    "model.decoder": {"kind": "lstm", "embedding_dim": 4, "hidden_dim": 5},
    "data.min_count": 20,
    "training.validate_every": 5,
    "training.log_every": 5,
}


def rows(run: Run, split: str) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, run.metrics.read_text().splitlines()) if row["split"] == split]


def progress(run: Run) -> dict[str, Any]:
    return dict(load_checkpoint(run)["progress"])


def test_nothing_is_selected_before_the_weight_has_settled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weight = {"objective.weight": {"kind": "linear", "steps": 12}}
    run = train([], {**TINY, **weight, "training.budget": 10}, tmp_path / "run")
    assert progress(run)["best_step"] is None
    assert b"none, no validation came after the weight had settled" in run.best.read_bytes()[:400]
    evaluate_run(run, samples=1)
    said = " ".join(capsys.readouterr().err.split())
    assert "its weights were not selected on valid (no validation came after the weight had settled" in said
    run = train([], {**TINY, **weight, "training.budget": 20}, run.path)
    assert progress(run)["best_step"] in (15, 20)
    assert b"best on valid" in run.best.read_bytes()[:400]


def test_a_run_whose_validations_are_no_numbers_ends_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Processes, "agreed", lambda self, value: math.nan)
    decay = {"training.decay": {"factor": 0.5, "patience": 1, "after": 0, "times": 2}}
    run = train([], {**TINY, **decay, "training.budget": 40}, tmp_path / "run")
    assert (progress(run)["decays"], progress(run)["stopped"], progress(run)["step"]) == (2, True, 15)
    assert b"none, the loss on valid was never a finite number" in run.best.read_bytes()[:400]
    assert "because the loss on valid was never a finite number" in " ".join(capsys.readouterr().err.split())


def test_best_is_the_lowest_valid_negative_elbo(tmp_path: Path) -> None:
    run = train([], {**TINY, "training.budget": 40}, tmp_path / "run")
    best = min(rows(run, "valid"), key=lambda row: -row["elbo"])
    assert progress(run)["best_step"] == best["step"]
    assert progress(run)["best"] == -best["elbo"]


def test_decay_halves_the_rate_restores_the_best_and_ends_the_run(tmp_path: Path) -> None:
    # A rate far too high makes validations worse.
    settings = {
        **TINY,
        "training.optimiser": {"kind": "sgd", "lr": 8.0},
        "training.decay": {"factor": 0.5, "patience": 1, "times": 2},
        "training.budget": 1000,
    }
    run = train([], settings, tmp_path / "run")
    state = progress(run)
    assert state["stopped"]
    assert state["decays"] == 2
    assert state["step"] < 1000
    rates = [row["learning_rate"] for row in rows(run, "train")]
    assert rates[0] == 8.0
    assert rates[-1] == 2.0
    assert rates == sorted(rates, reverse=True)


def test_after_a_decay_training_goes_on_from_the_best_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of what is trained beside the model, too, even if the run was taken up again between."""
    step, costs, same, heads = Joint.__call__, iter([1.0, 2.0, 3.0, 4.0]), {}, {}

    def watched(self: Joint, stream: Any, number: int, generator: Any) -> Any:
        if number % 5 == 0 and number:
            best, weights = load_file(tmp_path / "run" / "best.safetensors"), self.objective.model.state_dict()
            same[number] = all(torch.equal(weights[name], value) for name, value in best.items())
            heads[number] = copy.deepcopy(self.objective.auxiliary.state_dict())
        return step(self, stream, number, generator)

    monkeypatch.setattr(Joint, "__call__", watched)
    monkeypatch.setattr(Processes, "agreed", lambda self, cost: next(costs))
    settings = {**TINY, "training.decay": {"patience": 2}, "objective.auxiliary": {"kind": "bag_of_words"}}
    for budget in (10, 20):
        train([], {**settings, "training.budget": budget}, tmp_path / "run")
    assert same == {5: True, 10: False, 15: True}
    assert heads[5]
    assert all(torch.equal(heads[15][name], value) for name, value in heads[5].items())
    assert not any(torch.equal(heads[10][name], value) for name, value in heads[5].items())


@pytest.mark.parametrize(
    ("costs", "decay", "decayed"),
    [
        ([3, 4, 2, 3, 1], {}, []),
        ([3, 4, 4, 4, 4], {}, [2, 4]),
        ([3, 4, 4, 2, 4, 4], {}, [2, 5]),
        ([3, 4, 4, 4, 4], {"patience": 1, "after": 3}, [3, 4]),
        ([math.nan] * 4, {}, [1, 3]),
    ],
)
def test_a_decay_waits_for_its_step_and_its_validations_without_improvement(
    costs: list[float], decay: dict[str, Any], decayed: list[int]
) -> None:
    progress, plan = Progress(), Decay(**{"factor": 0.5, "patience": 2, "after": 0, "times": 5, **decay})
    found = []
    for progress.step, cost in enumerate(costs):
        if not progress.improved(cost) and progress.decay_due(plan):
            found.append(progress.step)
    assert found == decayed


def test_a_run_ends_when_one_decay_more_than_it_may_have_is_due() -> None:
    progress, plan = Progress(best=1.0), Decay(factor=0.5, patience=2, after=0, times=1)
    seen = []
    for progress.step in range(1, 5):
        assert not progress.improved(1.0)
        seen.append((progress.decay_due(plan), progress.decays, progress.stopped))
    assert seen == [(False, 0, False), (True, 1, False), (False, 1, False), (False, 1, True)]


def test_early_stopping(tmp_path: Path) -> None:
    settings = {**TINY, "training.optimiser": {"kind": "sgd", "lr": 8.0}, "training.stop_after": 3}
    run = train([], {**settings, "training.budget": 1000}, tmp_path / "run")
    assert progress(run)["waited"] == 3
    assert progress(run)["step"] == progress(run)["best_step"] + 15


def test_a_loss_that_is_no_number_moves_no_weight_and_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Joint.__call__
    seen: dict[str, Any] = {}

    def poisoned(self: Joint, stream: Any, number: int, generator: Any) -> Any:
        if number == 7:
            seen["model"], seen["before"] = self.objective, copy.deepcopy(self.objective.state_dict())
            monkeypatch.setattr(self.objective, "penalty", lambda done, step: done.terms.rate.mean() * math.nan)
        return step(self, stream, number, generator)

    monkeypatch.setattr(Joint, "__call__", poisoned)
    with pytest.raises(
        NonFiniteLossError, match="not a finite number in 3 of the steps 5 to 9; the last checkpoint is kept"
    ):
        train([], {**TINY, "training.budget": 20}, tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.status == "failed"
    assert progress(run)["step"] == 5
    assert rows(run, "train")[-1]["step"] == 5
    assert all(torch.equal(value, seen["before"][key]) for key, value in seen["model"].state_dict().items())


def test_weights_whose_rate_is_infinite_are_not_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However low their distortion: only where no sentence has a rate does the distortion alone count."""
    real, validations = trainer.Survey.of, iter(range(9))

    def broken(*args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        found.rate[0] = math.inf if next(validations) else found.rate[0]
        return replace(found, distortion=found.distortion / 100)

    monkeypatch.setattr(trainer.Survey, "of", broken)
    run = train([], {**TINY, "training.budget": 20}, tmp_path / "run")
    assert progress(run)["best_step"] == 5


def test_another_kind_of_device_cannot_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train([], {**TINY, "training.budget": 5}, tmp_path / "run")
    load = trainer.load_checkpoint
    assert load(run)["device"] == "cpu"
    monkeypatch.setattr(trainer, "load_checkpoint", lambda *args: load(*args) | {"device": "cuda"})
    with pytest.raises(RunError, match=r"was started on cuda, whose random numbers cpu cannot reproduce; continue"):
        train([], {**TINY, "training.budget": 10}, run.path)


@pytest.mark.parametrize(("every", "saved"), [(None, [4, 8, 10]), (3, [3, 6, 9, 10])])
def test_a_checkpoint_is_due_by_the_clock_too(
    every: int | None, saved: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 12 seconds here, so 45 are over with the fourth; a checkpoint of any kind starts them anew."""
    now, found = [0.0], []
    step, save = trainer.Trainer._step, trainer.save_checkpoint

    def slow(self: trainer.Trainer) -> Any:
        now[0] += 12
        return step(self)

    def saving(run: Run, state: dict[str, Any]) -> None:
        found.append(state["progress"]["step"])
        save(run, state)

    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(trainer.Trainer, "_step", slow)
    monkeypatch.setattr(trainer, "save_checkpoint", saving)
    settings = {"training.budget": 10, "training.validate_every": 100, "training.checkpoint_every": every}
    train([], {**TINY, **settings}, tmp_path / "run")
    assert found == saved


@pytest.mark.parametrize("fails", [False, True])
def test_training_leaves_signals_as_they_were(fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: trainer.Trainer) -> Any:
        raise RuntimeError

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if fails:
        monkeypatch.setattr(trainer.Trainer, "_step", failing)
    with pytest.raises(RuntimeError) if fails else nullcontext():
        train([], {**TINY, "training.budget": 1}, tmp_path / "run")
    assert {number: signal.getsignal(number) for number in before} == before


def test_the_record_and_tensorboard_hold_the_same_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train([], {**TINY, "training.budget": 20}, tmp_path / "run")
    board = EventAccumulator(str(run.tensorboard))
    board.Reload()
    for split in ("train", "valid"):
        for name, value in rows(run, split)[-1].items():
            if isinstance(value, (int, float)) and name != "step":
                events = board.Scalars(f"{split}/{name}")
                assert [event.step for event in events] == [row["step"] for row in rows(run, split)]
                assert events[-1].value == pytest.approx(value, rel=1e-6)
    tags = board.Tags()
    assert "valid/rate_per_dimension" in tags["histograms"]
    assert {"samples/text_summary", "reconstructions/text_summary"} <= set(tags["tensors"])
    wanted = {
        "distortion", "rate", "elbo", "perplexity_elbo", "weight", "word_dropout", "learning_rate",
        "tokens_per_second", "encoder_gradient_norm", "decoder_gradient_norm",
    }  # fmt: skip
    assert wanted <= rows(run, "train")[0].keys()


def test_a_row_tells_the_schedules_of_the_step_it_was_written_after(tmp_path: Path) -> None:
    schedule = {"kind": "linear", "steps": 4, "start": 0.1, "end": 0.5}
    settings = {"training.log_every": 1, "objective.weight": schedule, "objective.word_dropout": schedule}
    run = train([], {**TINY, **settings, "training.budget": 6}, tmp_path / "run")
    for name in ("weight", "word_dropout"):
        told = [row[name] for row in rows(run, "train")]
        assert told == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5]), name


def test_the_seconds_of_a_validation_are_not_those_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def lasting(seconds: float, work: Any) -> Any:
        def timed(*args: Any, **options: Any) -> Any:
            now[0] += seconds
            return work(*args, **options)

        return timed

    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Joint, "__call__", lasting(1.0, Joint.__call__))
    monkeypatch.setattr(trainer.Survey, "of", lasting(100.0, trainer.Survey.of))
    run = train([], {**TINY, "training.budget": 15}, tmp_path / "run")
    assert [row["elapsed_seconds"] for row in rows(run, "train")] == [5, 10, 15]
    assert [row["validation_seconds"] for row in rows(run, "valid")] == [100] * 3
    assert progress(run)["seconds"] == 15


def test_what_thaws_is_trained_with_momentum_from_then_on(tmp_path: Path) -> None:
    settings = {
        "training.update": {"kind": "joint", "frozen": ["decoder"], "frozen_until": 5},
        "training.optimiser": {"kind": "sgd", "lr": 0.1, "momentum": 0.9},
    }
    run = train([], {**TINY, **settings, "training.budget": 10}, tmp_path / "run")
    assert [row["decoder_updates"] for row in rows(run, "train")] == [0, 1]
    assert progress(run)["step"] == 10


def test_a_longer_budget_extends_a_finished_run(tmp_path: Path) -> None:
    once = train([], {**TINY, "training.budget": 20}, tmp_path / "once")
    twice = train([], {**TINY, "training.budget": 10}, tmp_path / "twice")
    twice = train([], {**TINY, "training.budget": 20}, twice.path)
    assert once.best.read_bytes() == twice.best.read_bytes()


GOLDEN: dict[str, tuple[dict[str, Any], list[float]]] = {
    "vae": (
        {
            "model.encoder.bidirectional": True,
            "objective.weight": {"kind": "linear", "steps": 10},
            "objective.word_dropout.value": 0.3,
            "objective.penalty": {"kind": "free_bits_per_dimension", "nats_per_dimension": 0.1},
        },
        [57.132412, 85.644478, 100.023697, 92.882538, 92.828491, 85.906227],
    ),
    "lm": (
        {"model.latent_dim": 0, "model.encoder": {"kind": "none"}},
        [57.146965, 85.517105, 99.809639, 92.937164, 92.720886, 85.405334],
    ),
    "autoencoder": (
        {"model.posterior.kind": "dirac", "objective.penalty.kind": "none"},
        [56.945534, 85.388954, 99.842102, 92.641609, 92.595192, 85.563141],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_losses(name: str, tmp_path: Path) -> None:
    """Guards refactors: the same losses as ever, to 1e-4 across machines."""
    settings, golden = GOLDEN[name]
    run = train([], {**TINY, "training.log_every": 1, **settings, "training.budget": 6}, tmp_path / "run")
    assert [row["loss"] for row in rows(run, "train")] == pytest.approx(golden, rel=1e-4)
