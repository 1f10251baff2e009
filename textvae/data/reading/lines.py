"""Large text files: memory-mapped, with a cached index of where each sentence begins."""

import codecs
import gzip
import hashlib
import mmap
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from textvae.console.progress import pacing
from textvae.data import store
from textvae.data.reading.lazy import LazySentences, is_large
from textvae.data.reading.text import Text, clean, ends_in_returns, is_zipped, lines, read_text, refuse_empty
from textvae.errors import DataError

__all__ = ["Lines", "open_text"]

BLOCK = 4096
BYTES = 1 << 24
COPY = "text"
BOM = codecs.BOM_UTF8


class Lines(LazySentences):
    """The sentences that begin at bytes `starts` of a memory-mapped text, each up to the next line feed.

    `positions` restricts them to a subset. `starts` and `positions` may be memory-mapped and are not copied.
    `stamp` changes whenever the text does.
    """

    def __init__(
        self,
        path: Path,
        text: mmap.mmap,
        starts: NDArray[np.int64],
        stamp: str,
        positions: NDArray[np.int64] | None = None,
    ) -> None:
        self._path, self._text, self._starts, self._stamp, self._positions = path, text, starts, stamp, positions

    def __len__(self) -> int:
        return len(self._starts if self._positions is None else self._positions)

    def __iter__(self) -> Iterator[str]:
        tick = pacing(f"reading {self._path}", len(self) if is_large(self) else 0)
        for first in range(0, len(self), BLOCK):
            starts = self._some(slice(first, first + BLOCK)).tolist()
            yield from map(self._read, starts)
            self._text.madvise(mmap.MADV_DONTNEED)  # return the pages to the system
            tick(len(starts))

    @property
    def stamp(self) -> str:
        if self._positions is None:
            return self._stamp
        which = hashlib.blake2b(np.ascontiguousarray(self._positions).data, digest_size=16)
        return f"{self._stamp} {which.hexdigest()}"

    @property
    def size(self) -> int:
        return len(self._text) * len(self) // max(1, len(self._starts))

    def refuse_changed(self) -> None:
        if is_zipped(self._path):  # the text is a copy
            return
        try:
            changed = _stamp(self._path) != self._stamp
        except OSError:
            changed = True
        if changed:
            raise DataError(f"{self._path} changed while being read; start again once the file is complete")

    def at(self, index: int) -> str:
        return self._read(int(self._starts[index if self._positions is None else self._positions[index]]))

    def select(self, positions: NDArray[np.int64]) -> "Lines":
        if self._positions is not None:
            positions = self._positions[positions]
        return Lines(self._path, self._text, self._starts, self._stamp, positions)

    def _some(self, which: slice) -> NDArray[np.int64]:
        return self._starts[which if self._positions is None else self._positions[which]]

    def _read(self, start: int) -> str:
        end = self._text.find(b"\n", start)
        return clean(self._text[start : len(self._text) if end < 0 else end].decode("utf-8"))


def open_text(path: Path) -> Text:
    """The sentences of `path`: in memory, or as `Lines` if the file is large; raises as `read_text` does."""
    try:
        if path.stat().st_size < store.LARGE:
            return read_text(path)
        stamp = _stamp(path)
    except OSError:
        return read_text(path)
    if not is_zipped(path):
        return _open(path, path, store.kept_arrays("lines", stamp, lambda: _index(path, None)), stamp)
    found = store.kept("lines", stamp, partial(_unzip, path), partial(_open_copy, path, stamp))
    return read_text(path) if found is None else found


def _stamp(path: Path) -> str:
    status = path.stat()
    # No program can set the change time, so it reveals an edit that kept size and modification time.
    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
    return f"{path.resolve()} {status.st_dev} {status.st_ino} {status.st_size} {times}"


def _unzip(path: Path, folder: Path) -> None:
    """Write the text of `path` into `folder`: a gzipped file has no random access."""
    with store.writing(folder / COPY) as copy:
        index = _index(path, copy)
    store.write_arrays(folder, index)


def _open_copy(path: Path, stamp: str, folder: Path) -> Text:
    return _open(path, folder / COPY, store.read_arrays(folder), stamp)


def _open(path: Path, copy: Path, index: Mapping[str, np.ndarray], stamp: str) -> Text:
    with copy.open("rb") as file:
        text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Text(Lines(path, text, index["starts"], stamp), int(index["blank"]))


def _index(path: Path, copy: BinaryIO | None) -> dict[str, np.ndarray]:
    """Where each sentence of `path` begins and how many lines are blank; also write the text to `copy`."""
    found, blank, position = [np.empty(0, dtype=np.int64)], 0, 0
    for block in _blocks(path):
        starts = _starts(block, len(BOM) if position == 0 and block.startswith(BOM) else 0)
        full = _full(block, starts)
        found.append(starts[full] + position)
        blank += len(starts) - int(full.sum())
        position += len(block)
        if copy is not None:
            copy.write(block)
    starts = np.concatenate(found)
    refuse_empty(len(starts), path)
    return {"starts": starts, "blank": np.array(blank)}


def _blocks(path: Path) -> Iterator[bytes]:
    """Blocks of whole lines, about `BYTES` bytes each; raises as `lines` does."""
    try:
        tick, seen = pacing(f"finding the lines of {path}", path.stat().st_size), 0
        with path.open("rb") as file, gzip.open(file) if is_zipped(path) else file as text:
            while block := text.read(BYTES) + text.readline():
                _refuse_other(block)
                if seen == 0 and ends_in_returns(block):
                    raise ValueError
                yield block
                tick(file.tell() - seen)
                seen = file.tell()
    except (OSError, EOFError, zlib.error, ValueError) as error:
        for _ in lines(path):  # line by line, to name the first faulty one
            pass
        raise DataError(f"{path} changed while being read; start again once the file is complete") from error


def _refuse_other(block: bytes) -> None:
    """Raise ValueError if `block` is not text."""
    block.decode("utf-8")
    if b"\0" in block:
        raise ValueError


def _starts(block: bytes, first: int) -> NDArray[np.int64]:
    """Where lines begin in `block`; the first begins at `first`."""
    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")) + 1
    return np.concatenate([[first], ends[ends < len(block)]])


def _full(block: bytes, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the lines that begin at `starts` are not blank."""
    # Most lines begin with a visible ASCII character; only the others need checking one by one.
    first = np.frombuffer(block, dtype=np.uint8)[np.minimum(starts, len(block) - 1)]
    full = (first > ord(" ")) & (first < 0x7F)
    for k in np.flatnonzero(~full).tolist():
        end = block.find(b"\n", starts[k])
        full[k] = bool(clean(block[starts[k] : len(block) if end < 0 else end].decode("utf-8")))
    return full
