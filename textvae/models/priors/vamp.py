"""VampPrior: the posterior's own mixture over learned pseudo-inputs, p(z) = (1/U) Σᵤ q(z|uᵤ).

The pseudo-inputs are feature vectors, what the encoder would have made of them. Words cannot be learned by
gradients; sequences of embeddings could, but would pass through the encoder in every step, tie the prior
to one encoder's way of reading, and reach no q that features cannot.

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
            raise ValueError("a mixture needs a z: latent_dim must be at least 1")
        self.components = components

    def meet(self, posterior: Posterior) -> None:
        """Take the posterior whose mixture this prior is; it stays the model's, its state is not held twice.

        Raises
        ------
        ValueError
            If the posterior's q depends on the batch it is in.
        """
        if any(isinstance(module, BatchStatistics) for module in posterior.modules()):
            raise ValueError("vamp cannot ask a posterior that reads statistics of its batch about pseudo-inputs")
        self.spherical = posterior.spherical
        self.met = (posterior,)  # a tuple, so that torch does not take it for a part of this module
        self.pseudo_inputs = nn.Parameter(2 * torch.rand(self.components, posterior.encoder.features) - 1)

    def forward(self) -> Mixture:
        return Mixture(self.met[0].distribution(self.pseudo_inputs), self.pseudo_inputs.new_zeros(self.components))
