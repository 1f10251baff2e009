"""`textvae diagnose`: a page in plain words, pictures beside it, the same in TensorBoard."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import refused, worked
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from textvae.evaluation.diagnosis import Diagnosis
from textvae.plots.figure import pixels
from textvae.runs import Run
from textvae.tasks import diagnose
from textvae.tasks.parts.likelihood import BoundCurve, PosteriorGap, PriorCurve
from textvae.tasks.parts.trained import Lag
from textvae.tasks.parts.use import Dimensions, Listening, Positions

SMALL = (
    Dimensions(),
    Listening(),
    Positions(),
    PriorCurve(prior_sentences=64, prior_samples=300),
    BoundCurve(gap_sentences=6),
    PosteriorGap(gap_sentences=6, refining_steps=30, mean_samples=200, temperatures=0),
    Lag(lag_steps=3, lag_sentences=10),
)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(diagnose, "BRIEF", SMALL)


def diagnosed(run: Path, *options: object) -> str:
    """The page; printed and kept alike."""
    page = worked("diagnose", run, *options).out
    assert (run / "diagnosis" / "diagnosis.md").read_text(encoding="utf-8") == page
    return page


def test_an_alive_model_with_a_language_model_beside_it(own_vae_run, lm_run):
    page = diagnosed(own_vae_run, "--lm", lm_run)
    assert "**Alive: " in page or "**Partly collapsed: " in page
    assert "dimensions of z are active" in page
    assert "Compared with the language model" in page
    kept = json.loads((own_vae_run / "diagnosis" / "diagnosis.json").read_text(encoding="utf-8"))
    assert kept["listening"] > 0.1
    assert kept["split"] == "valid"
    pictures = {path.stem for path in (own_vae_run / "diagnosis").glob("*.png")}
    assert pictures >= {"listening", "dimensions", "posterior", "bounds", "density", "positions", "training"}
    assert all(f"[{name}.png]({name}.png)" in page for name in pictures)


@pytest.mark.parametrize(
    ("elbos", "said"),
    [
        ([-40.0, -35.0, -34.5], "−ELBO on valid still fell at its end, from 35.00 to 34.50"),
        ([-40.0, -34.0, -34.5], None),
        ([-40.0], "it was validated once"),
    ],
)
def test_a_run_that_may_be_judged_too_early_is_said_to_be(own_vae_run, elbos, said):
    run = Run(own_vae_run)
    rows = [{"step": k, "split": "valid", "elbo": elbo} for k, elbo in enumerate(elbos)]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert diagnose.unfinished(run) == said
    run.status = "interrupted"
    assert diagnose.unfinished(run) == "its training is interrupted"


def test_best_weights_from_before_the_rate_rose_are_said_to_be(own_vae_run):
    run = Run(own_vae_run)
    rows = [
        {"step": step, "split": "valid", "elbo": elbo, "rate": rate}
        for step, elbo, rate in ((20, -40.0, 1.0), (40, -35.0, 1.85), (120, -36.0, 8.24))
    ]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert diagnose.unfinished(run) == (
        "its weights, the best on valid by −ELBO, are those of step 40, at a rate of 1.85 nats, which had risen to "
        "8.24 at step 120"
    )


def test_a_page_begins_with_why_it_may_be_too_early(own_vae_run):
    found = Diagnosis("alive", "Alive: it is.", None, ("A finding.",), ())
    text = diagnose.page("run", "valid", 3, found, {}, "it was validated once")
    assert "- **This run may be too early to judge**: it was validated once." in text
    assert "too early" not in diagnose.page("run", "valid", 3, found, {})


def test_the_pictures_and_the_page_are_in_tensorboard(own_vae_run):
    diagnosed(own_vae_run)
    board = EventAccumulator(str(own_vae_run / "tensorboard"), size_guidance={"images": 0, "tensors": 0}).Reload()
    shown = {tag for tag in board.Tags()["images"] if tag.startswith("diagnosis/")}
    assert shown == {f"diagnosis/{path.stem}" for path in (own_vae_run / "diagnosis").glob("*.png")}
    assert "diagnosis/text_summary" in board.Tags()["tensors"]
    last = json.loads((own_vae_run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"]
    assert board.Images("diagnosis/listening")[0].step == last


def test_a_full_evaluations_parts_are_taken_and_nothing_is_measured_twice(own_vae_run, monkeypatch):
    diagnosed(own_vae_run)
    files = {path: path.stat().st_mtime_ns for path in (own_vae_run / "evaluation" / "valid").iterdir()}
    assert {path.stem for path in files} == {"dimensions", "listening", "prior", "bound", "posterior", "lag"}
    page = diagnosed(own_vae_run)
    assert files == {path: path.stat().st_mtime_ns for path in files}
    monkeypatch.setattr(diagnose, "FULL", SMALL)
    monkeypatch.setattr(diagnose, "measure", lambda *given: pytest.fail("measured again"))
    assert diagnosed(own_vae_run) == page


def test_a_language_model_and_an_autoencoder(lm_run, ae_run, tmp_path):
    lm = shutil.copytree(lm_run, tmp_path / "lm")
    assert "It is a language model" in diagnosed(lm)
    assert [path.name for path in (lm / "diagnosis").glob("*.png")] == ["training.png"]
    ae = shutil.copytree(ae_run, tmp_path / "ae")
    page = diagnosed(ae, "--lm", lm_run)
    assert "It has no rate" in page
    assert (ae / "diagnosis" / "positions.png").exists()
    assert (ae / "diagnosis" / "listening.png").exists()
    assert not (ae / "diagnosis" / "posterior.png").exists()


def test_without_matplotlib_one_sentence_says_how_to_get_it(own_vae_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install 'textvae[plots]'" in refused("diagnose", own_vae_run, code=2)


def test_bad_usage_is_refused(vae_run, tmp_path):
    assert "no such run directory" in refused("diagnose", tmp_path / "none", code=1)
    assert "is not a language model" in refused("diagnose", vae_run, "--lm", vae_run, code=2)


def test_a_single_sentence_is_refused(own_vae_run, monkeypatch):
    """It has no other, so no G, no verdict and no standard errors."""
    whole = diagnose.subject_of

    def alone(*given):
        subject = whole(*given)
        splits = {split: ["the cat"] for split in subject.corpus.splits}
        return replace(subject, corpus=replace(subject.corpus, splits=splits))

    monkeypatch.setattr(diagnose, "subject_of", alone)
    assert "needs at least 2 sentences of valid" in refused("diagnose", own_vae_run, code=2)


def test_pixels_are_what_the_file_shows(own_vae_run):
    diagnosed(own_vae_run)
    content = (own_vae_run / "diagnosis" / "listening.png").read_bytes()
    shown = pixels(content)
    assert shown.ndim == 3
    assert shown.shape[2] == 3
    assert 0.01 < float((shown < 0.95).any(2).mean()) < 0.9
