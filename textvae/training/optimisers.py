"""The optimisers a configuration can name."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from textvae.fields import NonNegative, Positive, Probability

__all__ = ["OPTIMISERS", "adam", "sgd"]


def sgd(parameters: Iterable[Parameter], *, lr: Positive = 1.0, momentum: Probability = 0.0) -> Optimizer:
    """Stochastic gradient descent; m ← momentum · m + g with momentum, from m = 0."""
    optimiser = torch.optim.SGD(parameters, lr=lr, momentum=momentum, fused=True)
    if momentum:  # else torch begins m at the first gradient, and fails where a frozen part gets its own later
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def adam(parameters: Iterable[Parameter], *, lr: Positive = 1e-3, weight_decay: NonNegative = 0.0) -> Optimizer:
    """Adam, with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)


OPTIMISERS: Mapping[str, Callable[..., Optimizer]] = {"adam": adam, "sgd": sgd}
