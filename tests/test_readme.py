"""What the README promises is what happens."""

import re
from pathlib import Path

import pytest

from textvae import cli
from textvae.builder import SLOTS
from textvae.config import Config, recipe_files
from textvae.studies.grid import expand
from textvae.studies.study import read_study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
MEASURES = (ROOT / "docs" / "measures.md").read_text("utf-8")


@pytest.mark.slow
def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 8
    reconstructions, beams, samples, way = (eval(line) for line in printed[:4])
    assert [len(part) for part in (reconstructions, beams, samples, way)] == [2, 2, 5, 7]
    assert printed[7].startswith(("collapsed", "partly", "alive"))


def test_every_command_it_shows_exists() -> None:
    block = README.split("## From the command line")[1].split("```")[1]
    shown = {line.split()[1] for line in block.strip().splitlines()}
    assert shown == {name for name in cli.app if not name.startswith("-")}


def test_the_study_it_shows_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.S)
    file = tmp_path / "my-study.yaml"
    file.write_text(text, "utf-8")
    (tmp_path / "my-text.yaml").write_text("data: {corpus: my-text/}\n", "utf-8")
    cells, problems = expand(read_study(file), file)
    assert (len(cells), problems) == (2 * 5 * 3, [])


def test_every_remedy_stands_in_its_table_once() -> None:
    table = README.split("## The remedies")[1].split("\n\n")[1]
    named = re.findall(r"`(\w+)`", table)
    assert sorted(named) == [path.stem for path in recipe_files("remedies")]


def test_the_page_of_settings_is_what_the_command_prints() -> None:
    from textvae.tasks.settings import page

    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == page() + "\n"
    of_slots = tuple(f"{slot}." for slot in SLOTS)
    plain = {key for key in Config().flat() if not key.startswith(of_slots)} - {"training.decay"}
    assert set(re.findall(r"^\| `([a-z_.]+)` \| [^|]*\| [A-Za-z]", page(), flags=re.M)) >= plain


def test_every_definition_it_gives_is_in_the_evaluation() -> None:
    from textvae.evaluation.evaluate import KEYS

    for table in (README.split("## What the numbers mean")[1].split("\n## ")[0], MEASURES.split("\n## ")[0]):
        names = {name for name in re.findall(r"`(\w+)`", table) if name != "evaluate"}
        assert names <= set(KEYS) | {"words"}
