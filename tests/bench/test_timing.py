"""Contenders take turns, and a rate is work over time."""

import pytest
import torch

from textvae.bench import timing
from textvae.bench.timing import best, interleaved

HERE = torch.device("cpu")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only work moves."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_everyone_works_once_uncounted_and_then_in_turn(clock: list[float]) -> None:
    done: list[str] = []

    def contender(name: str, cost: float, units: int) -> timing.Work:
        def work() -> int:
            done.append(name)
            clock[0] += cost
            return units

        return work

    rates = interleaved({"a": contender("a", 0.5, 10), "b": contender("b", 2.0, 3)}, 2, 1.0, HERE)
    assert done == ["a", "b", *["a", "a", "b"] * 2]
    assert rates == {"a": [20.0, 20.0], "b": [1.5, 1.5]}


def test_the_best_round_counts(clock: list[float]) -> None:
    costs = iter([9.0, 4.0, 1.0, 2.0])

    def work() -> int:
        clock[0] += next(costs)
        return 8

    rates = interleaved({"a": work}, 3, 0.1, HERE)
    assert rates == {"a": [2.0, 8.0, 4.0]}
    assert best(rates) == {"a": 8.0}
