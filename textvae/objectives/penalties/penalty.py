"""Penalties: the function of the rate that enters the loss, computed from one pass, in nats per sentence."""

from abc import ABC, abstractmethod

from torch import Tensor

from textvae.models.terms import Pass

__all__ = ["NoPenalty", "Penalty", "Rate"]


class Penalty(ABC):
    """A scalar for one pass, averaged over the batch; the weight multiplies it.

    It has no state of its own, since none would be in checkpoints: what changes with the steps is a function of
    the step, and what reacts to the terms is a weight, which keeps its state in buffers.
    """

    is_rate: bool = False
    """Whether the penalty is the rate itself, so that the loss at weight 1 is a bound."""

    settles_at: int = 0
    """The step from which it no longer changes by schedule."""

    @abstractmethod
    def __call__(self, done: Pass, step: int) -> Tensor:
        """The penalty at this step, a scalar."""


class Rate(Penalty):
    """mean_B rate: with weight 1, the loss is −ELBO."""

    is_rate = True

    def __call__(self, done: Pass, step: int) -> Tensor:
        return done.terms.rate.mean()


class NoPenalty(Penalty):
    """0, whatever the rate: with a Dirac posterior, the deterministic autoencoder. Never reads the rate."""

    def __call__(self, done: Pass, step: int) -> Tensor:
        return done.terms.distortion.new_zeros(())
