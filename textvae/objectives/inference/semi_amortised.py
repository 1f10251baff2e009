"""Semi-amortised inference: q(z|x) is refined by gradient steps before it is decoded from, and training
differentiates through them.

    λ₀ = encoder(x)      vₖ₊₁ = momentum · vₖ + ∇_λ f(λₖ, θ)      λₖ₊₁ = λₖ − lr · vₖ₊₁

with λ = (μ, log σ²) and f = distortion + weight · rate of the sentence, at the step's weight. The gradient
of the loss runs backwards through every step by products of the Hessian of f with a vector u, found by
central differences of its gradient: H u ≈ (∇f(λ + r u) − ∇f(λ − r u)) / 2r, for λ and for the weights θ of
decoder and prior alike.

References
----------
Kim et al. 2018, *Semi-Amortized Variational Autoencoders*.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn

from textvae.data.batches import Batch
from textvae.fields import Count, Positive, Probability
from textvae.models.distributions import DiagonalGaussian, Reparameterised
from textvae.models.terms import pass_under
from textvae.models.text_vae import TextVAE
from textvae.objectives.inference.inference import Inference

__all__ = ["SemiAmortised"]

REACH = 1e-2
"""How far r u reaches where it is longest: small beside σ, large beside the rounding of float32."""

Slopes = Callable[[Tensor], tuple[Tensor, ...]]
"""The gradient of Σ_B f with respect to λ (2, B, D) and every weight."""


class SemiAmortised(Inference):
    """`steps` gradient steps on μ and log σ² of each sentence, with dropout off and one draw of noise.

    `lr` applies to the sentence's own −elbo: the published rate of 1.0 on the mean of a batch of 32 is
    1/32 here, and does not depend on the batch. The published clipping of these gradients is left out,
    since their differences would no longer be products with the Hessian. Selection, `evaluate` and every
    verdict look at the encoder's own q, where the published code reports the refined one: that bound is
    `refined_elbo` of `evaluate --all`, on fresh noise.

    Raises
    ------
    ValueError
        At the first pass, if q is no diagonal Gaussian.
    """

    def __init__(self, *, steps: Count = 10, lr: Positive = 0.03125, momentum: Probability = 0.5) -> None:
        self.steps, self.lr, self.momentum = steps, lr, momentum

    def __call__(
        self, model: TextVAE, q: Reparameterised, batch: Batch, weight: float | Tensor, generator: Generator
    ) -> Reparameterised:
        if not isinstance(q, DiagonalGaussian):
            raise ValueError("semi-amortised inference refines a diagonal Gaussian; choose the posterior diagonal")
        start = torch.stack([q.mean, q.log_variance])
        noise = torch.randn(start.shape[1:], generator=generator, device=start.device, dtype=start.dtype)
        weights = [p for part in (model.decoder, model.prior) for p in part.parameters() if p.requires_grad]

        def slopes(parameters: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad(), silent(model.decoder):
                point = parameters.detach().requires_grad_()
                here = DiagonalGaussian(point[0], point[1])
                terms = pass_under(model, batch, here, here.transport(noise[None])).terms
                cost = (terms.distortion + weight * terms.rate).sum()
                found = torch.autograd.grad(cost, [point, *weights], allow_unused=True, materialize_grads=True)
            return tuple(found)

        refined = _Refinement.apply(slopes, self, start, *weights)  # type: ignore[no-untyped-call]
        return DiagonalGaussian(refined[0], refined[1])


@contextmanager
def silent(module: nn.Module) -> Iterator[None]:
    """Dropout off, with gradients on; every module's own mode is put back."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        # cuDNN has no backward pass through a recurrent network in evaluation mode; torch's own has.
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        for part in training:
            part.training = True


class _Refinement(torch.autograd.Function):
    """λ₀ and θ to λ after all steps."""

    @staticmethod
    def forward(ctx: Any, slopes: Slopes, rule: SemiAmortised, start: Tensor, *weights: Tensor) -> Tensor:
        here, velocity, path = start.detach(), torch.zeros_like(start), []
        for _ in range(rule.steps):
            path.append(here)
            velocity = rule.momentum * velocity + slopes(here)[0]
            here = here - rule.lr * velocity
        ctx.slopes, ctx.rule, ctx.path = slopes, rule, path
        return here

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        rule = ctx.rule
        by_start, by_velocity = upstream, torch.zeros_like(upstream)
        by_weights: list[Tensor] | None = None
        for here in reversed(ctx.path):
            by_velocity = by_velocity - rule.lr * by_start
            by_here, *products = hessian_products(ctx.slopes, here, by_velocity)
            by_weights = [a + b for a, b in zip(by_weights, products, strict=True)] if by_weights else products
            by_start = by_start + by_here
            by_velocity = rule.momentum * by_velocity
        return None, None, by_start, *(by_weights or [])


def hessian_products(slopes: Slopes, here: Tensor, direction: Tensor) -> list[Tensor]:
    """∂²f/∂λ∂λ · u and ∂²f/∂θ∂λ · u at λ = `here`, for u = `direction`, by central differences."""
    reach = REACH / direction.abs().max().clamp_min(torch.finfo(direction.dtype).tiny)
    above, below = slopes(here + reach * direction), slopes(here - reach * direction)
    return [(a - b) / (2 * reach) for a, b in zip(above, below, strict=True)]
