"""Contenders measured in turn, in one process, so that other load on the machine affects all alike.

The best round of each counts, and reported ratios are those of best rounds.
"""

import time
from collections.abc import Callable, Mapping

import torch

__all__ = ["Work", "best", "interleaved"]

Work = Callable[[], int]
"""Does some work and returns its amount: tokens, steps, or floating-point operations."""


def interleaved(
    contenders: Mapping[str, Work], rounds: int, seconds: float, device: torch.device
) -> dict[str, list[float]]:
    """Work per second of each contender in each round; its turn in a round lasts at least `seconds`.

    Each contender first runs once untimed, to allocate memory and choose kernels.
    """
    for work in contenders.values():
        work()
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            rates[name].append(_rate(work, seconds, device))
    return rates


def best(rates: Mapping[str, list[float]]) -> dict[str, float]:
    """The best round of each contender."""
    return {name: max(found) for name, found in rates.items()}


def _rate(work: Work, seconds: float, device: torch.device) -> float:
    """Work per second; the host runs ahead of the device, as in training, but waits for it, ever more rarely.

    Without any wait it would queue, in `seconds`, work that takes the device minutes.
    """
    _finish(device)
    began, done, ahead, elapsed = time.perf_counter(), 0, 1, 0.0
    while not done or elapsed < seconds:
        done += sum(work() for _ in range(ahead))
        _finish(device)
        elapsed = time.perf_counter() - began
        ahead = 1 if device.type == "cpu" else 2 * ahead
    return done / elapsed


def _finish(device: torch.device) -> None:
    """Wait until the device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
