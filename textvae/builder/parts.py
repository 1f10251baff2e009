"""The parts of a run, constructed from settings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from textvae.builder.arguments import in_steps
from textvae.builder.slots import SLOTS, chosen, constructor
from textvae.config import Config
from textvae.errors import ConfigError, named
from textvae.models import parts
from textvae.models.text_vae import TextVAE, initialise
from textvae.objectives.objective import Objective
from textvae.training.updates import Update

__all__ = ["inherit", "model", "objective", "update"]


def model(config: Config, vocabulary: int) -> TextVAE:
    """The model, with parameters initialised from the global random stream.

    Raises
    ------
    ConfigError
        If a part rejects its arguments, or prior and posterior are incompatible.
    """
    dim = config.model.latent_dim
    with _weights_of_no_elements():
        encoder = _make(config, "model.encoder", vocabulary)
        posterior = _make(config, "model.posterior", encoder, dim)
        prior = _make(config, "model.prior", dim)
        decoder = _make(config, "model.decoder", vocabulary, dim)
    try:
        built = TextVAE(posterior, prior, decoder)
    except ValueError as error:
        raise ConfigError(f"model.prior: {error}") from error
    initialise(built, config.model.init_range, config.model.embedding_init_range)
    return built


def inherit(model: TextVAE, first: TextVAE, config: Config) -> None:
    """Initialise parts of a model from the trained first stage.

    Raises
    ------
    ConfigError
        If a part is missing from either model, or the shapes do not match.
    """
    try:
        parts.inherit(model, first, config.inherit)
    except ValueError as error:
        raise ConfigError(f"inherit: {error}") from error


def objective(config: Config, model: TextVAE, vocabulary: int, steps_per_epoch: int) -> Objective:
    """The objective of a model.

    Raises
    ------
    ConfigError
        If its parts are incompatible.
    """

    def part(slot: str, *context: Any) -> Any:
        return _make(config, f"objective.{slot}", *context, steps_per_epoch=steps_per_epoch)

    slots = [slot.split(".")[1] for slot in SLOTS if slot.startswith("objective.")]
    members = {slot: part(slot) for slot in slots if slot != "auxiliary"}
    with _weights_of_no_elements():
        auxiliary = part("auxiliary", model, vocabulary)
    initialise(auxiliary, config.model.init_range, config.model.embedding_init_range)
    try:
        return Objective(model, **members, auxiliary=auxiliary, samples=config.objective.samples)
    except ValueError as error:
        raise ConfigError(f"objective.bound: {error}") from error


def update(config: Config, objective: Objective, steps_per_epoch: int) -> Update:
    """The update rule, whose optimiser holds all parameters of the objective."""

    def optimiser() -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = _make(
            config, "training.optimiser", objective.parameters(), steps_per_epoch=steps_per_epoch
        )
        return made

    built: Update = _make(config, "training.update", objective, optimiser, steps_per_epoch=steps_per_epoch)
    return built


@contextmanager
def _weights_of_no_elements() -> Iterator[None]:
    """With latent_dim 0 some weights have no elements, which torch warns about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        yield


def _make(config: Config, slot: str, *context: Any, steps_per_epoch: int = 1) -> Any:
    """A member of a slot.

    Raises
    ------
    ConfigError
        If its constructor rejects the combination of arguments.
    """
    member = chosen(config, slot)
    make = constructor(slot, member.kind, slot)
    try:
        return make(*context, **in_steps(member.arguments, steps_per_epoch))
    except ValueError as error:
        raise ConfigError(f"{slot}: {error}") from error
    except Exception as error:
        if ":" not in member.kind:
            raise
        raise ConfigError(f"{slot}: {member.kind} cannot be built: {named(error)}") from error
