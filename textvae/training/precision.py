"""The precision of matrix products in training; weights, losses and evaluation stay in float32.

    float32   full float32: the TF32 that CUDA libraries use for LSTMs by default is switched off
    tf32      inputs of products rounded to 10 bits of mantissa, accumulation in float32
    bf16      encoders and decoders under autocast in training: products in bfloat16

RNNs without the kernels of `models.kernels` compute as with tf32: cuDNN's would run in float16 under autocast,
where without loss scaling small gradients become 0. Devices other than CUDA support only float32.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from textvae.models.decoders import Decoder
from textvae.models.encoders import Encoder
from textvae.models.lstm import LSTM, without_autocast

__all__ = ["Precision", "prepare", "refuse", "switch"]

Precision = Literal["float32", "tf32", "bf16"]


def refuse(precision: Precision, device: torch.device) -> None:
    """Refuse a precision that a device does not support.

    Raises
    ------
    ValueError
        If the device supports only float32.
    """
    if precision != "float32" and device.type != "cuda":
        raise ValueError(f"{precision} needs a CUDA device, not {device}; choose float32")


def switch(precision: Precision) -> None:
    """Set torch's process-wide flags for CUDA devices: float32 products, and kernels that repeat themselves."""
    rounded = precision != "float32"
    torch.set_float32_matmul_precision("high" if rounded else "highest")
    torch.backends.cudnn.allow_tf32 = rounded
    torch.backends.cudnn.deterministic = True


def prepare(objective: nn.Module, precision: Precision, device: torch.device) -> None:
    """Make an objective compute its losses in a precision; evaluation of the model is unaffected."""
    refuse(precision, device)
    switch(precision)
    if precision == "bf16":
        cast(objective, device.type)


def cast(objective: nn.Module, device_type: str) -> None:
    """In training mode, run encoders and decoders, but for torch's RNNs in them, under autocast to bfloat16.

    They return float32, from which posteriors, penalties and batch statistics are computed.
    """
    parts: list[nn.Module] = [part for part in objective.modules() if isinstance(part, (Encoder, Decoder))]
    for part in parts:
        part.forward = _casting(part, device_type)
        # An LSTM of `models.lstm` does this itself where its kernels do not serve.
        rnns: list[nn.Module] = [p for p in part.modules() if isinstance(p, nn.RNNBase) and not isinstance(p, LSTM)]
        for rnn in rnns:
            rnn.forward = partial(without_autocast, rnn.forward)


def _casting(part: nn.Module, device_type: str) -> Callable[..., Tensor]:
    whole: Callable[..., Tensor] = part.forward

    def forward(*inputs: Any) -> Tensor:
        if not part.training:
            return whole(*inputs)
        with torch.autocast(device_type, torch.bfloat16):
            return whole(*inputs).float()

    return forward
