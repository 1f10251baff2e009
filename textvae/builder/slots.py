"""The slots of a configuration, the members of each, and classes from outside as members."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from textvae.config import Config, Member
from textvae.errors import ConfigError, did_you_mean, named
from textvae.files import digest
from textvae.models.decoders import DECODERS, Decoder
from textvae.models.encoders import ENCODERS, Encoder
from textvae.models.posteriors import POSTERIORS, Posterior
from textvae.models.priors import PRIORS, Prior
from textvae.objectives.auxiliaries import AUXILIARIES, Auxiliary
from textvae.objectives.bounds import BOUNDS, Bound
from textvae.objectives.corruptions import CORRUPTIONS, Corruption
from textvae.objectives.inference import INFERENCES, Inference
from textvae.objectives.penalties import PENALTIES, Penalty
from textvae.objectives.weights import DISTORTION_WEIGHTS, SCHEDULES, WEIGHTS, Schedule, Weight
from textvae.training.optimisers import OPTIMISERS
from textvae.training.updates import UPDATES, Update

__all__ = ["SLOTS", "Slot", "chosen", "constructor", "external", "sources"]


@dataclass(frozen=True)
class Slot:
    """The members that a setting chooses from by `kind`, and the base class required of an external one.

    A base class is required so that a configuration cannot call arbitrary functions. `supplied` is the number of
    positional arguments that a member gets from the library.
    """

    family: type
    members: Mapping[str, Callable[..., Any]]
    supplied: int = 0


SLOTS: Mapping[str, Slot] = {
    "model.encoder": Slot(Encoder, ENCODERS, 1),
    "model.posterior": Slot(Posterior, POSTERIORS, 2),
    "model.prior": Slot(Prior, PRIORS, 1),
    "model.decoder": Slot(Decoder, DECODERS, 2),
    "objective.weight": Slot(Weight, WEIGHTS),
    "objective.distortion_weight": Slot(Weight, DISTORTION_WEIGHTS),
    "objective.penalty": Slot(Penalty, PENALTIES),
    "objective.auxiliary": Slot(Auxiliary, AUXILIARIES, 2),
    "objective.bound": Slot(Bound, BOUNDS),
    "objective.corruption": Slot(Corruption, CORRUPTIONS),
    "objective.inference": Slot(Inference, INFERENCES),
    "objective.word_dropout": Slot(Schedule, SCHEDULES),
    "objective.teacher_forcing": Slot(Schedule, SCHEDULES),
    "training.optimiser": Slot(torch.optim.Optimizer, OPTIMISERS, 1),
    "training.update": Slot(Update, UPDATES, 2),
}
"""Every slot, by its key."""


def chosen(config: Config, slot: str) -> Member:
    """The member that a configuration chooses for a slot."""
    section, name = slot.split(".")
    found: Member = getattr(getattr(config, section), name)
    return found


def external(config: Config) -> list[str]:
    """The slots whose members are classes from outside."""
    return [slot for slot in SLOTS if ":" in chosen(config, slot).kind]


def sources(config: Config) -> dict[str, str]:
    """The digest of the file that each class from outside is defined in, by `package.module:Class`."""
    kinds = {chosen(config, slot).kind: slot for slot in external(config)}
    digests = {kind: _source(constructor(slot, kind, slot)) for kind, slot in kinds.items()}
    return {kind: found for kind, found in digests.items() if found}


@cache
def _source(member: Callable[..., Any]) -> str | None:
    """The digest of the file of a class, as it was when the class was first seen; None if it has no file.

    A process goes on with the class that it has imported, whatever becomes of the file.
    """
    try:
        file = Path(inspect.getsourcefile(member) or "")
    except (TypeError, OSError):
        return None
    return digest(file.read_bytes()) if file.is_file() else None


def constructor(slot: str, kind: str, whose: str) -> Callable[..., Any]:
    """The member of a slot by name, or an external class as `package.module:Class`."""
    members = SLOTS[slot].members
    if kind in members:
        return members[kind]
    if ":" in kind:
        return _imported(slot, kind, whose)
    guess = did_you_mean(kind, members)
    raise ConfigError(
        f"{whose}: unknown kind {kind!r}{guess}; choose from {', '.join(members)}, or write package.module:Class"
    )


def _imported(slot: str, kind: str, whose: str) -> Callable[..., Any]:
    module, _, name = kind.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        where = f"; run from the folder that holds {error.name}, or add that to PYTHONPATH"
        if module.endswith(".py"):
            where = f"; name the module and not its file: {module.removesuffix('.py').replace('/', '.')}:{name}"
        raise ConfigError(f"{whose}: {kind!r} cannot be imported: there is no module {error.name}{where}") from None
    except Exception as error:  # importing runs code that is not ours
        raise ConfigError(f"{whose}: {kind!r} cannot be imported: {named(error)}") from None
    family = SLOTS[slot].family
    if not (isinstance(found, type) and issubclass(found, family)):
        raise ConfigError(f"{whose}: {kind!r} is not a subclass of {family.__module__}.{family.__qualname__}")
    external: Callable[..., Any] = found
    _source(external)
    return external
