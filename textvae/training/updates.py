"""Update rules: how one optimiser step is made from the stream of batches.

A rule draws its own batches, so that one which needs several (an aggressive encoder, say) is a member
like any other and the trainer's loop stays straight.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.optim import Optimizer

from textvae.data.batches import Batch
from textvae.errors import TextvaeError
from textvae.fields import Positive
from textvae.objectives.objective import Loss, Objective

__all__ = ["UPDATES", "Joint", "NonFiniteLossError", "Step", "Update"]


class NonFiniteLossError(TextvaeError):
    """The loss or a gradient is not a finite number; the weights are untouched."""


@dataclass(frozen=True)
class Step:
    """What one optimiser step did."""

    loss: Loss
    batch: Batch
    encoder_gradient: Tensor
    decoder_gradient: Tensor


class Update(ABC):
    """Turns batches into one change of the weights."""

    optimiser: Optimizer

    @abstractmethod
    def __call__(self, stream: Iterator[Batch], step: int, generator: Generator) -> Step:
        """Make optimiser step number `step`.

        Raises
        ------
        NonFiniteLossError
            Before any weight has changed.
        """

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


class Joint(Update):
    """One gradient step on encoder and decoder together, the gradient's norm clipped to `clip_norm`."""

    def __init__(
        self,
        objective: Objective,
        optimiser: Callable[[], Optimizer],
        *,
        clip_norm: Positive | None = 5.0,
    ) -> None:
        self.objective = objective
        self.optimiser = optimiser()
        self.clip_norm = clip_norm

    def __call__(self, stream: Iterator[Batch], step: int, generator: Generator) -> Step:
        batch = next(stream)
        loss = self.objective(batch, step, generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.value.backward()
        model = self.objective.model
        norms = [gradient_norm(part, loss.value) for part in (model.posterior, model.decoder, model.prior)]
        total = torch.stack(norms).norm()
        if not torch.isfinite(loss.value + total):
            raise NonFiniteLossError(
                f"step {step}: the loss is {loss.value.item()}, its gradient's norm {total.item()}"
            )
        if self.clip_norm is not None:
            scale = (self.clip_norm / (total + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_([p.grad for p in self.objective.parameters() if p.grad is not None], scale)
        self.optimiser.step()
        return Step(loss, batch, norms[0], norms[1])


def gradient_norm(module: torch.nn.Module, like: Tensor) -> Tensor:
    """The Euclidean norm of all gradients of a module, 0 where it has none; a scalar like `like`."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None and p.numel()]
    return torch.stack(torch._foreach_norm(gradients)).norm() if gradients else like.new_zeros(())


UPDATES = {"joint": Joint}
