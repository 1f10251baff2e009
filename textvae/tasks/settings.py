"""`textvae settings`: every key of a configuration, and every member of every slot, as Markdown."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from textvae.builder import SLOTS
from textvae.config import Config

__all__ = ["page"]

HEAD = """# Settings

What a YAML file may hold, and `--section.key VALUE` may set; `textvae settings` prints this page. A run's own
`config.yaml` has every key, with the value that the run was made with. Durations are optimiser steps, or text such
as `"10 epochs"`. A slot is a mapping of a `kind` and its arguments, such as `{kind: linear, steps: 10 epochs}`.

Whatever the objective, the best weights are those with the highest ELBO on valid, at weight 1, of one z a sentence
(without a rate, the lowest distortion), and decay and stopping follow it. It counts only once the schedules of the
weights and the penalty have settled: from the step where they reach their last value on, and of a controller from
its step `settles` on.
"""


def page() -> str:
    """The keys, then the slots; `docs/settings.md` is this page."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for key, slot in SLOTS.items():
        alike.setdefault(tuple(slot.members), []).append(key)
    slots = map(_slots, alike.values())
    return "\n".join([HEAD, _table(["key", "default", "meaning"], _keys(Config)), *slots]).rstrip()


def _keys(section: type[BaseModel], at: str = "") -> Iterator[list[str]]:
    """Key, default and meaning of every setting that is no slot, section by section."""
    defaults = Config().flat()
    for name, field in section.model_fields.items():
        key = f"{at}{name}"
        inner = [each for each in _classes(field.annotation) if issubclass(each, BaseModel)]
        if key in SLOTS:
            continue
        if inner and inner[0] is not Config:
            yield from _keys(inner[0], f"{key}.")
        else:
            default = defaults[key] if key in defaults else field.get_default()
            yield [f"`{key}`", _value(default), field.description or ""]


def _classes(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _classes(inner)]


def _slots(keys: list[str]) -> str:
    """Slots of the same members."""
    slot, defaults = SLOTS[keys[0]], Config().flat()
    title, usual = ", ".join(f"`{key}`" for key in keys), ", ".join(f"`{defaults[f'{key}.kind']}`" for key in keys)
    outside = f"a subclass of `{slot.family.__module__}:{slot.family.__qualname__}`"
    said = f"{_said(slot.family)} By default {usual}; from outside `package.module:Class`, {outside}."
    rows = [[f"`{kind}`", _arguments(make, slot.supplied), _said(make)] for kind, make in slot.members.items()]
    return f"## {title}\n\n{said}\n\n{_table(['kind', 'arguments and their defaults', 'meaning'], rows)}"


def _arguments(make: Callable[..., Any], supplied: int) -> str:
    given = list(inspect.signature(make).parameters.values())[supplied:]
    return ", ".join(
        f"`{each.name}`"
        + (" (required)" if each.default is each.empty else f" {_value(each.default)}")
        + _choices(each)
        for each in given
    )


def _choices(argument: inspect.Parameter) -> str:
    """The other values of an argument that has a few."""
    others = [choice for choice in get_args(argument.annotation) if choice != argument.default]
    return f" (or {', '.join(others)})" if get_origin(argument.annotation) is Literal else ""


def _value(value: Any) -> str:
    return "—" if value is None or value == {} else f"{value}".lower() if isinstance(value, bool) else f"{value}"


def _said(made: object) -> str:
    """The first paragraph of a docstring."""
    return " ".join((inspect.getdoc(made) or "").split("\n\n")[0].split())


def _table(headings: list[str], rows: Iterator[list[str]] | list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
