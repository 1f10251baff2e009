"""In which precision matrix products are made; weights, losses and evaluation stay in float32.

    float32   as it says: the TF32 that CUDA libraries take for LSTMs unasked is switched off
    tf32      inputs of products rounded to 10 bits of mantissa, sums in float32
    bf16      the objective's forward pass under autocast: activations of products in bfloat16

On a processor there is float32 alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

__all__ = ["Precision", "exactly", "prepare", "refuse", "switch"]

Precision = Literal["float32", "tf32", "bf16"]


def refuse(precision: Precision, device: torch.device) -> None:
    """Refuse what a device does not have.

    Raises
    ------
    ValueError
        If the device has float32 alone.
    """
    if precision != "float32" and device.type != "cuda":
        raise ValueError(f"{precision} needs a CUDA device, and {device} is none; choose float32")


def switch(precision: Precision) -> None:
    """Set torch's own switches for float32 products on CUDA devices, for the whole process."""
    rounded = precision == "tf32"
    torch.set_float32_matmul_precision("high" if rounded else "highest")
    torch.backends.cudnn.allow_tf32 = rounded


@contextmanager
def exactly() -> Iterator[None]:
    """Within, products are made in float32, whatever training rounds: validation and `evaluate` agree."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    switch("float32")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def prepare(objective: nn.Module, precision: Precision, device: torch.device) -> None:
    """Let an objective compute its losses in a precision; the model itself, in evaluation, is not touched."""
    refuse(precision, device)
    switch(precision)
    if precision == "bf16":
        cast(objective, device.type)


def cast(objective: nn.Module, device_type: str) -> None:
    """Run an objective's forward pass, and no backward pass, under autocast to bfloat16."""
    casting = torch.autocast(device_type, torch.bfloat16)
    objective.forward = casting(objective.forward)
