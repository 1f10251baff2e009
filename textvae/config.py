"""The typed schema of a run's settings, and how files and options are merged into one.

Mappings merge left to right, options last; a member of a slot (`kind: …`) with another kind replaces the
one before it whole. Every value remembers which file or option set it, so that an error can say so.

What a slot's members are is not known here: `textvae.build` reads that off their constructors.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError
from pydantic_core import ErrorDetails

from textvae.errors import ConfigError
from textvae.fields import Count, Natural, Positive

__all__ = [
    "Config",
    "Draft",
    "Member",
    "changed_keys",
    "epochs",
    "recipe_files",
    "signature",
]

EPOCHS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) epochs?", re.ASCII)
OPTIONS = {"steps": "training.budget", "corpus": "data.corpus", "tokenizer": "data.tokenizer"}
"""Options of the command line that are shorter than the key they set."""
RUNTIME = ("device", "threads", "training.budget", "training.checkpoint_every")
"""Keys that may change between two calls on one run: they do not alter what its steps compute."""


def epochs(value: object) -> float | None:
    """The number in `"10 epochs"`, or None for anything else."""
    match = EPOCHS.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1]) if match else None


def _duration(value: object) -> int | str:
    if isinstance(value, str) and epochs(value) is not None:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError('must be a number of steps, at least 0, or such as "10 epochs"')


Duration = Annotated[int | str, PlainValidator(_duration)]
"""A number of optimiser steps, or text such as `"10 epochs"`."""
Seed = Annotated[int, Ge(0), Lt(2**32)]


class Section(BaseModel):
    """A mapping with known keys only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Member(BaseModel):
    """A member of a slot: its kind and its constructor's arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Data(Section):
    """Which sentences, and how they become tokens and batches."""

    corpus: str = "grammar"
    column: str | None = None
    tokenizer: Literal["word", "unigram", "bpe", "char"] = "word"
    min_count: Count = 1
    vocabulary_size: Count | None = None
    max_length: Count | None = 200
    batch_size: Count = 32


class Model(Section):
    """The sizes and families of posterior, prior and decoder."""

    latent_dim: Natural = 32
    encoder: Member = Member(kind="lstm")
    posterior: Member = Member(kind="diagonal")
    prior: Member = Member(kind="standard_normal")
    decoder: Member = Member(kind="lstm")
    init_range: Positive | None = None
    embedding_init_range: Positive | None = None


class Objective(Section):
    """loss = distortion + weight(step) · penalty."""

    weight: Member = Member(kind="constant")
    penalty: Member = Member(kind="rate")
    word_dropout: Member = Member.model_validate({"kind": "constant", "value": 0.0})
    samples: Count = 1


class Decay(Section):
    """Multiply the learning rate by `factor` and go back to the best weights when valid stops improving."""

    factor: Annotated[float, Gt(0), Lt(1)] = 0.5
    patience: Count = 2
    after: Duration = 0
    times: Count = 5


class Training(Section):
    """Budget, optimiser, and when to look at valid."""

    budget: Duration = "10 epochs"
    optimiser: Member = Member(kind="adam")
    update: Member = Member(kind="joint")
    decay: Decay | None = None
    stop_after: Count | None = None
    validate_every: Duration = "1 epochs"
    log_every: Annotated[int, Ge(1)] = 50
    checkpoint_every: Count | None = None


class Config(Section):
    """Everything that determines a run."""

    seed: Seed = 0
    device: str = "cpu"
    threads: Annotated[int, Ge(1), Le(1024)] | None = None
    data: Data = Data()
    model: Model = Model()
    objective: Objective = Objective()
    training: Training = Training()

    def plain(self) -> dict[str, Any]:
        """As nested plain mappings, defaults included."""
        return self.model_dump(mode="json")

    def flat(self) -> dict[str, Any]:
        """By dotted key."""
        return dict(_flat(self.plain()))


@dataclass
class Draft:
    """Settings being merged onto the defaults: values, and for every dotted key who set it."""

    values: dict[str, Any] = field(default_factory=lambda: Config().plain())
    origin: dict[str, str] = field(default_factory=dict)

    def merge_file(self, name: str) -> None:
        """Merge a YAML file, or a recipe that ships with textvae, by name."""
        path = _resolve(name)
        try:
            self.merge(_mapping(path), str(path))
        except RecursionError:
            raise ConfigError(f"{path}: a mapping holds itself") from None

    def merge(self, values: Mapping[str, Any], origin: str) -> None:
        """Merge a nested mapping; later values win."""
        _merge(self.values, values, (), origin, self.origin)

    def set(self, option: str, value: Any) -> None:
        """Merge one option such as `training.optimiser.lr` = 0.5 or `steps` = 100."""
        nested: Any = value
        for part in reversed(OPTIONS.get(option, option).split(".")):
            nested = {part: nested}
        self.merge(nested, f"--{option}")

    def config(self) -> Config:
        """The typed settings; members' arguments are still to be checked by `textvae.build`."""
        try:
            return Config.model_validate(self.values)
        except ValidationError as error:
            raise ConfigError(self.explain(error, (), Config)) from None

    def explain(self, error: ValidationError, at: tuple[str, ...], schema: type[BaseModel]) -> str:
        """One sentence for the first error: who set the key, which key, what is valid."""
        first = error.errors()[0]
        place = self._place((*at, *(str(part) for part in first["loc"])))
        return f"{self.blame(place)}: {_complaint(first, place[len(at) :], schema)}"

    def blame(self, place: tuple[str, ...]) -> str:
        """Who set a key, and the key, unless the option says that already."""
        return _blame(self.whose(place), place)

    def whose(self, place: tuple[str, ...]) -> str:
        """The file or option that set this key, or what lies around it in its section."""
        for end in range(len(place), min(1, len(place) - 1), -1):
            origin = self.origin.get(".".join(place[:end]))
            if origin:
                return origin
        return "the configuration"

    def _place(self, location: tuple[str, ...]) -> tuple[str, ...]:
        """The part of an error's location that is a key, without pydantic's names of types."""
        node: Any = self.values
        for depth, part in enumerate(location):
            if not isinstance(node, Mapping):
                return location[:depth]
            node = node.get(part)
        return location


