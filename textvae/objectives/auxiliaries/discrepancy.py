"""The discrepancy between q(z) and the prior, estimated from samples: WAE and InfoVAE.

    weight · MMD²(z₁ … z_B ‖ y₁ … y_B),      z_b ~ q(z|x_b),  y_b ~ p(z)

WAE (λ): penalty none, weight λ. InfoVAE (α, λ): rate weight 1 − α, weight α + λ − 1. Every pass draws
fresh samples from the prior. The estimate is unbiased, so it can be negative.

References
----------
Tolstikhin et al. 2018, *Wasserstein Auto-Encoders*: λ = 10 for images, IMQ kernel.
Zhao et al. 2019, *InfoVAE: Balancing Learning and Inference in Variational Autoencoders*: RBF kernel.
Bahuleyan et al. 2019, *Stochastic Wasserstein Autoencoder for Probabilistic Sentence Generation*: λ = 3.
"""

import torch
from torch import Tensor

from textvae.fields import NonNegative
from textvae.models.mmd import Kernel, discrepancies, width
from textvae.models.terms import Pass
from textvae.models.text_vae import TextVAE
from textvae.objectives.auxiliaries.auxiliary import Auxiliary

__all__ = ["Discrepancy"]


class Discrepancy(Auxiliary):
    """weight · MMD² over the sentences of the batch, averaged over the samples of z.

    It couples the sentences of a batch; for a batch of one it is 0.
    """

    def __init__(
        self, model: TextVAE, vocabulary: int, *, weight: NonNegative = 10.0, kernel: Kernel = "imq"
    ) -> None:
        super().__init__()
        self.weight, self.kernel = weight, kernel
        self.width = width(model.latent_dim, spherical=model.posterior.spherical)

    def forward(self, done: Pass, step: int) -> Tensor:
        if done.batch.sentences < 2:
            return done.z.new_zeros(())
        noise = torch.randn(done.z.shape, generator=done.generator, device=done.z.device, dtype=done.z.dtype)
        drawn = done.prior.transport(noise)
        found = [discrepancies(z, y, self.width, self.kernel).mean() for z, y in zip(done.z, drawn, strict=True)]
        return self.weight * torch.stack(found).mean()
