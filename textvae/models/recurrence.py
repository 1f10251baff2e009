"""Run an LSTM under many z at once, computing what does not depend on z once per sentence.

    gates(k, b, t) = W_w wₜ + W_z z(k, b) + U hₜ₋₁ + biases

The word term W_w wₜ is one product per sentence, whatever the number K of samples, and W_z z one per
sample; only U hₜ₋₁ is computed at every position of every sample. `nn.LSTM` would multiply [wₜ; z] by
[W_w W_z] for each of the K samples.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textvae.models.products import product

__all__ = ["states_under"]


def states_under(lstm: nn.LSTM, words: Tensor, z: Tensor, first: tuple[Tensor, Tensor]) -> Tensor:
    """The last layer's states (K, B, T, H) over inputs [words; z], for words (B, T, E) and z (K, B, D).

    `first` holds h₀ and c₀, each (layers, K · B, H). Equal to `lstm` on the concatenated inputs, up to
    rounding, dropout between layers included. With D = 0 the inputs are the words alone.
    """
    width = words.shape[-1]
    states = words
    for layer, (hidden, cell) in enumerate(zip(*first, strict=True)):
        of_input, recurrent, *biases = lstm.all_weights[layer]
        bias = sum(biases, torch.zeros_like(biases[0]))
        if layer == 0:
            by_word = F.linear(words.transpose(0, 1), of_input[:, :width], bias)
            by_z = F.linear(z, of_input[:, width:])
            gates: Iterable[Tensor] = ((by_z + word).flatten(0, 1) for word in by_word)
        else:
            gates = F.linear(F.dropout(states, lstm.dropout, lstm.training), of_input, bias)
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
