"""A remark on stderr, a table on stdout, and the silence of all processes but one."""

import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from textvae.errors import LostProcessError, TextvaeError

__all__ = ["number", "one_voice", "remark", "table"]


def remark(sentence: str) -> None:
    """Print one line on stderr."""
    print(sentence, file=sys.stderr, flush=True)


@contextmanager
def one_voice() -> Iterator[None]:
    """Silence every torchrun process except rank 0; the others still report the loss of a process."""
    if os.environ.get("RANK", "0") == "0":
        yield
        return
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
    except LostProcessError:
        raise
    except (TextvaeError, KeyboardInterrupt):
        sys.exit(1)


def table(title: str, headings: Iterable[str], rows: Iterable[Iterable[object]], numbers: bool = False) -> None:
    """Print a table on stdout; with `numbers`, all columns but the first are right-aligned."""
    made = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
    for place, heading in enumerate(headings):
        made.add_column(heading, justify="right" if place and numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 110
    Console(width=width, highlight=False, markup=False, emoji=False).print(made)


def number(value: Any, digits: int = 2) -> str:
    """Format a number; — if it is undefined; text as it is."""
    if value is None or isinstance(value, str):
        return value or "—"
    if math.isnan(value):
        return "—"
    shown = f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
    return shown if shown.strip("-0.,") else shown.lstrip("-")  # no −0.00
