"""What enters the loss for the rate: a function of one pass, in nats per sentence."""

from abc import ABC, abstractmethod

from torch import Tensor

from textvae.models.terms import Pass

__all__ = ["NoPenalty", "Penalty", "Rate"]


class Penalty(ABC):
    """A scalar for one pass, averaged over the batch; the weight multiplies it."""

    @abstractmethod
    def __call__(self, done: Pass) -> Tensor:
        """The penalty, a scalar."""


class Rate(Penalty):
    """mean_B rate: with weight 1, the loss is −ELBO."""

    def __call__(self, done: Pass) -> Tensor:
        return done.terms.rate.mean()


class NoPenalty(Penalty):
    """0, whatever the rate: with a Dirac posterior, the deterministic autoencoder. Never reads the rate."""

    def __call__(self, done: Pass) -> Tensor:
        return done.terms.distortion.new_zeros(())
