"""Decoders that are Markov chains: what they say is known by hand, whatever z is."""

import math
from collections.abc import Mapping

import torch
from helpers import VOCABULARY
from torch import Tensor

from textvae.data.batches import Batch
from textvae.data.tokenizers import BOS, EOS
from textvae.models.decoders import Decoder
from textvae.models.decoders.decoder import State

__all__ = ["ENDLESS", "GARDEN", "GREEDY", "MODE", "Chain"]


class Chain(Decoder):
    """A Markov chain with a table of log-probabilities (V, V)."""

    def __init__(self, table: Mapping[int, Mapping[int, float]]) -> None:
        super().__init__()
        self.table = torch.full((VOCABULARY, VOCABULARY), -torch.inf)
        for word, row in table.items():
            for following, probability in row.items():
                self.table[word, following] = math.log(probability)

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        raise NotImplementedError

    def start(self, z: Tensor) -> State:
        return (z,)

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        return self.table[words], state


ENDLESS = Chain({BOS: {4: 1.0}, 4: {5: 1.0}, 5: {4: 1.0}})
GARDEN = Chain({
    # Greedy goes to 4 (.6), where every ending is unlikely; the mode goes by 5.
    BOS: {4: 0.6, 5: 0.4},
    4: {EOS: 0.3, 4: 0.2, 5: 0.25, 6: 0.25},
    5: {EOS: 0.9, 6: 0.1},
    6: {EOS: 1.0},
})  # fmt: skip
GREEDY, MODE = [4], [5]
"""What greedy decoding of GARDEN says, of probability .18, and what a beam of 2 finds, of .36."""
