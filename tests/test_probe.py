"""`textvae probe`: a factor that z holds is found, at most its ceiling, and controls find nothing."""

import json
from collections import Counter
from pathlib import Path

import pytest
from command_line import DECODER, refused, worked

from textvae.data.grammar import embedded_grammar, embedded_split
from textvae.tasks.parts.trained import Knowledge

ARGUMENTS = ("--threads", "1", "--model.latent_dim", "4", *DECODER, "--model.encoder.hidden_dim", "24")


@pytest.mark.slow
def test_probe_of_an_autoencoder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    # A deterministic z is free to hold what it likes, and soon holds something of the factors.
    worked("train", "grammar", "autoencoder", *ARGUMENTS, "--steps", 600, "--run", run)
    table = worked("probe", run).out
    kept = json.loads((run / "evaluation/valid/knowledge.json").read_text(encoding="utf-8"))["values"]
    assert [row["factor"] for row in kept["labels"]] == ["length", "first word", "a word, mean of 100"]
    rows = {row["factor"]: row for row in kept["factors"]}
    assert rows.keys() == embedded_grammar().factors.keys()
    for name, row in rows.items():
        assert name in table
        assert row["information"] <= row["ceiling"] + 3 * row["information_se"]
        assert row["accuracy"] <= row["best_accuracy"] + 0.05
        assert row["shuffled_labels"] < 0.02
        assert 0 < row["ceiling"] <= row["entropy"] + 1e-9
        train, valid = ([sentence.factors[name] for sentence in embedded_split(s)] for s in ("train", "valid"))
        ((common, _),) = Counter(train).most_common(1)
        assert row["majority_accuracy"] == pytest.approx(valid.count(common) / len(valid))
    assert max(row["information"] for row in rows.values()) > 0.05


def test_probe_refuses_what_has_no_z(lm_run: Path) -> None:
    assert "has no z to probe" in refused("probe", lm_run, code=1)


def test_any_corpus_has_lengths_and_words(own_vae_run: Path) -> None:
    table = worked("probe", own_vae_run).out
    kept = json.loads((own_vae_run / "evaluation/valid/knowledge.json").read_text(encoding="utf-8"))["values"]
    assert kept["factors"] == []
    rows = {row["factor"]: row for row in kept["labels"]}
    assert list(rows) == ["length", "first word", "a word, mean of 25"]
    for name, row in rows.items():
        assert name in table
        assert row["information"] <= row["ceiling"] + 3 * row["information_se"]
    # This decoder listens to z: it must be told how sentences begin.
    assert rows["first word"]["information"] > 3 * rows["first word"]["information_se"]


def test_a_full_evaluation_and_the_probes_are_measured_once(
    own_vae_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = worked("probe", own_vae_run).out
    monkeypatch.setattr(Knowledge, "measure", lambda *given: pytest.fail("measured again"))
    assert worked("probe", own_vae_run).out == table
