"""Text files: one sentence a line, UTF-8, plain or gzipped.

Only a line feed (or carriage return and line feed) ends a line. `str.splitlines` would also cut at U+2028,
U+0085 and vertical tabs, and text-mode files at lone carriage returns: there would be more sentences.
"""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from textvae.errors import DataError

__all__ = ["TEXT_SUFFIXES", "Text", "blank_remark", "clean", "open_bytes", "read_text", "refuse_nul"]

TEXT_SUFFIXES = (".txt", ".txt.gz")

_BREAKS = str.maketrans("\t\r\n", "   ")


@dataclass(frozen=True)
class Text:
    """The sentences of one file, and how many blank lines were skipped."""

    sentences: list[str]
    blank: int


def clean(text: str) -> str:
    """`text` as one sentence: tabs and line breaks become spaces, outer spaces go."""
    return text.translate(_BREAKS).strip()


def refuse_nul(text: str, where: str) -> str:
    """`text` itself, unless it holds a NUL byte: then it is no text, and `where` is told to the user."""
    if "\0" in text:
        raise DataError(f"{where}: holds a NUL byte, so this is no plain text; save it as UTF-8 text.")
    return text


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of `path`, unzipped where its name ends in .gz."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def read_text(path: Path) -> Text:
    """The sentences of `path`; an unreadable or empty file is a DataError that names file and line."""
    sentences = [clean(line) for line in _lines(path)]
    kept = [sentence for sentence in sentences if sentence]
    if not kept:
        raise DataError(f"{path} holds no sentence: write one sentence a line.")
    return Text(kept, len(sentences) - len(kept))


def blank_remark(blank: int, where: str) -> tuple[str, ...]:
    """A remark on skipped blank lines or rows, if there were any."""
    return (f"Blank lines skipped in {where}: {blank:,}.",) if blank else ()


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with open_bytes(path) as stream:
            for number, line in enumerate(stream, start=1):
                yield _decode(line, path, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        place = f"{path}, line {number + 1}"
        raise DataError(f"{place}: the gzip stream is cut off or damaged; make the file again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _decode(line: bytes, path: Path, number: int) -> str:
    where = f"{path}, line {number}"
    if number == 1:
        line = line.removeprefix(codecs.BOM_UTF8)
        if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{where}: this is UTF-16, not UTF-8; save the file as UTF-8.")
    try:
        return refuse_nul(line.decode("utf-8"), where)
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} (0x{line[error.start]:02x})"
        message = f"{where}: {byte} is not valid UTF-8; save the file as UTF-8."
        raise DataError(message) from error
