"""Refinement of q: stochastic variational inference on each sentence's own μ and Σ, with the model fixed.

    max over μ, Σ of  E_{N(μ, Σ)} log p(x|z) − KL(N(μ, Σ) ‖ p(z))

with Σ full where q's own is, else diagonal.

Adam updates the parameters of all sentences at once; it works per coordinate, so that no sentence depends on
the rest of its batch. The learning rate decays linearly to 0, which averages out the noise.

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
    """Disable cuDNN: it has no backward pass through an RNN in evaluation mode; torch's own, slower, has."""
    return torch.backends.cudnn.flags(enabled=False)


@contextmanager
def fixed(model: nn.Module) -> Iterator[None]:
    """Freeze the model's parameters but keep autograd on, for gradients with respect to z.

    `requires_grad` is restored on exit.
    """
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
    """q if it is Gaussian, else the diagonal Gaussian with its mean and variance."""
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

    `noise(step)` is the noise (K, B, D) of a step; it is used together with its negative, which removes
    the noise from the gradient with respect to μ where log p(x, z) is quadratic. The result is fitted to that
    noise: its ELBO is a bound only under fresh noise.
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
