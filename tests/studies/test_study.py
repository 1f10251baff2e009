"""The study file: what may stand in it, and how a mistake is told."""

from pathlib import Path

import pytest

from textvae.config.recipes import recipe_files
from textvae.errors import ConfigError
from textvae.studies.study import Study, read_study

SMALLEST = "corpora: [grammar]\nremedies: [lm]\n"


def study(tmp_path: Path, text: str) -> Study:
    file = tmp_path / "mine.yaml"
    file.write_text(text, "utf-8")
    return read_study(file)


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    read = study(tmp_path, SMALLEST)
    assert read.seeds == [0]
    assert (read.evaluate.splits, read.evaluate.samples) == (["valid"], 100)
    assert read.remedies[0].label == "lm"
    assert read.remedies[0].steps == [{}]


def test_strengths_that_change_together_are_one_row_each(tmp_path: Path) -> None:
    text = (
        "corpora: [grammar]\nremedies:\n  - {remedy: [linear, free_bits], strengths: {a.b: [1, 2], c.d: [x, y]}}\n"
    )
    (remedy,) = study(tmp_path, text).remedies
    assert remedy.label == "linear+free_bits"
    assert remedy.steps == [{"a.b": 1, "c.d": "x"}, {"a.b": 2, "c.d": "y"}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("remedies: [lm]", "mine.yaml: corpora: must be given"),
        ("corpora: []\nremedies: [lm]", "mine.yaml: corpora: must not be empty"),
        ("corpora: grammar\nremedies: [lm]", "mine.yaml: corpora: must be a list, not 'grammar'"),
        (SMALLEST + "seed: 3", "mine.yaml: seed: unknown key (did you mean seeds?); valid keys are corpora"),
        (SMALLEST + "seeds: [a]", "mine.yaml: seeds: must be a whole number, not 'a'"),
        (SMALLEST + "seeds: [1.0]", "mine.yaml: seeds: must be a whole number"),
        (SMALLEST + "seeds: [-1]", "mine.yaml: seeds: must be at least 0, not -1"),
        (SMALLEST + "seeds: [0, 1, 0]", "mine.yaml: seeds: 0 is given twice"),
        (SMALLEST + "metrics: [rate, rate]", "mine.yaml: metrics: rate is given twice"),
        (SMALLEST + "evaluate: {splits: [valid, valid]}", "mine.yaml: evaluate: splits: valid is given twice"),
        (
            "corpora: [grammar]\nremedies: [{remedy: beta, strengths: {objective.weight.value: [0.1, 0.1]}}]",
            "mine.yaml: remedies, entry 1: strengths: 0.1 is given twice",
        ),
        (SMALLEST + "settings: {seed: 3}", "mine.yaml: settings: seed: the runs' seeds are given by seeds"),
        ("corpora: [ptb, ptb]\nremedies: [lm]", "mine.yaml: corpora: ptb is given twice"),
        (SMALLEST + "evaluate: {sample: 3}", "mine.yaml: evaluate.sample: unknown key (did you mean samples?)"),
        (SMALLEST + "evaluate: {samples: 0}", "mine.yaml: evaluate.samples: must be at least 1, not 0"),
        (
            SMALLEST + "evaluate: {splits: [dev]}",
            "mine.yaml: evaluate.splits: must be 'valid' or 'test', not 'dev'",
        ),
        (SMALLEST + "baseline: lmm", "mine.yaml: baseline: no remedy 'lmm' here (did you mean lm?)"),
        ("corpora: [grammar]\nremedies: [3]", "mine.yaml: remedies, entry 1: must be a name, or a mapping"),
        ("corpora: [grammar]\nremedies: [lm, {name: a}]", "mine.yaml: remedies, entry 2: remedy: must be given"),
        (
            "corpora: [grammar]\nremedies: [{remedy: lm, strength: {a: [1]}}]",
            "mine.yaml: remedies, entry 1: strength: unknown key (did you mean strengths?)",
        ),
        (
            "corpora: [grammar]\nremedies: [{remedy: lm, strengths: {a: [1], b: [1, 2]}}]",
            "mine.yaml: remedies, entry 1: strengths: all keys need the same number of values, "
            "but a has 1, b has 2",
        ),
        (
            "corpora: [grammar]\nremedies: [{remedy: lm, settings: {seed: 3}}]",
            "mine.yaml: remedies, entry 1: settings: seed: its seeds are given by seeds",
        ),
        (
            "corpora: [grammar]\nremedies: [{remedy: lm, seeds: [0, 0]}]",
            "mine.yaml: remedies, entry 1: seeds: 0 is given twice",
        ),
        (
            "corpora: [grammar]\nremedies: [{remedy: lm, name: ../lm}]",
            "mine.yaml: remedies, entry 1: name: '../lm' becomes a folder name",
        ),
        ("- lm", "mine.yaml: must be a mapping of keys such as corpora and remedies"),
        ("corpora: [", "mine.yaml: not valid YAML"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_key(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        study(tmp_path, text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", recipe_files("studies"), ids=lambda file: file.stem)
def test_a_shipped_study_says_what_it_is(file: Path) -> None:
    assert file.read_text("utf-8").startswith("# ")
    asked = read_study(file)
    (baseline,) = [remedy for remedy in asked.remedies if remedy.label == asked.baseline]
    assert "lm" in baseline.recipes
