"""Decoders p(x|z): log-probabilities of given sentences, and one-step continuation.

PAD and BOS have probability 0 by construction: the output layers have no rows for them.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textvae.data.batches import Batch
from textvae.data.tokenizers import UNPREDICTED

__all__ = ["Decoder", "State", "following", "words_out"]

State = tuple[Tensor, ...]
"""A decoder's state between two steps; every tensor has the hypotheses on its first axis."""


class Decoder(nn.Module, ABC):
    """p(x|z) of sentences, factorised over positions."""

    @abstractmethod
    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        """log p(wₜ | w₍<ₜ₎, z) of `batch.targets` under z (K, B, D): (K, B, T), 0 on padding."""

    @abstractmethod
    def start(self, z: Tensor) -> State:
        """The state before the first word, for z (N, D)."""

    @abstractmethod
    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """From the words (N,) just read, log-probabilities (N, V) of the next one and the new state."""


def following(logits: Tensor) -> Tensor:
    """Log-probabilities (…, V) of every token from the logits (…, V − 2) of those that can be predicted."""
    return F.pad(logits.log_softmax(-1), (UNPREDICTED, 0), value=-torch.inf)


def words_out(width: int, vocabulary: int) -> nn.Linear:
    """The weights (V − 2, H) of a softmax over every token that can be predicted: row i is token i + 2."""
    return nn.Linear(width, vocabulary - UNPREDICTED, bias=False)
