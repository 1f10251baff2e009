"""A multiplier of a term of the loss: a schedule of the step, or a controller that reacts to the terms."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from textvae.models.terms import Terms

__all__ = ["Weight"]


class Weight(nn.Module, ABC):
    """A multiplier for every optimiser step, counted from 0; a controller counts as settled from `settles` on.

    `settles_at` is the step from which validation counts: before it, no weights are selected, and no decay or
    early stopping takes place. A controller keeps its state in buffers, so that it is saved in checkpoints and
    moves with the module between devices, and updates them in place.
    """

    settles_at: int = 0

    @abstractmethod
    def forward(self, step: int) -> float | Tensor:
        """The value at this step, a number or a scalar tensor that no update changes."""

    def observe(self, terms: Terms) -> None:
        """Update the state from the unweighted terms of the last optimiser step; called only in training."""
