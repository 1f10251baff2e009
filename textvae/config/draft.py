"""Merge files and options into one configuration, and report errors in it.

Mappings merge left to right, options last; a member of a slot (`kind: …`) replaces an earlier one of another
kind entirely. The file or option that set each value is recorded, so that errors can name it.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ValidationError

from textvae.config.complaints import complaint
from textvae.config.files import read_mapping, short
from textvae.config.recipes import YAML, resolve
from textvae.config.schema import Config
from textvae.errors import ConfigError

__all__ = ["OPTIONS", "SECTIONS", "Draft"]

SECTIONS = ("data", "model", "objective", "training", "first", "inherit")
"""Keys of a configuration whose values are mappings."""

SAME = ("seed", "device", "threads")
"""What all stages of a run share, unless a first stage sets its own."""

OPTIONS = {
    "steps": "training.budget",
    "corpus": "data.corpus",
    "column": "data.column",
    "tokenizer": "data.tokenizer",
}
"""Command-line options that are short forms of a key."""


def _from_python(value: Any) -> Any:
    """Paths and classes (module:Class) as text, tuples as lists, NumPy's numbers as plain ones, at any depth."""
    if isinstance(value, type):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _from_python(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_from_python(inner) for inner in value]
    return value.tolist() if hasattr(value, "tolist") else value


@dataclass
class Draft:
    """Settings merged onto the defaults: the values, and the file or option that set each dotted key."""

    values: dict[str, Any] = field(default_factory=lambda: Config().plain())
    origin: dict[str, str] = field(default_factory=dict)
    layers: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    above: tuple[str, ...] = ()  # the recipes of the later stages

    def merge_file(self, name: str) -> None:
        """Merge a YAML file, given by path, or a shipped recipe, given by name."""
        path = resolve(name)
        try:
            self.merge(read_mapping(path), str(path))
        except RecursionError:
            raise ConfigError(f"{path}: a mapping contains itself") from None

    def merge(self, values: Mapping[str, Any], origin: str) -> None:
        """Merge a nested mapping; later values win."""
        first = values.get("first")
        if isinstance(first, str):
            values = {**values, "first": {"recipe": first}}
        self._note_replaced(values, origin)
        if _names_recipe(values) and "inherit" in values:
            self.values["inherit"] = {}  # of another first stage
        _merge(self.values, values, (), origin, self.origin)
        self.layers.append((dict(values), origin))

    def _note_replaced(self, values: Mapping[str, Any], origin: str) -> None:
        """Note that of two remedies in the same slot only the later is used.

        A corpus chooses members of the model and of training for a remedy to replace; an option may replace any.
        """
        corpora = self._corpora()
        chosen = dict(_choices(self.values))
        for key, new in () if origin.startswith("--") else _choices(values):
            before = self.origin.get(f"{key}.kind", self.origin.get(f"{key}.recipe", ""))
            quiet = not before.endswith(YAML) or (before in corpora and not key.startswith("objective."))
            if key in chosen and chosen[key] != new and before != origin and not quiet:
                warnings.warn(f"{key}: {chosen[key]} of {before} is replaced by {new} of {origin}", stacklevel=4)

    def chosen_by(self, slot: str) -> str | None:
        """The remedy or option that chooses the member of a slot; None if a corpus does, or none."""
        origin = self.origin.get(f"{slot}.kind")
        return None if origin in self._corpora() else origin

    def remedies(self) -> list[str]:
        """The names of the merged files that name no corpus, each once and in order."""
        files = (origin for _, origin in self.layers if origin.endswith(YAML))
        return list(dict.fromkeys(PurePath(file).stem for file in files if file not in self._corpora()))

    def _corpora(self) -> set[str]:
        """The files that name a corpus."""
        data = ((layer.get("data"), origin) for layer, origin in self.layers if origin.endswith(YAML))
        return {origin for values, origin in data if isinstance(values, Mapping) and "corpus" in values}

    def set(self, option: str, value: Any) -> None:
        """Merge one option such as `training.optimiser.lr` = 0.5 or `steps` = 100."""
        nested: Any = _from_python(value)
        for part in reversed(OPTIONS.get(option, option).split(".")):
            nested = {part: nested}
        self.merge(nested, f"--{option}")

    def first_stage(self) -> "Draft | None":
        """The settings of the preceding stage, if there is one.

        If `first` names a recipe, that recipe replaces the file that names it, so corpus, encoder, decoder and
        optimiser are the same in both stages. What makes a remedy, its objective, posterior, prior and update
        rule, is that of the recipe: no other file or option sets it. Nor do options set the budget, or slots
        whose member either file chooses; `first.training.budget` and the like apply to the first stage only.
        A first stage that is written out shares seed, device and threads, unless it sets its own.
        """
        given = self.values["first"]
        if not isinstance(given, Mapping):
            return None
        whose = self.whose(("first", "recipe"))
        own = {key: value for key, value in given.items() if key != "recipe"}
        if "recipe" in given:
            stage = self._on_recipe(given["recipe"])
        else:
            stage = Draft()
            for key in SAME:
                if key in self.origin:
                    stage.merge({key: self.values[key]}, self.origin[key])
        stage.merge(own, whose)
        return stage

    def _on_recipe(self, recipe: object) -> "Draft":
        """Merge all layers again, replacing the one that names a recipe as its first stage by that recipe."""
        place = self.blame(("first", "recipe"))
        if not isinstance(recipe, str) or recipe in self.above:
            wrong = "must not be its own first stage" if isinstance(recipe, str) else "must be the name of a recipe"
            raise ConfigError(f"{place}: {wrong}: {short(recipe)}")
        try:
            remedy = read_mapping(resolve(recipe))
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None
        named = next(layer for layer, _ in reversed(self.layers) if _names_recipe(layer))
        stage = Draft(above=(*self.above, recipe))
        for layer, origin in self.layers:
            if layer is named:
                stage.merge_file(recipe)
            elif not (origin.startswith("--") and any(_concerns(layer, filled) for filled in (named, remedy))):
                stage.merge(_shared(layer), origin)
        return stage

    def config(self) -> Config:
        """The typed settings; `textvae.builder` checks the arguments of members."""
        try:
            config = Config.model_validate(self.values)
        except ValidationError as error:
            raise ConfigError(self.explain(error, (), Config)) from None
        self.refuse_truth(self.values, config.plain())
        return config

    def refuse_truth(self, given: Mapping[str, Any], typed: Mapping[str, Any], at: tuple[str, ...] = ()) -> None:
        """Refuse `true` and `yes` where a number is expected, which would otherwise become 1."""
        for key, value in given.items():
            if isinstance(value, Mapping) and isinstance(typed.get(key), Mapping):
                self.refuse_truth(value, typed[key], (*at, key))
            elif isinstance(value, bool) and not isinstance(typed.get(key), bool):
                raise ConfigError(f"{self.blame((*at, key))}: must be a number, not {short(value)}")

    def explain(self, error: ValidationError, at: tuple[str, ...], schema: type[BaseModel]) -> str:
        """One sentence for the first error: the file or option, the key and the valid choices."""
        # A misspelt key comes first: what is missing is likely what was meant.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        place = self._place((*at, *(str(part) for part in first["loc"])))
        return f"{self.blame(place)}: {complaint(first, place[len(at) :], schema)}"

    def blame(self, place: tuple[str, ...]) -> str:
        """The file or option that set a key, followed by the key unless the option implies it."""
        return _blame(self.whose(place), place)

    def whose(self, place: tuple[str, ...]) -> str:
        """The file or option that set this key or, failing that, its nearest enclosing key."""
        for end in range(len(place), min(1, len(place) - 1), -1):
            origin = self.origin.get(".".join(place[:end]))
            if origin:
                return origin
        return "the configuration"

    def _place(self, location: tuple[str, ...]) -> tuple[str, ...]:
        """The part of an error's location that is a key, without pydantic's type names."""
        node: Any = self.values
        for depth, part in enumerate(location):
            if not isinstance(node, Mapping):
                return location[:depth]
            node = node.get(part)
        return location


