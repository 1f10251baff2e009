"""Command-line arguments: their types, and `--section.key VALUE` settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from textvae.errors import ConfigError

__all__ = [
    "Count",
    "Device",
    "Flag",
    "Lines",
    "RunPath",
    "Seed",
    "Sentence",
    "Setting",
    "Split",
    "TokenizerKind",
    "Whole",
    "similar_settings",
    "take_settings",
]

Setting = tuple[str, Any]
"""A key such as `training.optimiser.lr`, and its value."""


def _whole(type_: Any, tokens: Sequence[Any]) -> int:
    # The parser's own conversion rounds 1.5 to 2.
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _no_option(type_: Any, value: str) -> None:
    if value.startswith("-") and value != "-":
        raise ValueError("There is no such option.")


Whole = Annotated[int, Parameter(converter=_whole)]
Count = Annotated[int, Parameter(converter=_whole, validator=Number(gte=1))]
Seed = Annotated[int, Parameter(converter=_whole, validator=Number(gte=0, lt=2**63))]
Device = Annotated[str, Parameter(help="Device to compute on, such as cpu or cuda.")]
Flag = Annotated[bool, Parameter(negative="")]
RunPath = Annotated[Path, Parameter(help="A run directory.")]
Lines = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_option)]
Sentence = Annotated[str, Parameter(allow_leading_hyphen=True)]
Split = Literal["valid", "test", "train"]
TokenizerKind = Literal["word", "unigram", "bpe", "char"]


def take_settings(arguments: Sequence[str]) -> tuple[list[str], list[Setting]]:
    """Split off `--section.key VALUE` and `--section VALUE` (also with =), reading values as YAML.

    Raises
    ------
    ConfigError
        If a value is missing or is not valid YAML.
    """
    from textvae.config.draft import SECTIONS

    rest: list[str] = []
    settings: list[Setting] = []
    queue = iter(arguments)
    for argument in queue:
        option, equals, value = argument.partition("=")
        if not (option.startswith("--") and ("." in option or option[2:] in SECTIONS)):
            rest.append(argument)
            continue
        given = value if equals else next(queue, "--")
        if given.startswith("--"):
            raise ConfigError(f"{option}: a value must follow")
        settings.append((option[2:], _value(option, given)))
    return rest, settings


def similar_settings(option: str) -> list[str]:
    """The settings, as options, whose last part is the name of an unknown option: of `--latent-dim` or `--lr`."""
    from textvae.config import Config

    keys = Config().plain()
    paths = [
        f"{section}.{name}" for section in ("data", "model", "objective", "training") for name in keys[section]
    ]
    wanted = option.removeprefix("--").replace("-", "_")
    also = {
        "lr": ["training.optimiser.lr"],
        "epochs": ['training.budget "N epochs"'],
        "beta": ["objective.weight.value"],
    }
    found = [path for path in paths if path.rpartition(".")[2] == wanted] or also.get(wanted, [])
    return [f"--{path}" for path in found]


def _value(option: str, text: str) -> Any:
    import yaml

    from textvae.config.files import parse

    try:
        return parse(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"{option}: {text!r} is not valid YAML; quote text with special characters") from None
