"""Waiting for another process, but not for ever."""

import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["PATIENCE", "ended", "wait_until"]

PATIENCE = 900
"""Seconds: a busy machine is no failure."""


class Polled(Protocol):
    """Something under way."""

    def poll(self) -> int | None:
        """Its exit code; None while it waits or runs."""


def wait_until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, f"waited for {PATIENCE} s"
        time.sleep(0.02)


def ended(work: Polled) -> int:
    """The exit code of something that ends."""
    end = time.monotonic() + PATIENCE
    while (code := work.poll()) is None:
        assert time.monotonic() < end, f"still under way after {PATIENCE} s"
        time.sleep(0.02)
    return code
