"""Update rules: one optimiser step from the stream of batches.

    joint         (φ, θ) ← (φ, θ) − lr · s ∇ loss
    aggressive    φ ← φ − lr · s ∇_φ loss, repeated until the loss per word no longer falls,
                  then θ ← θ − lr · s ∇_θ loss once

with φ the encoder's weights, θ all others, and s = min(1, clip_norm / ‖∇ loss‖), whose norm is that of the whole
gradient in each of these steps. A rule draws its own batches, so that one that needs
several has the same interface and needs no other training loop.

References
----------
He et al. 2019, *Lagging Inference Networks and Posterior Collapse in Variational Autoencoders*.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from textvae.data.batches import Batch
from textvae.fields import Count, Positive, Steps
from textvae.models.parts import part_of
from textvae.objectives.objective import Loss, Objective
from textvae.training.processes import Processes

__all__ = ["SUMMED", "UPDATES", "Aggressive", "Joint", "Move", "Step", "Update", "summed"]

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


class Joint(Update):
    """One gradient step on all weights, with the gradient norm clipped to `clip_norm`.

    The parts of the model that `frozen` names (`decoder`, `posterior.encoder`, …) are frozen until step
    `frozen_until`, or for the whole run if that is null.

    Raises
    ------
    ValueError
        If `frozen` names a part that the model does not have.
    """

    def __init__(
        self,
        objective: Objective,
        optimiser: Callable[[], Optimizer],
        *,
        clip_norm: Positive | None = 5.0,
        frozen: list[str] = [],  # noqa: B006 (a configuration's default; never mutated)
        frozen_until: Steps | None = None,
    ) -> None:
        self.objective = objective
        self.optimiser = optimiser()
        self.clip_norm = clip_norm
        self.frozen = [p for name in frozen for p in part_of(objective.model, name).parameters()]
        self.frozen_until = frozen_until
        self.move: Move = self._move

    def __call__(self, stream: Iterator[Batch], step: int, generator: Generator) -> Step:
        for parameter in self.frozen:
            parameter.requires_grad_(self.frozen_until is not None and step >= self.frozen_until)
        return self.move(next(stream), step, generator, ())

    def _move(self, batch: Batch, step: int, generator: Generator, still: Iterable[nn.Parameter]) -> Step:
        """One gradient step on one batch, for all parameters except those in `still`."""
        loss = self.objective(batch, step, generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.value.backward()
        self.processes.average(self.objective.parameters())
        model = self.objective.model
        total, encoder, decoder = gradient_norms(self.objective, model.posterior, model.decoder)
        finite = torch.isfinite(loss.value.detach() + total)
        for parameter in still:
            parameter.grad = None
        if self.clip_norm is not None:
            scale = (self.clip_norm / (total + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_([p.grad for p in self.objective.parameters() if p.grad is not None], scale)
        _move_if(finite, self.optimiser)
        encodes, decodes = (
            int(any(p.requires_grad for p in part.parameters())) for part in (model.posterior, model.decoder)
        )
        sums = summed(loss, encoder, decoder)
        return Step(loss, batch, sums=sums, finite=finite, encoder_updates=encodes, decoder_updates=decodes)


class Aggressive(Joint):
    """Train the encoder until it stops improving, before each step of the decoder.

    While the rule is aggressive, a step first updates only the encoder, on at most `batches` fresh batches,
    until its loss per word over the last `window` batches is no better than over the `window` before; then it
    updates everything else once, on one more batch. The rule becomes joint for good when the mutual
    information on the validation split falls from one validation to the next, so that it needs a z with a
    rate. In He et al. 2019, `batches` is 100 and `window` 15, the batches of the inner loop are drawn at random,
    where here they are the next ones of the stream, and mutual information is that within batches of 32 (at most
    3.47 nats), where here it is that within the first 1,000 sentences of valid.

    Raises
    ------
    ValueError
        For a language model or a deterministic autoencoder.
    """

    def __init__(
        self,
        objective: Objective,
        optimiser: Callable[[], Optimizer],
        *,
        clip_norm: Positive | None = 5.0,
        batches: Count = 100,
        window: Count = 15,
    ) -> None:
        model = objective.model
        if not (model.has_z and model.has_likelihood):
            raise ValueError("aggressive follows the mutual information of x and z, which needs a z with a rate")
        super().__init__(objective, optimiser, clip_norm=clip_norm)
        self.batches, self.window = batches, window
        self.encoder = list(objective.model.posterior.parameters())
        inside = set(map(id, self.encoder))
        self.others = [p for p in objective.parameters() if id(p) not in inside]
        self.aggressive = True
        self.information = -math.inf

    def __call__(self, stream: Iterator[Batch], step: int, generator: Generator) -> Step:
        if not self.aggressive:
            return super().__call__(stream, step, generator)
        finite, tokens = self._train_encoder(stream, step, generator)
        done = self.move(next(stream), step, generator, self.encoder)
        whole = done.finite & finite.all()
        return replace(done, finite=whole, encoder_updates=len(finite), encoder_tokens=tokens)

    def _train_encoder(self, stream: Iterator[Batch], step: int, generator: Generator) -> tuple[Tensor, int]:
        """Update the encoder until it stops improving, checked once per window.

        `finite` of each move, (moves,), and the number of tokens that it took.
        """
        before, tokens = math.inf, 0
        finite: list[Tensor] = []
        window: list[tuple[Tensor, Batch]] = []
        while len(finite) < self.batches:
            done = self.move(next(stream), step, generator, self.others)
            finite.append(done.finite.clone())
            tokens += done.batch.tokens
            window.append((done.loss.value.detach().clone(), done.batch))
            if len(window) == self.window:
                cost = self.processes.agreed(_loss_per_word(window))
                if cost >= before:
                    break
                before, window = cost, []
        return torch.stack(finite), tokens

    def observe(self, valid: Mapping[str, Any]) -> None:
        information = self.processes.agreed(valid["mutual_information"])
        self.aggressive = self.aggressive and information >= self.information
        self.information = information

    def state_dict(self) -> dict[str, Any]:
        own = {"aggressive": self.aggressive, "information": self.information}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.aggressive, self.information = state["aggressive"], state["information"]


def summed(loss: Loss, encoder_gradient: Tensor, decoder_gradient: Tensor) -> Tensor:
    """The numbers of `SUMMED`, in float64."""
    terms = loss.terms
    own = terms.distortion.sum(), terms.rate.sum(), loss.value, loss.penalty, loss.auxiliary
    found = torch.stack([part.detach() for part in (*own, encoder_gradient, decoder_gradient)])
    # MPS has no float64, so there the host keeps the sums.
    return (found.cpu() if found.is_mps else found).double()


def _move_if(finite: Tensor, optimiser: Optimizer) -> None:
    """Step the optimiser if the step is finite; a fused optimiser decides that on the device."""
    if getattr(optimiser, "_step_supports_amp_scaling", False):
        optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimiser.step()
    elif finite:
        optimiser.step()


def _loss_per_word(moves: list[tuple[Tensor, Batch]]) -> float:
    """The mean loss per word."""
    losses = torch.stack([loss for loss, _ in moves]).tolist()
    nats = sum(loss * batch.sentences for loss, (_, batch) in zip(losses, moves, strict=True))
    return float(nats) / sum(batch.tokens for _, batch in moves)


def gradient_norms(whole: nn.Module, *parts: nn.Module) -> list[Tensor]:
    """The L2 norm of the gradients of a module and of each of its parts; 0 without gradients."""
    gradients = {id(p): p.grad for p in whole.parameters() if p.grad is not None and p.numel()}
    norms = dict(zip(gradients, torch._foreach_norm(list(gradients.values())), strict=True)) if gradients else {}
    nothing = next(iter(norms.values()), torch.zeros(())).new_zeros(())

    def norm(module: nn.Module) -> Tensor:
        own = [norms[id(p)] for p in module.parameters() if id(p) in norms]
        return torch.stack(own).norm() if own else nothing

    return [norm(module) for module in (whole, *parts)]


UPDATES = {"joint": Joint, "aggressive": Aggressive}
