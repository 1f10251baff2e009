"""Sentences that a command reads from a file or standard input: one output row for every input line."""

import sys
from pathlib import Path

from textvae.errors import DataError

__all__ = ["read_lines"]


def read_lines(source: str) -> list[str]:
    """Every line of FILE, or of standard input for `-`; a blank line is the empty sentence.

    Raises
    ------
    DataError
        Naming file and line, if it is missing, empty, not UTF-8, or has NUL bytes.
    """
    name = "standard input" if source == "-" else source
    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}") from None
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(f"{name}: has no lines")
    return [_text(line, f"{name}, line {number}") for number, line in enumerate(lines, 1)]


def _text(line: bytes, place: str) -> str:
    if b"\0" in line:
        raise DataError(f"{place}: holds a NUL byte; give plain text, one sentence a line")
    try:
        return " ".join(line.decode("utf-8").split())
    except UnicodeDecodeError:
        raise DataError(f"{place}: is not valid UTF-8; convert the file first") from None
