"""Hamiltonian transitions along the geometric bridge from q₀(z) to p(x, z), batched over chains and sentences.

    log f_β(z) = log q₀(z) + β · (log p(x, z) − log q₀(z))

Steps are measured in standard deviations of q₀, coordinate by coordinate. A point stores densities and
gradients separately for q₀ and the ratio, so that changing β needs no pass through the decoder.

References
----------
Neal 2011, *MCMC using Hamiltonian Dynamics*.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from textvae.data.batches import Batch
from textvae.models.distributions import Reparameterised
from textvae.models.text_vae import TextVAE

__all__ = ["Bridge", "Point"]

JITTER = 0.2
"""Every step size is multiplied by a fresh factor between 1 − 0.2 and 1 + 0.2, to avoid periodic orbits."""


@dataclass(frozen=True)
class Point:
    """The positions of C chains for each of B sentences."""

    z: Tensor  # (C, B, D)
    base: Tensor  # log q₀(z), (C, B)
    ratio: Tensor  # log p(x, z) − log q₀(z), (C, B)
    base_gradient: Tensor  # (C, B, D)
    ratio_gradient: Tensor  # (C, B, D)

    def log_density(self, power: float) -> Tensor:
        """log f_β, not normalised."""
        return self.base + power * self.ratio

    def gradient(self, power: float) -> Tensor:
        """∂ log f_β / ∂z."""
        return self.base_gradient + power * self.ratio_gradient

    def where(self, chosen: Tensor, other: "Point") -> "Point":
        """This point in the chains where `chosen` (C, B) is true, `other` elsewhere."""
        pairs = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return Point(*(a.where(chosen if a.dim() == 2 else chosen[..., None], b) for a, b in pairs))


class Bridge:
    """The bridge for one batch. Use with autograd enabled and the model's parameters frozen (see `fixed`)."""

    def __init__(self, model: TextVAE, batch: Batch, origin: Reparameterised) -> None:
        self.decoder, self.prior = model.decoder, model.prior()
        self.batch, self.origin = batch, origin
        self.scale = origin.variance.sqrt().expand(batch.sentences, -1)

    def at(self, z: Tensor) -> Point:
        """The point at z (C, B, D); takes one forward-backward pass through the decoder."""
        z = z.detach().requires_grad_()
        base = self.origin.log_prob(z)
        joint = self.decoder(self.batch, z).sum(-1) + self.prior.log_prob(z)
        (down,) = torch.autograd.grad(base.sum(), z)
        (up,) = torch.autograd.grad(joint.sum(), z)
        return Point(z.detach(), base.detach(), (joint - base).detach(), down, up - down)

    def move(self, point: Point, power: float, step: Tensor, noise: Tensor, leaps: int) -> tuple[Point, Tensor]:
        """One transition that leaves f_β invariant, and its acceptance probability (C, B).

        `step` (B,) is the size of each of the `leaps` leapfrog steps; `noise` (C, B, D + 2) holds the momentum,
        then one normal draw each for the jitter and the acceptance test.
        """
        momentum, spread, chance = noise[..., :-2], noise[..., -2], noise[..., -1]
        jitter = 1 + JITTER * (2 * torch.special.ndtr(spread) - 1)
        stride = (step * jitter)[..., None] * self.scale
        before = point.log_density(power) - 0.5 * momentum.square().sum(-1)
        proposal = point
        momentum = momentum + 0.5 * stride * point.gradient(power)
        for leap in range(1, leaps + 1):
            proposal = self.at(proposal.z + stride * momentum)
            momentum = momentum + (0.5 if leap == leaps else 1.0) * stride * proposal.gradient(power)
        gain = proposal.log_density(power) - 0.5 * momentum.square().sum(-1) - before
        # A proposal whose density is not finite has no finite gain, and is rejected.
        accepted = torch.special.log_ndtr(chance) < gain
        return proposal.where(accepted, point), gain.clamp_max(0).exp().nan_to_num(0.0)
