"""The interface of an update rule: one optimiser step from the stream of batches.

A rule draws its own batches, so one that needs several has the same interface, and needs no other training loop.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from textvae.data.batches import Batch
from textvae.objectives.objective import Loss
from textvae.training.processes import Processes

__all__ = ["SUMMED", "Move", "Step", "Update", "summed"]

SUMMED = ("distortion", "rate", "loss", "penalty", "auxiliary", "encoder_gradient", "decoder_gradient")
"""What a step contributes to the totals of a row: terms summed over sentences, losses, norms of gradients."""


@dataclass(frozen=True)
class Step:
    """The result of an optimiser step.

    `sums` (of `SUMMED`, in float64) and the boolean `finite` stay on the device, but for the sums on MPS.
    """

    loss: Loss
    batch: Batch
    _: KW_ONLY
    sums: Tensor
    finite: Tensor
    encoder_updates: int = 1
    decoder_updates: int = 1
    encoder_tokens: int = 0  # of the batches before this one, for the encoder alone


Move = Callable[[Batch, int, Generator, Iterable[nn.Parameter]], Step]
"""One gradient step from a batch, on all parameters but the last argument's."""


class Update(ABC):
    """Makes one optimiser step from a stream of batches."""

    optimiser: Optimizer
    processes = Processes()

    @abstractmethod
    def __call__(self, stream: Iterator[Batch], step: int, generator: Generator) -> Step:
        """Make optimiser step number `step`; if the loss or a gradient is not finite, no weight changes."""

    def observe(self, valid: Mapping[str, Any]) -> None:  # noqa: B027 (most rules ignore it)
        """Adapt to the metrics of a validation."""

    @property
    def learning_rate(self) -> float:
        return float(self.optimiser.param_groups[0]["lr"])

    def scale_learning_rate(self, factor: float) -> None:
        """Multiply every learning rate by `factor`."""
        for group in self.optimiser.param_groups:
            group["lr"] *= factor

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])


def summed(loss: Loss, encoder_gradient: Tensor, decoder_gradient: Tensor) -> Tensor:
    """The numbers of `SUMMED`, in float64."""
    terms = loss.terms
    parts = {
        "distortion": terms.distortion.sum(), "rate": terms.rate.sum(),
        "loss": loss.value, "penalty": loss.penalty, "auxiliary": loss.auxiliary,
        "encoder_gradient": encoder_gradient, "decoder_gradient": decoder_gradient,
    }  # fmt: skip
    found = torch.stack([parts[name].detach() for name in SUMMED])
    # MPS has no float64, so there the host keeps the sums.
    return (found.cpu() if found.is_mps else found).double()
