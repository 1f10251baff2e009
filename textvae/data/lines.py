"""Large text files: memory-mapped, with an index of where each sentence begins that is made once and kept."""

import hashlib
import mmap
import os
from array import array
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from textvae.data import store
from textvae.data.lazy import LazySentences
from textvae.data.text import Text, clean, is_zipped, lines, read_text, refuse_empty

__all__ = ["Lines", "open_text"]

BLOCK = 4096
COPY = "text"


class Lines(LazySentences):
    """The sentences that begin at bytes `starts` of a memory-mapped text, each up to the next line feed."""

    def __init__(self, text: mmap.mmap, starts: NDArray[np.int64], file: str, size: int) -> None:
        self._text, self._starts, self._file, self._size = text, starts, file, size

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), BLOCK):
            yield from map(self._read, self._starts[first : first + BLOCK].tolist())

    @property
    def stamp(self) -> str:
        which = hashlib.blake2b(np.ascontiguousarray(self._starts).data, digest_size=16)
        return f"{self._file} {which.hexdigest()}"

    @property
    def size(self) -> int:
        return self._size

    def at(self, index: int) -> str:
        return self._read(int(self._starts[index]))

    def select(self, positions: NDArray[np.int64]) -> "Lines":
        starts = self._starts[positions]
        return Lines(self._text, starts, self._file, self._size * len(starts) // max(1, len(self)))

    def _read(self, start: int) -> str:
        end = self._text.find(b"\n", start)
        return clean(self._text[start : len(self._text) if end < 0 else end].decode("utf-8"))


def open_text(path: Path) -> Text:
    """The sentences of `path`: in memory, or as `Lines` if it is large; refusals are those of `read_text`."""
    try:
        status = path.stat()
    except OSError:
        return read_text(path)
    if status.st_size < store.LARGE:
        return read_text(path)
    # The change time, which no program can set, gives away a file edited under its old size and date.
    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
    stamp = f"{path.resolve()} {status.st_dev} {status.st_ino} {status.st_size} {times}"
    if not is_zipped(path):
        return _open(path, store.kept_arrays("lines", stamp, lambda: _index(path, None)), stamp)
    found = store.kept("lines", stamp, partial(_unzip, path), partial(_open_copy, stamp))
    return read_text(path) if found is None else found


def _unzip(path: Path, folder: Path) -> None:
    """Write the sentences of `path` into `folder`, for a gzipped file cannot be read from the middle."""
    with (folder / COPY).open("wb") as copy:
        index = _index(path, copy)
        copy.flush()
        os.fsync(copy.fileno())
    store.write_arrays(folder, index)


def _open_copy(stamp: str, folder: Path) -> Text:
    return _open(folder / COPY, store.read_arrays(folder), stamp)


def _open(path: Path, index: Mapping[str, np.ndarray], stamp: str) -> Text:
    with path.open("rb") as file:
        text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Text(Lines(text, index["starts"], stamp, len(text)), int(index["blank"]))


def _index(path: Path, copy: BinaryIO | None) -> dict[str, np.ndarray]:
    """Where each sentence begins, in `path` or in the `copy` that is written meanwhile; how many are blank."""
    starts, blank = array("q"), 0
    for start, line in lines(path):
        sentence = clean(line)
        if not sentence:
            blank += 1
            continue
        starts.append(start if copy is None else copy.tell())
        if copy is not None:
            copy.write(sentence.encode() + b"\n")
    refuse_empty(len(starts), path)
    return {"starts": np.frombuffer(starts, dtype=np.int64), "blank": np.array(blank)}
