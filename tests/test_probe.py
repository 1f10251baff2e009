"""`textvae probe`: a factor that z holds is found, at most its ceiling, and controls find nothing."""

import json
from pathlib import Path

import pytest
from command_line import DECODER, refused, worked

from textvae.data.grammar import embedded_grammar

ARGUMENTS = ("--threads", "1", "--model.latent_dim", "4", *DECODER, "--model.encoder.hidden_dim", "24")


@pytest.mark.slow
def test_probe_of_an_autoencoder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    # A deterministic z is free to hold what it likes, and soon holds something of the factors.
    worked("train", "grammar", "autoencoder", *ARGUMENTS, "--steps", 600, "--run", run)
    table = worked("probe", run).out
    kept = json.loads((run / "probes.json").read_text())
    assert kept["split"] == "valid"
    rows = {row["factor"]: row for row in kept["factors"]}
    assert rows.keys() == embedded_grammar().factors.keys()
    for name, row in rows.items():
        assert name in table
        assert row["information"] <= row["ceiling"] + 3 * row["information_se"]
        assert row["shuffled_labels"] < 0.02
        assert 0 < row["ceiling"] <= row["entropy"] + 1e-9
        assert 0.05 < row["majority_accuracy"] < 0.9
    assert max(row["information"] for row in rows.values()) > 0.05


def test_probe_refuses_what_has_no_factors_or_no_z(vae_run: Path, tmp_path: Path) -> None:
    assert "only the grammar corpus knows its factors" in refused("probe", vae_run, code=1)
    model = ("--threads", "1", *DECODER, "--steps", 1, "--training.validate_every", 100, "--run", tmp_path / "lm")
    worked("train", "grammar", "lm", *model)
    assert "has no z to probe" in refused("probe", tmp_path / "lm", code=1)


@pytest.mark.slow
def test_bench_measures_product_and_step() -> None:
    found = json.loads(worked("bench", "--rounds", 1, "--steps", 2, "--threads", 1, "--json").out)
    training = found["training"]
    # 256/256/32 over 10,000 types: encoder, posterior, decoder, first state and output layer.
    encoder, decoder = 4 * 256 * (256 + 256), 4 * 256 * (256 + 32 + 256)
    products = encoder + 256 * 64 + decoder + 32 * 256 + 256 * 10_000
    assert training["flops_per_token"] == 6 * products
    rate = training["tokens_per_second"] * 6 * products / (found["ceiling_gflops"] * 1e9)
    assert training["fraction_of_ceiling"] == pytest.approx(rate)
