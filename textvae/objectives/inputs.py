"""Training noise on what the decoder reads: never on its targets, never on BOS, off in evaluation.

    dropped:   w̃ₜ = <unk> with probability ρ, else wₜ
    its own:   w̃ₜ ~ p(· | w̃₍<ₜ₎, z) with probability 1 − f, else wₜ

References
----------
Bowman et al. 2016, *Generating Sentences from a Continuous Space*: word dropout.
Bengio et al. 2015, *Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks*.
"""

from dataclasses import replace

import torch
from torch import Generator, Tensor

from textvae.data.batches import Batch
from textvae.data.tokenizers import BOS, PAD, UNK
from textvae.models.decoders import Decoder

__all__ = ["drop_words", "own_words"]


def drop_words(batch: Batch, rate: float | Tensor, generator: Generator) -> Batch:
    """Replace each decoder input but BOS by the unknown word with probability `rate`; targets stay."""
    if not isinstance(rate, Tensor) and rate == 0:
        return batch
    chance = torch.rand(batch.inputs.shape, generator=generator, device=batch.inputs.device)
    dropped = (chance < rate) & (batch.inputs != BOS) & (batch.inputs != PAD)
    return replace(batch, inputs=batch.inputs.masked_fill(dropped, UNK))


@torch.no_grad()
def own_words(decoder: Decoder, batch: Batch, z: Tensor, forcing: float | Tensor, generator: Generator) -> Batch:
    """Replace each decoder input by the decoder's own sample under z (B, D) with probability 1 − `forcing`.

    Each word is sampled given the inputs actually read before it, sampled words included. It may be EOS, which
    the decoder reads nowhere else. Targets stay. Of several samples of z, the objective passes the first.
    """
    if not isinstance(forcing, Tensor) and forcing == 1:
        return batch
    inputs, state = batch.inputs.clone(), decoder.start(z)
    draws = torch.rand((2, *inputs.shape), generator=generator, device=inputs.device)
    for t in range(inputs.shape[1] - 1):
        log_probs, state = decoder.step(inputs[:, t], state)
        # Inverse-CDF sampling from a uniform draw; rounding must not run past the last token.
        below = (log_probs.exp().cumsum(-1) <= draws[0, :, t, None]).sum(-1)
        drawn = below.clamp(max=log_probs.shape[-1] - 1)
        own = (draws[1, :, t] >= forcing) & (inputs[:, t + 1] != PAD)
        inputs[:, t + 1] = inputs[:, t + 1].where(~own, drawn)
    return replace(batch, inputs=inputs)
