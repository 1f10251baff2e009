"""From a study to its cells: what each is made with, and that nothing wrong is passed over."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from textvae import builder
from textvae.config import Draft
from textvae.config.recipes import recipe_files
from textvae.options import take_settings
from textvae.studies.grid import Cell, expand, shared
from textvae.studies.jobs import Job, job_of
from textvae.studies.study import Measures, read_study

SMALL = """
settings:
  model.latent_dim: 3
  model.encoder: {embedding_dim: 4, hidden_dim: 5}
  model.decoder: {embedding_dim: 4, hidden_dim: 5}
  training.budget: 20
"""


def grid(tmp_path: Path, text: str) -> tuple[list[Cell], list[str]]:
    file = tmp_path / "mine.yaml"
    file.write_text(text, "utf-8")
    return expand(read_study(file), file)


def job(cell: Cell, tmp_path: Path, text: str, measures: Measures | None = None) -> Job:
    """The job of a cell, its study's files written as the command writes them."""
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(shared(read_study(tmp_path / "mine.yaml"))), "utf-8")
    return job_of(cell, tmp_path, settings, measures or Measures(), threads=1)


def completed(command: tuple[str, ...]) -> dict[str, Any]:
    """The settings that `textvae train` would come to with these arguments."""
    rest, settings = take_settings(command[1:])
    values = dict(settings)
    draft = Draft()
    names = [word for word in rest if not word.startswith("--")]
    for option in ("--threads", "--run", "--init"):
        if option in rest:
            names.remove(rest[rest.index(option) + 1])
    for name in names:
        draft.merge_file(name)
    for key, value in values.items():
        draft.set(key, value)
    for word in rest:
        if word.startswith("--seed="):
            draft.set("seed", int(word.removeprefix("--seed=")))
    return builder.complete(draft).plain()


def test_corpora_times_remedies_times_strengths_times_seeds(tmp_path: Path) -> None:
    text = "corpora: [grammar, demo]\nremedies:\n  - lm\n"
    text += "  - {remedy: beta, strengths: {objective.weight.value: [0.1, 1]}}\n"
    text += "  - {remedy: vanilla, seeds: [7], name: none}\nseeds: [0, 1]\n" + SMALL
    cells, problems = grid(tmp_path, text)
    assert problems == []
    rows = [f"{corpus}/{row}" for corpus in ("grammar", "demo") for row in ("lm", "beta-0.1", "beta-1")]
    paths = [f"{row}/seed-{seed}" for seed in (0, 1) for row in rows]
    assert [cell.path for cell in cells] == [*paths, "grammar/none/seed-7", "demo/none/seed-7"]
    assert [cell.config.seed for cell in cells] == [0] * 6 + [1] * 6 + [7] * 2
    assert cells[1].config.objective.weight.arguments == {"value": 0.1}


def test_remedies_win_over_the_settings_for_all_and_strengths_over_both(tmp_path: Path) -> None:
    text = (
        "corpora: [grammar]\nremedies:\n  - {remedy: beta, strengths: {objective.weight.value: [0.1]}}\n  - beta\n"
    )
    text += (
        "  - {remedy: lm, settings: {model.decoder.dropout_in: 0.4}}\n" + SMALL + "  objective.weight.value: 0.7\n"
    )
    strong, beta, lm = grid(tmp_path, text)[0]
    assert strong.config.objective.weight.arguments["value"] == 0.1
    assert beta.config.objective.weight.arguments["value"] == 0.4
    assert lm.config.model.encoder.kind == "none"
    assert lm.config.model.decoder.arguments["dropout_in"] == 0.4
    assert {cell.config.training.budget for cell in (strong, beta, lm)} == {20}


CYCLICAL = "{remedy: cyclical, strengths: {objective.weight.length: [1 epochs]}}"
NESTED = "{remedy: beta, settings: {objective: {weight: {value: 0.2}}, threads: 1, corpus: demo}}"
STAGED = "{remedy: vanilla, settings: {first: lm, inherit: {decoder.embedding: decoder.embedding}}}"
DECAYED = "{remedy: free_bits, settings: {training.decay: {factor: 0.3, after: 2 epochs}}}"

WRITTEN = "{remedy: lm, settings: {data.column: 🙂, training.optimiser.lr: 0.00001}}"


