"""A training step asks its device nothing, so that the host runs ahead of it."""

from typing import Any

import pytest
import torch
from questions import Crossings, Questions
from recipes import NAMES, rows, settings_of, trained_by

from textvae.data.batches import BatchStream
from textvae.data.resident import Resident
from textvae.models import output
from textvae.training.metrics import Totals
from textvae.training.updates import Joint

SETTINGS: dict[str, dict[str, Any]] = {
    "noise": {"objective": {"word_dropout": {"kind": "constant", "value": 0.3}, "samples": 3}},
    "sgd": {"training": {"optimiser": {"kind": "sgd"}}},
    "encoder": {"model": {"encoder": {"bidirectional": True, "pooling": "max"}}},
}


@pytest.mark.parametrize("name", [*SETTINGS, *NAMES])
def test_no_remedy_asks_its_device_in_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_Early", output._Late)  # as on an accelerator
    here = torch.device("cpu")
    stream = BatchStream(rows(), 8, 0, gathering=lambda sequences: Resident(sequences, here))
    objective, update = trained_by(settings_of(name, SETTINGS), stream)
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


@pytest.mark.parametrize("name", [*SETTINGS, *NAMES])
def test_nothing_crosses_between_host_and_device_in_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device without values, which tells the host's tensors from its own; random numbers have no generator."""
    for draw in ("rand", "randn"):
        original = getattr(torch, draw)
        monkeypatch.setattr(torch, draw, lambda *a, generator=None, _draw=original, **k: _draw(*a, **k))
    stream = BatchStream(rows(), 8, 0)
    objective, update = trained_by(settings_of(name, SETTINGS), stream, "meta")
    assert isinstance(update, Joint)
    monkeypatch.setattr(update.optimiser, "step", lambda: None)
    batch, generator = next(stream).to("meta"), torch.Generator()
    total = Totals()
    for crossings in (Crossings(), Crossings()):
        with crossings:
            done = update.move(batch, 1, generator, ())
            objective.observe(done.loss.terms)
            total = total + Totals.of(done)
    assert crossings.seen == []
