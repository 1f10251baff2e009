"""A training step asks its device nothing, so that the host runs ahead of it."""

from typing import Any

import pytest
import torch
import yaml
from helpers import random_rows, sequences_of
from questions import Questions

from textvae import build
from textvae.config import Draft
from textvae.config.recipes import recipe_files, resolve
from textvae.data.batches import BatchStream
from textvae.data.resident import Resident
from textvae.models import output
from textvae.training.metrics import Totals

SIZES = {"embedding_dim": 4, "hidden_dim": 4}
SETTINGS: dict[str, dict[str, Any]] = {
    "noise": {"objective": {"word_dropout": {"kind": "constant", "value": 0.3}, "samples": 3}},
    "sgd": {"training": {"optimiser": {"kind": "sgd"}}},
    "encoder": {"model": {"encoder": {"bidirectional": True, "pooling": "max"}}},
}


@pytest.mark.parametrize("name", [*SETTINGS, *(path.stem for path in recipe_files("remedies"))])
def test_no_remedy_asks_its_device_in_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_Early", output._Late)  # as on an accelerator
    draft = Draft()
    draft.merge({"model": {"latent_dim": 8, "encoder": SIZES, "decoder": SIZES}}, "sizes")
    recipe = SETTINGS.get(name) or yaml.safe_load(resolve(name).read_text("utf-8"))
    draft.merge({key: value for key, value in recipe.items() if key not in ("first", "inherit")}, name)
    config = build.complete(draft)
    here = torch.device("cpu")
    stream = BatchStream(
        sequences_of(random_rows(40, 6)), 8, 0, gathering=lambda sequences: Resident(sequences, here)
    )
    objective = build.objective(config, build.model(config, 7), 7, stream.batches_per_epoch)
    update = build.update(config, objective, stream.batches_per_epoch)
    generator = torch.Generator().manual_seed(0)
    done = update(stream, 0, generator)
    objective.observe(done.loss.terms)
    total = Totals.of(done)
    with Questions() as questions:
        done = update(stream, 1, generator)
        objective.observe(done.loss.terms)
        total = total + Totals.of(done)
    assert questions.asked == []
    assert done.finite
    assert total.means()["loss"] > 0
