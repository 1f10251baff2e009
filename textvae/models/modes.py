"""Modes that a module is put in for a while, each restored on exit.

inert     evaluation mode, without gradients: to measure
silent    evaluation mode, with gradients of everything: to differentiate without dropout
fixed     parameters frozen, with gradients of everything else: to optimise z or q
exact     products in full float32, whatever training uses; inert and fixed are exact, too
flags_kept  torch's process-wide flags for CUDA's libraries, restored on exit
seeded    torch's own generators at a seed: to build or train something beside
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import nn

__all__ = ["APART", "exact", "fixed", "flags_kept", "inert", "seeded", "silent"]

APART = 2**40
"""Added to a seed, gives noise other numbers than dropout, whose generator may start at the same seed."""


@contextmanager
def inert(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; restores every module's own mode on exit."""
    with _set("training", False, model.modules()), torch.no_grad(), exact():
        yield


@contextmanager
def silent(model: nn.Module) -> Iterator[None]:
    """Evaluation mode that keeps gradients; restores every module's own mode on exit."""
    with _set("training", False, model.modules()), _backward_through_rnns(model):
        yield


@contextmanager
def fixed(model: nn.Module) -> Iterator[None]:
    """Freeze the model's parameters but keep autograd on, for gradients with respect to z.

    `requires_grad` is restored on exit.
    """
    frozen = _set("requires_grad", False, model.parameters())
    with frozen, torch.enable_grad(), _backward_through_rnns(model), exact():
        yield


@contextmanager
def exact() -> Iterator[None]:
    """Switch off TF32, which CUDA libraries may use for float32 products, and by default do for LSTMs.

    Kernels are those that repeat themselves to the bit, where the libraries have them.
    """
    with flags_kept():
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        yield


@contextmanager
def flags_kept() -> Iterator[None]:
    """Restore torch's flags of precision and of repeatable kernels on exit."""
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.deterministic
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.deterministic = before[1:]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Start torch's generators, which initialisation and dropout draw from, at a seed; restores them on exit."""
    cards = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=cards):
        torch.manual_seed(seed)
        yield


@contextmanager
def _set(
    flag: Literal["training", "requires_grad"], value: bool, parts: Iterable[nn.Module | nn.Parameter]
) -> Iterator[None]:
    """Set a flag wherever it has the other value; on exit, set it back there."""
    changed = [part for part in parts if getattr(part, flag) is not value]
    for part in changed:
        setattr(part, flag, value)
    try:
        yield
    finally:
        for part in changed:
            setattr(part, flag, not value)


@contextmanager
def _backward_through_rnns(model: nn.Module) -> Iterator[None]:
    """Let gradients pass through RNNs in evaluation mode, which cuDNN refuses.

    Without dropout of its own an RNN computes the same in training mode, and is put in that; for one with dropout,
    cuDNN is disabled, since torch's own RNN, much slower, has the backward pass.
    """
    rnns = [part for part in model.modules() if isinstance(part, nn.RNNBase)]
    with ExitStack() as entered:
        if any(rnn.dropout for rnn in rnns):
            entered.enter_context(torch.backends.cudnn.flags(enabled=False))
        entered.enter_context(_set("training", True, [rnn for rnn in rnns if not rnn.dropout]))
        yield
