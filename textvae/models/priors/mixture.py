"""A learned mixture of diagonal Gaussians as the prior.

References
----------
Dilokthanakul et al. 2016, *Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders*.
Pelsmaeker & Aziz 2020, *Effective Estimation of Deep Generative Language Models*.
"""

import torch
from torch import nn

from textvae.fields import Count
from textvae.models.distributions import DiagonalGaussian, Mixture
from textvae.models.priors.prior import Prior

__all__ = ["MixturePrior"]


class MixturePrior(Prior):
    """Σᵤ wᵤ N(μᵤ, diag σᵤ²) with U = `components`; w, μ and log σ² are learned.

    Raises
    ------
    ValueError
        If `latent_dim` is 0.
    """

    def __init__(self, latent_dim: int, *, components: Count = 100) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"a mixture needs a latent_dim of at least 1, not {latent_dim}")
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        self.log_variances = nn.Parameter(torch.zeros(components, latent_dim))
        self.logits = nn.Parameter(torch.zeros(components))

    def forward(self) -> Mixture:
        return Mixture(DiagonalGaussian(self.means, self.log_variances), self.logits)
