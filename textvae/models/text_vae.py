"""The model: a posterior, a prior and a decoder, modules that return distributions or log-probabilities.

p(x, z) = p(z) Πₜ p(wₜ | w₍<ₜ₎, z), with q(z|x) for the posterior. `latent_dim` 0 makes it a plain
language model; a Dirac posterior makes it a deterministic autoencoder. Neither is a special case here.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*.
"""

import torch
from torch import nn

from textvae.models.decoders import Decoder
from textvae.models.posteriors import Posterior
from textvae.models.priors import Prior

__all__ = ["TextVAE", "initialise"]


class TextVAE(nn.Module):
    """`posterior(batch)` and `prior()` return distributions; `decoder(batch, z)` token log-probabilities.

    Raises
    ------
    ValueError
        If prior and posterior are incompatible.
    """

    def __init__(self, posterior: Posterior, prior: Prior, decoder: Decoder) -> None:
        super().__init__()
        prior.meet(posterior)
        self.posterior = posterior
        self.prior = prior
        self.decoder = decoder

    @property
    def latent_dim(self) -> int:
        return self.posterior.latent_dim

    @property
    def has_z(self) -> bool:
        """Whether there is a z; a language model has none."""
        return self.latent_dim > 0

    @property
    def has_likelihood(self) -> bool:
        """Whether there is a rate, and so a bound on log p(x); a deterministic autoencoder has none."""
        return self.posterior.has_density

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


def initialise(model: nn.Module, width: float | None, embedding_width: float | None) -> None:
    """Draw every parameter from U(−width, width), embeddings from U(−embedding_width, embedding_width).

    `None` keeps torch's own initialisation. So do layer normalisations, whose gains start at 1, and learned
    priors, whose components must start apart: drawn from a narrow interval they would all coincide.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    own = {id(p) for m in model.modules() if isinstance(m, (nn.LayerNorm, Prior)) for p in m.parameters()}
    for parameter in model.parameters():
        bound = embedding_width if id(parameter) in embeddings else width
        if bound is not None and id(parameter) not in own:
            nn.init.uniform_(parameter, -bound, bound)
