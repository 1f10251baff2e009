"""Checkpoints: the state that training resumes from, and the weights that evaluation uses, written atomically.

Loading executes no code: `last.pt` is read with `weights_only`, and `best.safetensors` is plain data.
"""

import pickle
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import nn

from textvae.errors import RunError
from textvae.files import digest, write_atomically
from textvae.runs import Run

__all__ = [
    "load_best",
    "load_checkpoint",
    "random_state",
    "restore_random_state",
    "save_best",
    "save_checkpoint",
    "selection_of",
]

AGAIN = "delete its directory and train it again, or train into another --run"
"""What to do about a trained run without usable weights; its checkpoint holds the last ones, not the best."""


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of every global random number generator, of devices that of CUDA."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restore the state of every global random number generator."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def save_checkpoint(run: Run, state: Mapping[str, Any]) -> None:
    """Write `last.pt` atomically."""
    write_atomically(run.checkpoint, lambda file: torch.save(dict(state), file))


def load_checkpoint(run: Run) -> dict[str, Any]:
    """Read `last.pt` to the host, from which its parts are copied to their devices.

    Raises
    ------
    RunError
        If the file is damaged or holds anything but plain data and tensors.
    """
    try:
        state: dict[str, Any] = torch.load(run.checkpoint, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, KeyError):
        over = "" if run.status == "done" else "delete it to start over, or "
        raise RunError(f"{run.checkpoint}: damaged checkpoint; {over}train into another --run") from None
    return state


def save_best(run: Run, model: nn.Module, selection: str) -> None:
    """Write `best.safetensors`; its metadata says how these weights were selected."""
    # Only one metadata entry: safetensors writes several in no fixed order, and files should compare equal.
    content = save(model.state_dict(), {"selection": selection})
    write_atomically(run.best, content)


def selection_of(run: Run) -> str:
    """How the weights in `best.safetensors` were selected."""
    with safe_open(run.best, "pt") as file:
        return str((file.metadata() or {}).get("selection", ""))


def load_best(run: Run, model: nn.Module) -> str:
    """Load `best.safetensors` into the model; returns the digest of these weights.

    Raises
    ------
    RunError
        If the file is missing, damaged, or does not fit the model.
    """
    if not run.best.exists():
        if run.status == "done":
            raise RunError(f"{run.path}: has lost its trained weights (best.safetensors); {AGAIN}")
        raise RunError(f"{run.path}: has no trained weights yet (best.safetensors); finish its training first")
    try:
        content = run.best.read_bytes()
        model.load_state_dict(load(content))
    except (SafetensorError, OSError):
        raise RunError(f"{run.best}: damaged weights; {AGAIN}") from None
    except RuntimeError:
        raise RunError(
            f"{run.best}: the weights do not fit config.yaml; if another textvae version made them, {AGAIN}"
        ) from None
    return digest(content)
