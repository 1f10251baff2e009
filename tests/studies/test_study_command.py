"""`textvae study` from file to report: what is refused, what is skipped, and that a killed study ends the same."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import refused, textvae, worked
from invented import evaluation, write_run
from patience import PATIENCE, wait_until

from textvae.config.recipes import resolve
from textvae.errors import ConfigError, RunError
from textvae.evaluation import evaluate
from textvae.runs import Run
from textvae.studies.conduct import completed
from textvae.studies.grid import expand
from textvae.studies.jobs import Job
from textvae.studies.launchers import Launcher, LauncherName
from textvae.studies.manifest import Manifest, State, StudyDirectory
from textvae.studies.progress import TRAINING
from textvae.studies.study import Measures, read_study
from textvae.tasks.study import _elsewhere, _manifest, study

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
        "tiny/beta: model.decoder.h: ",
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


def test_a_study_whose_sentences_have_changed_is_told_before_anything_starts(tmp_path: Path, corpus: Path) -> None:
    own = Path(shutil.copytree(corpus, tmp_path / "text"))
    file = write(tmp_path, own, remedies=["lm"], seeds=[0])
    worked("study", file, "--out", tmp_path / "out")
    file = write(tmp_path, own, remedies=["lm"], seeds=[0, 1])
    with (own / "train.txt").open("a", encoding="utf-8") as text:
        text.write("a dog saw the moon\n")
    done = textvae("study", file, "--out", tmp_path / "out")
    assert done.code == 2
    assert "have changed since training; choose another --out" in done.err
    assert not list((tmp_path / "out").rglob("seed-1"))


def test_a_study_that_was_killed_before_its_first_file_begins_again(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lock").touch()
    (tmp_path / "out" / ".study.yaml.12").touch()
    StudyDirectory(tmp_path / "out").create()


def test_what_is_done_waits_again_if_the_study_asks_for_more(tmp_path: Path, corpus: Path) -> None:
    def state(samples: int) -> str:
        asked = read.model_copy(update={"evaluate": Measures(samples=samples)})
        return _manifest(tmp_path, asked, file, {cell.path: cell}).records[cell.path].state

    file = write(tmp_path, corpus, remedies=["lm"], seeds=[0])
    read = read_study(file)
    ((cell,), _) = expand(read, file)
    run = Run(tmp_path / cell.path)
    run.create()
    run.config, run.status = cell.config, "done"
    run.evaluation = {"valid": evaluate.asked(3, 0, None)}
    assert state(3) == "waiting"
    manifest = Manifest.read(tmp_path)
    manifest.records[cell.path].state = "done"
    manifest.write(tmp_path)
    assert [state(samples) for samples in (3, 4)] == ["done", "waiting"]


def test_a_study_whose_manifest_was_deleted_goes_on(tmp_path: Path, corpus: Path) -> None:
    """As it is told to where the manifest is damaged: every run is looked at again."""
    file = write(tmp_path, corpus)
    whole = manifest_of(file, tmp_path)
    (tmp_path / "manifest.json").write_text("{}", "utf-8")
    with pytest.raises(RunError, match="delete it and run its study again"):
        manifest_of(file, tmp_path)
    (tmp_path / "manifest.json").unlink()
    assert manifest_of(file, tmp_path) == whole


def test_what_was_trained_before_does_not_count_as_speed(tmp_path: Path, corpus: Path) -> None:
    """A run whose evaluation alone is waiting starts at its share, so the time left is not told from it."""
    file = write(tmp_path, corpus, remedies=["lm"])
    cells = {cell.path: cell for cell in expand(read_study(file), file)[0]}
    manifest = manifest_of(file, tmp_path)
    assert completed(tmp_path, cells, manifest) == 0
    trained, other = manifest.records.values()
    run = Run(tmp_path / trained.path)
    run.create()
    run.metrics.write_text('{"split": "train", "step": 60}\n', "utf-8")
    for states in (("waiting", "waiting"), ("running", "interrupted")):
        trained.state, other.state = states
        assert completed(tmp_path, cells, manifest) == TRAINING
    other.state = "failed"
    assert completed(tmp_path, cells, manifest) == 1 + TRAINING


def manifest_of(file: Path, out: Path) -> Manifest:
    asked = read_study(file)
    return _manifest(out, asked, file, {cell.path: cell for cell in expand(asked, file)[0]})


def test_the_manifest_says_what_the_study_and_its_remedies_are(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "wide.yaml").write_text("# Mine 2020 — a wide latent\nmodel: {latent_dim: 5}\n", "utf-8")
    (tmp_path / "plain.yaml").write_text("model: {latent_dim: 5}\n", "utf-8")
    both = {"remedy": ["free_bits", str(tmp_path / "wide.yaml")], "name": "both"}
    staged = {"remedy": "pretrained_free_bits", "settings": {"first.training.budget": 20}}
    file = write(tmp_path, corpus, remedies=["lm", both, str(tmp_path / "plain.yaml"), staged], seeds=[3])
    made = manifest_of(file, tmp_path)
    assert made == Manifest.read(tmp_path)
    assert made.title == "a tiny study"
    assert (made.baseline, made.splits) == ("lm", ["valid", "test"])
    assert made.metrics == read_study(file).metrics
    said = {name: first_line_of(name) for name in ("lm", "free_bits", "pretrained_free_bits")}
    assert made.remedies == {
        "lm": said["lm"],
        "both": f"{said['free_bits']}; Mine 2020 — a wide latent",
        "plain": "plain",
        "pretrained_free_bits": said["pretrained_free_bits"],
    }
    stage, *others = made.records.values()
    assert (stage.stage, stage.first, stage.seed) == (True, None, 3)
    assert stage.remedy.startswith("first-")
    assert [(record.path, record.remedy, record.seed, record.stage) for record in others] == [
        (f"tiny/{name}/seed-3", name, 3, False) for name in made.remedies
    ]
    assert [record.first for record in others] == [None, None, None, stage.path]


def first_line_of(remedy: str) -> str:
    return resolve(remedy).read_text("utf-8").splitlines()[0].removeprefix("# ")


def test_a_study_whose_file_says_nothing_is_called_by_its_name(tmp_path: Path, corpus: Path) -> None:
    file = write(tmp_path, corpus)
    file.write_text(file.read_text("utf-8").removeprefix("# a tiny study\n"), "utf-8")
    assert manifest_of(file, tmp_path).title == "mine"


def test_a_study_that_is_taken_up_again_knows_what_each_run_came_to(tmp_path: Path, corpus: Path) -> None:
    """Interrupted and running ones are resumed, failed ones tried again, and what is not finished is not done."""
    file = write(tmp_path, corpus)
    before = manifest_of(file, tmp_path)
    states: tuple[State, ...] = ("running", "interrupted", "failed", "done", "waiting", "waiting")
    for seconds, (record, state) in enumerate(zip(before.records.values(), states, strict=True)):
        record.state, record.seconds, record.reason = state, float(seconds), f"reason {seconds}"
    before.write(tmp_path)
    after = manifest_of(file, tmp_path)
    found = [record.state for record in after.records.values()]
    assert found == ["interrupted", "interrupted", "waiting", "waiting", "waiting", "waiting"]
    assert [record.seconds for record in after.records.values()] == [0, 1, 2, 3, 4, 5]
    assert Manifest.read(tmp_path) == after


class Played(Launcher):
    """Every job ends at once, without having done anything."""

    def __init__(self, fails: str = "") -> None:
        self.jobs, self.threads, self.fails = 2, 3, fails
        self.begun: list[Job] = []
        self.closed = 0

    def start(self, job: Job) -> "Played":
        self.begun.append(job)
        return self

    def poll(self) -> int:
        return 0

    def stop(self) -> None:
        """Nothing runs."""

    def check(self, job: Job) -> None:
        if job.name == self.fails:
            raise ConfigError(f"{job.name} is too wide")

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> tuple[Played, list[tuple[Any, ...]]]:
    """The launcher that a study is given, and what was asked for."""
    launcher, asked = Played(), []

    def named(*given: Any, cards: bool) -> Launcher:
        asked.append((*given, cards))
        return launcher

    monkeypatch.setattr("textvae.tasks.study.launcher_named", named)
    monkeypatch.setattr("textvae.studies.conduct.POLL_SECONDS", 0.001)
    return launcher, asked


def test_two_processes_do_not_conduct_one_study(
    tmp_path: Path, corpus: Path, played: tuple[Played, list[tuple[Any, ...]]]
) -> None:
    out = tmp_path / "out"
    StudyDirectory(out).create()
    with StudyDirectory(out).lock(), pytest.raises(RunError, match="out: another process is working on this study"):
        study(str(write(tmp_path, corpus)), out)
    assert files(out) == ["lock"]
    assert played[0].begun == []


def test_without_matplotlib_a_finished_study_says_how_to_get_its_report(
    tmp_path: Path, corpus: Path, played: tuple[Played, list[tuple[Any, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = write(tmp_path, corpus, remedies=["lm"], seeds=[0]), tmp_path / "out"
    cell = expand(read_study(file), file)[0][0]
    write_run(out / cell.path, cell.config, {"valid": evaluation(0.0, 0, 0)}, 0.0)
    (out / StudyDirectory.MARKER).write_bytes(file.read_bytes())
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = worked("study", file, "--out", out)
    assert done.out == ""
    assert (
        done.err.splitlines()[-1]
        == f"plots need matplotlib: pip install 'textvae[plots]', then: textvae report {out}"
    )
    monkeypatch.undo()
    assert worked("report", out).out.strip() == str(out / "report/report.html")


@pytest.mark.parametrize(
    ("devices", "cards"),
    [(["cpu"], False), (["cuda", "cpu"], True), (["cuda:1"], False), (["cuda", "cuda:1"], False)],
)
def test_a_launcher_is_made_as_the_study_says(
    devices: list[str], cards: bool, tmp_path: Path, corpus: Path, played: tuple[Played, list[tuple[Any, ...]]]
) -> None:
    launcher, made = played
    remedies = [
        {"remedy": "lm", "name": f"on_{place}", "settings": {"device": d}} for place, d in enumerate(devices)
    ]
    options = {"slurm_partition": "long"}
    file = write(tmp_path, corpus, remedies=remedies, seeds=[0], slurm=options, baseline=None)
    out = tmp_path / "out"
    study(str(file), out, jobs=5, launcher="slurm")
    assert made == [("slurm", 5, out / "slurm", options, cards)]
    assert [job.threads for job in launcher.begun] == [3] * len(devices)
    assert all(str(out / "settings.yaml") in job.commands[0] for job in launcher.begun)
    assert launcher.closed == 1


def test_a_launcher_that_is_refused_leaves_nothing_behind(
    tmp_path: Path, corpus: Path, played: tuple[Played, list[tuple[Any, ...]]]
) -> None:
    launcher, _ = played
    launcher.fails = "tiny/lm/seed-1"
    with pytest.raises(ConfigError, match="tiny/lm/seed-1 is too wide"):
        study(str(write(tmp_path, corpus)), tmp_path / "runs/deep/out")
    assert not (tmp_path / "runs").exists()
    assert (launcher.begun, launcher.closed) == ([], 1)


def test_a_launcher_that_is_refused_leaves_a_study_as_it_was(
    tmp_path: Path, corpus: Path, played: tuple[Played, list[tuple[Any, ...]]]
) -> None:
    launcher, _ = played
    out = tmp_path / "out"
    study(str(write(tmp_path, corpus, remedies=["lm"])), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    launcher.fails = "tiny/lm/seed-1"
    with pytest.raises(ConfigError, match="tiny/lm/seed-1 is too wide"):
        study(str(write(tmp_path, corpus)), out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_study_is_taken_up_from_its_own_copy(
    tmp_path: Path, corpus: Path, played: tuple[Played, list[tuple[Any, ...]]]
) -> None:
    out, file = tmp_path / "out", write(tmp_path, corpus, corpora=[str(tmp_path / "tiny.yaml")])
    study(str(file), out)
    study(str(out / "study.yaml"), out)
    assert (out / "study.yaml").read_bytes() == file.read_bytes()
    assert len(played[0].begun) == 12  # played jobs leave nothing, so that all six begin again


def test_a_new_study_begins_through_submitit(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its launcher is made before the folder, which must then be empty."""
    pytest.importorskip("submitit")
    launcher = Played()
    monkeypatch.setattr("textvae.studies.conduct.POLL_SECONDS", 0.001)
    monkeypatch.setattr("textvae.studies.launchers.OnSlurm.start", lambda self, job: launcher.start(job))
    file = write(tmp_path, corpus, remedies=["lm"], seeds=[0], slurm={"cluster": "local"})
    study(str(file), tmp_path / "out", launcher="slurm")
    assert [job.name for job in launcher.begun] == ["tiny/lm/seed-0"]


