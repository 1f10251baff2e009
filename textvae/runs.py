"""The run directory: training writes it, everything else reads it.

config.yaml        resolved and complete; reading it back reproduces the run
environment.json   versions, device, digest of the corpus, commit
tokenizer/         the tokenizer
metrics.jsonl      one row per logged step, truncated to the checkpoint's step on resume
tensorboard/       the same numbers
last.pt            the checkpoint that training resumes from (read with weights_only)
best.safetensors   the weights that evaluation uses
evaluation.json    {"valid": {…}, "test": {…}}
samples.txt, reconstructions.txt, interpolations.txt
status             running | interrupted | failed | done
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, cast

import yaml

from textvae.config import Config, Draft
from textvae.errors import ConfigError, RunError, first_line

__all__ = ["LOCK", "Run", "Status", "digest", "finite", "write_atomically"]

Status = Literal["running", "interrupted", "failed", "done"]
LOCK = "lock"
"""The file locked by the process that works in a directory."""


class Run:
    """A self-describing run directory."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "last.pt"
        self.best = self.path / "best.safetensors"
        self.tokenizer = self.path / "tokenizer"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """An existing run.

        Raises
        ------
        RunError
            If there is no run at `path`.
        """
        run = cls(path)
        if not run.path.is_dir():
            raise RunError(f"{run.path}: no such run directory")
        if not run.exists():
            raise RunError(f"{run.path}: not a run directory of textvae (it has no config.yaml)")
        return run

    def exists(self) -> bool:
        return (self.path / "config.yaml").is_file()

    def create(self) -> None:
        """Create the directory.

        Raises
        ------
        RunError
            If it cannot be created or written to, or holds other files and no run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written to: {error.strerror or error}") from None
        self.require_writable()
        others = [path.name for path in sorted(self.path.iterdir()) if path.name[0] != "." and path.name != LOCK]
        if others and not self.exists():
            raise RunError(f"{self.path}: holds other files ({others[0]}) and no run; choose a new directory")

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

    @property
    def config(self) -> Config:
        path = self.path / "config.yaml"
        draft = Draft()
        try:
            draft.merge_file(str(path))
            config = draft.config()
        except ConfigError as error:
            raise RunError(f"{error}; this run was made by an incompatible version, or is damaged") from None
        if not draft.origin:
            raise RunError(f"{path}: damaged: the file is empty")
        return config

    @config.setter
    def config(self, config: Config) -> None:
        text = yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True)
        write_atomically(self.path / "config.yaml", text)

    @property
    def environment(self) -> dict[str, Any]:
        return self.read_json("environment.json")

    @environment.setter
    def environment(self, values: Mapping[str, Any]) -> None:
        self.write_json("environment.json", values)

    @property
    def weights_sha256(self) -> str | None:
        """A short digest of the weights that evaluation uses; None if there are none yet."""
        return digest(self.best.read_bytes()) if self.best.exists() else None

    @property
    def evaluation(self) -> dict[str, Any]:
        """The numbers of each split, without those of weights that further training has replaced."""
        splits = self.read_json("evaluation.json")
        if not all(isinstance(split, dict) for split in splits.values()):
            raise RunError(f"{self.path / 'evaluation.json'}: damaged; delete it and run its command again")
        weights = self.weights_sha256
        return {name: split for name, split in splits.items() if split.get("weights_sha256", weights) == weights}

    @evaluation.setter
    def evaluation(self, values: Mapping[str, Any]) -> None:
        self.write_json("evaluation.json", values)

    @property
    def probes(self) -> dict[str, Any]:
        """The results of the probes; empty if further training has replaced the weights."""
        values, weights = self.read_json("probes.json"), self.weights_sha256
        return values if values.get("weights_sha256", weights) == weights else {}

    @property
    def status(self) -> Status | None:
        path = self.path / "status"
        return cast(Status, path.read_text("utf-8", "replace").strip()) if path.exists() else None

    @status.setter
    def status(self, status: Status) -> None:
        write_atomically(self.path / "status", status + "\n")

    def write_text(self, name: str, lines: list[str]) -> None:
        """Write a text file in the run."""
        write_atomically(self.path / name, "".join(f"{line}\n" for line in lines))

    def read_text(self, name: str) -> list[str]:
        """The lines of a text file in the run; empty if it does not exist yet."""
        path = self.path / name
        return path.read_text("utf-8", "replace").split("\n")[:-1] if path.exists() else []

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the directory; the operating system releases the lock when the process dies, however it dies."""
        with (self.path / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"{self.path}: another process is training in this run directory") from None
            for whole in (self.checkpoint, self.best):
                for half_written in self.path.glob(f".{whole.name}.*"):  # by a process that was killed
                    half_written.unlink(missing_ok=True)
            yield

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file in the run; empty if it does not exist yet."""
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
        """Write a JSON file in the run, in strict JSON: undefined numbers are null."""
        text = json.dumps(finite(dict(values)), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path / name, text + "\n")


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


def write_atomically(path: Path, content: str | Callable[[IO[bytes]], object]) -> None:
    """Write beside `path`, then rename: readers see the old file or the complete new one.

    Raises
    ------
    RunError
        If the disk is full or the directory cannot be written to; nothing is left behind.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            if isinstance(content, str):
                file.write(content.encode("utf-8"))
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise RunError(f"{path}: cannot be written: {reason}") from None
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
