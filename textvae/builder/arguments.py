"""The arguments of a slot's member, validated against its constructor.

A configuration may set all parameters but the first positional ones, which `parts` supplies, as many as the slot
says; their annotations give types and ranges.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from textvae.builder.slots import SLOTS, constructor
from textvae.config import Draft, Member, epochs
from textvae.errors import ConfigError, named
from textvae.fields import Steps

__all__ = ["arguments", "in_steps"]


def arguments(slot: str, member: Member, draft: Draft) -> dict[str, Any]:
    """The member as a plain mapping, with validated arguments and defaults."""
    place = tuple(slot.split("."))
    whose = draft.blame((*place, "kind"))
    make = constructor(slot, member.kind, whose)
    try:
        settable, supplied = _parameters(make, SLOTS[slot].supplied)
        schema, timed = _schema(make, settable)
    except Exception as error:
        if ":" not in member.kind:
            raise
        raise ConfigError(f"{whose}: {member.kind} has parameters that cannot be read: {named(error)}") from None
    given = member.arguments
    if ":" in member.kind and (fixed := supplied & given.keys()):
        raise ConfigError(
            f"{whose}: {member.kind}: {', '.join(sorted(fixed))} cannot be set: the library supplies it"
        )
    written = {key: given[key] for key in timed & given.keys() if epochs(given[key]) is not None}
    if written and slot.startswith("model."):
        keys = ", ".join(sorted(written))
        raise ConfigError(f"{whose}: {member.kind}: {keys}: a model knows no epochs; give optimiser steps")
    try:
        typed = schema.model_validate({**given, **in_steps(written, steps_per_epoch=1)}).model_dump(mode="json")
    except ValidationError as error:
        raise ConfigError(draft.explain(error, place, schema)) from None
    draft.refuse_truth(given, typed, place)
    return {"kind": member.kind, **typed, **written}


def in_steps(value: Any, steps_per_epoch: int) -> Any:
    """`value` with every duration such as `"10 epochs"` converted to optimiser steps."""
    if isinstance(value, Mapping):
        return {key: in_steps(inner, steps_per_epoch) for key, inner in value.items()}
    number = epochs(value)
    # 1.1 · 50 is a little above 55 in floating point.
    return value if number is None else math.ceil(round(number * steps_per_epoch, 9))


def _parameters(constructor: Callable[..., Any], supplied: int) -> tuple[dict[str, inspect.Parameter], set[str]]:
    """The parameters that can be set, and the names of the first ones, which the library supplies."""
    named = {
        name: parameter
        for name, parameter in inspect.signature(constructor).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    positional = [name for name, each in named.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    fixed = set(positional[:supplied])
    return {name: parameter for name, parameter in named.items() if name not in fixed}, fixed


def _schema(
    constructor: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> tuple[type[BaseModel], set[str]]:
    """The schema of a constructor's parameters, and the names of those measured in steps."""
    function = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in parameters.items()
    }
    # Types that pydantic does not know, as in torch's optimisers, are checked by isinstance.
    rules = ConfigDict(extra="forbid", validate_default=False, allow_inf_nan=False, arbitrary_types_allowed=True)
    schema: type[BaseModel] = create_model("Arguments", __config__=rules, **fields)
    return schema, {name for name, (hint, _) in fields.items() if _counts_steps(hint)}


def _counts_steps(hint: Any) -> bool:
    unit = get_args(Steps)[-1]
    return any(inner == unit or _counts_steps(inner) for inner in get_args(hint))