def test_without_slurm_a_study_leaves_nothing_behind(tmp_path: Path, corpus: Path) -> None:
    pytest.importorskip("submitit")
    file = write(tmp_path, corpus)
    assert "--launcher slurm: " in refused("study", file, "--launcher", "slurm", "--out", tmp_path / "a/b", code=2)
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    refused("study", file, "--launcher", "slurm", "--out", tmp_path / "b", code=2)
    assert (tmp_path / "b").exists()


def test_runs_that_the_study_no_longer_names_are_told_once(
    tmp_path: Path, corpus: Path, played: tuple[Played, list[tuple[Any, ...]]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "out", write(tmp_path, corpus)
    study(str(file), out)
    for cell in expand(read_study(file), file)[0]:
        run = Run(out / cell.path)
        run.path.mkdir(parents=True)
        run.config = cell.config
    study(str(file), out)
    assert "no longer names" not in capsys.readouterr().err
    study(str(write(tmp_path, corpus, remedies=["lm"])), out)
    left = ", ".join(f"tiny/free_bits-{strength}/seed-{seed}" for strength in ("0.1", "0.5") for seed in (0, 1))
    sentence = (
        f"{out}: 4 runs that the study no longer names stay as they are, and the report leaves them out: {left}"
    )
    assert [line for line in capsys.readouterr().err.splitlines() if "no longer names" in line] == [sentence]


def test_a_name_that_no_study_has(tmp_path: Path) -> None:
    assert "no study of this name (did you mean smoke?)" in refused("study", "smok", code=2)
    assert "no such file" in refused("study", tmp_path / "none.yaml", code=2)


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("mine", "utf-8")
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
    page = again.out.strip()
    assert page == str(cut / "report/report.html")
    assert "first-autoencoder" not in Path(page).read_text("utf-8").split("The study")[0]


def content(path: Path) -> object:
    """A file's content; none for one that this kind of run does not have."""
    if not path.exists():
        return None
    return json.loads(path.read_text("utf-8")) if path.suffix == ".json" else path.read_bytes()