@pytest.mark.parametrize("remedy", ["lm", CYCLICAL, DECAYED, NESTED, STAGED, WRITTEN])
def test_the_command_of_a_cell_comes_to_the_settings_that_were_checked(remedy: str, tmp_path: Path) -> None:
    text = f"corpora: [grammar]\nremedies: [{remedy}]\nseeds: [5]\n" + SMALL
    cell = grid(tmp_path, text)[0][-1]
    command = job(cell, tmp_path, text).commands[0]
    assert completed(command) | {"threads": cell.config.threads} == cell.config.plain()
    assert command.count("--threads") == 1
    assert not any(word.startswith("--threads=") for word in command)


def test_a_file_is_looked_for_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "weak.yaml").write_text(
        "# a weak one\nobjective: {weight: {kind: constant, value: 0.01}}\n", "utf-8"
    )
    (cell,), problems = grid(tmp_path, "corpora: [grammar]\nremedies: [weak.yaml]\n" + SMALL)
    assert problems == []
    assert cell.path == "grammar/weak/seed-0"
    assert cell.recipes[1] == str(tmp_path / "weak.yaml")


def test_every_mistake_is_told_with_its_file_and_cell(tmp_path: Path) -> None:
    text = "corpora: [grammar, gramar]\nremedies:\n  - lm\n  - betaa\n"
    text += "  - {remedy: beta, strengths: {objective.weight.value: [0.1, -1]}}\n  - {remedy: lm, seeds: [0]}\n"
    cells, problems = grid(tmp_path, text + SMALL)
    assert len(cells) == 3
    file = tmp_path / "mine.yaml"
    for start, says in (
        (f"{file}: grammar/betaa: ", "did you mean beta?"),
        (f"{file}: grammar/beta--1: objective.weight.value: ", "must be at least 0.0, not -1"),
        (f"{file}: corpora: gramar: ", "did you mean grammar?"),
        (
            f"{file}: two cells would share the folder grammar/lm/seed-0",
            "one of its remedies, or corpus files, another name",
        ),
    ):
        assert [p for p in problems if p.startswith(start) and says in p], (start, problems)
    assert len([p for p in problems if "gramar" in p]) == 1


def test_a_mistake_in_the_settings_for_all_blames_them(tmp_path: Path) -> None:
    text = "corpora: [grammar]\nremedies: [lm]\nsettings: {training.optimisre.lr: 3}\n"
    (problem,) = grid(tmp_path, text)[1]
    assert f"{tmp_path / 'mine.yaml'}: grammar/lm: settings: training.optimisre: unknown key" in problem


SHARING = "corpora: [grammar]\nseeds: [0, 1]\nremedies:\n  - remedy: pretrained_free_bits\n    strengths: "
SHARING += "{objective.penalty.nats_per_dimension: [0.1, 0.5]}\n  - {remedy: lm_start}\n" + SMALL


def test_cells_that_start_from_the_same_stage_share_it(tmp_path: Path) -> None:
    cells, problems = grid(tmp_path, SHARING)
    assert problems == []
    stages = [cell for cell in cells if cell.stage]
    assert len(stages) == 4  # an autoencoder and a language model, two seeds each
    assert cells[: len(stages)] == stages
    by_path = {cell.path: cell for cell in cells}
    for cell in cells[len(stages) :]:
        assert cell.first is not None
        assert by_path[cell.first.path].config == cell.config.first
        assert by_path[cell.first.path].seed == cell.seed
    sharing = [cell for cell in cells if cell.first and cell.first.path == stages[0].path]
    assert [cell.strength for cell in sharing] == ["0.1", "0.5"]


def test_a_cell_is_told_where_its_first_stage_lies_and_the_stage_trains_alone(tmp_path: Path) -> None:
    stage, *_, cell = grid(tmp_path, SHARING)[0]
    second = job(cell, tmp_path, SHARING)
    assert cell.first is not None
    command = second.commands[0]
    assert command[command.index("--init") + 1] == str(tmp_path / cell.first.path)
    assert completed(command) == cell.config.plain()
    (only,) = job(stage, tmp_path, SHARING).commands
    assert only[:2] == ("train", str(tmp_path / f"{stage.path}.yaml"))


