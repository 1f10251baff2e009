"""Cache of what is derived from a large corpus: line index, digest, vocabulary and tokens.

An entry is a folder named after a hash of everything it depends on. It is built next to its final place, sealed
with a manifest of its files and renamed, so it exists completely or not at all, and may be deleted at any time.
The manifest detects a damaged entry, which is then rebuilt. The cache is $TEXTVAE_CACHE, else `textvae` under
$XDG_CACHE_HOME or ~/.cache; it is never next to the corpus.
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
"""Size in bytes from which text is read lazily from disk and what is derived from it is cached."""

FORMAT = 2
MANIFEST = "manifest.json"
BLOCK = 1 << 22


def cache_folder() -> Path:
    """The folder of the cache."""
    named = os.environ.get("TEXTVAE_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "textvae"


def unwritable() -> str | None:
    """Why the cache cannot be written, as a clause; None if it can."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache_folder()):
            return None
    except OSError as error:
        return error.strerror or str(error)


def kept(kind: str, key: str, make: Callable[[Path], None], read: Callable[[Path], T]) -> T | None:
    """Return the cached entry, building it with `make` if missing and loading it with `read`.

    Returns None if the cache is not writable. If the process is killed, what `make` has written is kept, and the
    next call may reuse it. Processes that need the same entry wait for the first of them.

    Raises
    ------
    DataError
        If writing fails, for example because the disk is full.
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
                f"{cache_folder()} cannot be written: {error.strerror or error}; free some space there (finished"
                " parts are reused), or set TEXTVAE_CACHE to another folder"
            ) from error


def kept_arrays(kind: str, key: str, make: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """The arrays that `make` returns, by name: memory-mapped, or in memory if the cache is not writable."""
    found = kept(kind, key, lambda folder: write_arrays(folder, make()), read_arrays)
    return make() if found is None else found


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is synced to disk after the block, and deleted if the block fails."""
    try:
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write each array to `NAME.npy` in `folder`."""
    for name, array in arrays.items():
        _write_array(folder / f"{name}.npy", array.dtype, array.shape, [array])


def write_joined(path: Path, length: int, parts: Iterable[np.ndarray], dtype: type[np.generic]) -> None:
    """Write flat `parts`, `length` numbers in all, as one array; only one part is in memory at a time."""
    _write_array(path, np.dtype(dtype), (length,), parts)


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays in `folder`, memory-mapped."""
    # As plain views: slicing np.memmap itself is ten times slower.
    return {path.stem: np.load(path, mmap_mode="r").view(np.ndarray) for path in sorted(folder.glob("*.npy"))}


def seal(folder: Path) -> None:
    """Write a manifest of all files in `folder`, which `is_whole` checks."""
    files = {path.name: _facts(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    with writing(folder / MANIFEST) as file:
        file.write(json.dumps(files, indent=2).encode())


def is_whole(folder: Path) -> bool:
    """Whether `folder` is sealed and its files are unchanged."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())
        return all(_is_same(folder / name, facts) for name, facts in files.items())
    except (OSError, ValueError, AttributeError, LookupError):
        return False


def _facts(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"bytes": status.st_size, "mtime": status.st_mtime_ns, "blake2b": _digest(path)}


def _is_same(path: Path, facts: Mapping[str, Any]) -> bool:
    """Compare size and date; if only the date differs, compare the digest once and restore the date."""
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
    # Plain writes: with a mapped file, a full disk would kill the process with a signal, and `np.save` reports
    # how many numbers it wrote but not that the disk is full.
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with writing(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).reshape(-1).view(np.uint8).data)


def _fill(entry: Path, partial: Path, make: Callable[[Path], None]) -> None:
    if is_whole(entry):  # another process was faster
        return
    if entry.exists():
        warnings.warn(f"{entry} is damaged and will be rebuilt.", stacklevel=3)
        shutil.rmtree(entry)  # if killed here, the rest is not whole and is removed next time
    make(partial)
    seal(partial)
    partial.replace(entry)


@contextlib.contextmanager
def _workshop(entry: Path) -> Iterator[Path]:
    """A folder in which to build `entry`, for one process at a time."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    partial = entry.with_suffix(".partial")
    with _alone(entry.with_suffix(".lock")):
        partial.mkdir(exist_ok=True)
        yield partial
        with contextlib.suppress(OSError):
            partial.rmdir()


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold `lock`; the operating system releases it when the process and all its children have ended."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)


def _warn_of_place(place: Path, error: OSError) -> None:
    if unwritable() is None:  # else the whole cache is unwritable, which a remark of the corpus reports
        reason = error.strerror or error
        warnings.warn(
            f"{place} cannot be written ({reason}), so its contents are recomputed at every start;"
            " make it writable, or set TEXTVAE_CACHE to another folder",
            stacklevel=3,
        )
