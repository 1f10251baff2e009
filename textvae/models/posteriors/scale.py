"""Scale-VAE: the posterior mean is scaled to a given standard deviation over sentences in every dimension.

    q(z|x) = N(f μ(x), diag σ²(x)),   f_d = s / std_B μ_d

with one f for all sentences, from the batch in training and from running averages in evaluation. The rate, and
hence the ELBO and every likelihood, is that of the q that z is drawn from. The paper trains with, and reports,
the rate of the posterior before scaling, which gives no bound for the z that the decoder reads; the penalty
`unscaled_rate` is that rate, used only in training.

Means are scaled about 0, not about their average, so that a common offset is scaled up too: it costs ½ Σ_d f_d²
(E μ_d)² nats of rate and says nothing.

References
----------
Song et al. 2024, *Scale-VAE: Preventing Posterior Collapse in Variational Autoencoder*.
"""

from torch import Tensor

from textvae.fields import Positive
from textvae.models.distributions import ScaledGaussian
from textvae.models.encoders import Encoder
from textvae.models.posteriors.diagonal import DiagonalPosterior
from textvae.models.posteriors.statistics import BatchStatistics

__all__ = ["ScalePosterior"]


class ScalePosterior(DiagonalPosterior):
    """The standard deviation over the batch of every dimension of the mean is s = `deviation`."""

    def __init__(self, encoder: Encoder, latent_dim: int, *, deviation: Positive = 1.0) -> None:
        super().__init__(encoder, latent_dim)
        self.deviation = deviation
        self.statistics = BatchStatistics(latent_dim)

    def distribution(self, features: Tensor) -> ScaledGaussian:
        q = super().distribution(features)
        _, narrowing = self.statistics(q.location)
        return ScaledGaussian(q, self.deviation * narrowing)
