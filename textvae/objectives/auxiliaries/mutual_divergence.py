"""MAE: push the posteriors of different sentences apart, and evenly so.

    M_d = mean over i ≠ j of KL(q_d(z|xᵢ) ‖ q_d(z|xⱼ)),      S = s.d. over i ≠ j of Σ_d KL(q_d(z|xᵢ) ‖ q_d(z|xⱼ))
    term = −η Σ_d log sigmoid(M_d / η) + γ S

The mean over ordered pairs is that of the symmetric divergence. The log-sigmoid is the published smoothing:
−M itself has no lower bound, whereas this term saturates where M_d is several η.

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
"""Below this variance over pairs, S has no gradient: that of the square root is infinite at 0."""


class MutualDivergence(Auxiliary):
    """Pushes the posteriors of a batch apart, by about `diversity` nats a dimension, and evenly: γ = `smoothness`.

    It couples the sentences of a batch; for a batch of one it is 0.

    Raises
    ------
    ValueError
        At the first pass, if q is not a diagonal Gaussian.
    """

    def __init__(
        self, model: TextVAE, vocabulary: int, *, diversity: Positive = 1.0, smoothness: NonNegative = 0.1
    ) -> None:
        super().__init__()
        self.diversity, self.smoothness = diversity, smoothness

    def forward(self, done: Pass, step: int) -> Tensor:
        q = done.posterior
        if not isinstance(q, DiagonalGaussian):
            raise ValueError("mutual_divergence needs a diagonal Gaussian; choose the posterior diagonal")
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
    # In row-major order the diagonal entries are B + 1 apart; a boolean mask would synchronise with the device.
    size = len(q.mean)
    return divergences.flatten(0, 1)[1:].reshape(size - 1, size + 1, -1)[:, :-1].flatten(0, 1)
