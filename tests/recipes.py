"""Settings from files and options, the refusal of bad ones, and remedies at the size of a test."""

from typing import Any

import pytest
import torch
import yaml
from helpers import random_rows, sequences_of

from textvae import builder
from textvae.config import Config, Draft
from textvae.config.recipes import recipe_files, resolve
from textvae.data.batches import BatchStream, Sequences
from textvae.errors import ConfigError
from textvae.objectives.objective import Objective
from textvae.training.updates import Update

__all__ = ["NAMES", "WORDS", "complaint", "complete", "rows", "settings_of", "trained_by"]

NAMES = [path.stem for path in recipe_files("remedies")]
SIZES = {"embedding_dim": 4, "hidden_dim": 4}
WORDS = 7


def complete(*sources: str, **options: object) -> Config:
    """The settings of files, YAML texts (merged as `text`) and options."""
    draft = Draft()
    for source in sources:
        if "\n" in source or ":" in source:
            draft.merge(yaml.safe_load(source), "text")
        else:
            draft.merge_file(source)
    for option, value in options.items():
        draft.set(option.replace("__", "."), value)
    return builder.complete(draft)


def complaint(*sources: str, **options: object) -> str:
    """The one sentence that refuses such settings."""
    with pytest.raises(ConfigError) as error:
        complete(*sources, **options)
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


def settings_of(name: str, others: dict[str, dict[str, Any]] | None = None) -> Config:
    """The settings of a remedy, or of one of `others`, with a small model and without a first stage."""
    draft = Draft()
    draft.merge({"model": {"latent_dim": 8, "encoder": SIZES, "decoder": SIZES}}, "sizes")
    recipe = (others or {}).get(name) or yaml.safe_load(resolve(name).read_text("utf-8"))
    draft.merge({key: value for key, value in recipe.items() if key not in ("first", "inherit")}, name)
    return builder.complete(draft)


def rows() -> Sequences:
    """Forty random sentences."""
    return sequences_of(random_rows(40, WORDS - 1))


def trained_by(config: Config, stream: BatchStream, device: str = "cpu") -> tuple[Objective, Update]:
    """An objective and its update rule on a device, from seed 0."""
    torch.manual_seed(0)
    model = builder.model(config, WORDS).to(device)
    objective = builder.objective(config, model, WORDS, stream.batches_per_epoch).to(device)
    return objective, builder.update(config, objective, stream.batches_per_epoch)