def test_a_first_stage_that_is_written_out_has_the_seed_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "first: {data: {corpus: grammar}, model: {latent_dim: 3}, training: {budget: 6}}\n"
        "inherit: {decoder: decoder}\n",
        "utf-8",
    )
    text = "corpora: [grammar]\nseeds: [0, 1]\nremedies: [own.yaml]\n"
    text += (
        "settings: {training.budget: 6, model: {latent_dim: 3, decoder: {embedding_dim: 256, hidden_dim: 256}}}\n"
    )
    cells, problems = grid(tmp_path, text)
    assert not problems
    for cell in (cell for cell in cells if not cell.stage):
        assert cell.config.first is not None
        assert cell.config.first.seed == cell.seed
        assert completed(job(cell, tmp_path, text).commands[0]) == cell.config.plain()


def test_what_all_first_stages_are_told_reaches_them_alone(tmp_path: Path) -> None:
    text = SHARING + "  first.training.budget: 6\n"
    cells, problems = grid(tmp_path, text.replace("  - {remedy: lm_start}", "  - vanilla"))
    assert problems == []
    assert {cell.config.training.budget for cell in cells if cell.stage} == {6}
    assert {cell.config.training.budget for cell in cells if not cell.stage} == {20}
    assert {cell.remedy for cell in cells if cell.config.first} == {"pretrained_free_bits"}
    staged = next(cell for cell in cells if cell.first)
    assert completed(job(staged, tmp_path, text).commands[0]) == staged.config.plain()


def test_a_remedy_that_gets_its_stage_from_the_study_is_told_too(tmp_path: Path) -> None:
    own = "  - {name: lm_again, remedy: lm, settings: {first: lm, inherit: {decoder: decoder}}}"
    text = SHARING.replace("  - {remedy: lm_start}", own) + "  first.training.budget: 6\n"
    cells, problems = grid(tmp_path, text)
    assert problems == []
    again = next(cell for cell in cells if cell.remedy == "lm_again")
    assert again.first is not None
    assert (again.first.config.training.budget, again.config.training.budget) == (6, 20)
    assert completed(job(again, tmp_path, text).commands[0]) == again.config.plain()


def test_what_follows_training(tmp_path: Path) -> None:
    text = "corpora: [grammar]\nremedies: [beta, lm]\n" + SMALL
    beta, lm = grid(tmp_path, text)[0]
    measures = Measures(splits=["valid", "test"], samples=7, probe=True)
    _, valid, test, probe = job(beta, tmp_path, text, measures).commands
    run = str(tmp_path / beta.path)
    assert valid == ("evaluate", run, "--samples", "7", "--device", "cpu", "--split", "valid")
    assert test[-1] == "test"
    assert probe == ("probe", run, "--split", "valid", "--device", "cpu")
    assert [command[0] for command in job(lm, tmp_path, text, measures).commands] == [
        "train",
        "evaluate",
        "evaluate",
    ]


@pytest.mark.parametrize(("device", "gpu"), [("cpu", False), ("cuda", True), ("cuda:1", True)])
def test_a_job_asks_for_a_gpu_where_its_run_does(device: str, gpu: bool, tmp_path: Path) -> None:
    ((cell,), _) = grid(tmp_path, f"corpora: [grammar]\nremedies: [lm]{SMALL}")
    made = job(replace(cell, config=cell.config.model_copy(update={"device": device})), tmp_path, "")
    assert made.gpu is gpu
    evaluate = made.commands[1]
    assert evaluate[evaluate.index("--device") + 1] == device


def test_a_job_has_the_threads_of_its_run_else_those_of_its_launcher(tmp_path: Path) -> None:
    ((cell,), _) = grid(tmp_path, f"corpora: [grammar]\nremedies: [lm]{SMALL}")
    for said, given in ((None, 1), (3, 3)):
        made = job(replace(cell, config=cell.config.model_copy(update={"threads": said})), tmp_path, "")
        assert made.threads == given
        assert made.commands[0][made.commands[0].index("--threads") + 1] == str(given)


@pytest.mark.parametrize("file", recipe_files("studies"), ids=lambda file: file.stem)
def test_every_cell_of_a_shipped_study_can_be_run(file: Path) -> None:
    cells, problems = expand(read_study(file), file)
    assert problems == []
    assert cells
