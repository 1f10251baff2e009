"""Stacks of LSTM layers, also under many z, where what does not depend on z is computed once per sentence.

Each layer is an LSTM of its own, so that dropout between layers uses torch's random stream, which a checkpoint
restores, and not cuDNN's own.

Under many z:

    gates(k, b, t) = W_w wₜ + W_z z(k, b) + U hₜ₋₁ + biases

The word term W_w wₜ is one product per sentence, whatever the number K of samples, and W_z z one per
sample; only U hₜ₋₁ is computed at every position of every sample. `nn.LSTM` would multiply [wₜ; z] by
[W_w W_z] for each of the K samples.
"""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textvae.models.lstm import LSTM
from textvae.models.products import product

__all__ = ["Stack"]

Between = Callable[[Tensor], Tensor]
"""From the states of a layer to the inputs of the next, such as dropout."""


class Stack(nn.ModuleList):
    """LSTM layers of `hidden_dim` units, from below; `widths` are those of their inputs."""

    def __init__(self, widths: Iterable[int], hidden_dim: int) -> None:
        super().__init__(LSTM(width, hidden_dim) for width in widths)

    def forward(
        self, inputs: Tensor, first: tuple[Tensor, Tensor], between: Between
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The last layer's states (N, T, H) over inputs (N, T, E), and the final h and c of all layers, (L, N, H).

        `first` holds h₀ and c₀, each (L, N, H).
        """
        states, lasts = inputs, []
        for layer, (lstm, h, c) in enumerate(zip(self, *first, strict=True)):
            states, last = lstm(between(states) if layer else states, (h[None], c[None]))
            lasts.append(last)
        h, c = (torch.cat(parts) for parts in zip(*lasts, strict=True))
        return states, h, c

    def under(self, words: Tensor, z: Tensor, first: tuple[Tensor, Tensor], between: Between) -> Tensor:
        """The last layer's states (K, B, T, H) over inputs [words; z], for words (B, T, E) and z (K, B, D).

        `first` holds h₀ and c₀, each (L, K · B, H). Equal to `forward` on the concatenated inputs, up to
        rounding. With D = 0 the inputs are the words alone.
        """
        width = words.shape[-1]
        states = words
        for layer, (lstm, hidden, cell) in enumerate(zip(self, *first, strict=True)):
            of_input, recurrent, *biases = cast(LSTM, lstm).all_weights[0]
            bias = sum(biases, torch.zeros_like(biases[0]))
            if layer == 0:
                by_word = F.linear(words.transpose(0, 1), of_input[:, :width], bias)
                by_z = F.linear(z, of_input[:, width:])
                gates: Iterable[Tensor] = ((by_z + word).flatten(0, 1) for word in by_word)
            else:
                gates = F.linear(between(states), of_input, bias)
            states = _scan(gates, recurrent, hidden, cell)
        samples, sentences, _ = z.shape
        return states.view(len(states), samples, sentences, -1).permute(1, 2, 0, 3)


def _scan(gates: Iterable[Tensor], recurrent: Tensor, hidden: Tensor, cell: Tensor) -> Tensor:
    """States (T, N, H) of one layer, from each position's gates (N, 4H) without the recurrent part."""
    states = []
    for position in gates:
        keep_in, keep, new, out = (position + product(hidden, recurrent)).chunk(4, dim=1)
        cell = torch.addcmul(cell * keep.sigmoid(), keep_in.sigmoid(), new.tanh())
        hidden = out.sigmoid() * cell.tanh()
        states.append(hidden)
    return torch.stack(states)
