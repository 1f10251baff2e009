"""Denoising: the encoder reads words deleted, blanked or shuffled; the decoder predicts the original sentence.

In this order and independently, words are shuffled so that none moves further than `shuffle` places (sorted
by i + U(0, shuffle + 1)), deleted with probability `delete`, and replaced by the unknown word with
probability `blank`. EOS never changes.

References
----------
Shen et al. 2020, *Educating Text Autoencoders: Latent Representation Guidance via Denoising*: deletion of
0.3 is the one used; the others were tried.
"""

from dataclasses import replace

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from textvae.data.batches import Batch
from textvae.data.tokenizers import BOS, EOS, PAD, UNK
from textvae.fields import Natural, Probability
from textvae.objectives.corruptions.corruption import Corruption

__all__ = ["Words"]


class Words(Corruption):
    """Deletion, blanking and local shuffling; `counts` stays that of the original sentences."""

    def __init__(self, *, delete: Probability = 0.3, blank: Probability = 0.0, shuffle: Natural = 0) -> None:
        self.delete, self.blank, self.shuffle = delete, blank, shuffle

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        if self.shuffle:
            batch = with_targets(batch, shuffled(batch.targets, self.shuffle, generator))
        if self.delete:
            batch = without(batch, hit(batch.targets, self.delete, generator))
        if self.blank:
            blanked = batch.targets.masked_fill(hit(batch.targets, self.blank, generator), UNK)
            batch = with_targets(batch, blanked)
        return batch


def shuffled(targets: Tensor, distance: int, generator: Generator) -> Tensor:
    """Shuffle the words of (B, T), each by at most `distance` places; EOS and padding stay."""
    draws = torch.rand(targets.shape, generator=generator, device=targets.device)
    ahead = (draws * (distance + 1)).where(is_word(targets), distance + 1)
    places = torch.arange(targets.shape[1], device=targets.device)
    return targets.gather(1, (places + ahead).argsort(dim=1, stable=True))


def without(batch: Batch, gone: Tensor) -> Batch:
    """The batch with the targets at `gone` (B, T) deleted and the gaps closed."""
    kept = batch.mask & ~gone
    order = (~kept).int().argsort(dim=1, stable=True)
    targets = batch.targets.masked_fill(~kept, PAD).gather(1, order)
    # Only the device knows how many words are deleted, so the batch must count as padded.
    return replace(with_targets(batch, targets), lengths=kept.sum(1), padded=True)


def with_targets(batch: Batch, targets: Tensor) -> Batch:
    """The batch with other targets, and the inputs that match them."""
    inputs = F.pad(targets, (1, -1), value=BOS)
    return replace(batch, targets=targets, inputs=inputs.masked_fill(inputs == EOS, PAD))


def hit(targets: Tensor, chance: float, generator: Generator) -> Tensor:
    """(B, T), each word true with probability `chance`."""
    draws = torch.rand(targets.shape, generator=generator, device=targets.device)
    return (draws < chance) & is_word(targets)


def is_word(targets: Tensor) -> Tensor:
    """(B, T), true except at EOS and padding."""
    return (targets != EOS) & (targets != PAD)
