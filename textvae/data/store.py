"""What is worked out of a large corpus once and kept: where its lines begin, its digest, vocabulary and tokens.

An entry is a folder named after a hash of all it depends on, made beside its place, sealed with a manifest of
its files and renamed: it is there whole or not at all, and deleting it costs time alone. An entry that was
damaged since is noticed by its manifest and made again. All lies in $TEXTVAE_CACHE, else in `textvae` under
$XDG_CACHE_HOME or ~/.cache, and never beside the corpus.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from textvae.errors import DataError

__all__ = [
    "LARGE",
    "cache_folder",
    "is_whole",
    "kept",
    "kept_arrays",
    "read_arrays",
    "seal",
    "unwritable",
    "write_arrays",
    "write_joined",
    "writing",
]

T = TypeVar("T")

LARGE = 32 << 20
"""Bytes from which text is read from disk as it is needed, and what was worked out of it is kept."""

FORMAT = 2
MANIFEST = "manifest.json"
BLOCK = 1 << 22


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
    if is_whole(entry):
        return read(entry)
    with contextlib.ExitStack() as held:
        try:
            partial = held.enter_context(_workshop(entry))
        except OSError as error:
            _warn_of_place(entry.parent, error)
            return None
        try:
            _fill(entry, partial, make)
            return read(entry)
        except OSError as error:
            raise DataError(
                f"{cache_folder()} cannot be written: {error.strerror or error}; free some space there (what is"
                " finished is used), or set TEXTVAE_CACHE to another folder."
            ) from error


def kept_arrays(kind: str, key: str, make: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """The arrays that `make` gives, by name: memory-mapped, or in memory where they cannot be kept."""
    found = kept(kind, key, lambda folder: write_arrays(folder, make()), read_arrays)
    return make() if found is None else found


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that is on the disk after the block, even if the power goes, and is gone if the block fails."""
    try:
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Put arrays on the disk."""
    for name, array in arrays.items():
        _write_array(folder / f"{name}.npy", array.dtype, array.shape, [array])


def write_joined(path: Path, length: int, parts: Iterable[np.ndarray], dtype: type[np.generic]) -> None:
    """Put flat `parts` of `length` numbers on the disk as one array, of which no more than a part is held."""
    _write_array(path, np.dtype(dtype), (length,), parts)


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays in `folder`, memory-mapped."""
    # As plain views: slicing np.memmap itself costs ten times as much.
    return {path.stem: np.load(path, mmap_mode="r").view(np.ndarray) for path in sorted(folder.glob("*.npy"))}


def seal(folder: Path) -> None:
    """Put a manifest of all files into `folder`, by which `is_whole` knows them again."""
    files = {path.name: _facts(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    with writing(folder / MANIFEST) as file:
        file.write(json.dumps(files, indent=2).encode())


def is_whole(folder: Path) -> bool:
    """Whether a sealed `folder` holds what it did then."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())
        return all(_is_same(folder / name, facts) for name, facts in files.items())
    except (OSError, ValueError, AttributeError, LookupError):
        return False


def _facts(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"bytes": status.st_size, "mtime": status.st_mtime_ns, "blake2b": _digest(path)}


def _is_same(path: Path, facts: Mapping[str, Any]) -> bool:
    """The date answers at once for a file that nobody wrote to; any other is read, once."""
    status = path.stat()
    if status.st_size != facts["bytes"]:
        return False
    if status.st_mtime_ns == facts["mtime"]:
        return True
    if _digest(path) != facts["blake2b"]:
        return False
    with contextlib.suppress(OSError):
        os.utime(path, ns=(status.st_atime_ns, facts["mtime"]))
    return True


def _digest(path: Path) -> str:
    total = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def _write_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    # Plain writes: into a mapped file, a full disk would be a signal that ends the process without a word,
    # and `np.save` would say how many numbers it wrote but not that the disk is full.
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with writing(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).reshape(-1).view(np.uint8).data)


def _fill(entry: Path, partial: Path, make: Callable[[Path], None]) -> None:
    if is_whole(entry):  # another process was faster
        return
    if entry.exists():
        warnings.warn(f"{entry} is damaged, so it is made again.", stacklevel=3)
        shutil.rmtree(entry)  # a kill in its midst leaves less than is whole, which comes here again
    make(partial)
    seal(partial)
    partial.replace(entry)


@contextlib.contextmanager
def _workshop(entry: Path) -> Iterator[Path]:
    """Where to make `entry`, for one process at a time."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    partial = entry.with_suffix(".partial")
    with _alone(entry.with_suffix(".lock")):
        partial.mkdir(exist_ok=True)
        yield partial
        with contextlib.suppress(OSError):
            partial.rmdir()


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold `lock`, which the operating system lets go of when the process and all its children are dead."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)


def _warn_of_place(place: Path, error: OSError) -> None:
    if unwritable() is None:  # else the whole cache is, of which the corpus speaks
        reason = error.strerror or error
        warnings.warn(
            f"{place} cannot be written ({reason}), so what would be kept there is worked out at every start:"
            " mend it, or set TEXTVAE_CACHE to another folder.",
            stacklevel=3,
        )
