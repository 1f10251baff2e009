"""The truth about sentences under a model with D of 1 or 2: integrals over z by the trapezoid rule, in float64.

    p(x) = ∫ p(x|z) p(z) dz      E_q f = ∫ q(z|x) f(z) dz

on a square grid from −reach to reach. The trapezoid rule converges faster than any power of the spacing
where the integrand is smooth and vanishes at the ends, so that the change by doubling the spacing is far
above the error of the finer grid; that change is the error stated.

References
----------
Trefethen & Weideman 2014, *The Exponentially Convergent Trapezoidal Rule*.
"""

import copy
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from textvae.data.batches import Batch, Sequences, in_order
from textvae.errors import ConfigError
from textvae.evaluation.estimators import Tick, inert
from textvae.evaluation.requirements import require_density
from textvae.models.text_vae import TextVAE

__all__ = ["Integrals", "Quadrature", "integrate", "on_grid", "quadrature"]

TOKENS = 16_384
"""Positions decoded at once."""
SPACING = {1: 0.16, 2: 0.32}
POINTS = {1: 40_000, 2: 600_000}
"""Where halving starts, and the grid that it does not exceed."""


@dataclass(frozen=True)
class Quadrature:
    """Log-densities of B sentences on a grid of G points, and the integrals over it."""

    z: Tensor  # (G, D)
    log_volume: float  # of the cell that a point stands for
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

    @property
    def distortion(self) -> Tensor:
        return -self.under_q(self.log_likelihood)

    @property
    def rate(self) -> Tensor:
        return self.under_q(self.log_q - self.log_prior)

    @property
    def posterior_gap(self) -> Tensor:
        """KL(q(z|x) ‖ p(z|x)) (B,)."""
        return self.under_q(self.log_q - self.log_posterior)

    @property
    def elbo(self) -> Tensor:
        """log p(x) − KL(q(z|x) ‖ p(z|x)): never by way of distortion and rate."""
        return self.log_evidence - self.posterior_gap

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
        """KL(p(z|x) ‖ p(z)) (B,): what the model itself says of z, whose mean over p(x) is I(x; z)."""
        return ((self.log_posterior + self.log_volume).exp() * (self.log_posterior - self.log_prior)).sum(0)

    def coarser(self) -> "Quadrature":
        """Every second point along every axis, the origin among them."""
        dim = self.z.shape[1]
        side = round(len(self.z) ** (1 / dim))
        places = torch.arange(side)[side // 2 % 2 :: 2]
        rows = torch.cartesian_prod(*[places] * dim).reshape(-1, dim) @ torch.tensor([side, 1][-dim:])
        kept = {name: getattr(self, name)[rows] for name in ("z", "log_prior", "log_q", "log_likelihood")}
        return replace(self, log_volume=self.log_volume + dim * math.log(2), **kept)

    @property
    def error(self) -> Tensor:
        """(B,): what doubling the spacing changes, at most, and the mass of q and posterior near the border."""
        coarse = self.coarser()
        names = ("log_evidence", "distortion", "rate", "posterior_gap", "posterior_mean")
        changes = [
            (getattr(coarse, name) - getattr(self, name)).abs().reshape(len(self.log_q.T), -1) for name in names
        ]
        border = self.z.abs().amax(1) > self.z.max() - 0.5
        masses = [
            (log_p[border] + self.log_volume).exp().sum(0)[:, None] for log_p in (self.log_q, self.log_posterior)
        ]
        return torch.cat([*changes, *masses], 1).amax(1)


@dataclass(frozen=True)
class Integrals:
    """The truth about N sentences, in the order of the split; nats."""

    log_evidence: Tensor  # (N,)
    distortion: Tensor  # (N,)
    rate: Tensor  # (N,)
    elbo: Tensor  # (N,)
    posterior_gap: Tensor  # (N,)
    information: Tensor  # (N,)
    posterior_mean: Tensor  # (N, D), of p(z|x)
    posterior_variance: Tensor  # (N, D)
    error: Tensor  # (N,), of all the above


def integrate(
    model: TextVAE,
    sequences: Sequences,
    tolerance: float = 1e-6,
    batch_size: int = 8,
    tick: Tick = lambda n: None,
) -> Integrals:
    """Quadrature for every sentence, on grids fine enough for `tolerance` or, failing that, as fine as they get.

    Raises
    ------
    ConfigError
        If D is not 1 or 2, or the model has no likelihood.
    """
    require_density(model, sequences, "quadrature")
    names = list(Integrals.__dataclass_fields__)
    parts, order = [], []
    for indices, batch in in_order(sequences, batch_size):
        found = quadrature(model, batch, tolerance)
        parts.append([getattr(found, name) for name in names])
        order.append(torch.from_numpy(indices))
        tick(batch.sentences)
    places = torch.cat(order).argsort()
    return Integrals(*(torch.cat(column).cpu()[places] for column in zip(*parts, strict=True)))


def quadrature(model: TextVAE, batch: Batch, tolerance: float = 1e-6) -> Quadrature:
    """The spacing halved until `error` is under the tolerance for every sentence, or the grid is at its largest.

    Raises
    ------
    ConfigError
        If D is not 1 or 2.
    """
    dim = model.latent_dim
    if dim not in SPACING:
        raise ConfigError(f"quadrature: a grid over z needs a latent_dim of 1 or 2, not {dim}")
    spacing, reach = SPACING[dim], 9.0
    found = on_grid(model, batch, spacing, reach)
    while found.error.max() > tolerance and len(found.z) * 2**dim <= POINTS[dim]:
        spacing /= 2
        found = on_grid(model, batch, spacing, reach)
    return found


def on_grid(model: TextVAE, batch: Batch, spacing: float, reach: float = 9.0) -> Quadrature:
    """Everything at every point of the grid, computed in float64 whatever the model's precision."""
    device, dtype = next((p.device, p.dtype) for p in model.parameters())
    model = model if dtype == torch.float64 else copy.deepcopy(model).double()
    batch = batch.to(device)
    half = math.ceil(reach / spacing)
    axis = spacing * torch.arange(-half, half + 1, dtype=torch.float64, device=device)
    z = torch.cartesian_prod(*[axis] * model.latent_dim).reshape(-1, model.latent_dim)
    with inert(model):
        chunks = z.split(max(1, TOKENS // batch.targets.numel()))
        posterior = model.posterior(batch)
        spread = [chunk[:, None].expand(-1, batch.sentences, -1) for chunk in chunks]
        return Quadrature(
            z,
            model.latent_dim * math.log(spacing),
            model.prior().log_prob(z)[:, None],
            torch.cat([posterior.log_prob(part) for part in spread]),
            torch.cat([model.decoder(batch, part).sum(-1) for part in spread]),
        )
