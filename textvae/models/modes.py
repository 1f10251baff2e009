"""Modes that a module is put in for a while, each restored on exit.

inert     evaluation mode, without gradients: to measure
silent    evaluation mode, with gradients of everything: to differentiate without dropout
fixed     parameters frozen, with gradients of everything else: to optimise z or q
exact     products in full float32, whatever training uses; inert and fixed are exact, too
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import nn

__all__ = ["exact", "fixed", "inert", "silent"]


@contextmanager
def inert(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; restores every module's own mode on exit."""
    with _off("training", model.modules()), torch.no_grad(), exact():
        yield


@contextmanager
def silent(model: nn.Module) -> Iterator[None]:
    """Evaluation mode that keeps gradients; restores every module's own mode on exit."""
    with _off("training", model.modules()), _backwards_in_evaluation():
        yield


@contextmanager
def fixed(model: nn.Module) -> Iterator[None]:
    """Freeze the model's parameters but keep autograd on, for gradients with respect to z.

    `requires_grad` is restored on exit.
    """
    with _off("requires_grad", model.parameters()), torch.enable_grad(), _backwards_in_evaluation(), exact():
        yield


@contextmanager
def exact() -> Iterator[None]:
    """Switch off TF32, which CUDA libraries may use for float32 products, and by default do for LSTMs."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextmanager
def _off(flag: Literal["training", "requires_grad"], parts: Iterable[nn.Module | nn.Parameter]) -> Iterator[None]:
    """Set a flag to False wherever it is True; on exit, set it to True there again."""
    on = [part for part in parts if getattr(part, flag)]
    for part in on:
        setattr(part, flag, False)
    try:
        yield
    finally:
        for part in on:
            setattr(part, flag, True)


def _backwards_in_evaluation() -> AbstractContextManager[None]:
    """Disable cuDNN: it has no backward pass through an RNN in evaluation mode; torch's own, slower, has."""
    return torch.backends.cudnn.flags(enabled=False)
