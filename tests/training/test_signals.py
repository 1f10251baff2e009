"""A first signal asks, a second has its usual effect, and afterwards signals are what they were."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from textvae.training.signals import stopping

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that reached the handlers from before."""
    seen: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: seen.append(number)) for number in NUMBERS}
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_second_signal_has_its_usual_effect(number: int, received: list[int]) -> None:
    with stopping() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.is_set()
        assert received == []
        os.kill(os.getpid(), number)
        assert received == [number]


@pytest.mark.usefixtures("received")
def test_a_second_ctrl_c_is_a_keyboard_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with stopping():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("asked", [(), (signal.SIGINT,), NUMBERS])
@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_signals_are_what_they_were(asked: tuple[int, ...], fails: bool, received: list[int]) -> None:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    try:
        with stopping():
            assert all(signal.getsignal(number) is not handler for number, handler in before.items())
            for number in asked:
                os.kill(os.getpid(), number)
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert {number: signal.getsignal(number) for number in NUMBERS} == before
    assert received == []


def test_another_thread_leaves_signals_alone(received: list[int]) -> None:
    before = signal.getsignal(signal.SIGINT)
    found: list[object] = []

    def work() -> None:
        with stopping() as stop:
            found.extend((stop.is_set(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False, before]
