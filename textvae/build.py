"""From settings to objects: the only place that knows both.

A member of a slot is checked against its constructor: keyword-only parameters are what a configuration
may set, with their annotations as types and ranges; positional ones are supplied here.
"""

import difflib
import importlib
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from textvae.config import Config, Draft, Member, epochs
from textvae.data.batches import collate
from textvae.data.tokenizers import EOS
from textvae.errors import ConfigError
from textvae.models.decoders import DECODERS
from textvae.models.encoders import ENCODERS
from textvae.models.posteriors import POSTERIORS
from textvae.models.priors import PRIORS
from textvae.models.text_vae import TextVAE, initialise
from textvae.objectives.objective import Objective
from textvae.objectives.penalties import PENALTIES
from textvae.objectives.schedules import SCHEDULES
from textvae.training.optimisers import OPTIMISERS
from textvae.training.updates import UPDATES, Update

__all__ = ["complete", "in_steps", "model", "objective", "update"]

SLOTS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "model.encoder": ENCODERS,
    "model.posterior": POSTERIORS,
    "model.prior": PRIORS,
    "model.decoder": DECODERS,
    "objective.weight": SCHEDULES,
    "objective.penalty": PENALTIES,
    "objective.word_dropout": SCHEDULES,
    "training.optimiser": OPTIMISERS,
    "training.update": UPDATES,
}
"""Every slot and its members, by name."""

TINY = 16
"""Tokens of the throw-away model that is built to find impossible combinations before work starts."""


def complete(draft: Draft) -> Config:
    """The typed settings with every member checked and its defaults filled in.

    Raises
    ------
    ConfigError
        Naming the file or option, the key and the valid choices.
    """
    config = draft.config()
    values = config.plain()
    for slot in SLOTS:
        section, name = slot.split(".")
        values[section][name] = _checked(slot, _member(config, slot), draft)
    config = Config.model_validate(values)
    _try(config, draft)
    return config


def in_steps(value: Any, steps_per_epoch: int) -> Any:
    """The value with each `"10 epochs"` inside it replaced by a number of optimiser steps."""
    if isinstance(value, Mapping):
        return {key: in_steps(inner, steps_per_epoch) for key, inner in value.items()}
    number = epochs(value)
    return value if number is None else math.ceil(number * steps_per_epoch)


def model(config: Config, vocabulary: int) -> TextVAE:
    """The model, its parameters drawn from the global random stream."""
    dim = config.model.latent_dim
    with warnings.catch_warnings():
        # A latent_dim of 0 makes weights without elements, which torch remarks on.
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        encoder = _make(config, "model.encoder", vocabulary)
        built = TextVAE(
            _make(config, "model.posterior", encoder, dim),
            _make(config, "model.prior", dim),
            _make(config, "model.decoder", vocabulary, dim),
        )
    initialise(built, config.model.init_range, config.model.embedding_init_range)
    return built


def objective(config: Config, model: TextVAE, steps_per_epoch: int) -> Objective:
    """The objective around a model."""
    return Objective(
        model,
        weight=_make(config, "objective.weight", steps_per_epoch=steps_per_epoch),
        penalty=_make(config, "objective.penalty", steps_per_epoch=steps_per_epoch),
        word_dropout=_make(config, "objective.word_dropout", steps_per_epoch=steps_per_epoch),
        samples=config.objective.samples,
    )


def update(config: Config, objective: Objective, steps_per_epoch: int) -> Update:
    """The update rule, with its optimiser over all parameters of the objective."""

    def optimiser() -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = _make(config, "training.optimiser", objective.parameters())
        return made

    built: Update = _make(config, "training.update", objective, optimiser, steps_per_epoch=steps_per_epoch)
    return built


def _member(config: Config, slot: str) -> Member:
    section, name = slot.split(".")
    member: Member = getattr(getattr(config, section), name)
    return member


def _make(config: Config, slot: str, *context: Any, steps_per_epoch: int = 1) -> Any:
    member = _member(config, slot)
    return _constructor(slot, member.kind, "the configuration")(
        *context, **in_steps(member.arguments, steps_per_epoch)
    )


def _constructor(slot: str, kind: str, whose: str) -> Callable[..., Any]:
    """The member of a slot by its name, or anyone's class as `package.module:Class`."""
    members = SLOTS[slot]
    if kind in members:
        return members[kind]
    if ":" not in kind:
        close = difflib.get_close_matches(kind, members, n=1)
        guess = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(
            f"{whose}: {slot}.kind: unknown kind {kind}{guess}; choose from {', '.join(members)}, "
            "or write package.module:Class"
        )
    module, _, name = kind.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{whose}: {slot}.kind: {kind} cannot be imported: {error}") from None
    return found


def _schema(constructor: Callable[..., Any]) -> type[BaseModel]:
    """A typed schema of the keyword-only parameters of a constructor."""
    function = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    schema: type[BaseModel] = create_model(
        "Arguments", __config__=ConfigDict(extra="forbid", validate_default=False), **fields
    )
    return schema


def _checked(slot: str, member: Member, draft: Draft) -> dict[str, Any]:
    """The member as a plain mapping, its arguments checked and complete."""
    place = tuple(slot.split("."))
    constructor = _constructor(slot, member.kind, draft.whose((*place, "kind")))
    schema = _schema(constructor)
    given = member.arguments
    try:
        typed = schema.model_validate(in_steps(given, steps_per_epoch=1)).model_dump(mode="json")
    except ValidationError as error:
        raise ConfigError(draft.explain(error, place, schema)) from None
    written = {key: value for key, value in given.items() if epochs(value) is not None}
    return {"kind": member.kind, **typed, **written}


def _try(config: Config, draft: Draft) -> None:
    """Take one loss at a tiny vocabulary, so that an impossible combination is refused before work starts."""
    batch = collate([np.array([4, 5, EOS]), np.array([6, EOS])])
    try:
        with torch.random.fork_rng(devices=[]):
            tiny = objective(config, model(config, TINY), steps_per_epoch=1)
            loss = tiny(batch, 0, torch.Generator().manual_seed(0))
    except ValueError as error:
        raise ConfigError(f"{draft.whose(('model',))}: {error}") from None
    if not torch.isfinite(loss.value):
        raise ConfigError(
            f"{draft.whose(('model', 'posterior', 'kind'))}: a posterior without a density (dirac) has no rate to "
            "penalise; give it objective.penalty.kind none"
        )