def _names_recipe(layer: Mapping[str, Any]) -> bool:
    return isinstance(layer.get("first"), Mapping) and "recipe" in layer["first"]


def _shared(layer: Mapping[str, Any]) -> dict[str, Any]:
    """What of a layer also applies to a first stage that has a recipe."""
    found = {key: value for key, value in layer.items() if key not in ("first", "inherit", "objective")}
    for section, own in (("model", ("posterior", "prior")), ("training", ("update",))):
        if isinstance(found.get(section), Mapping):
            found[section] = {key: value for key, value in found[section].items() if key not in own}
    return found


def _concerns(option: Mapping[str, Any], remedy: Mapping[str, Any]) -> bool:
    """Whether an option sets the budget or what the remedy settles."""
    return any(
        (section, name) == ("training", "budget") or name in _settled(remedy.get(section))
        for section, values in option.items()
        if isinstance(values, Mapping)
        for name in values
    )


def _settled(section: object) -> set[str]:
    """The keys of a section of a recipe, without slots of which it sets arguments but not the member."""
    values = section.items() if isinstance(section, Mapping) else ()
    return {key for key, value in values if not isinstance(value, Mapping) or "kind" in value}


def _merge(
    into: dict[str, Any],
    values: Mapping[str, Any],
    at: tuple[str, ...],
    origin: str,
    origins: dict[str, str],
) -> None:
    for name, value in values.items():
        place = (*at, str(name))
        if not isinstance(name, str):
            raise ConfigError(f"{_blame(origin, place)}: a key must be text, not {short(name)}")
        old = into.get(name)
        if isinstance(value, Mapping):
            known = old.get("kind") if isinstance(old, Mapping) else None
            other = "kind" in value and isinstance(old, Mapping) and known != value["kind"]
            if other:
                _forget(origins, ".".join(place))
            into[name] = {} if other or not isinstance(old, dict) else old
            _merge(into[name], value, place, origin, origins)
        elif not _plain(value):
            raise ConfigError(
                f"{_blame(origin, place)}: must be UTF-8 text, a number or a list, not {short(value)}"
            )
        else:
            into[name] = value
        origins[".".join(place)] = origin


def _choices(values: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, object]]:
    """Every slot, by its dotted key, whose member is chosen here, and the first stage's recipe."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{at}{name}", value[key]) for key in ("kind", "recipe") if key in value)
            yield from _choices(value, f"{at}{name}.")


def _plain(value: object) -> bool:
    """Whether JSON can represent a value; YAML has dates and bytes too, and file names lone surrogates."""
    if isinstance(value, str):
        return not re.search("[\ud800-\udfff]", value)
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    return value is None or isinstance(value, (int, float))


def _forget(origins: dict[str, str], key: str) -> None:
    """Drop the origins of all keys under `key`, whose value was replaced entirely."""
    for old in [old for old in origins if old.startswith(f"{key}.")]:
        del origins[old]


def _blame(whose: str, place: tuple[str, ...]) -> str:
    key = ".".join(place)
    option = whose.removeprefix("--")
    if option != whose and OPTIONS.get(option, option) == key:
        return whose
    return f"{whose}: {key if key.isprintable() else repr(key)}"
