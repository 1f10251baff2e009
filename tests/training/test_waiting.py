"""A training step asks its device nothing but whether the loss is a number."""

from typing import Any

import pytest
import torch
from helpers import random_rows, sequences_of
from questions import Questions

from textvae import build
from textvae.config import Draft
from textvae.data.batches import BatchStream
from textvae.data.resident import Resident
from textvae.models import output
from textvae.training.metrics import Totals

SIZES = {"embedding_dim": 4, "hidden_dim": 4}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "noise": {"objective": {"word_dropout": {"kind": "constant", "value": 0.3}, "samples": 3}},
    "penalty": {"objective": {"penalty": {"kind": "free_bits_total", "nats_total": 2.0}}},
    "sgd": {"training": {"optimiser": {"kind": "sgd"}}},
    "encoder": {"model": {"encoder": {"bidirectional": True, "pooling": "max"}}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_one_question_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_Early", output._Late)  # as on an accelerator
    draft = Draft()
    draft.merge({"model": {"latent_dim": 2, "encoder": SIZES, "decoder": SIZES}}, "sizes")
    draft.merge(SETTINGS[name], "test")
    config = build.complete(draft)
    here = torch.device("cpu")
    stream = BatchStream(
        sequences_of(random_rows(40, 6)), 8, 0, gathering=lambda sequences: Resident(sequences, here)
    )
    objective = build.objective(config, build.model(config, 7), 7, stream.batches_per_epoch)
    update = build.update(config, objective, stream.batches_per_epoch)
    generator = torch.Generator().manual_seed(0)
    total = Totals.of(update(stream, 0, generator))
    with Questions() as questions:
        done = update(stream, 1, generator)
        objective.observe(done.loss.terms)
        total = total + Totals.of(done)
    assert questions.asked == ["_local_scalar_dense"]
    assert total.means()["loss"] > 0
