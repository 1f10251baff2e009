"""textvae: variational autoencoders for text, and whether, where and why they collapse."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textvae.api import CollapsedWarning, CutWarning, UnknownWarning, Vae, load
    from textvae.errors import TextvaeError
    from textvae.runs import Run
    from textvae.tasks.evaluate import evaluate_run as evaluate
    from textvae.tasks.train import train

__all__ = [
    "CollapsedWarning",
    "CutWarning",
    "Run",
    "TextvaeError",
    "UnknownWarning",
    "Vae",
    "__version__",
    "evaluate",
    "load",
    "train",
]

__version__ = "0.1.0"

_HOMES = {
    "CollapsedWarning": ("textvae.api", "CollapsedWarning"),
    "CutWarning": ("textvae.api", "CutWarning"),
    "Run": ("textvae.runs", "Run"),
    "TextvaeError": ("textvae.errors", "TextvaeError"),
    "UnknownWarning": ("textvae.api", "UnknownWarning"),
    "Vae": ("textvae.api", "Vae"),
    "load": ("textvae.api", "load"),
    "evaluate": ("textvae.tasks.evaluate", "evaluate_run"),
    "train": ("textvae.tasks.train", "train"),
}


def __dir__() -> list[str]:
    """The public names, for completion."""
    return __all__


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that `import textvae` does not import torch."""
    if name in _HOMES:
        module, attribute = _HOMES[name]
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'textvae' has no attribute {name!r}")
