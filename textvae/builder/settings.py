"""Typed settings from a draft: every member validated and its defaults filled in."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from textvae.builder.arguments import arguments
from textvae.builder.slots import SLOTS, chosen
from textvae.builder.trial import try_out
from textvae.config import Config, Draft
from textvae.errors import ConfigError

__all__ = ["checked", "complete"]


def complete(draft: Draft) -> Config:
    """The typed settings, with every member validated and its defaults filled in.

    Raises
    ------
    ConfigError
        If a setting is invalid, naming the file or option, the key and the valid choices.
    """
    stage = draft.first_stage()
    if stage is not None:
        try:
            first = complete(stage).plain()
        except ConfigError as error:
            raise ConfigError(f"{error} (in the first stage)") from None
        draft = replace(draft, values={**draft.values, "first": first})
    config = _typed(draft)
    if config.inherit and config.first is None:
        whose = draft.blame(("inherit",))
        raise ConfigError(f"{whose}: there is nothing to inherit from without a first stage (first)")
    try_out(config, draft)
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


def _typed(draft: Draft) -> Config:
    config = draft.config()
    values = config.plain()
    for slot in SLOTS:
        section, name = slot.split(".")
        values[section][name] = arguments(slot, chosen(config, slot), draft)
    for slot in ("word_dropout", "teacher_forcing"):
        _refuse_rates_above_1(slot, values["objective"][slot], draft)
    return Config.model_validate(values)


def _refuse_rates_above_1(slot: str, rate: Mapping[str, Any], draft: Draft) -> None:
    # A schedule may also serve as a weight, so its types set no upper limit.
    for name in rate.keys() & {"value", "start", "end"}:
        if rate[name] > 1:
            raise ConfigError(f"{draft.blame(('objective', slot, name))}: must be at most 1, not {rate[name]}")
