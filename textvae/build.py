"""Build objects from settings; the only module that knows both.

A member of a slot is validated against its constructor: a configuration may set the keyword-only parameters,
whose annotations give types and ranges; the positional ones are supplied here.
"""

import importlib
import inspect
import math
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from textvae.config import Config, Draft, Member, epochs
from textvae.data.batches import collate
from textvae.data.tokenizers import EOS
from textvae.errors import ConfigError, did_you_mean
from textvae.fields import Steps
from textvae.models.decoders import DECODERS, Decoder
from textvae.models.encoders import ENCODERS, Encoder
from textvae.models.parts import inherit
from textvae.models.posteriors import POSTERIORS, Posterior
from textvae.models.priors import PRIORS, Prior
from textvae.models.text_vae import TextVAE, initialise
from textvae.objectives.auxiliaries import AUXILIARIES, Auxiliary
from textvae.objectives.bounds import BOUNDS, Bound
from textvae.objectives.corruptions import CORRUPTIONS, Corruption
from textvae.objectives.inference import INFERENCES, Inference
from textvae.objectives.objective import Loss, Objective
from textvae.objectives.penalties import PENALTIES, Penalty
from textvae.objectives.weights import DISTORTION_WEIGHTS, SCHEDULES, WEIGHTS, Schedule, Weight
from textvae.training.optimisers import OPTIMISERS
from textvae.training.precision import switch
from textvae.training.updates import UPDATES, Update

__all__ = ["SLOTS", "begin", "checked", "complete", "device", "in_steps", "model", "objective", "update"]

SLOTS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "model.encoder": ENCODERS,
    "model.posterior": POSTERIORS,
    "model.prior": PRIORS,
    "model.decoder": DECODERS,
    "objective.weight": WEIGHTS,
    "objective.distortion_weight": DISTORTION_WEIGHTS,
    "objective.penalty": PENALTIES,
    "objective.auxiliary": AUXILIARIES,
    "objective.bound": BOUNDS,
    "objective.corruption": CORRUPTIONS,
    "objective.inference": INFERENCES,
    "objective.word_dropout": SCHEDULES,
    "objective.teacher_forcing": SCHEDULES,
    "training.optimiser": OPTIMISERS,
    "training.update": UPDATES,
}
"""Every slot and its members, by name."""

FAMILIES: Mapping[str, type] = {
    "model.encoder": Encoder,
    "model.posterior": Posterior,
    "model.prior": Prior,
    "model.decoder": Decoder,
    "objective.weight": Weight,
    "objective.distortion_weight": Weight,
    "objective.penalty": Penalty,
    "objective.auxiliary": Auxiliary,
    "objective.bound": Bound,
    "objective.corruption": Corruption,
    "objective.inference": Inference,
    "objective.word_dropout": Schedule,
    "objective.teacher_forcing": Schedule,
    "training.optimiser": torch.optim.Optimizer,
    "training.update": Update,
}
"""Base class required of an external member, so that a configuration cannot call arbitrary functions."""

TINY = 16
"""Vocabulary size of the temporary model built to reject invalid combinations before training starts."""


def complete(draft: Draft) -> Config:
    """The typed settings, with every member validated and its defaults filled in.

    Raises
    ------
    ConfigError
        If a setting is invalid, naming the file or option, the key and the valid choices.
    """
    stage = draft.first_stage()
    if stage is not None:
        draft.values["first"] = complete(stage).plain()
    config = _typed(draft)
    _try(config, draft)
    return config


def checked(config: Config, whose: str) -> Config:
    """Validate the arguments of each member of `config`, without building anything.

    Raises
    ------
    ConfigError
        As in `complete`, naming `whose` as the source.
    """
    draft = Draft()
    draft.merge(config.plain(), whose)
    return _typed(draft)


def device(name: str, whose: str = "--device", *, here: bool = True) -> torch.device:
    """The device of this name; unless `here`, it may be a device of another machine.

    Raises
    ------
    ConfigError
        If torch does not know the device or it is not available.
    """
    try:
        found = torch.device(name)
        if here and found.type == "cuda":
            # Only counted: a tensor would create a context on the first card in every torchrun process.
            if (found.index or 0) >= torch.cuda.device_count():
                raise RuntimeError
        elif here:
            torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ConfigError(f"{whose}: {name} is not available; use cpu, or a device that torch can see") from None
    switch("float32")
    return found


