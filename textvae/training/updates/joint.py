"""One gradient step on all weights:

    (φ, θ) ← (φ, θ) − lr · s ∇ loss,  s = min(1, clip_norm / ‖∇ loss‖)

with φ the encoder's weights and θ all others.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from textvae.data.batches import Batch
from textvae.fields import Positive, Steps
from textvae.models.parts import part_of
from textvae.objectives.objective import Objective
from textvae.training.updates.update import Move, Step, Update, summed

__all__ = ["Joint", "gradient_norms"]


class Joint(Update):
    """One gradient step on all weights, with the gradient norm clipped to `clip_norm`.

    The parts of the model that `frozen` names (`decoder`, `posterior.encoder`, …) are frozen until step
    `frozen_until`, or for the whole run if that is null.

    Raises
    ------
    ValueError
        If `frozen` names a part that the model does not have, or leaves no parameter to train.
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
        kept = set(map(id, self.frozen))
        if not any(p.numel() and id(p) not in kept for p in objective.parameters()):
            raise ValueError(f"frozen: nothing is left to train beside {', '.join(frozen)}; freeze fewer parts")
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


def _move_if(finite: Tensor, optimiser: Optimizer) -> None:
    """Step the optimiser if the step is finite; a fused optimiser decides that on the device."""
    if getattr(optimiser, "_step_supports_amp_scaling", False):
        optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimiser.step()
    elif finite:
        optimiser.step()


def gradient_norms(whole: nn.Module, *parts: nn.Module) -> list[Tensor]:
    """The L2 norm of the gradients of a module and of each of its parts; 0 without gradients."""
    gradients = {id(p): p.grad for p in whole.parameters() if p.grad is not None and p.numel()}
    norms = dict(zip(gradients, torch._foreach_norm(list(gradients.values())), strict=True)) if gradients else {}
    nothing = next(iter(norms.values()), torch.zeros(())).new_zeros(())

    def norm(module: nn.Module) -> Tensor:
        own = [norms[id(p)] for p in module.parameters() if id(p) in norms]
        return torch.stack(own).norm() if own else nothing

    return [norm(module) for module in (whole, *parts)]
