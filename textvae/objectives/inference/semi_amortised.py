"""Semi-amortised inference: gradient steps refine q(z|x) before z is drawn, and training differentiates
through them.

    λ₀ = encoder(x)      vₖ₊₁ = momentum · vₖ + ∇_λ fₖ(λₖ, θ)      λₖ₊₁ = λₖ − lr · vₖ₊₁

with λ = (μ, log σ²) and fₖ = distortion + weight · rate of the sentence, at the optimiser step's weight and with
fresh noise in every step k. The loss's gradient passes back through every step by products of the Hessian of
fₖ with a vector u, by central differences of its gradient: H u ≈ (∇f(λ + r u) − ∇f(λ − r u)) / 2r,
for λ and for the weights θ of decoder and prior alike.

References
----------
Kim et al. 2018, *Semi-Amortized Variational Autoencoders*.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from textvae.data.batches import Batch
from textvae.fields import Count, Positive, Probability
from textvae.models.distributions import DiagonalGaussian, Reparameterised
from textvae.models.modes import exact, silent
from textvae.models.terms import pass_under
from textvae.models.text_vae import TextVAE
from textvae.objectives.inference.inference import Inference

__all__ = ["SemiAmortised"]

REACH = 1e-2
"""The largest entry of r u: small compared with σ, large compared with the rounding of float32."""

Slopes = Callable[[int, Tensor], tuple[Tensor | None, ...]]
"""The gradient of Σ_B fₖ at step k with respect to λ (2, B, D) and every weight, None where there is none."""


class SemiAmortised(Inference):
    """`steps` gradient steps on μ and log σ² of each sentence, with dropout off; the published code takes 20, with
    the decoder's dropout on.

    Noise is drawn afresh for every step: with one fixed draw, μ could compensate for its noise, and nothing
    would limit σ.

    `lr` applies to each sentence's own fₖ and does not depend on the batch: the published rate of 1.0 on the
    mean of a batch of 32 is 1/32 here. The published clipping of these gradients is omitted, since differences
    of clipped gradients are not products with the Hessian. Selection, `evaluate` and every verdict use the
    encoder's own q, while the published code reports the refined one; `refined_elbo` of `evaluate --all` is
    that bound, on fresh noise.

    Raises
    ------
    ValueError
        At the first pass, if q is not a diagonal Gaussian.
    """

    def __init__(self, *, steps: Count = 10, lr: Positive = 0.03125, momentum: Probability = 0.5) -> None:
        self.steps, self.lr, self.momentum = steps, lr, momentum

    def __call__(
        self, model: TextVAE, q: Reparameterised, batch: Batch, weight: float | Tensor, generator: Generator
    ) -> Reparameterised:
        if not model.has_z:  # a language model: nothing to refine
            return q
        if type(q) is not DiagonalGaussian:
            raise ValueError("semi-amortised inference needs a diagonal Gaussian; choose the posterior diagonal")
        start = torch.stack([q.mean, q.log_variance])
        shape = (self.steps, *q.mean.shape)
        noise = torch.randn(shape, generator=generator, device=start.device, dtype=start.dtype)
        # A VampPrior uses the posterior's weights, so those are included.
        weights = [p for p in model.parameters() if p.requires_grad]

        def slopes(step: int, parameters: Tensor) -> tuple[Tensor | None, ...]:
            # Exact, since products are differences of gradients, REACH apart, that rounding would hide.
            with torch.enable_grad(), silent(model.decoder), exact():
                point = parameters.detach().requires_grad_()
                here = DiagonalGaussian(point[0], point[1])
                terms = pass_under(model, batch, here, here.transport(noise[step][None])).terms
                cost = (terms.distortion + weight * terms.rate).sum()
                found = torch.autograd.grad(cost, [point, *weights], allow_unused=True)
            return tuple(found)

        refined = _Refinement.apply(slopes, self, start, *weights)  # type: ignore[no-untyped-call]
        return DiagonalGaussian(refined[0], refined[1])


class _Refinement(torch.autograd.Function):
    """Maps λ₀ and θ to λ after all steps."""

    @staticmethod
    def forward(ctx: Any, slopes: Slopes, rule: SemiAmortised, start: Tensor, *weights: Tensor) -> Tensor:
        here, velocity, path = start.detach(), torch.zeros_like(start), []
        for step in range(rule.steps):
            path.append(here)
            slope = slopes(step, here)[0]
            assert slope is not None
            velocity = rule.momentum * velocity + slope
            here = here - rule.lr * velocity
        ctx.slopes, ctx.rule, ctx.path = slopes, rule, path
        return here

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        rule = ctx.rule
        by_start, by_velocity = upstream, torch.zeros_like(upstream)
        by_weights: list[Tensor | None] = []
        for step, here in reversed(list(enumerate(ctx.path))):
            by_velocity = by_velocity - rule.lr * by_start
            by_here, *products = hessian_products(ctx.slopes, step, here, by_velocity)
            assert by_here is not None
            by_weights = [_sum(a, b) for a, b in zip(by_weights, products, strict=True)] if by_weights else products
            by_start = by_start + by_here
            by_velocity = rule.momentum * by_velocity
        return None, None, by_start, *by_weights


def hessian_products(slopes: Slopes, step: int, here: Tensor, direction: Tensor) -> list[Tensor | None]:
    """∂²fₖ/∂λ∂λ · u and ∂²fₖ/∂θ∂λ · u at λ = `here`, for u = `direction`, by central differences."""
    reach = REACH / direction.abs().max().clamp_min(torch.finfo(direction.dtype).tiny)
    above, below = slopes(step, here + reach * direction), slopes(step, here - reach * direction)
    pairs = zip(above, below, strict=True)
    return [None if a is None or b is None else (a - b) / (2 * reach) for a, b in pairs]


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other
