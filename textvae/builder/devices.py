"""The device to compute on, and what it supports."""

import os
from collections.abc import Callable
from functools import partial

import torch

from textvae.config import Config
from textvae.errors import ConfigError
from textvae.training import graphs, precision

__all__ = ["Blame", "device", "refuse_device"]

Blame = Callable[[tuple[str, ...]], str]
"""Names where a key of the settings was set."""


def device(name: str, whose: str = "--device", *, here: bool = True) -> torch.device:
    """The device of this name; unless `here`, it may be a device of another machine.

    Raises
    ------
    ConfigError
        If torch does not know the device or it is not available.
    """
    try:
        found = torch.device(name)
        if found.type == "meta":  # which computes nothing
            raise RuntimeError
        if here and found.type == "cuda":
            # Only counted: a tensor would create a context on the first card in every torchrun process.
            if not torch.cuda.is_available() or (found.index or 0) >= torch.cuda.device_count():
                raise RuntimeError
            # Read when CUDA starts; with it, products of cuBLAS repeat themselves to the bit.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        elif here:
            torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ConfigError(f"{whose}: {name} is not available; use cpu, or a device that torch can see") from None
    return found


def refuse_device(config: Config, device: torch.device, blame: Blame) -> None:
    """Refuse settings of any stage that the device does not support; `blame` names where a key was set.

    Raises
    ------
    ConfigError
        For a precision, or CUDA graphs, on another device.
    """
    place: tuple[str, ...] = ()
    settings: Config | None = config
    while settings is not None:
        training = settings.training
        checks = {
            "precision": partial(precision.refuse, training.precision),
            "graphs": partial(graphs.refuse, training.graphs),
        }
        for key, check in checks.items():
            try:
                check(device)
            except ValueError as error:
                raise ConfigError(f"{blame((*place, 'training', key))}: {error}") from None
        settings, place = settings.first, (*place, "first")
