"""Errors a user can mend: one sentence that names the file, the key and the valid choices."""

__all__ = ["ConfigError", "DataError", "RunError", "TextvaeError"]


class TextvaeError(Exception):
    """Something the user can mend; its message is one sentence, shown without a traceback."""


class ConfigError(TextvaeError):
    """A setting or an argument that is unknown, ill-typed or impossible in its combination."""


class DataError(TextvaeError):
    """A corpus, a file or a tokenizer that cannot be read."""


class RunError(TextvaeError):
    """A run directory that is missing, damaged, in use, or made with other settings."""
