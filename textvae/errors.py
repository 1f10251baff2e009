"""Errors a user can mend: one sentence that names the file, the key and the valid choices."""

import difflib
from collections.abc import Iterable

__all__ = ["ConfigError", "DataError", "LostProcessError", "RunError", "TextvaeError", "did_you_mean"]


class TextvaeError(Exception):
    """Something the user can mend; its message is one sentence, shown without a traceback."""


class ConfigError(TextvaeError):
    """A setting or an argument that is unknown, ill-typed or impossible in its combination."""


class DataError(TextvaeError):
    """A corpus, a file or a tokenizer that cannot be read."""


class RunError(TextvaeError):
    """A run directory that is missing, damaged, in use, or made with other settings."""


class LostProcessError(RunError):
    """Another of the processes that train one model is gone."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` (did you mean …?)` with the choice closest to a word, or nothing if none is close."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
