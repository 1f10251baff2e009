"""MAE: the posteriors of different sentences are pushed apart, and evenly.

    M_d = mean over i ≠ j of KL(q_d(z|xᵢ) ‖ q_d(z|xⱼ)),      S = s.d. over i ≠ j of Σ_d KL(q_d(z|xᵢ) ‖ q_d(z|xⱼ))
    term = −η Σ_d log sigmoid(M_d / η) + γ S

The mean over ordered pairs is that of the symmetric divergence. Its logarithmic form is the published
smoothing: −M itself has no lower bound, whereas this one stops pushing where M_d is some η.

References
----------
Ma et al. 2019, *MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders*.
"""

from torch import Tensor
from torch.nn import functional as F

from textvae.fields import NonNegative, Positive
from textvae.models.distributions import DiagonalGaussian, kl_per_dimension
from textvae.models.terms import Pass
from textvae.models.text_vae import TextVAE
from textvae.objectives.auxiliaries.auxiliary import Auxiliary

__all__ = ["MutualDivergence"]

TINY = 1e-12
"""Below this variance over pairs, S is not pushed: a root has no slope at 0."""


class MutualDivergence(Auxiliary):
    """η (`diversity`) and γ (`smoothness`), M and S in nats.

    It couples the sentences of a batch; in a batch of one there are no pairs, and it is 0.

    Raises
    ------
    ValueError
        At the first pass, if q is no diagonal Gaussian.
    """

    def __init__(
        self, model: TextVAE, vocabulary: int, *, diversity: Positive = 1.0, smoothness: NonNegative = 0.1
    ) -> None:
        super().__init__()
        self.diversity, self.smoothness = diversity, smoothness

    def forward(self, done: Pass, step: int) -> Tensor:
        q = done.posterior
        if not isinstance(q, DiagonalGaussian):
            raise ValueError(
                "mutual_divergence has a closed form for diagonal Gaussians alone; choose the posterior diagonal"
            )
        if len(q.mean) < 2:
            return done.z.new_zeros(())
        divergences = pairwise(q)
        apart = -self.diversity * F.logsigmoid(divergences.mean(0) / self.diversity).sum()
        return apart + self.smoothness * divergences.sum(-1).var().clamp_min(TINY).sqrt()


def pairwise(q: DiagonalGaussian) -> Tensor:
    """KL(q_d(z|xᵢ) ‖ q_d(z|xⱼ)) of every ordered pair i ≠ j, (B (B − 1), D)."""
    one = DiagonalGaussian(q.mean[:, None], q.log_variance[:, None])
    divergences = kl_per_dimension(one, q)
    assert divergences is not None
    # Row by row, every entry of the diagonal lies B behind the last; a mask would have to be counted on the device.
    size = len(q.mean)
    return divergences.flatten(0, 1)[1:].reshape(size - 1, size + 1, -1)[:, :-1].flatten(0, 1)
