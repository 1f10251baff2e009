"""What is worked out of a large corpus once and kept: where its lines begin, its digest, vocabulary and tokens.

An entry is a folder named after a hash of all it depends on, made beside its place and renamed: it is there
whole or not at all, and deleting it costs time alone. It lies in $TEXTVAE_CACHE, else in `textvae` under
$XDG_CACHE_HOME or ~/.cache, and never beside the corpus.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from textvae.errors import DataError

__all__ = ["LARGE", "cache_folder", "kept", "kept_arrays", "read_arrays", "unwritable", "write_arrays"]

T = TypeVar("T")

LARGE = 32 << 20
"""Bytes from which text is read from disk as it is needed, and what was worked out of it is kept."""

FORMAT = 1


def cache_folder() -> Path:
    """Where entries lie."""
    named = os.environ.get("TEXTVAE_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "textvae"


def unwritable() -> str | None:
    """Why nothing new can be kept, as a clause; None where it can."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache_folder()):
            return None
    except OSError as error:
        return error.strerror or str(error)


def kept(kind: str, key: str, make: Callable[[Path], None], read: Callable[[Path], T]) -> T | None:
    """What `read` finds in the folder that `make` filled, now or an earlier time; None if nothing can be kept.

    A kill leaves what `make` has written for the next start, which may build on it. Processes that want the
    same entry wait for the first of them.

    Raises
    ------
    DataError
        If the disk is full, or fails otherwise, in the middle.
    """
    entry = cache_folder() / kind / hashlib.sha256(f"{FORMAT}\0{key}".encode()).hexdigest()[:32]
    if entry.is_dir():
        try:
            return read(entry)
        except (FileNotFoundError, ValueError, KeyError, DataError):  # damaged: it is made again
            with contextlib.suppress(OSError):
                shutil.rmtree(entry)
    if unwritable():
        return None
    try:
        _make(entry, make)
        return read(entry)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"{cache_folder()} cannot be written: {reason}; free some space there, or set TEXTVAE_CACHE to another"
            " folder."
        ) from error


def kept_arrays(kind: str, key: str, make: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """The arrays that `make` gives, by name: memory-mapped, or in memory where they cannot be kept."""
    found = kept(kind, key, lambda folder: write_arrays(folder, make()), read_arrays)
    return make() if found is None else found


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Put arrays on the disk; when this returns they are there, even if the power goes."""
    for name, array in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, array)
            os.fsync(file.fileno())


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays in `folder`, memory-mapped."""
    # As plain views: slicing np.memmap itself costs ten times as much.
    return {path.stem: np.load(path, mmap_mode="r").view(np.ndarray) for path in sorted(folder.glob("*.npy"))}


def _make(entry: Path, make: Callable[[Path], None]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    partial = entry.with_suffix(".partial")
    with _alone(entry.with_suffix(".lock")):
        if entry.is_dir():  # another process was faster
            return
        partial.mkdir(exist_ok=True)
        make(partial)
        partial.replace(entry)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold `lock`, which the operating system lets go of when the process and all its children are dead."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)
