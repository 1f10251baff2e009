"""The objective: loss = c · distortion + weight · penalty(rate) + auxiliary, under a bound.

A module that holds the model, and everything that applies in training but never in evaluation: noise on what
the encoder or the decoder reads, weights, penalties, auxiliary terms.

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*: KL annealing and word dropout.
Rezende & Viola 2018, *Taming VAEs*: a weight on the distortion.
"""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from textvae.data.batches import Batch
from textvae.models.terms import Pass, Terms, pass_under
from textvae.models.text_vae import TextVAE
from textvae.objectives.auxiliaries import Auxiliary
from textvae.objectives.bounds import Bound
from textvae.objectives.corruptions import Corruption
from textvae.objectives.inference import Inference
from textvae.objectives.inputs import drop_words, own_words
from textvae.objectives.penalties import Penalty
from textvae.objectives.weights import Schedule, Weight

__all__ = ["Loss", "Objective"]


@dataclass(frozen=True)
class Loss:
    """What is minimised (`value`, a scalar) and the unweighted terms it is computed from."""

    value: Tensor
    terms: Terms
    penalty: Tensor
    auxiliary: Tensor
    weight: float | Tensor
    distortion_weight: float | Tensor


class Objective(nn.Module):
    """One model and every slot of its loss, with z drawn `samples` times per sentence.

    Raises
    ------
    ValueError
        If the bound needs the penalty `rate` and gets another.
    """

    def __init__(
        self,
        model: TextVAE,
        *,
        weight: Weight,
        distortion_weight: Weight,
        penalty: Penalty,
        auxiliary: Auxiliary,
        bound: Bound,
        corruption: Corruption,
        inference: Inference,
        word_dropout: Schedule,
        teacher_forcing: Schedule,
        samples: int = 1,
    ) -> None:
        super().__init__()
        if bound.needs_rate and not penalty.is_rate:
            raise ValueError("with this bound the penalty must be rate; choose it, or the bound elbo")
        self.model = model
        self.weight = weight
        self.distortion_weight = distortion_weight
        self.penalty = penalty
        self.auxiliary = auxiliary
        self.bound = bound
        self.corruption = corruption
        self.inference = inference
        self.word_dropout = word_dropout
        self.teacher_forcing = teacher_forcing
        self.samples = samples

    @property
    def settles_at(self) -> int:
        """The step from which neither the weights nor the penalty change by schedule."""
        return max(part.settles_at for part in (self.weight, self.distortion_weight, self.penalty))

    def forward(self, batch: Batch, step: int, generator: Generator) -> Loss:
        """The loss of a batch at an optimiser step; all noise but dropout's comes from `generator`."""
        weight, distortion_weight = self.weight(step), self.distortion_weight(step)
        done = self._pass(batch, step, weight, generator)
        penalty, auxiliary = self.penalty(done, step), self.auxiliary(done, step)
        value = self.bound(done, distortion_weight, weight, penalty) + auxiliary
        return Loss(value, done.terms, penalty, auxiliary, weight, distortion_weight)

    def observe(self, terms: Terms) -> None:
        """Pass the terms of the last optimiser step to the weights; evaluation never does."""
        self.weight.observe(terms)
        self.distortion_weight.observe(terms)

    def _pass(self, batch: Batch, step: int, weight: float | Tensor, generator: Generator) -> Pass:
        model, device = self.model, batch.targets.device
        noise = torch.randn((self.samples, batch.sentences, model.latent_dim), generator=generator, device=device)
        amortised = model.posterior(self.corruption(batch, generator))
        posterior = self.inference(model, amortised, batch, weight, generator)
        z = posterior.transport(noise)
        forced = own_words(model.decoder, batch, z[0], self.teacher_forcing(step), generator)
        read = drop_words(forced, self.word_dropout(step), generator)
        return replace(pass_under(model, read, posterior, z), generator=generator)