def in_steps(value: Any, steps_per_epoch: int) -> Any:
    """`value` with every duration such as `"10 epochs"` converted to optimiser steps."""
    if isinstance(value, Mapping):
        return {key: in_steps(inner, steps_per_epoch) for key, inner in value.items()}
    number = epochs(value)
    return value if number is None else math.ceil(number * steps_per_epoch)


def model(config: Config, vocabulary: int) -> TextVAE:
    """The model, with parameters initialised from the global random stream.

    Raises
    ------
    ConfigError
        If a part rejects its arguments, or prior and posterior are incompatible.
    """
    dim = config.model.latent_dim
    with warnings.catch_warnings():
        # With latent_dim 0 some weights have no elements, which torch warns about.
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        encoder = _make(config, "model.encoder", vocabulary)
        parts = (
            _make(config, "model.posterior", encoder, dim),
            _make(config, "model.prior", dim),
            _make(config, "model.decoder", vocabulary, dim),
        )
    try:
        built = TextVAE(*parts)
    except ValueError as error:
        raise ConfigError(f"model.prior: {error}") from error
    initialise(built, config.model.init_range, config.model.embedding_init_range)
    return built


def begin(model: TextVAE, first: TextVAE, config: Config) -> None:
    """Initialise parts of a model from the trained first stage.

    Raises
    ------
    ConfigError
        If a part is missing from either model, or the shapes do not match.
    """
    try:
        inherit(model, first, config.inherit)
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
    parts = {slot: part(slot) for slot in slots if slot != "auxiliary"}
    auxiliary = part("auxiliary", model, vocabulary)
    initialise(auxiliary, config.model.init_range, config.model.embedding_init_range)
    try:
        return Objective(model, **parts, auxiliary=auxiliary, samples=config.objective.samples)
    except ValueError as error:
        raise ConfigError(f"objective.bound: {error}") from error


def update(config: Config, objective: Objective, steps_per_epoch: int) -> Update:
    """The update rule, whose optimiser holds all parameters of the objective."""

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
    """A member of a slot.

    Raises
    ------
    ConfigError
        If its constructor rejects the combination of arguments.
    """
    member = _member(config, slot)
    constructor = _constructor(slot, member.kind, slot)
    try:
        return constructor(*context, **in_steps(member.arguments, steps_per_epoch))
    except ValueError as error:
        raise ConfigError(f"{slot}: {error}") from error
    except Exception as error:
        if ":" not in member.kind:
            raise
        raise ConfigError(f"{slot}: {member.kind} cannot be built: {_named(error)}") from error


def _typed(draft: Draft) -> Config:
    config = draft.config()
    values = config.plain()
    for slot in SLOTS:
        section, name = slot.split(".")
        values[section][name] = _arguments(slot, _member(config, slot), draft)
    for slot in ("word_dropout", "teacher_forcing"):
        _refuse_rates_above_1(slot, values["objective"][slot], draft)
    return Config.model_validate(values)


def _refuse_rates_above_1(slot: str, rate: Mapping[str, Any], draft: Draft) -> None:
    # A schedule may also serve as a weight, so its types set no upper limit.
    for name in rate.keys() & {"value", "start", "end"}:
        if rate[name] > 1:
            raise ConfigError(f"{draft.blame(('objective', slot, name))}: must be at most 1, not {rate[name]}")


def _constructor(slot: str, kind: str, whose: str) -> Callable[..., Any]:
    """The member of a slot by name, or an external class as `package.module:Class`."""
    members = SLOTS[slot]
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
    except Exception as error:  # importing runs code that is not ours
        raise ConfigError(f"{whose}: {kind!r} cannot be imported: {_named(error)}") from None
    family = FAMILIES[slot]
    if not (isinstance(found, type) and issubclass(found, family)):
        raise ConfigError(f"{whose}: {kind!r} is not a subclass of {family.__module__}.{family.__qualname__}")
    constructor: Callable[..., Any] = found
    return constructor


def _schema(constructor: Callable[..., Any]) -> tuple[type[BaseModel], set[str]]:
    """The schema of a constructor's keyword-only parameters, and the names of those measured in steps."""
    function = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    rules = ConfigDict(extra="forbid", validate_default=False, allow_inf_nan=False)
    schema: type[BaseModel] = create_model("Arguments", __config__=rules, **fields)
    return schema, {name for name, (hint, _) in fields.items() if _counts_steps(hint)}


def _counts_steps(hint: Any) -> bool:
    unit = get_args(Steps)[-1]
    return any(inner == unit or _counts_steps(inner) for inner in get_args(hint))


