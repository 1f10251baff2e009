"""A posterior that is a normalising flow over a diagonal Gaussian, conditioned on the sentence.

References
----------
Rezende & Mohamed 2015, *Variational Inference with Normalizing Flows*.
Kingma et al. 2016, *Improved Variational Inference with Inverse Autoregressive Flow*.
"""

from typing import Literal

from torch import Tensor, nn

from textvae.fields import Count
from textvae.models.bijections import Bijection
from textvae.models.distributions import DiagonalGaussian, Flow
from textvae.models.encoders import Encoder
from textvae.models.posteriors.posterior import Posterior

__all__ = ["FlowPosterior"]


class FlowPosterior(Posterior):
    """z = f⁻¹(u; c(x)), u ~ N(μ(x), diag σ²(x)), with μ, log σ² and the context c linear in the features.

    A narrow c keeps densities cheap: mutual information needs one for every pair of sentences.

    Raises
    ------
    ValueError
        If zuko is not installed, or `latent_dim` is 0.
    """

    def __init__(
        self,
        encoder: Encoder,
        latent_dim: int,
        *,
        family: Literal["affine", "spline"] = "affine",
        transforms: Count = 2,
        hidden_dim: Count = 64,
        context_dim: Count = 16,
        coupling: bool = True,
    ) -> None:
        super().__init__(encoder, latent_dim)
        self.mean = nn.Linear(encoder.features, latent_dim, bias=False)
        self.log_variance = nn.Linear(encoder.features, latent_dim, bias=False)
        self.context = nn.Linear(encoder.features, context_dim, bias=False)
        self.bijection = Bijection(
            latent_dim,
            context_dim,
            family=family,
            transforms=transforms,
            hidden_dim=hidden_dim,
            coupling=coupling,
        )

    def distribution(self, features: Tensor) -> Flow:
        base = DiagonalGaussian(self.mean(features), self.log_variance(features))
        return Flow(base, self.bijection, self.context(features))
