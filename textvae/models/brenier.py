"""Brenier maps: gradients of strongly convex functions, hence injective for any weights.

    Φ(x) = c/2 ‖x‖² + a · s_L,  s₁ = softplus(V₁x + b₁),  sₗ₊₁ = softplus(Uₗsₗ + Vₗ₊₁x + bₗ₊₁),  U, a ≥ 0
    ⟨∇Φ(x) − ∇Φ(y), x − y⟩ ≥ c ‖x − y‖²

Sums with weights ≥ 0 and softplus, which is convex and increasing, preserve convexity; so Φ is convex, and
c/2 ‖x‖² makes it strongly convex.

References
----------
Amos, Xu & Kolter 2017, *Input Convex Neural Networks*.
Wang, Blei & Cunningham 2021, *Posterior Collapse and Latent Variable Non-identifiability*: Brenier maps.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BrenierMap"]


class BrenierMap(nn.Module):
    """x ↦ ∇Φ(x), from (…, d) to (…, d), for Φ of `layers` layers as wide as `hidden_dim`; `strength` is c."""

    def __init__(self, dim: int, hidden_dim: int, layers: int, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.layers = layers
        self.read = nn.Linear(dim, layers * hidden_dim)
        self.carry = nn.Parameter(torch.zeros(layers - 1, hidden_dim, hidden_dim))
        self.top = nn.Parameter(torch.zeros(hidden_dim))

    def forward(self, x: Tensor) -> Tensor:
        """∇Φ, with the chain rule written out, so that it is differentiable like any layer."""
        *slopes, last = [above.sigmoid() for above in self._preactivations(x)]
        reached = [last * F.softplus(self.top)]
        for slope, carry in zip(reversed(slopes), reversed(self._carries()), strict=True):
            reached.append((reached[-1] @ carry) * slope)
        return self.strength * x + torch.cat(reached[::-1], dim=-1) @ self.read.weight

    def potential(self, x: Tensor) -> Tensor:
        """Φ(x), of shape (…)."""
        top = F.softplus(self._preactivations(x)[-1]) @ F.softplus(self.top)
        return top + self.strength / 2 * (x**2).sum(-1)

    def _preactivations(self, x: Tensor) -> list[Tensor]:
        """The preactivations of every layer, (…, hidden_dim) each."""
        first, *reads = self.read(x).chunk(self.layers, dim=-1)
        found = [first]
        for read, carry in zip(reads, self._carries(), strict=True):
            found.append(read + F.softplus(found[-1]) @ carry.T)
        return found

    def _carries(self) -> tuple[Tensor, ...]:
        """U₁ …: weights ≥ 0 from unconstrained ones, divided by the width so that sums keep the inputs' scale."""
        return (F.softplus(self.carry) / self.carry.shape[-1]).unbind()
