"""Files that are written whole or not at all, and directories in which one process at a time works."""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

from textvae.errors import RunError, first_line

__all__ = ["LOCK", "Directory", "digest", "finite", "write_atomically"]

LOCK = "lock"
"""The file locked by the process that works in a directory."""
PATIENCE_SECONDS = 0.1


class Directory:
    """A directory of a known kind: it is one if it holds the file `MARKER`."""

    KIND: ClassVar[str]
    MARKER: ClassVar[str]
    OTHER: ClassVar[str]
    """How to choose another directory."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def exists(self) -> bool:
        return (self.path / self.MARKER).is_file()

    def create(self) -> None:
        """Create the directory.

        Raises
        ------
        RunError
            If it cannot be created or written to, or holds other files.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written to: {error.strerror or error}") from None
        self.require_writable()
        others = [path.name for path in sorted(self.path.iterdir()) if path.name[0] != "." and path.name != LOCK]
        if others and not self.exists():
            raise RunError(f"{self.path}: holds other files ({others[0]}) and no {self.KIND}; {self.OTHER}")

    def require_writable(self) -> None:
        """Check, before work whose results are kept here, that they can be.

        Raises
        ------
        RunError
            If files cannot be written here.
        """
        try:
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written to: {error.strerror or error}") from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the directory; the operating system releases the lock when the process dies, however it dies."""
        with (self.path / LOCK).open("w") as file:
            patience = time.monotonic() + PATIENCE_SECONDS  # for those who only ask whether it is locked
            while not _locks(file, fcntl.LOCK_EX):
                if time.monotonic() > patience:
                    raise RunError(f"{self.path}: another process is working on this {self.KIND}")
                time.sleep(PATIENCE_SECONDS / 10)
            yield

    @property
    def locked(self) -> bool:
        """Whether a process works in the directory."""
        try:
            with (self.path / LOCK).open("rb") as file:
                return not _locks(file, fcntl.LOCK_SH)
        except OSError:
            return False

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for other processes to change a file here, and let them wait, where the file system can."""
        here = os.open(self.path, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(here, fcntl.LOCK_EX)
            yield
        finally:
            os.close(here)

    def write_text(self, name: str, lines: list[str]) -> None:
        """Write a text file."""
        write_atomically(self.path / name, "".join(f"{line}\n" for line in lines))

    def read_text(self, name: str) -> list[str]:
        """The lines of a text file; empty if it does not exist yet."""
        path = self.path / name
        return path.read_text("utf-8", "replace").split("\n")[:-1] if path.exists() else []

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file; empty if it does not exist yet."""
        path = self.path / name
        if not path.exists():
            return {}
        try:
            values = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: damaged: {error}; delete it and run its command again") from None
        if not isinstance(values, dict):
            raise RunError(f"{path}: damaged: no JSON object; delete it and run its command again")
        return values

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a JSON file, in strict JSON: undefined numbers are null."""
        text = json.dumps(finite(dict(values)), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path / name, text + "\n")


def _locks(file: IO[Any], how: int) -> bool:
    """Lock a file if no other process has; it is freed when closed."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def digest(content: bytes) -> str:
    """A short digest of a file's content."""
    return hashlib.sha256(content).hexdigest()[:16]


def finite(value: Any) -> Any:
    """The same nested value with every NaN and infinity replaced by None: undefined is null, never 0."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_atomically(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Write beside `path`, then rename: readers see the old file or the complete new one.

    Raises
    ------
    RunError
        If the disk is full or the directory cannot be written to; nothing is left behind.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise RunError(f"{path}: cannot be written: {reason}") from None
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
