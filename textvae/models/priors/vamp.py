"""VampPrior: a mixture of the posterior at learned pseudo-inputs, p(z) = (1/U) Σᵤ q(z|uᵤ).

The pseudo-inputs are feature vectors, in place of the encoder's output. Words cannot be learned by gradients;
sequences of embeddings could, but would pass through the encoder in every step, tie the prior to one type of
encoder, and reach no q that features cannot.

References
----------
Tomczak & Welling 2018, *VAE with a VampPrior*.
"""

import torch
from torch import nn

from textvae.fields import Count
from textvae.models.distributions import Mixture
from textvae.models.posteriors import BatchStatistics, Posterior
from textvae.models.priors.prior import Prior

__all__ = ["VampPrior"]


class VampPrior(Prior):
    """A mixture with equal weights of q(z|uᵤ) at U = `components` learned feature vectors uᵤ.

    Raises
    ------
    ValueError
        If `latent_dim` is 0.
    """

    def __init__(self, latent_dim: int, *, components: Count = 100) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"a mixture needs a latent_dim of at least 1, not {latent_dim}")
        self.components = components

    def meet(self, posterior: Posterior) -> None:
        """Keep a reference to the posterior; it is not a submodule here, so its state is not stored twice.

        Raises
        ------
        ValueError
            If the posterior's q depends on the batch it is in.
        """
        if any(isinstance(module, BatchStatistics) for module in posterior.modules()):
            raise ValueError("vamp needs a posterior without batch statistics; choose diagonal, or another prior")
        self.spherical = posterior.spherical
        self.met = (posterior,)  # in a tuple, so that torch does not register it as a submodule
        self.pseudo_inputs = nn.Parameter(2 * torch.rand(self.components, posterior.encoder.features) - 1)

    def forward(self) -> Mixture:
        return Mixture(self.met[0].distribution(self.pseudo_inputs), self.pseudo_inputs.new_zeros(self.components))
