"""GPU kernels in Triton, for the two parts of a text model that torch's own leave waiting: recurrence and softmax.

Triton comes with torch's builds for CUDA. Without it, and on every other device, torch's operations compute the
same; and nothing here is imported before a tensor on a CUDA device asks for it.
"""

import warnings
from contextlib import AbstractContextManager
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

__all__ = ["DEPTH", "matmul", "on_card", "serves"]

DEPTH = 64
"""Columns of a product that a kernel reads at a time; LSTMs have kernels if their width is a multiple of it."""


def serves(tensor: Tensor) -> bool:
    """Whether kernels can compute with a tensor: not with float64, whose sums they would round."""
    return tensor.is_cuda and tensor.dtype in (torch.float32, torch.bfloat16) and _usable(tensor.device)


def on_card(tensor: Tensor) -> AbstractContextManager[None]:
    """Launch kernels on a tensor's device, which Triton does not look for itself."""
    found: AbstractContextManager[None] = torch.cuda.device_of(tensor)
    return found


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a b, of two matrices or of as many each, in float32, whatever the type of a and b."""
    multiply = torch.mm if a.ndim == 2 else torch.bmm
    found: Tensor = multiply(a, b) if a.dtype == torch.float32 else multiply(a, b, out_dtype=torch.float32)
    return found


@cache
def _usable(card: torch.device) -> bool:
    """Whether kernels can be built for a card, if it knows TF32, and torch has products such as `matmul`."""
    major, minor, *_ = torch.__version__.split(".")
    if find_spec("triton") is None or (int(major), int(minor)) < (2, 8):
        return False
    if torch.cuda.get_device_capability(card) < (8, 0):
        return False
    try:
        _try(card)
    except Exception as error:
        warnings.warn(
            f"Triton cannot build GPU kernels here, so training goes on without them, more slowly: {error}",
            stacklevel=2,
        )
        return False
    return True


def _try(card: torch.device) -> None:
    """Build and run a small one of every kernel."""
    from textvae.models.kernels import recurrence, softmax

    gates, matrix, vector = (torch.zeros(*shape, device=card) for shape in ((1, 2, 256), (256, 64), (1, 64)))
    word, total = softmax.forward(vector, vector[:, 0].long())
    softmax.backward(vector, word.long(), total, word)
    _, cells, activations = recurrence.forward(gates, matrix, vector, vector)
    recurrence.backward(cells[:, 1:], None, matrix, cells, activations)
