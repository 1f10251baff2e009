"""GPU kernels in Triton, for the two parts of a text model that torch's own leave waiting: recurrence and softmax.

Triton comes with torch's builds for CUDA. Without it, and on every other device, torch's operations compute the
same; and nothing here is imported before a tensor on a CUDA device asks for it.
"""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

__all__ = ["product", "serves"]


def serves(tensor: Tensor) -> bool:
    """Whether kernels can compute with a tensor: not with float64, whose sums they would round."""
    return tensor.is_cuda and tensor.dtype in (torch.float32, torch.bfloat16) and _has_triton()


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b, of two matrices or of as many each, in float32, whatever the type of a and b."""
    multiply = torch.mm if a.ndim == 2 else torch.bmm
    found: Tensor = multiply(a, b) if a.dtype == torch.float32 else multiply(a, b, out_dtype=torch.float32)
    return found


@cache
def _has_triton() -> bool:
    """Whether Triton is installed, and a torch whose products of bfloat16 may be of float32."""
    major, minor, *_ = torch.__version__.split(".")
    return find_spec("triton") is not None and (int(major), int(minor)) >= (2, 8)
