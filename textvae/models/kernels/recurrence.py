"""The recurrence of an LSTM, position by position, forward and backward.

    [i, f, g, o](n, t) = [σ, σ, tanh, σ](x(n, t) + U h(n, t − 1))
    c(n, t) = f c(n, t − 1) + i g          h(n, t) = o tanh c(n, t)

T products wait for each other, each too small to fill a card, so the time goes into starting kernels and
waiting for them. Forward, one kernel per position computes the product and all the rest. Backward, the sum in

    ∂h(n, t − 1) = Σ over the gates a of ∂a(n, t) U_a

is four times as long as the forward product's. The four products fill the card better at once than the sum does;
torch computes them, and the kernel of the position before adds them.

Products are of bfloat16, or of float32 rounded to TF32, by the type of the tensors; sums are kept in float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from textvae.models.kernels import DEPTH, matmul, on_card

__all__ = ["backward", "forward"]


def forward(gates: Tensor, recurrent: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States and cells (N, T + 1, H), with the first ones, and the activations i, f, g, o (N, T, 4H).

    From x (N, T, 4H), U (4H, H), and the first state and cell (N, H). Cells are float32; all else has the type of x
    and U, float32 or bfloat16.
    """
    gates, recurrent = gates.contiguous(), recurrent.contiguous()
    (rows, length, _), width = gates.shape, hidden.shape[1]
    states = gates.new_empty(rows, length + 1, width)
    cells = cell.new_empty(rows, length + 1, width)
    activations = torch.empty_like(gates)
    states[:, 0], cells[:, 0] = hidden, cell
    tile = (64 if rows * width >= 64 * 1024 else 16, 16)
    with on_card(gates):
        for t in range(length):
            _lstm_forward[_programs(rows, width, tile)](
                gates, recurrent, states, cells, activations, t, rows, length, width, *tile, DEPTH, num_stages=4
            )
    return states, cells, activations


def backward(
    by_states: Tensor, by_cell: Tensor | None, recurrent: Tensor, cells: Tensor, activations: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of x (N, T, 4H), in its type, and of the first cell (N, H), in float32.

    From those of the states (N, T, H) and of the last cell (N, H), and from what `forward` returned.
    """
    by_states = by_states.contiguous()
    rows, length, width = by_states.shape
    by_gates = torch.empty_like(activations)
    by_cells = cells.new_zeros(rows, width)
    if by_cell is not None:
        by_cells.copy_(by_cell)
    of_gates = _by_gate(recurrent)
    shares = by_cells.new_zeros(4, rows, width)
    tile = (4, min(128, width & -width))
    with on_card(by_states):
        for t in reversed(range(length)):
            if t < length - 1:
                shares = matmul(by_gates[:, t + 1].view(rows, 4, width).transpose(0, 1), of_gates)
            _lstm_backward[_programs(rows, width, tile)](
                by_states, shares, cells, activations, by_gates, by_cells, t, rows, length, width, *tile
            )
    return by_gates, by_cells


def _by_gate(recurrent: Tensor) -> Tensor:
    """U of each gate, (4, H, H), laid out as products in TF32 read it fastest."""
    width = recurrent.shape[1]
    return recurrent.view(4, width, width).transpose(1, 2).contiguous().transpose(1, 2)


def _programs(rows: int, width: int, tile: tuple[int, int]) -> tuple[int, int]:
    return width // tile[1], triton.cdiv(rows, tile[0])


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x):
    return 2 / (1 + tl.exp(-2 * x)) - 1


@triton.jit(do_not_specialize=["t", "N", "T"])
def _lstm_forward(
    gates, recurrent, states, cells, activations, t, N, T,
    H: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0) * UNITS
    units = first + tl.arange(0, UNITS)[None, :]
    rows = (tl.program_id(1) * ROWS + tl.arange(0, ROWS))[:, None].to(tl.int64)
    here = rows < N
    at, kept = (rows * T + t) * 4 * H + units, (rows * (T + 1) + t) * H
    i = tl.load(gates + at, here).to(tl.float32)
    f = tl.load(gates + at + H, here).to(tl.float32)
    g = tl.load(gates + at + 2 * H, here).to(tl.float32)
    o = tl.load(gates + at + 3 * H, here).to(tl.float32)
    c = tl.load(cells + kept + units, here)
    # One product for all four gates: two bits of its column say which gate, the others which unit.
    column, depth = tl.arange(0, 4 * UNITS), tl.arange(0, DEPTH)
    weights = recurrent + ((column % 4) * H + first + column // 4)[None, :] * H + depth[:, None]
    before = states + kept + depth[None, :]
    total = tl.zeros((ROWS, 4 * UNITS), tl.float32)
    for k in range(0, H, DEPTH):
        total = tl.dot(tl.load(before + k, here, 0), tl.load(weights + k), total)
    even, odd = tl.split(tl.reshape(total, (ROWS, UNITS, 2, 2)))
    of_i, of_g = tl.split(even)
    of_f, of_o = tl.split(odd)
    i, f, g, o = _sigmoid(i + of_i), _sigmoid(f + of_f), _tanh(g + of_g), _sigmoid(o + of_o)
    c = f * c + i * g
    kind = states.dtype.element_ty
    tl.store(states + kept + H + units, (o * _tanh(c)).to(kind), here)
    tl.store(cells + kept + H + units, c, here)
    tl.store(activations + at, i.to(kind), here)
    tl.store(activations + at + H, f.to(kind), here)
    tl.store(activations + at + 2 * H, g.to(kind), here)
    tl.store(activations + at + 3 * H, o.to(kind), here)


@triton.jit(do_not_specialize=["t", "N", "T"])
def _lstm_backward(
    by_states, shares, cells, activations, by_gates, by_cells, t, N, T,
    H: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    units = tl.program_id(0) * UNITS + tl.arange(0, UNITS)[None, :]
    rows = (tl.program_id(1) * ROWS + tl.arange(0, ROWS))[:, None].to(tl.int64)
    here = rows < N
    own, at, kept = rows * H + units, (rows * T + t) * 4 * H + units, (rows * (T + 1) + t) * H + units
    i = tl.load(activations + at, here).to(tl.float32)
    f = tl.load(activations + at + H, here).to(tl.float32)
    g = tl.load(activations + at + 2 * H, here).to(tl.float32)
    o = tl.load(activations + at + 3 * H, here).to(tl.float32)
    before, c = tl.load(cells + kept, here), tl.load(cells + kept + H, here)
    by_h = tl.load(by_states + (rows * T + t) * H + units, here).to(tl.float32)
    by_c = tl.load(by_cells + own, here)
    for a in tl.static_range(4):
        by_h += tl.load(shares + a * N.to(tl.int64) * H + own, here)
    bent = _tanh(c)
    by_c += by_h * o * (1 - bent * bent)
    kind = by_gates.dtype.element_ty
    tl.store(by_gates + at, (by_c * g * i * (1 - i)).to(kind), here)
    tl.store(by_gates + at + H, (by_c * before * f * (1 - f)).to(kind), here)
    tl.store(by_gates + at + 2 * H, (by_c * i * (1 - g * g)).to(kind), here)
    tl.store(by_gates + at + 3 * H, (by_h * bent * o * (1 - o)).to(kind), here)
    tl.store(by_cells + own, by_c * f, here)
