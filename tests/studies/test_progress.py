"""How far a run is, from the rows that its training wrote."""

import json
from pathlib import Path

import pytest

from textvae.config import Config
from textvae.runs import Run
from textvae.studies.progress import TAIL_BYTES, TRAINING, share


def run_of(folder: Path, *rows: dict[str, object], more: str = "") -> Run:
    run = Run(folder)
    run.metrics.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + more, "utf-8")
    return run


def settings(budget: object) -> Config:
    return Config.model_validate({"training": {"budget": budget}})


@pytest.mark.parametrize(("budget", "done"), [(100, 0.25), ("10 epochs", 0.4), (20, 1.0), ("2 epochs", 1.0)])
def test_training_is_counted_in_the_units_of_its_budget(budget: object, done: float, tmp_path: Path) -> None:
    rows = ({"step": step, "split": "train", "epoch": 4.0 * step / 25} for step in (5, 25))
    assert share(run_of(tmp_path, *rows), settings(budget)) == pytest.approx(TRAINING * done)


def test_the_last_complete_row_of_training_counts(tmp_path: Path) -> None:
    rows = ({"step": 30, "split": "train"}, {"step": 90, "split": "valid"})
    run = run_of(tmp_path, *rows, more='{"step": 95, "split": "train"')
    assert share(run, settings(100)) == pytest.approx(TRAINING * 0.3)


def test_a_run_without_rows_is_at_its_beginning(tmp_path: Path) -> None:
    assert share(Run(tmp_path / "none"), settings(100)) == 0
    assert share(run_of(tmp_path), settings(100)) == 0
    assert share(run_of(tmp_path, {"step": 1, "split": "valid"}), settings("3 epochs")) == 0


@pytest.mark.parametrize("budget", [0, "0 epochs"])
def test_a_run_without_a_budget_has_no_progress(budget: object, tmp_path: Path) -> None:
    assert share(run_of(tmp_path), settings(budget)) == 0


def test_a_long_record_is_read_from_its_end(tmp_path: Path) -> None:
    rows = ({"step": step, "split": "train", "padding": "x" * 1000} for step in range(100))
    run = run_of(tmp_path, *rows)
    assert run.metrics.stat().st_size > TAIL_BYTES
    assert share(run, settings(100)) == pytest.approx(TRAINING * 0.99)
