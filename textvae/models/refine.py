"""Refinement of q: stochastic variational inference on one sentence's own μ and Σ, the model fixed.

    max over μ, Σ of  E_{N(μ, Σ)} log p(x|z) − KL(N(μ, Σ) ‖ p(z))

with Σ full where q's own is, else diagonal.

Adam on every sentence's parameters at once; it works coordinate by coordinate, so that no sentence
depends on its batch mates. The learning rate falls linearly to 0, which averages the noise away.

References
----------
Hoffman et al. 2013, *Stochastic Variational Inference*.
Cremer et al. 2018, *Inference Suboptimality in Variational Autoencoders*.
Kim et al. 2018, *Semi-Amortized Variational Autoencoders*.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from textvae.data.batches import Batch
from textvae.models.distributions import DiagonalGaussian, FullGaussian, Reparameterised
from textvae.models.terms import pass_under
from textvae.models.text_vae import TextVAE

__all__ = ["Gaussian", "backwards_in_evaluation", "fixed", "gaussian_of", "refine"]

Gaussian = DiagonalGaussian | FullGaussian


def backwards_in_evaluation() -> AbstractContextManager[None]:
    """cuDNN has no backward pass through a recurrent network in evaluation mode; torch's own, slower, has."""
    return torch.backends.cudnn.flags(enabled=False)


@contextmanager
def fixed(model: nn.Module) -> Iterator[None]:
    """Gradients may be taken, by z and by nothing of the model; what asks for gradients is put back."""
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad(), backwards_in_evaluation():
            yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def gaussian_of(q: Reparameterised) -> Gaussian:
    """q where it is a Gaussian, else the diagonal one with its moments."""
    if isinstance(q, (DiagonalGaussian, FullGaussian)):
        return q
    return DiagonalGaussian(q.mean, q.variance.log())


def refine(
    model: TextVAE,
    batch: Batch,
    start: Gaussian,
    noise: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
) -> Gaussian:
    """The Gaussian q(z|x) of each sentence after `steps` steps from `start`, of the family of `start`.

    `noise(step)` is the noise (K, B, D) of a step; it is used with its mirror image, which takes the noise
    out of the gradient by μ where log p(x, z) is quadratic. What comes back is fitted to that noise: its
    ELBO is a bound only on noise drawn afresh.
    """
    free = [parameter.detach().clone().requires_grad_() for parameter in start.unconstrained]
    optimiser = torch.optim.Adam(free, lr=learning_rate, betas=(0.9, 0.95))
    with fixed(model):
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
            drawn = noise(step)
            q = start.of(*free)
            z = q.transport(torch.cat([drawn, -drawn]))
            cost = -pass_under(model, batch, q, z).terms.elbo.sum()
            for parameter, gradient in zip(free, torch.autograd.grad(cost, free), strict=True):
                parameter.grad = gradient
            optimiser.step()
    return start.of(*free).detached()
