"""The run directory: training writes it, everything else reads it.

config.yaml        resolved and complete; reading it back reproduces the run
environment.json   versions, device, digest of the corpus, commit
tokenizer/         what turned sentences into tokens
metrics.jsonl      one row per logged step, cut back to the checkpoint's step on resume
tensorboard/       the same numbers
last.pt            all that training needs to go on (read with weights_only)
best.safetensors   the weights that evaluation uses
evaluation.json    {"valid": {…}, "test": {…}}
samples.txt, reconstructions.txt, interpolations.txt
status             running | interrupted | failed | done
"""

import contextlib
import fcntl
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, cast

import yaml
from pydantic import ValidationError

from textvae.config import Config
from textvae.errors import RunError

__all__ = ["Run", "Status", "finite", "write_atomically"]

Status = Literal["running", "interrupted", "failed", "done"]


class Run:
    """A directory that describes itself."""

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
            If there is none at `path`.
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
        """Make the directory, or say in one sentence why it cannot be made or written to."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written to: {error.strerror or error}") from None

    @property
    def config(self) -> Config:
        path = self.path / "config.yaml"
        try:
            return Config.model_validate(yaml.safe_load(path.read_text("utf-8")))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise RunError(
                f"{path}: {key}: {first['msg'].lower()}; this run was made by another version of textvae"
            ) from None
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(f"{path}: damaged: {' '.join(str(error).split())}") from None

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
    def evaluation(self) -> dict[str, Any]:
        return self.read_json("evaluation.json")

    @evaluation.setter
    def evaluation(self, values: Mapping[str, Any]) -> None:
        self.write_json("evaluation.json", values)

    @property
    def status(self) -> Status | None:
        path = self.path / "status"
        return cast(Status, path.read_text("utf-8").strip()) if path.exists() else None

    @status.setter
    def status(self, status: Status) -> None:
        write_atomically(self.path / "status", status + "\n")

    def write_text(self, name: str, lines: list[str]) -> None:
        """A text file in the run, one line each."""
        write_atomically(self.path / name, "".join(f"{line}\n" for line in lines))

    def read_text(self, name: str) -> list[str]:
        """The lines of a text file in the run; none if it is not there yet."""
        path = self.path / name
        return path.read_text("utf-8").split("\n")[:-1] if path.exists() else []

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory; the operating system lets go of it when the process dies, however it dies."""
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"{self.path}: another process is training in this run directory") from None
            yield

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file in the run; empty if it is not there yet."""
        path = self.path / name
        if not path.exists():
            return {}
        try:
            return cast(dict[str, Any], json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: damaged: {error}; delete it to have it made again") from None

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """A JSON file in the run, strict: undefined is null."""
        text = json.dumps(finite(dict(values)), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path / name, text + "\n")


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
    """Write beside `path`, then rename: readers see the old file or the whole new one, never a part.

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
        raise RunError(f"{path}: cannot be written: {error}") from None
    finally:
        scratch.unlink(missing_ok=True)
