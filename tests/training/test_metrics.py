"""Totals: sums that stay on the device, divided once; and the rows that a resumed run keeps."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import batch_of
from questions import Questions

from textvae.errors import RunError
from textvae.models.terms import Terms
from textvae.runs import Run
from textvae.training.metrics import MetricLog, Totals
from textvae.training.updates.update import SUMMED, Step, summed


def step(distortion: list[float], rate: list[float], loss: float, batch: Any, *, finite: bool = True) -> Step:
    class Loss:
        value = torch.tensor(loss, requires_grad=True)
        terms = Terms(torch.tensor(distortion, requires_grad=True), torch.tensor(rate), None)
        penalty, auxiliary = torch.tensor(loss / 2), torch.tensor(0.25)

    loss_of: Any = Loss()
    sums = summed(loss_of, torch.tensor(3.0), torch.tensor(4.0))
    return Step(loss_of, batch, sums=sums, finite=torch.tensor(finite), encoder_updates=5)


def test_means_are_over_sentences_and_steps() -> None:
    one = step([10.0, 20.0, 30.0], [1.0, 2.0, 3.0], 22.0, batch_of([4], [5, 6], [4]))
    two = step([50.0], [6.0], 56.0, batch_of([4, 5, 6]))
    total = Totals() + Totals.of(one) + Totals.of(two)
    assert (total.steps, total.sentences, total.tokens) == (2, 4, 2 + 3 + 2 + 4)
    means = total.means()
    assert means["distortion"] == 110 / 4
    assert means["rate"] == 12 / 4
    assert means["elbo"] == -122 / 4
    assert means["perplexity_elbo"] == pytest.approx(torch.tensor(122 / 11).exp().item())
    assert (means["loss"], means["penalty"], means["auxiliary"]) == (39, 19.5, 0.25)
    assert (means["encoder_gradient_norm"], means["decoder_gradient_norm"]) == (3, 4)
    assert (means["encoder_updates"], means["decoder_updates"]) == (5, 1)


def test_adding_asks_the_device_nothing_and_keeps_no_graph() -> None:
    done = step([10.0], [1.0], 11.0, batch_of([4]))
    with Questions() as questions:
        total = Totals() + Totals.of(done) + Totals.of(done)
    assert questions.asked == []
    assert not total.sums.requires_grad
    assert total.sums.shape == (len(SUMMED),)


def test_steps_whose_loss_was_no_number_are_counted() -> None:
    sound, broken = (step([10.0], [1.0], 11.0, batch_of([4]), finite=finite) for finite in (True, False))
    assert int((Totals() + Totals.of(broken) + Totals.of(sound) + Totals.of(broken)).broken) == 2
    assert int((Totals.of(broken) + Totals.of(broken)).broken) == 2


@pytest.mark.parametrize(
    ("last", "kept"),
    [
        ('{"step": 6, "split": "tra', [1, 3, 6]),
        ('{"step": 6, "split": "valid"}', [1, 3, 6]),
        ('{"step": 9, "split": "train"}\n', [1, 3, 6]),
        ('{"step": 9, "split": "train"}\n{"step": 12, "sp', [1, 3, 6]),
        ('{"step": 6, "split": "valid"}\n{"st', [1, 3, 6, 6]),
    ],
)
def test_a_resumed_run_has_the_whole_rows_up_to_its_step(last: str, kept: list[int], tmp_path: Path) -> None:
    """A row that was cut short is dropped, even if only its line break is: the next would be joined to it."""
    run = Run(tmp_path)
    run.metrics.write_text("".join(f'{{"step": {k}, "split": "train"}}\n' for k in (1, 3, 6)) + last, "utf-8")
    log = MetricLog(run, 6)
    assert [row["step"] for row in run.rows()] == kept
    log.row(8, "train", {"rate": 1.5, "elbo": math.nan})
    log.close()
    assert run.rows()[-1] == {"step": 8, "split": "train", "rate": 1.5, "elbo": None}
    assert len(run.metrics.read_text("utf-8").splitlines()) == len(kept) + 1


@pytest.mark.parametrize("step", [0, 50])
def test_tensorboard_shows_no_points_beyond_the_step_that_a_run_goes_on_from(step: int, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, rate in ((0, 1.0), (step, 2.0)):
        log = MetricLog(Run(tmp_path), start)
        for later in range(start + 50, 151, 50):
            log.row(later, "train", {"rate": rate})
        log.close()
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/rate")
    assert [(each.step, each.value) for each in shown] == [(k, 1.0 if k <= step else 2.0) for k in (50, 100, 150)]


def test_a_row_that_is_no_row_is_refused_rather_than_dropped(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.metrics.write_text('{"step": 1}\n{"st\n{"step": 2}\n', "utf-8")
    with pytest.raises(
        RunError, match=r"metrics\.jsonl: damaged; move it away to continue without the earlier rows"
    ):
        MetricLog(run, 6)
    assert run.metrics.read_text("utf-8").count("\n") == 3


def test_sums_are_those_of_python_numbers_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    values = (100 * torch.rand(50, 3, generator=generator)).tolist()
    total, wanted = Totals(), 0.0
    for row in values:
        done = step(row, row, row[0], batch_of([4], [5], [6]))
        total = total + Totals.of(done)
        wanted += done.loss.terms.distortion.sum().item()
    assert total.means()["distortion"] == wanted / 150
