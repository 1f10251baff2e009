"""The run directory: training writes it, everything else reads it.

config.yaml        resolved and complete; reading it back reproduces the run
environment.json   versions, device, digest of the corpus, commit
tokenizer/         the tokenizer
metrics.jsonl      one row per logged step, truncated to the checkpoint's step on resume
tensorboard/       the same numbers
last.pt            the checkpoint that training resumes from (read with weights_only)
best.safetensors   the weights that evaluation uses
evaluation.json    {"valid": {…}, "test": {…}}
evaluation/        the parts of a full evaluation, by split, each with its settings
samples.txt, reconstructions.txt, interpolations.txt
diagnosis/         the page and plots of a diagnosis
first/             the run of a first stage, if the remedy has one
lock               held by the process that trains here
status             running | interrupted | failed | done
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import yaml

from textvae.config import Config, Draft
from textvae.errors import ConfigError, RunError
from textvae.files import Directory, digest, write_atomically

__all__ = ["Run", "Status"]

Status = Literal["running", "interrupted", "failed", "done"]


class Run(Directory):
    """A self-describing run directory."""

    KIND, MARKER, OTHER = "run", "config.yaml", "choose a new directory"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self.checkpoint = self.path / "last.pt"
        self.best = self.path / "best.safetensors"
        self.tokenizer = self.path / "tokenizer"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Run":
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

    def keep_evaluation(self, split: str, values: Mapping[str, Any]) -> None:
        """Store the numbers of a split beside those of the others, which another process may be storing, too."""
        with self.turn():
            self.evaluation = {**self.evaluation, split: values}

    @property
    def status(self) -> Status | None:
        """How far training is; a run whose process was killed was interrupted."""
        path = self.path / "status"
        said = cast(Status, path.read_text("utf-8", "replace").strip()) if path.exists() else None
        return "interrupted" if said == "running" and not self.locked else said

    @status.setter
    def status(self, status: Status) -> None:
        write_atomically(self.path / "status", status + "\n")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        with super().lock():
            for whole in (self.checkpoint, self.best):
                for half_written in self.path.glob(f".{whole.name}.*"):  # by a process that was killed
                    half_written.unlink(missing_ok=True)
            yield

    def write_part(self, split: str, part: str, settings: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Write the numbers of a part of a full evaluation, with the settings that they depend on."""
        (self.path / "evaluation" / split).mkdir(parents=True, exist_ok=True)
        content = {"settings": dict(settings), "values": dict(values)}
        self.write_json(_part(split, part, settings["seed"]), content)

    def read_part(self, split: str, part: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """The numbers of a part, if they were measured with exactly these settings."""
        found = self.read_json(_part(split, part, settings["seed"]))
        return dict(found["values"]) if found.get("settings") == dict(settings) else None

    def parts(
        self, split: str, weights_sha256: str | None, seed: int = 0, **settings: Any
    ) -> dict[str, dict[str, Any]]:
        """The numbers of every part that was measured with these weights and settings, by the part's name."""
        found = {}
        present = {"weights_sha256": weights_sha256, "seed": seed, **settings}.items()
        for path in sorted(self.path.glob(_part(split, "*", seed))):
            kept = self.read_json(str(path.relative_to(self.path)))
            if kept.get("settings", {}).items() >= present:
                found[path.stem.removesuffix(f"-seed-{seed}")] = dict(kept["values"])
        return found

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`, without a last one truncated by a kill."""
        try:
            rows = [json.loads(line) for line in self.read_text(self.metrics.name)]
        except ValueError:
            rows = [None]
        if not all(isinstance(row, dict) for row in rows):
            raise RunError(f"{self.metrics}: damaged; move it away to go on without the earlier rows")
        return rows


def _part(split: str, part: str, seed: int) -> str:
    return f"evaluation/{split}/{part}{f'-seed-{seed}' if seed else ''}.json"
