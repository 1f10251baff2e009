"""What a run was made with: versions, machine, commit, corpus; and whether that is still the same corpus."""

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from textvae.config import Config
from textvae.data.corpora import Corpus
from textvae.errors import RunError
from textvae.runs import Run

__all__ = ["continued", "describe", "require_same_sentences"]

LIBRARIES = (
    "torch",
    "numpy",
    "sentencepiece",
    "datasets",
    "torchtext",
    "tensorboard",
    "safetensors",
    "pydantic",
)


def describe(device: torch.device, corpus_digest: str) -> dict[str, Any]:
    """The contents of `environment.json`."""
    return {
        "textvae": metadata.version("textvae"),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "corpus_sha256": corpus_digest,
        **_commit(),
    }


def continued(environment: Mapping[str, Any], now: Mapping[str, Any], step: int) -> dict[str, Any]:
    """What a run was made with, and from this step on, if anything of it has changed since it last went on."""
    changes = list(environment.get("continued", []))
    last = dict(environment)
    for change in changes:
        last |= change
    changed = {key: value for key, value in now.items() if last.get(key) != value}
    return {**environment, "continued": [*changes, {"step": step, **changed}]} if changed else dict(environment)


def require_same_sentences(run: Run, config: Config, corpus: Corpus, advice: str) -> None:
    """Check that the sentences of a run's corpus are those that it was trained on.

    Raises
    ------
    RunError
        If they have changed, with advice.
    """
    digest = corpus.digest()
    if run.environment.get("corpus_sha256", digest) != digest:
        raise RunError(f"{run.path}: the sentences of {config.data.corpus} have changed since training; {advice}")


def _commit() -> dict[str, str | None]:
    """The commit of the checkout that textvae runs from, and a hash of its uncommitted changes."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return {"commit": None, "diff_sha256": None}
    try:
        commit = _git(root, "rev-parse", "HEAD").decode().strip()
        diff = _git(root, "diff", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "diff_sha256": None}
    return {"commit": commit, "diff_sha256": hashlib.sha256(diff).hexdigest() if diff else None}


def _git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True).stdout
