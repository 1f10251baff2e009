"""Mixtures, p(z) = Σᵤ wᵤ pᵤ(z).

The first coordinate of the noise chooses the component, and what remains of it is again standard normal:
with u = Φ(ε₁) and c the cumulative weights, u falls into (c₍ᵤ₋₁₎, cᵤ] with probability wᵤ, and
(u − c₍ᵤ₋₁₎)/wᵤ is uniform whatever the component.

References
----------
Dilokthanakul et al. 2016, *Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders*.
Pelsmaeker & Aziz 2020, *Effective Estimation of Deep Generative Language Models*: mixtures as a text VAE's prior.
"""

import torch
from torch import Size, Tensor

from textvae.models.distributions.reparameterised import Reparameterised

__all__ = ["Mixture"]


class Mixture(Reparameterised):
    """One distribution over z, a mixture of U components (batch shape (U,)) with weights softmax(logits), D ≥ 1.

    Samples carry gradients to the components, not to the logits: the choice of component is discrete.
    """

    def __init__(self, components: Reparameterised, logits: Tensor) -> None:
        self.components = components
        self.log_weights = logits.log_softmax(-1)
        super().__init__(Size(), components.event_shape[0])

    @property
    def mean(self) -> Tensor:
        return self.log_weights.exp() @ self.components.mean

    @property
    def variance(self) -> Tensor:
        second = self.components.variance + self.components.mean.square()
        return self.log_weights.exp() @ second - self.mean.square()

    def transport(self, noise: Tensor) -> Tensor:
        """z = the sample of the component that ε₁ chooses, from the remaining noise."""
        which, rest = self._choose(noise)
        everyone = self.components.transport(rest[..., None, :].expand(*rest.shape[:-1], len(self.log_weights), -1))
        return everyone.gather(-2, which[..., None, None].expand(*rest.shape[:-1], 1, rest.shape[-1]))[..., 0, :]

    def log_prob(self, value: Tensor) -> Tensor:
        """log Σᵤ wᵤ pᵤ(z)."""
        return torch.logsumexp(self.components.log_prob(value[..., None, :]) + self.log_weights, -1)

    def detached(self) -> "Mixture":
        return Mixture(self.components.detached(), self.log_weights.detach())

    def _choose(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The component (…,) and standard normal noise (…, D) that does not depend on it."""
        weights = self.log_weights.detach().double().exp()
        ends = weights.cumsum(-1)
        uniform = torch.special.ndtr(noise[..., 0].double())
        which = torch.searchsorted(ends[:-1], uniform)
        share = 1 - (ends[which] - uniform) / weights[which]
        first = torch.special.ndtri(share.clamp(1e-15, 1 - 1e-15)).to(noise.dtype)
        return which, torch.cat([first[..., None], noise[..., 1:]], dim=-1)
