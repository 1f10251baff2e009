"""The bench of several processes, alone."""

from textvae.bench.scaling import scaling
from textvae.training.processes import Processes


def test_every_contender_is_timed_and_counted() -> None:
    found = scaling(Processes(), batch_size=2, rounds=1)
    assert (found["batch"], found["tokens"]) == (2, 44)
    assert found["parameters"] > 8_000_000
    for name in ("whole", "share", "together", "average", "word"):
        assert 0 <= found[name]["wall_seconds"] < 60
    assert found["whole"]["wall_seconds"] > found["word"]["wall_seconds"]
