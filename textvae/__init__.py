"""textvae: variational autoencoders for text, and whether, where and why they collapse."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textvae.api import Vae, load

__all__ = ["Vae", "__version__", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`load` and `Vae` are imported on first use: `import textvae` does not import torch."""
    if name in {"load", "Vae"}:
        from textvae import api

        return getattr(api, name)
    raise AttributeError(f"module 'textvae' has no attribute {name!r}")
