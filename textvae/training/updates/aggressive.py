"""Many steps of the encoder for one of the decoder:

    φ ← φ − lr · s ∇_φ loss, repeated until the loss per word no longer falls,
    then θ ← θ − lr · s ∇_θ loss once,  s = min(1, clip_norm / ‖∇ loss‖)

with φ the encoder's weights and θ all others; the norm is that of the whole gradient in each of these steps.

References
----------
He et al. 2019, *Lagging Inference Networks and Posterior Collapse in Variational Autoencoders*.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor
from torch.optim import Optimizer

from textvae.data.batches import Batch
from textvae.fields import Count, Positive
from textvae.objectives.objective import Objective
from textvae.training.updates.joint import Joint
from textvae.training.updates.update import Step

__all__ = ["Aggressive"]


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


def _loss_per_word(moves: list[tuple[Tensor, Batch]]) -> float:
    """The mean loss per word."""
    losses = torch.stack([loss for loss, _ in moves]).tolist()
    nats = sum(loss * batch.sentences for loss, (_, batch) in zip(losses, moves, strict=True))
    return float(nats) / sum(batch.tokens for _, batch in moves)
