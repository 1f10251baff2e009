"""The objective: loss = distortion + weight(step) · penalty(rate), a module that holds the model.

Word dropout is training noise on the decoder's inputs, so it lives here and evaluation never meets it.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*: KL annealing and word dropout.
"""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from textvae.data.batches import Batch
from textvae.data.tokenizers import BOS, PAD, UNK
from textvae.models.terms import Terms, forward_pass
from textvae.models.text_vae import TextVAE
from textvae.objectives.penalties import Penalty
from textvae.objectives.schedules import Schedule

__all__ = ["Loss", "Objective", "drop_words"]


@dataclass(frozen=True)
class Loss:
    """What is minimised (`value`, a scalar) and the unweighted terms behind it."""

    value: Tensor
    terms: Terms
    penalty: Tensor
    weight: float
    word_dropout: float


class Objective(nn.Module):
    """mean_B distortion + weight(step) · penalty, with z drawn `samples` times per sentence."""

    def __init__(
        self, model: TextVAE, weight: Schedule, penalty: Penalty, word_dropout: Schedule, samples: int = 1
    ) -> None:
        super().__init__()
        self.model = model
        self.weight = weight
        self.penalty = penalty
        self.word_dropout = word_dropout
        self.samples = samples

    def forward(self, batch: Batch, step: int, generator: Generator) -> Loss:
        """The loss of a batch at an optimiser step; all noise but dropout's comes from `generator`."""
        weight, dropped = self.weight(step), self.word_dropout(step)
        shape = (self.samples, batch.sentences, self.model.latent_dim)
        noise = torch.randn(shape, generator=generator, device=batch.targets.device)
        done = forward_pass(self.model, drop_words(batch, dropped, generator), noise)
        penalty = self.penalty(done)
        value = done.terms.distortion.mean() + weight * penalty
        return Loss(value, done.terms, penalty, weight, dropped)


def drop_words(batch: Batch, rate: float, generator: Generator) -> Batch:
    """Replace each decoder input but BOS by the unknown word with probability `rate`; targets stay."""
    if rate == 0:
        return batch
    chance = torch.rand(batch.inputs.shape, generator=generator, device=batch.inputs.device)
    dropped = (chance < rate) & (batch.inputs != BOS) & (batch.inputs != PAD)
    return replace(batch, inputs=batch.inputs.masked_fill(dropped, UNK))
