"""Text files: one sentence per line, UTF-8, plain or gzipped.

Only a line feed (or carriage return and line feed) ends a line. `str.splitlines` would also cut at U+2028,
U+0085 and vertical tabs, and text-mode files at lone carriage returns, giving more sentences.
"""

import codecs
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from textvae.errors import DataError, counted

__all__ = [
    "TEXT_SUFFIXES",
    "Text",
    "blank_remark",
    "clean",
    "ends_in_returns",
    "is_zipped",
    "lines",
    "open_bytes",
    "read_text",
    "refuse_empty",
    "refuse_nul",
]

TEXT_SUFFIXES = (".txt", ".txt.gz")


@dataclass(frozen=True)
class Text:
    """The sentences of one file, and the number of blank lines skipped."""

    sentences: Sequence[str]
    blank: int


def clean(text: str) -> str:
    """`text` as one sentence: tabs and line breaks become spaces, outer spaces are stripped."""
    # Ten times faster than `str.translate`; called for every line of every corpus.
    return text.replace("\t", " ").replace("\r", " ").replace("\n", " ").strip()


def refuse_nul(text: str, where: str) -> str:
    """Return `text`; raise DataError naming `where` if it has a NUL byte, and so is not plain text."""
    if "\0" in text:
        raise DataError(f"{where}: holds a NUL byte, so this is not plain text; save it as UTF-8 text")
    return text


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of `path`, decompressed if its name ends in .gz."""
    return cast(BinaryIO, gzip.open(path, "rb")) if is_zipped(path) else path.open("rb")


def is_zipped(path: Path) -> bool:
    """Whether the name of a file says that it is gzipped."""
    return path.suffix.lower() == ".gz"


def read_text(path: Path) -> Text:
    """The sentences of `path`; raise DataError, naming file and line, if it is unreadable or empty."""
    sentences = [clean(line) for _, line in lines(path)]
    kept = [sentence for sentence in sentences if sentence]
    refuse_empty(len(kept), path)
    return Text(kept, len(sentences) - len(kept))


def refuse_empty(sentences: int, path: Path) -> None:
    """Raise DataError if a file has no sentences."""
    if not sentences:
        raise DataError(f"{path} holds no sentence; write one sentence per line")


def blank_remark(blank: int, where: str) -> tuple[str, ...]:
    """A remark on skipped blank lines or rows, if there were any."""
    return (f"{where}: {counted(blank, 'blank line')} skipped",) if blank else ()


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Every line of `path`, preceded by the byte of the uncompressed text at which it begins."""
    number = position = 0
    try:
        with open_bytes(path) as stream:
            for number, line in enumerate(stream, start=1):
                mark = len(codecs.BOM_UTF8) if number == 1 and line.startswith(codecs.BOM_UTF8) else 0
                if number == 1 and ends_in_returns(line):
                    raise DataError(f"{path}: its lines end in carriage returns alone; save it with line feeds")
                yield position + mark, _decode(line[mark:], path, number)
                position += len(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        place = f"{path}, line {number + 1}"
        raise DataError(f"{place}: the gzip stream is truncated or damaged; create the file again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def ends_in_returns(text: bytes) -> bool:
    """Whether the lines of `text` end in carriage returns alone, so that it would be one sentence."""
    return b"\n" not in text and text.count(b"\r") > 1


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} (0x{line[error.start]:02x})"
        utf16 = number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        what = "this is UTF-16, not UTF-8" if utf16 else f"{byte} is not valid UTF-8"
        raise DataError(f"{path}, line {number}: {what}; save the file as UTF-8") from error
    return text if "\0" not in text else refuse_nul(text, f"{path}, line {number}")
