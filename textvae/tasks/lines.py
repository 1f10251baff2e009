"""Sentences that a command reads from a file or standard input: one output row for every input line."""

import io
import sys
import zlib
from pathlib import Path

from textvae.console.output import remark
from textvae.data.reading.text import clean, open_bytes, refuse_nul
from textvae.data.sources.tables import TABLE_SUFFIXES
from textvae.errors import DataError

__all__ = ["encode_lines", "read_lines"]


def read_lines(source: str) -> list[str]:
    """Every line of FILE, or of standard input for `-`; a blank line is the empty sentence.

    Raises
    ------
    DataError
        Naming file and line, if it is missing, a table, empty, not UTF-8, or has NUL bytes.
    """
    if source.lower().endswith(TABLE_SUFFIXES) and Path(source).is_file():
        raise DataError(f"{source}: is a table; write its text column to a .txt file, one sentence a line")
    name = "standard input" if source == "-" else source
    lines = _content(source, name).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(f"{name}: has no lines")
    return [_sentence(line, f"{name}, line {number}") for number, line in enumerate(lines, 1)]


def encode_lines(run: Path, source: str, out: Path, device: str = "cpu") -> None:
    """Write the centre of q(z|x) of every line to the file `out`, as an array (N, D)."""
    import numpy as np

    from textvae.api import load
    from textvae.files import write_atomically

    sentences = read_lines(source)
    z = load(run, device).encode(sentences).numpy()
    content = io.BytesIO()
    np.save(content, z)
    write_atomically(out, content.getvalue())
    remark(f"{out}: {z.shape[0]} centres of q(z|x), of {z.shape[1]} dimensions")


def _content(source: str, name: str) -> bytes:
    try:
        if source == "-":
            return sys.stdin.buffer.read()
        with open_bytes(Path(source)) as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _sentence(line: bytes, place: str) -> str:
    try:
        return clean(refuse_nul(line.decode("utf-8"), place))
    except UnicodeDecodeError:
        raise DataError(f"{place}: is not valid UTF-8; convert the file first") from None
