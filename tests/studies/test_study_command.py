"""`textvae study` from file to report: what is refused, what is skipped, and that a killed study ends the same."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import refused, textvae, worked
from patience import PATIENCE, wait_until

from textvae.runs import Run
from textvae.studies.grid import expand
from textvae.studies.launchers import LauncherName
from textvae.studies.manifest import Manifest, StudyDirectory
from textvae.studies.study import Measures, read_study
from textvae.tasks.study import _elsewhere, _manifest

REPRODUCIBLE = ("best.safetensors", "samples.txt", "reconstructions.txt", "interpolations.txt", "evaluation.json")


def write(folder: Path, corpus: Path, **more: Any) -> Path:
    """A study of tiny models on the corpus of invented sentences."""
    (folder / "tiny.yaml").write_text(f"# a tiny corpus\ndata: {{corpus: {corpus}, batch_size: 8}}\n", "utf-8")
    values = {
        "corpora": ["tiny.yaml"],
        "remedies": [
            "lm",
            {"remedy": "free_bits", "strengths": {"objective.penalty.nats_per_dimension": [0.1, 0.5]}},
        ],
        "seeds": [0, 1],
        "settings": {
            "model.latent_dim": 3,
            "model.encoder": {"embedding_dim": 6, "hidden_dim": 6},
            "model.decoder": {"embedding_dim": 6, "hidden_dim": 6},
            "training.budget": 60,
            "training.validate_every": 20,
            "training.log_every": 5,
            "training.checkpoint_every": 7,
        },
        "evaluate": {"splits": ["valid", "test"], "samples": 3},
        "baseline": "lm",
        **more,
    }
    file = folder / "mine.yaml"
    file.write_text("# a tiny study\n" + yaml.safe_dump(values), "utf-8")
    return file


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_every_mistake_is_listed_and_nothing_is_started(tmp_path: Path, corpus: Path) -> None:
    wrong = {"remedy": "beta", "settings": {"model.decoder.h": 3}}
    metrics, settings = ["rate", "iwaenll", "verdict"], {"device": "abacus"}
    file = write(tmp_path, corpus, remedies=["lm", "vanila", wrong], metrics=metrics, settings=settings)
    done = textvae("study", file, "--out", tmp_path / "out")
    assert done.code == 2
    lines = done.err.splitlines()
    assert lines[-1].endswith("5 mistakes, listed above; nothing was started")
    for says in (
        "metrics: 'iwaenll' is not a number of an evaluation (did you mean iwae_nll?); choose from sentences,",
        "metrics: 'verdict' is not a number of an evaluation; choose from sentences,",
        "tiny/vanila: vanila: no corpus or remedy of this name (did you mean vanilla?)",
        "tiny/beta: --model.decoder.h: ",
        "tiny/lm/seed-0: device: abacus is not available",
    ):
        assert [line for line in lines if says in line], (says, lines)
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize(("launcher", "missing"), [("local", True), ("ray", False), ("slurm", False)])
def test_only_a_local_study_needs_its_device_here(
    launcher: LauncherName, missing: bool, tmp_path: Path, corpus: Path
) -> None:
    file = write(tmp_path, corpus, remedies=["lm"], settings={"device": "cuda", "training.precision": "bf16"})
    cells, _ = expand(read_study(file), file)
    complaints = list(_elsewhere(cells, tmp_path / "out", launcher))
    assert (
        complaints
        == (["tiny/lm/seed-0: device: cuda is not available; use cpu, or a device that torch can see"][:missing])
    )


def test_a_precision_that_a_device_lacks_is_told_before_anything_starts(tmp_path: Path, corpus: Path) -> None:
    file = write(tmp_path, corpus, remedies=["lm"], settings={"training.precision": "bf16"})
    done = textvae("study", file, "--out", tmp_path / "out")
    assert done.code == 2
    assert "tiny/lm/seed-0: training.precision: bf16 needs a CUDA device" in done.err


def test_a_study_that_was_killed_before_its_first_file_begins_again(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lock").touch()
    (tmp_path / "out" / ".study.yaml.12").touch()
    StudyDirectory(tmp_path / "out").create()


def test_what_is_done_waits_again_if_the_study_asks_for_more(tmp_path: Path, corpus: Path) -> None:
    def state(samples: int) -> str:
        asked = study.model_copy(update={"evaluate": Measures(samples=samples)})
        return _manifest(tmp_path, asked, file, {cell.path: cell}).records[cell.path].state

    file = write(tmp_path, corpus, remedies=["lm"], seeds=[0])
    study = read_study(file)
    ((cell,), _) = expand(study, file)
    run = Run(tmp_path / cell.path)
    run.create()
    run.config, run.status, run.evaluation = cell.config, "done", {"valid": {"iwae_samples_asked": 3}}
    assert state(3) == "waiting"
    manifest = Manifest.read(tmp_path)
    manifest.records[cell.path].state = "done"
    manifest.write(tmp_path)
    assert [state(samples) for samples in (3, 4)] == ["done", "waiting"]


def test_a_name_that_no_study_has(tmp_path: Path) -> None:
    assert "no study of this name (did you mean smoke?)" in refused("study", "smok", code=2)
    assert "no such file" in refused("study", tmp_path / "none.yaml", code=2)


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("mine")
    said = refused("study", write(tmp_path, corpus), "--out", tmp_path / "thesis", code=1)
    assert "holds other files (chapter.tex) and no study; choose another --out" in said
    assert files(tmp_path / "thesis") == ["chapter.tex"]


def test_runs_made_with_other_settings_are_refused_before_any_starts(
    tmp_path: Path, corpus: Path, vae_run: Path
) -> None:
    run = Run(tmp_path / "out/tiny/lm/seed-0")
    run.path.mkdir(parents=True)
    run.config = Run(vae_run).config
    done = textvae("study", write(tmp_path, corpus), "--out", tmp_path / "out")
    assert done.code == 2
    assert "tiny/lm/seed-0: " in done.err
    assert "was made with other settings of " in done.err


@pytest.mark.slow
def test_a_study_of_which_a_part_fails(tmp_path: Path, corpus: Path) -> None:
    remedies = ["lm", {"remedy": "beta", "settings": {"training.optimiser.lr": 1e30}}]
    file = write(tmp_path, corpus, remedies=remedies, seeds=[0], evaluate={"samples": 2})
    done = textvae("study", file, "--out", tmp_path / "out", "--jobs", 1)
    assert done.code == 1
    assert "out: 1 of 2 runs failed, as listed above; the same command tries again" in done.err
    log = tmp_path / "out/tiny/beta/seed-0.log"
    (line,) = [line for line in done.err.splitlines() if line.startswith("tiny/beta/seed-0 failed: ")]
    assert line.endswith(f"({log})")
    assert "Traceback" not in done.err
    record = Manifest.read(tmp_path / "out").records["tiny/beta/seed-0"]
    assert record.reason in log.read_text("utf-8")
    page = Path(worked("report", tmp_path / "out").out.strip()).read_text("utf-8")
    assert "its last line" in page
    assert "tiny/beta/seed-0.log" in page


def killed(file: Path, out: Path, ready: Callable[[], bool], number: signal.Signals) -> None:
    """Start the study, and end all its processes with a signal once it is ready."""
    command = [sys.executable, "-m", "textvae.cli", "study", str(file), "--out", str(out), "--jobs", "2"]
    study = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: study.poll() is not None or ready())
    assert study.poll() is None
    if number is signal.SIGKILL:
        os.killpg(study.pid, number)
    else:
        study.send_signal(number)
    assert study.wait(timeout=PATIENCE) != 0


@pytest.mark.slow
def test_a_killed_study_goes_on_and_ends_bit_for_bit_the_same(tmp_path: Path, corpus: Path) -> None:
    staged = {
        "remedy": "pretrained_free_bits",
        "settings": {"objective.weight.steps": 10, "first.training.budget": 20},
    }
    remedies = ["lm", {"remedy": "free_bits", "strengths": {"objective.penalty.nats_per_dimension": [0.1]}}, staged]
    file = write(tmp_path, corpus, remedies=remedies)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    worked("study", file, "--out", whole, "--jobs", 2)
    killed(file, cut, lambda: any(cut.glob("*/*/*/metrics.jsonl")), signal.SIGKILL)
    killed(file, cut, lambda: len(list(cut.glob("*/*/*/evaluation.json"))) >= 2, signal.SIGTERM)
    states = {record.state for record in Manifest.read(cut).records.values()}
    assert "running" not in states
    assert "interrupted" in states
    before = {path: path.stat().st_mtime_ns for path in cut.glob("*/*/*/best.safetensors")}
    done = {record.path for record in Manifest.read(cut).records.values() if record.state == "done"}
    said = worked("study", file, "--out", cut, "--jobs", 2).err
    assert f"8 runs, {len(done)} already finished" in said
    assert all(
        (cut / path / "best.safetensors").stat().st_mtime_ns == before[cut / path / "best.safetensors"]
        for path in done
    )
    runs = [record.path for record in Manifest.read(whole).records.values()]
    assert len(runs) == 8
    for run in runs:
        for name in REPRODUCIBLE:
            assert content(whole / run / name) == content(cut / run / name), (run, name)
    again = worked("study", file, "--out", cut)
    assert "8 runs, 8 already finished" in again.err
    assert again.err.splitlines()[-1] == f"textvae report {cut}"
    page = worked("report", cut).out.strip()
    assert page == str(cut / "report/report.html")
    assert "first-autoencoder" not in Path(page).read_text("utf-8").split("The study")[0]


def content(path: Path) -> object:
    """A file's content; none for one that this kind of run does not have."""
    if not path.exists():
        return None
    return json.loads(path.read_text("utf-8")) if path.suffix == ".json" else path.read_bytes()