SENTENCES = {
    "extra_forbidden": "unknown key",
    "missing": "must be given",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
    "finite_number": "must be a finite number",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a mapping of keys to values"),
    "string_type": "must be text",
}
"""What pydantic's kinds of error are called here."""


def _complaint(error: ErrorDetails, place: tuple[str, ...], schema: type[BaseModel]) -> str:
    """What is wrong with the value at `place`, and the valid choices."""
    kind = error["type"]
    sentence = SENTENCES.get(kind, "{0}").format(error["msg"], **error.get("ctx", {}))
    if kind == "extra_forbidden":
        return sentence + _suggest(place, schema)
    return sentence if kind == "missing" else f"{sentence}, not {_short(error['input'])}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _suggest(location: tuple[str, ...], schema: type[BaseModel]) -> str:
    for part in location[:-1]:
        inner = schema.model_fields[part].annotation if part in schema.model_fields else None
        candidates = [inner, *getattr(inner, "__args__", ())]
        schema = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), schema)
    choices = list(schema.model_fields)
    close = difflib.get_close_matches(location[-1], choices, n=1)
    guess = f" (did you mean {close[0]}?)" if close else ""
    return f"{guess}; valid keys are {', '.join(choices)}" if choices else "; there are no keys to set here"


def _mapping(path: Path) -> dict[str, Any]:
    """The nested mapping in a YAML file; empty if the file is."""
    try:
        loaded = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: must be a mapping of sections such as model and training, not {_short(loaded)}")
    return loaded


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
            raise ConfigError(f"{_blame(origin, place)}: a key must be text, not {_short(name)}")
        old = into.get(name)
        if isinstance(value, Mapping):
            other = "kind" in value and isinstance(old, Mapping) and old.get("kind") != value["kind"]
            if other:
                _forget(origins, ".".join(place))
            into[name] = {} if other or not isinstance(old, dict) else old
            _merge(into[name], value, place, origin, origins)
        elif not _plain(value):
            raise ConfigError(
                f"{_blame(origin, place)}: must be UTF-8 text, a number or a list, not {_short(value)}"
            )
        else:
            into[name] = value
        origins[".".join(place)] = origin


def _plain(value: object) -> bool:
    """Whether a value is one that JSON knows: YAML has dates and bytes as well, and file names lone surrogates."""
    if isinstance(value, str):
        return not re.search("[\ud800-\udfff]", value)
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    return value is None or isinstance(value, (int, float))


def _forget(origins: dict[str, str], key: str) -> None:
    """What lay under `key` was replaced whole, so nobody set it."""
    for old in [old for old in origins if old.startswith(f"{key}.")]:
        del origins[old]


def _blame(whose: str, place: tuple[str, ...]) -> str:
    key = ".".join(place)
    option = whose.removeprefix("--")
    if option != whose and OPTIONS.get(option, option) == key:
        return whose
    return f"{whose}: {key if key.isprintable() else repr(key)}"


def _recipes() -> Path:
    """Where the corpora and remedies lie: inside an installed package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "recipes"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "experiments"


def recipe_files(folder: Literal["corpora", "remedies"]) -> list[Path]:
    """The YAML files that ship with textvae, sorted by name."""
    return sorted((_recipes() / folder).glob("*.yaml"))


def _resolve(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise ConfigError(f"{name}: no such file")
        return Path(name)
    known = {path.stem: path for path in [*recipe_files("corpora"), *recipe_files("remedies")]}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        guess = f" (did you mean {close[0]}?)" if close else ""
        there = f"; to train on its sentences, write --corpus {name}" if Path(name).exists() else ""
        raise ConfigError(
            f"{name}: no corpus or remedy of this name{guess}; choose from {', '.join(sorted(known))}, "
            f"or give a file that ends in .yaml{there}"
        )
    return known[name]


def _flat(values: Mapping[str, Any], at: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{at}{name}.")
        else:
            yield f"{at}{name}", value


def changed_keys(old: Config, new: Config) -> list[str]:
    """Dotted keys that differ and may not change on an existing run."""
    before, after = old.flat(), new.flat()
    keys = sorted(before.keys() | after.keys())
    return [key for key in keys if key not in RUNTIME and before.get(key) != after.get(key)]


def signature(config: Config) -> str:
    """A short hash of all that determines what the run's steps compute."""
    values = {key: value for key, value in config.flat().items() if key not in RUNTIME}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
