"""A multiplier of a term of the loss: a schedule of the step, or a controller that watches what it does."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from textvae.models.terms import Terms

__all__ = ["Weight"]


class Weight(nn.Module, ABC):
    """A value for every optimiser step, counted from 0.

    `settles_at` is the step from which valid may be judged by: nothing is selected, decayed or stopped
    before it. A controller keeps its state in buffers, so that checkpoints carry it and devices agree.
    """

    settles_at: int

    @abstractmethod
    def forward(self, step: int) -> float | Tensor:
        """The value at this step, a number or a scalar tensor; never a change of state."""

    def observe(self, terms: Terms) -> None:
        """Take note of the unweighted terms of the optimiser step just made; training alone calls this."""
