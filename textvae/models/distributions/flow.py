"""Normalising flows: a base distribution transformed by a learned bijection f.

    z = f⁻¹(u; c),  u ~ base        log p(z) = log base(f(z; c)) + log |det ∂f/∂z|

References
----------
Rezende & Mohamed 2015, *Variational Inference with Normalizing Flows*.
Papamakarios et al. 2017, *Masked Autoregressive Flow for Density Estimation*.
Durkan et al. 2019, *Neural Spline Flows*.
"""

from functools import cached_property

import torch
from torch import Tensor
from torch.func import functional_call

from textvae.models.bijections import Bijection
from textvae.models.distributions.reparameterised import Reparameterised

__all__ = ["Flow"]

HALF = 32
"""Noise points, each used with its negative, from which moments are estimated."""


class Flow(Reparameterised):
    """A base (*batch_shape, D) transformed by a bijection, given a context (*batch_shape, C) or none.

    Moments have no closed form: `mean` and `variance` are estimated from 64 fixed antithetic points of noise, the
    same for every sentence, so that they vary between sentences only as far as the distributions do. `centre`
    is the image of the base's own centre.
    """

    def __init__(
        self, base: Reparameterised, bijection: Bijection, context: Tensor | None, frozen: bool = False
    ) -> None:
        self.base = base
        self.bijection = bijection
        self.context = context
        self.frozen = frozen
        super().__init__(base.batch_shape, base.event_shape[0])

    @property
    def mean(self) -> Tensor:
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        return self._moments[1]

    @property
    def centre(self) -> Tensor:
        return self._apply(self.base.centre, inverse=True)[0]

    def transport(self, noise: Tensor) -> Tensor:
        """z = f⁻¹(base's sample; c)."""
        return self._apply(self.base.transport(noise), inverse=True)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """log base(f(z; c)) + log |det ∂f/∂z|."""
        image, log_volume = self._apply(value, inverse=False)
        return self.base.log_prob(image) + log_volume

    def detached(self) -> "Flow":
        context = None if self.context is None else self.context.detach()
        return Flow(self.base.detached(), self.bijection, context, frozen=True)

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        centre = self.base.centre
        half = torch.randn((HALF, centre.shape[-1]), generator=torch.Generator().manual_seed(0))
        noise = torch.cat([half, -half]).to(centre).view(2 * HALF, *[1] * (centre.ndim - 1), -1)
        points = self.transport(noise.expand(-1, *centre.shape))
        return points.mean(0), points.var(0)

    def _apply(self, value: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        named = self.bijection.named_parameters() if self.frozen else ()
        stopped = {name: parameter.detach() for name, parameter in named}
        found: tuple[Tensor, Tensor] = functional_call(self.bijection, stopped, (value, self.context, inverse))
        return found
