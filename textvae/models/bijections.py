"""Invertible maps of ℝᴰ that may depend on a context, for flows; zuko provides the transforms.

`coupling` splits the coordinates into two halves, so that either direction takes two passes through each
network; without it the map is fully autoregressive: one pass from z to u, D passes from u to z.

References
----------
Papamakarios et al. 2017, *Masked Autoregressive Flow for Density Estimation*.
Durkan et al. 2019, *Neural Spline Flows*.
Rozet et al. 2022, *Zuko: Normalizing flows in PyTorch*.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Bijection"]


class Bijection(nn.Module):
    """f(·; c): ℝᴰ → ℝᴰ, given a context (…, C) or none; the identity if all its parameters are 0.

    Raises
    ------
    ValueError
        If zuko is not installed, or `dim` is 0.
    """

    def __init__(
        self,
        dim: int,
        context: int,
        *,
        family: Literal["affine", "spline"],
        transforms: int,
        hidden_dim: int,
        coupling: bool,
    ) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"a flow needs a latent_dim of at least 1, not {dim}")
        flows = _zuko_flows()
        make = {"affine": flows.MAF, "spline": flows.NSF}[family]
        passes = 2 if coupling else None
        flow = make(dim, context, transforms=transforms, hidden_features=(hidden_dim, hidden_dim), passes=passes)
        self.transform = flow.transform

    def forward(self, value: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        """f(value) or f⁻¹(value), (…, D), with value and context broadcast, and log |det| of that map, (…,)."""
        if context is not None:
            value = value.expand(*torch.broadcast_shapes(value.shape[:-1], context.shape[:-1]), -1)
        transform = self.transform(context)
        found: tuple[Tensor, Tensor] = (transform.inv if inverse else transform).call_and_ladj(value)
        return found


def _zuko_flows() -> Any:
    try:
        import zuko.flows
    except ImportError:
        raise ValueError("a flow needs zuko: pip install 'textvae[flows]'") from None
    return zuko.flows
