"""An LSTM layer: torch's own, or on a GPU, where its products may be rounded, the kernels of `models.kernels`.

In float32, which is the default in training and the rule in evaluation, torch's LSTM runs, on a GPU by cuDNN. In
training with `tf32` or `bf16` the kernels compute the same function, measured 1.4 to 1.7 times as fast in TF32 and
2.3 times in bfloat16. In TF32 products are rounded as cuDNN's are; under autocast to bfloat16 states, gates and
products are of that type, cells and sums of float32.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from textvae.models import kernels

__all__ = ["LSTM", "without_autocast"]

State = tuple[Tensor, Tensor]


class LSTM(nn.LSTM):
    """One layer, from inputs (N, T, E) to states (N, T, H)."""

    def __init__(self, width: int, hidden_dim: int) -> None:
        super().__init__(width, hidden_dim, batch_first=True)

    def forward(self, inputs: Tensor, first: State | None = None) -> tuple[Tensor, State]:  # type: ignore[override]
        """States (N, T, H), and the last state and cell, each (1, N, H), from the first ones, zeros if None."""
        of_input, recurrent, *biases = self.all_weights[0]
        if not self._by_kernels(inputs, recurrent):
            found: tuple[Tensor, State] = without_autocast(super().forward, inputs, first)
            return found
        gates = F.linear(inputs, of_input, sum(biases, torch.zeros_like(biases[0])))
        hidden, cell = first or (inputs.new_zeros(1, len(inputs), self.hidden_size),) * 2
        states, cell = _Recurrence.apply(gates, recurrent, hidden[0], cell[0].float())  # type: ignore[no-untyped-call]
        return states, (states[:, -1][None], cell[None])

    def _by_kernels(self, inputs: Tensor, recurrent: Tensor) -> bool:
        return (
            kernels.serves(inputs)
            and torch.backends.cudnn.allow_tf32
            and recurrent.dtype == torch.float32
            and self.hidden_size % kernels.DEPTH == 0
        )


def without_autocast(rnn: Callable[..., Any], inputs: Any, hx: Any = None) -> Any:
    """What a forward pass of torch's RNNs returns, in float32 if autocast is on.

    Under autocast cuDNN's would run in float16, whatever type is asked for. `inputs` may be packed; `hx` is a
    first state, or the two of an LSTM, or None.
    """
    device = inputs.data.device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return rnn(inputs, hx)
    states = tuple(state.float() for state in hx) if isinstance(hx, tuple) else hx
    with torch.autocast(device, enabled=False):
        return rnn(inputs.float(), states.float() if isinstance(states, Tensor) else states)


class _Recurrence(torch.autograd.Function):
    """From gates (N, T, 4H), U (4H, H) and the first state and cell to the states (N, T, H) and the last cell."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, recurrent: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        from textvae.models.kernels import recurrence

        rounded = recurrent.to(gates.dtype)
        states, cells, activations = recurrence.forward(gates, rounded, hidden, cell)
        ctx.save_for_backward(rounded, states, cells, activations)
        ctx.set_materialize_grads(False)
        return states[:, 1:], cells[:, -1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_states: Tensor | None, by_cell: Tensor | None) -> tuple[Tensor | None, ...]:
        from textvae.models.kernels import recurrence

        recurrent, states, cells, activations = ctx.saved_tensors
        given = torch.zeros_like(states[:, 1:]) if by_states is None else by_states
        by_gates, by_first_cell = recurrence.backward(given, by_cell, recurrent, cells, activations)
        _, learns, starts, _ = ctx.needs_input_grad
        found, before = by_gates.flatten(0, 1), states[:, :-1].flatten(0, 1)
        by_recurrent = kernels.matmul(found.T, before) if learns else None
        by_hidden = kernels.matmul(by_gates[:, 0], recurrent) if starts else None
        return by_gates, by_recurrent, by_hidden, by_first_cell