def _arguments(slot: str, member: Member, draft: Draft) -> dict[str, Any]:
    """The member as a plain mapping, with validated arguments and defaults."""
    place = tuple(slot.split("."))
    whose = draft.blame((*place, "kind"))
    constructor = _constructor(slot, member.kind, whose)
    try:
        schema, timed = _schema(constructor)
    except Exception as error:
        if ":" not in member.kind:
            raise
        raise ConfigError(f"{whose}: {member.kind} has parameters that cannot be read: {_named(error)}") from None
    given = member.arguments
    written = {key: given[key] for key in timed & given.keys() if epochs(given[key]) is not None}
    try:
        typed = schema.model_validate({**given, **in_steps(written, steps_per_epoch=1)}).model_dump(mode="json")
    except ValidationError as error:
        raise ConfigError(draft.explain(error, place, schema)) from None
    return {"kind": member.kind, **typed, **written}


def _try(config: Config, draft: Draft) -> None:
    """Compute two losses with a tiny vocabulary, to reject invalid combinations before training starts."""
    penalty = draft.blame(("objective", "penalty", "kind"))
    try:
        loss = _trial(config)
    except ConfigError as error:
        slot, _, _ = str(error).partition(":")
        raise ConfigError(f"{draft.whose(tuple(slot.split('.')))}: {error}") from None
    except Exception as error:
        own = _raised_by(error, config)
        if own is not None:
            whose = draft.blame((*own.split("."), "kind"))
            raise ConfigError(f"{whose}: {_member(config, own).kind} failed: {_named(error)}") from None
        if isinstance(error, ValueError):
            raise ConfigError(f"{penalty}: {error}") from None
        if isinstance(error, (RuntimeError, MemoryError, OverflowError)):
            whose = draft.whose(("model", "latent_dim"))
            raise ConfigError(f"{whose}: the model cannot be built: {_line(error)}") from None
        raise
    for slot, term in (("objective.penalty", loss.penalty), ("objective.auxiliary", loss.auxiliary)):
        if not isinstance(term, torch.Tensor) or term.dim():
            whose, kind = draft.blame((*slot.split("."), "kind")), _member(config, slot).kind
            what = f"shape {tuple(term.shape)}" if isinstance(term, torch.Tensor) else type(term).__name__
            raise ConfigError(f"{whose}: {kind} must return a scalar tensor, not {what}")
    if not torch.isfinite(loss.terms.distortion).all():
        raise ConfigError(f"{draft.whose(('model', 'init_range'))}: the loss of the untrained model is not finite")
    if not torch.isfinite(loss.value).all():
        raise ConfigError(
            f"{penalty}: {config.objective.penalty.kind} needs a rate, and a posterior without a density "
            f"({config.model.posterior.kind}) has none; choose none"
        )


def _trial(config: Config) -> Loss:
    """The second loss of a tiny model: the effect of a NaN rate on a controller appears only there."""
    batch = collate([np.array([4, 5, EOS]), np.array([6, EOS])])
    with torch.random.fork_rng(devices=[]):
        built = model(config, TINY)
        if config.first is not None:
            begin(built, model(config.first, TINY), config)
        tiny = objective(config, built, TINY, steps_per_epoch=1)
        update(config, tiny, steps_per_epoch=1)
        generator = torch.Generator().manual_seed(0)
        tiny.observe(tiny(batch, 0, generator).terms)
        loss: Loss = tiny(batch, 1, generator)
    return loss


def _raised_by(error: Exception, config: Config) -> str | None:
    """The slot of the external class that an error comes from, or None.

    It is the one whose code the error passed through last; where the loss cannot be put together, the only one.
    """
    own = {slot: kind.partition(":")[0] for slot in SLOTS if ":" in (kind := _member(config, slot).kind)}
    passed = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    through = [slot for module in reversed(passed) for slot, its in own.items() if its == module]
    if not through and passed[-1].startswith("textvae.objectives."):
        through = [slot for slot in own if slot.startswith("objective.")]
        return through[0] if len(through) == 1 else None
    return through[0] if through else None


def _line(error: BaseException) -> str:
    """The first line of an external error, for use inside a sentence."""
    return " ".join(str(error).split("\n")[0].split()).rstrip(".")


def _named(error: BaseException) -> str:
    """The type and first line of an error in code that is not ours."""
    return f"{type(error).__name__}: {_line(error)}"
