"""The command that compares a VAE's bounds with the NLL of a language model."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from textvae.api import load
from textvae.runs import Run

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def test_its_bounds_are_paired_with_the_language_model(
    own_vae_run: Path,
    lm_run: Path,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(EXPERIMENTS)
    monkeypatch.setattr(sys, "argv", ["beyond.py", str(own_vae_run), "--lm", str(lm_run)])
    importlib.import_module("beyond").main()
    printed = {name: float(value) for name, value, *_ in map(str.split, capsys.readouterr().out.splitlines())}
    sentences = (corpus / "test.txt").read_text("utf-8").splitlines()
    exact = -float(torch.as_tensor(load(lm_run).score(sentences, samples=1)).mean())
    assert printed["lm_nll"] == pytest.approx(exact, abs=1e-3)
    for bound in ("amortised", "refined", "iwae_100"):
        assert printed[f"{bound}_less_lm"] == pytest.approx(printed[bound] - printed["lm_nll"], abs=2e-3)
    assert max(printed["iwae_100"], printed["refined"]) < printed["amortised"]
    (kept,) = Run(own_vae_run).path.glob("evaluation/test/beyond*.json")
    written = kept.stat().st_mtime_ns
    importlib.import_module("beyond").main()
    assert kept.stat().st_mtime_ns == written


def test_a_run_that_is_not_there_is_one_sentence(
    lm_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(EXPERIMENTS)
    for run, lm, said in (
        (tmp_path / "nowhere", lm_run, "nowhere: no such run directory"),
        (lm_run, lm_run, f"{lm_run}: "),
    ):
        monkeypatch.setattr(sys, "argv", ["beyond.py", str(run), "--lm", str(lm)])
        with pytest.raises(SystemExit):
            importlib.import_module("beyond").main()
        assert said in capsys.readouterr().err.splitlines()[-1]
