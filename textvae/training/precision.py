"""In which precision matrix products are made; weights, losses and evaluation stay in float32.

    float32   as it says: the TF32 that CUDA libraries take for LSTMs unasked is switched off
    tf32      inputs of products rounded to 10 bits of mantissa, sums in float32
    bf16      encoders and decoders under autocast while they train: activations of products in bfloat16

On a processor there is float32 alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from textvae.models.decoders import Decoder
from textvae.models.encoders import Encoder

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
    """While they train, run encoders and decoders, and no backward pass, under autocast to bfloat16.

    What they return is float32 again: posteriors, penalties and statistics of a batch are made of that.
    """
    parts: list[nn.Module] = [part for part in objective.modules() if isinstance(part, (Encoder, Decoder))]
    for part in parts:
        part.forward = _casting(part, device_type)


def _casting(part: nn.Module, device_type: str) -> Callable[..., Tensor]:
    whole: Callable[..., Tensor] = part.forward

    def forward(*inputs: Any) -> Tensor:
        if not part.training:
            return whole(*inputs)
        with torch.autocast(device_type, torch.bfloat16):
            return whole(*inputs).float()

    return forward
