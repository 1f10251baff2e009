"""Log-densities at points of z, in float64, and integrals over z as sums over points weighted by volume.

    p(x) = ∫ p(x|z) p(z) dz      E_q f = ∫ q(z|x) f(z) dz

`on_grid` uses the points of a square grid: the trapezoid rule, which converges faster than any power of the
spacing if the integrand is smooth and vanishes at the ends.

References
----------
Trefethen & Weideman 2014, *The Exponentially Convergent Trapezoidal Rule*.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from textvae.data.batches import Batch
from textvae.models.modes import inert
from textvae.models.text_vae import TextVAE

__all__ = ["BORDER", "INTEGRALS", "Quadrature", "densities", "in_float64", "on_grid"]

POSITIONS = 8_192
"""Token positions decoded at once: few enough to fit in a CPU's cache."""
BORDER = 36
"""1 / BORDER of the width counts as border on either side: 0.5 for a grid from −9 to 9."""
INTEGRALS = (
    "log_evidence",
    "distortion",
    "rate",
    "elbo",
    "posterior_gap",
    "information",
    "posterior_mean",
    "posterior_variance",
)


@dataclass(frozen=True)
class Quadrature:
    """Log-densities of B sentences at G points, and the integrals over them, in nats."""

    z: Tensor  # (G, D)
    log_volume: float | Tensor  # of each point's cell; (G, 1) where they differ
    log_prior: Tensor  # (G, 1)
    log_q: Tensor  # (G, B)
    log_likelihood: Tensor  # (G, B)

    @property
    def log_evidence(self) -> Tensor:
        """log p(x) (B,)."""
        return (self.log_likelihood + self.log_prior + self.log_volume).logsumexp(0)

    @property
    def log_posterior(self) -> Tensor:
        """log p(z|x) (G, B)."""
        return self.log_likelihood + self.log_prior - self.log_evidence

    def under_q(self, values: Tensor) -> Tensor:
        """E_q of values (G, B): (B,)."""
        return ((self.log_q + self.log_volume).exp() * values).sum(0)

    def under_posterior(self, values: Tensor) -> Tensor:
        """E of values (G, B) under p(z|x): (B,)."""
        return ((self.log_posterior + self.log_volume).exp() * values).sum(0)

    @property
    def distortion(self) -> Tensor:
        """−E_q log p(x|z) (B,)."""
        return -self.under_q(self.log_likelihood)

    @property
    def rate(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)) (B,)."""
        return self.under_q(self.log_q - self.log_prior)

    @property
    def posterior_gap(self) -> Tensor:
        """KL(q(z|x) ‖ p(z|x)) (B,)."""
        return self.under_q(self.log_q - self.log_posterior)

    @property
    def elbo(self) -> Tensor:
        """−(distortion + rate) (B,), computed without log p(x), unlike `posterior_gap`.

        On the same points log p(x) − gap does not depend on log p(x), so comparing it with the ELBO tests only
        ∫ q = 1. With log p(x) from other points the comparison also tests log p(x).
        """
        return -(self.distortion + self.rate)

    @property
    def weight_variance(self) -> Tensor:
        """Var_q(w / p(x)) = ∫ p(z|x)² / q(z|x) dz − 1, (B,)."""
        return (2 * self.log_posterior - self.log_q + self.log_volume).exp().sum(0) - 1

    @property
    def posterior_mean(self) -> Tensor:
        """E[z|x] (B, D) of the exact posterior."""
        return (self.log_posterior + self.log_volume).exp().T @ self.z

    @property
    def posterior_variance(self) -> Tensor:
        """Var[z_d|x] (B, D) of the exact posterior."""
        return (self.log_posterior + self.log_volume).exp().T @ self.z.square() - self.posterior_mean.square()

    @property
    def information(self) -> Tensor:
        """KL(p(z|x) ‖ p(z)) (B,) of the model itself; its mean over p(x) is I(x; z)."""
        return self.under_posterior(self.log_posterior - self.log_prior)

    def coarser(self) -> "Quadrature":
        """Every second point along every axis of a square grid, including the origin."""
        dim = self.z.shape[1]
        side = round(len(self.z) ** (1 / dim))
        places = torch.arange(side)[side // 2 % 2 :: 2]
        rows = torch.cartesian_prod(*[places] * dim).reshape(-1, dim) @ torch.tensor([side, 1][-dim:])
        kept = {name: getattr(self, name)[rows] for name in ("z", "log_prior", "log_q", "log_likelihood")}
        return replace(self, log_volume=self.log_volume + dim * math.log(2), **kept)

    @property
    def error(self) -> Tensor:
        """(B,), of a square grid: the largest of `change` from twice the spacing, `unseen` and `beyond`."""
        return torch.stack([self.change(self.coarser()), self.unseen, self.beyond]).amax(0)

    def change(self, coarser: "Quadrature") -> Tensor:
        """(B,): twice the largest change of any integral against coarser points.

        The finer points are far more accurate than that if the densities are smooth; where a flow's densities
        have kinks they are not much better than the coarser ones.
        """
        return 2 * self._by_sentence((getattr(self, name) - getattr(coarser, name)).abs() for name in INTEGRALS)

    @property
    def unseen(self) -> Tensor:
        """(B,): |1 − ∫ q|, the mass of q that the points miss, times `size`."""
        return (1 - self.under_q(torch.ones_like(self.log_q))).abs() * self.size

    @property
    def beyond(self) -> Tensor:
        """(B,): the mass of q or of the posterior near the border, a sign of mass beyond it, times `size`."""
        low, high = self.z.amin(0), self.z.amax(0)
        strip = (high - low) / BORDER
        border = ((self.z < low + strip) | (self.z > high - strip)).any(1, keepdim=True).to(self.z)
        return torch.maximum(self.under_q(border), self.under_posterior(border)) * self.size

    @property
    def size(self) -> Tensor:
        """(B,): magnitude of the largest integral, at least 1."""
        return self._by_sentence(getattr(self, name).abs() for name in INTEGRALS).clamp_min(1)

    def _by_sentence(self, values: Iterable[Tensor]) -> Tensor:
        """The largest of values (B,) and (B, D) for every sentence (B,)."""
        return torch.cat([each.reshape(self.log_q.shape[1], -1) for each in values], 1).amax(1)


def on_grid(model: TextVAE, batch: Batch, spacing: float, reach: float = 9.0) -> Quadrature:
    """Densities at every point of the grid from −reach to reach, in float64 whatever the model's precision."""
    model = in_float64(model)
    half = math.ceil(reach / spacing)
    axis = spacing * torch.arange(-half, half + 1, dtype=torch.float64, device=model.device)
    z = torch.cartesian_prod(*[axis] * model.latent_dim).reshape(-1, model.latent_dim)
    with inert(model):
        return Quadrature(z, model.latent_dim * math.log(spacing), *densities(model, batch, z))


def densities(model: TextVAE, batch: Batch, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p(z) (G, 1), log q(z|x) (G, B) and log p(x|z) (G, B) of a model in float64 at points z (G, D)."""
    batch = batch.to(z.device)
    posterior = model.posterior(batch)
    chunks = z.split(max(1, POSITIONS // batch.targets.numel()))
    spread = [chunk[:, None].expand(-1, batch.sentences, -1) for chunk in chunks]
    return (
        model.prior().log_prob(z)[:, None],
        torch.cat([posterior.log_prob(part) for part in spread]),
        torch.cat([model.decoder(batch, part).sum(-1) for part in spread]),
    )


def in_float64(model: TextVAE) -> TextVAE:
    """The model itself if its parameters are float64, else a float64 copy."""
    return model if next(model.parameters()).dtype == torch.float64 else copy.deepcopy(model).double()
