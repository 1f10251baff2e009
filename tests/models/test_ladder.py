"""The ladder of decoders is one: as language models, each rung says more of the grammar than the one below."""

import json
from pathlib import Path
from typing import Any

import pytest

from textvae.tasks.train import train

SIZES = {"embedding_dim": 64, "hidden_dim": 64, "dropout_in": 0.0, "dropout_out": 0.0}
RUNGS: dict[str, dict[str, Any]] = {
    "unigram": {"kind": "bag_of_words", "hidden_dim": 64, "dropout_out": 0.0},
    "window of 1": {"kind": "window", "order": 1, **SIZES},
    "window of 3": {"kind": "window", "order": 3, **SIZES},
    "lstm": {"kind": "lstm", **SIZES},
}
SETTINGS: dict[str, Any] = {
    "data.corpus": "grammar",
    "data.batch_size": 64,
    "model.latent_dim": 0,
    "model.encoder": {"kind": "none"},
    "training.optimiser": {"kind": "adam", "lr": 0.01},
    "training.budget": 400,
    "training.validate_every": 400,
}


@pytest.mark.slow
def test_each_rung_of_the_ladder_says_more_than_the_one_below(tmp_path: Path) -> None:
    nats: dict[str, float] = {}
    errors: dict[str, float] = {}
    for name, decoder in RUNGS.items():
        run = train([], {**SETTINGS, "model.decoder": decoder}, tmp_path / name)
        last = json.loads(run.metrics.read_text("utf-8").splitlines()[-1])
        assert last["split"] == "valid"
        nats[name], errors[name] = last["distortion"], last["distortion_se"]
    for below, above in zip(RUNGS, list(RUNGS)[1:], strict=False):
        assert nats[above] + 3 * (errors[above] + errors[below]) < nats[below], nats
