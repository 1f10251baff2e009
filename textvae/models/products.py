"""Matrix products by the faster of torch's two CPU libraries.

    product(x, w) = x wᵀ

Torch computes float32 products with the BLAS it was built with. Intel's MKL uses only half of an AMD CPU's
vector width; oneDNN, which runs torch's LSTMs, has no such restriction: on an EPYC with AVX-512 it computes
2.2 times as many products per second. Both are float32 throughout and differ only in rounding. Everything
else (other types, other devices, a torch without the operator, which is not part of its public interface)
uses `F.linear`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["product"]

ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x wᵀ (N, M), for x (N, I) and w (M, I) of any strides, with gradients of every order."""
    if ONEDNN is None or not _served(x, weight):
        return F.linear(x, weight)
    found: Tensor = _Product.apply(x, weight)  # type: ignore[no-untyped-call]
    return found


class _Product(torch.autograd.Function):
    """Both gradients of a product are products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        assert ONEDNN is not None
        found: Tensor = ONEDNN(x, weight, None, "none", [], "")
        return found

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        by_x = product(upstream, weight.T) if ctx.needs_input_grad[0] else None
        by_weight = product(upstream.T, x.T) if ctx.needs_input_grad[1] else None
        return by_x, by_weight


def _served(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > 0
        and weight.numel() > 0
        and bool(torch.backends.mkldnn.enabled)
    )
