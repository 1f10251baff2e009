"""GPU kernels in Triton, for the two parts of a text model that torch's own leave waiting: recurrence and softmax.

Triton comes with torch's builds for CUDA. Without it, and on every other device, torch's operations compute the
same; and nothing here is imported before a tensor on a CUDA device asks for it.
"""

import warnings
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

__all__ = ["product", "serves"]


def serves(tensor: Tensor) -> bool:
    """Whether kernels can compute with a tensor: not with float64, whose sums they would round."""
    return tensor.is_cuda and tensor.dtype in (torch.float32, torch.bfloat16) and _usable()


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b, of two matrices or of as many each, in float32, whatever the type of a and b."""
    multiply = torch.mm if a.ndim == 2 else torch.bmm
    found: Tensor = multiply(a, b) if a.dtype == torch.float32 else multiply(a, b, out_dtype=torch.float32)
    return found


@cache
def _usable() -> bool:
    """Whether Triton can build kernels for this card, which knows TF32, and torch has products as in `product`."""
    major, minor, *_ = torch.__version__.split(".")
    if (
        find_spec("triton") is None
        or (int(major), int(minor)) < (2, 8)
        or torch.cuda.get_device_capability() < (8, 0)
    ):
        return False
    from textvae.models.kernels import softmax

    nothing = torch.zeros(1, device="cuda")
    try:
        softmax.forward(nothing[None], nothing.long())
    except Exception as error:
        warnings.warn(
            f"Triton cannot build GPU kernels here, so training goes on without them, more slowly: {error}",
            stacklevel=2,
        )
        return False
    return True
