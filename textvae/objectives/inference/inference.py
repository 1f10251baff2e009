"""From the posterior module's q(z|x) to the one that training samples z from."""

from abc import ABC, abstractmethod

from torch import Generator, Tensor

from textvae.data.batches import Batch
from textvae.models.distributions import Reparameterised
from textvae.models.text_vae import TextVAE

__all__ = ["Amortised", "Inference"]


class Inference(ABC):
    """A differentiable change of q(z|x) of every sentence; evaluation uses the module's own."""

    @abstractmethod
    def __call__(
        self, model: TextVAE, q: Reparameterised, batch: Batch, weight: float | Tensor, generator: Generator
    ) -> Reparameterised:
        """The distribution to draw z from, given the step's weight; all noise comes from `generator`."""


class Amortised(Inference):
    """The posterior module's own q(z|x)."""

    def __call__(
        self, model: TextVAE, q: Reparameterised, batch: Batch, weight: float | Tensor, generator: Generator
    ) -> Reparameterised:
        return q
