"""A report on runs that no study made: rows by settings, seeds together, and only what the runs wrote."""

from pathlib import Path

import pytest
from invented import evaluation, write_run
from recipes import complete

from textvae.config import Config
from textvae.errors import RunError
from textvae.studies.report.entries import read_entries
from textvae.studies.report.gathered import gathered
from textvae.studies.report.page import write_report

pytest.importorskip("matplotlib")


def trained(path: Path, config: Config, rate: float = 2.0) -> None:
    write_run(path, config, {"test": evaluation(rate, config.model.latent_dim, config.seed)}, rate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    for seed in (0, 1):
        trained(folder / f"beta-{seed}", complete("grammar", "beta", seed=seed))
    trained(folder / "language-model", complete("grammar", "lm"), rate=0.0)
    trained(folder / "start", complete("grammar", "lm_start"))
    trained(folder / "start" / "first", complete("grammar", "lm"), rate=0.0)
    return folder


def test_seeds_of_equal_settings_are_one_row_and_a_first_stage_none(folder):
    manifest = gathered(folder)
    rows = {path: record.remedy for path, record in manifest.records.items() if not record.stage}
    assert rows == {"beta-0": "beta", "beta-1": "beta", "language-model": "language-model", "start": "start"}
    assert manifest.records["start/first"].stage
    assert manifest.records["start"].first == "start/first"
    assert [manifest.records[path].seed for path in ("beta-0", "beta-1")] == [0, 1]


def test_a_row_is_described_by_what_is_unlike_most_rows(folder):
    described = gathered(folder).remedies
    assert described["beta"].split(", ") == ["objective.weight.value 0.4"]
    assert {"model.latent_dim 0", "model.encoder.kind none"} <= set(described["language-model"].split(", "))
    assert "first.model.latent_dim 0" in described["start"]
    assert "first.data" not in described["start"]  # as in the run itself


def test_the_only_language_model_is_the_baseline_and_splits_are_those_evaluated(folder):
    manifest = gathered(folder)
    assert manifest.baseline == "language-model"
    assert manifest.splits == ["test"]


def test_corpora_are_named_by_the_ends_of_their_sources_which_name_files(folder, tmp_path):
    own = ["my-text/", "a/notes.txt", "b/notes.txt", "hf:someone/a corpus:en"]
    for number, corpus in enumerate([*own, str(tmp_path / "else")]):
        trained(tmp_path / "mine" / f"run-{number}", complete("grammar", "beta", data__corpus=corpus))
    named = {record.corpus for record in gathered(tmp_path / "mine").records.values()}
    assert named == {"my-text", "notes.txt", "b-notes.txt", "a-corpus-en", "else"}
    pictures = (write_report(tmp_path / "mine").parent).glob("*.png")
    assert {picture.name.split("-test-")[0] for picture in pictures if "-test-" in picture.name} == named


def test_updates_of_a_first_stage_elsewhere_are_not_guessed(tmp_path):
    trained(tmp_path / "start", complete("grammar", "lm_start"))
    (entry,) = read_entries(tmp_path, gathered(tmp_path))
    assert entry.updates("decoder") is None


def test_the_page_tabulates_the_runs_and_names_those_that_are_not_evaluated(folder, tmp_path):
    for path in folder.rglob("config.yaml"):
        copy = tmp_path / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        for file in path.parent.iterdir():
            if file.is_file():
                (copy.parent / file.name).write_bytes(file.read_bytes())
    write_run(tmp_path / "later", complete("grammar", "vanilla"), {}, 1.0)
    (tmp_path / "later" / "best.safetensors").write_bytes(b"")
    page = write_report(tmp_path).read_text("utf-8")
    assert "IW NLL − language-model" in page
    assert "2 of 2" not in page
    assert "Trained, but in no table until evaluated" in page
    assert "later" in page.partition("Not evaluated")[2].partition("</section>")[0]
    assert (tmp_path / "report" / "rows.csv").exists()
    assert not (tmp_path / "manifest.json").exists()


def test_two_runs_of_one_seed_are_two_rows_not_two_seeds(tmp_path):
    for name in ("once", "again"):
        trained(tmp_path / name, complete("grammar", "beta"))
    assert {record.remedy for record in gathered(tmp_path).records.values()} == {"once", "again"}


def test_another_budget_is_another_row_and_another_device_is_not(tmp_path):
    trained(tmp_path / "x-0", complete("grammar", "beta"))
    trained(tmp_path / "x-1", complete("grammar", "beta", seed=1, threads=1))
    trained(tmp_path / "x-2", complete("grammar", "beta", seed=2, steps=5))
    assert [record.remedy for record in gathered(tmp_path).records.values()] == ["x", "x", "x-2"]


def test_seeds_after_two_stages_are_one_row(tmp_path):
    for seed in (0, 1):
        first = {"recipe": "pretrained_free_bits"}
        trained(tmp_path / f"x-{seed}", complete("grammar", "vanilla", first=first, seed=seed))
    assert {record.remedy for record in gathered(tmp_path).records.values()} == {"x"}


def test_a_run_itself_can_be_reported(tmp_path):
    trained(tmp_path / "one", complete("grammar", "beta"))
    (record,) = gathered(tmp_path / "one").records.values()
    assert (record.path, record.remedy, record.state) == (".", "one", "done")


@pytest.mark.parametrize("content", [None, "", "a: [", "other: software\n", "\x00"])
def test_a_folder_without_runs_is_refused_in_a_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "config.yaml").write_text(content, "utf-8")
    with pytest.raises(RunError, match="no study and no runs here; give a directory that study or train wrote"):
        gathered(tmp_path)
