"""The `datasets` library as a client: its output, and its errors in one line."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from textvae.errors import first_line

__all__ = ["cause", "quiet"]


def cause(error: BaseException) -> str:
    """The innermost cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextmanager
def quiet(*, bars: bool = False) -> Iterator[None]:
    """Silence the retry messages of `datasets` and the hub and, unless `bars`, their progress bars."""
    import datasets
    from datasets.utils import are_progress_bars_disabled

    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    silenced = not bars and not are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    if silenced:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if silenced:
            datasets.enable_progress_bars()
