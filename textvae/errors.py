"""Errors that the user can fix: one sentence that names the file, the key and the valid choices."""

import difflib
from collections.abc import Iterable
from numbers import Integral

__all__ = [
    "ConfigError",
    "DataError",
    "LostProcessError",
    "RunError",
    "TextvaeError",
    "counted",
    "did_you_mean",
    "first_line",
    "named",
    "require_whole",
]


class TextvaeError(Exception):
    """An error that the user can fix; its message is one sentence, shown without a traceback."""


class ConfigError(TextvaeError):
    """A setting or argument that is unknown, has the wrong type, or conflicts with another."""


class DataError(TextvaeError):
    """A corpus, a file or a tokenizer that cannot be read."""


class RunError(TextvaeError):
    """A run directory that is missing, damaged, in use, or made with other settings."""


class LostProcessError(RunError):
    """Another process of a distributed training job has died."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` (did you mean …?)` with the choice closest to a word, or an empty string if none is close."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def counted(number: int, what: str) -> str:
    """A number and what it counts, such as `1 run` and `1,200 runs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def first_line(error: BaseException) -> str:
    """The first line of an error that is not ours, or its type if it says nothing, to end a sentence with."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split()).rstrip(". ")


def named(error: BaseException) -> str:
    """The type and first line of an error that is not ours."""
    return f"{type(error).__name__}: {first_line(error)}"


def require_whole(name: str, value: object, least: int, most: int = 2**63 - 1) -> None:
    """Require a whole number from `least` to `most`, by default the largest that torch's generators take as a seed.

    Raises
    ------
    ConfigError
        Naming the argument.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")
    if int(value) > most:
        raise ConfigError(f"{name} must be a whole number of at most {most:,}, not {value!r}")
