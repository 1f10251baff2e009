"""Recorded steps compute what the steps themselves compute, to the bit; a stand-in takes the card's place."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from recipes import NAMES, rows, settings_of, trained_by
from torch import Generator, Tensor

from textvae import builder
from textvae.data.batches import BatchStream
from textvae.data.resident import gathering_on
from textvae.errors import ConfigError
from textvae.tasks.train import train
from textvae.training.graphs import Card, Record, Recorded, on_a_stream, record, refuse
from textvae.training.metrics import Totals
from textvae.training.updates import Joint, Step, Update

STEPS, DECAY = 26, 14
LINEAR = {"kind": "linear", "steps": 18}
SETTINGS: dict[str, dict[str, Any]] = {
    "everything moves": {
        "objective": {
            "weight": LINEAR,
            "word_dropout": {**LINEAR, "end": 0.5},
            "teacher_forcing": {**LINEAR, "start": 1.0, "end": 0.4},
        },
        "training": {"optimiser": {"kind": "sgd", "momentum": 0.5}},
    },
    "aggressive": {"training": {"update": {"kind": "aggressive", "batches": 4, "window": 2}}},
    "capacity": {"objective": {"penalty": {"kind": "capacity", "target_rate": 2.0, "steps": 8}}},
    "thaws": {"training": {"update": {"kind": "joint", "frozen": ["decoder"], "frozen_until": 9}}},
}


class StandIn:
    """A card's recording: the same work once more, its results written where the first ones lie.

    As in a capture, the work is not done while it is recorded: what it changed is put back.
    """

    def __init__(self, update: Joint) -> None:
        self.update = update
        self.replays = 0

    def __call__(self, work: Callable[[], Step], generator: Generator) -> tuple[Callable[[], None], Step]:
        held = [(part, part.held) for part in self.update.objective.modules() if hasattr(part, "held")]
        kept = [(tensor, tensor.clone()) for tensor in self._changed()]
        random = generator.get_state(), torch.get_rng_state()
        done = work()
        generator.set_state(random[0])
        torch.set_rng_state(random[1])
        with torch.no_grad():
            for tensor, before in kept:
                tensor.copy_(before)

        def replay() -> None:
            self.replays += 1
            for part, place in held:
                part.held = place
            again = work()
            for part, _ in held:
                part.held = None
            with torch.no_grad():
                for place, value in zip(results(done), results(again), strict=True):
                    if place.numel() > 1 and 0 in place.stride():  # one constant for every sentence
                        assert torch.equal(place, value)
                    else:
                        place.copy_(value)

        return replay, done

    def _changed(self) -> list[Tensor]:
        objective, state = self.update.objective, self.update.optimiser.state
        of_optimiser = [value for each in state.values() for value in each.values() if isinstance(value, Tensor)]
        return [*objective.parameters(), *objective.buffers(), *of_optimiser]


def results(done: Step) -> list[Tensor]:
    loss, terms = done.loss, done.loss.terms
    found = [
        *(loss.value, loss.penalty, loss.auxiliary, loss.weight, loss.distortion_weight),
        *(terms.distortion, terms.rate, terms.rate_per_dimension),
        *(done.sums, done.finite),
    ]
    return [value.detach() for value in found if isinstance(value, Tensor)]


class Counted:
    """A card whose replays are counted."""

    def __init__(self, card: Record) -> None:
        self.card = card
        self.replays = 0

    def __call__(self, work: Callable[[], Step], generator: Generator) -> tuple[Callable[[], None], Step]:
        replay, done = self.card(work, generator)

        def counting() -> None:
            self.replays += 1
            replay()

        return counting, done


def trained(
    name: str, make: Callable[[Joint], Record] | None, device: str = "cpu"
) -> tuple[list[Tensor], Tensor, int]:
    """Totals of every step, the parameters after the last, and how many steps were replayed by a card, if any."""
    config = settings_of(name, SETTINGS)
    stream = BatchStream(rows(), 8, 0, gathering=gathering_on(torch.device(device)))
    objective, update = trained_by(config, stream, device)
    assert isinstance(update, Joint)
    card = Counted(make(update)) if make else None
    if card:
        update.move = Recorded(update, card)
    generator = torch.Generator(device).manual_seed(0)
    torch.manual_seed(1)
    totals = []
    for step in range(STEPS):
        done = update(stream, step, generator)
        objective.observe(done.loss.terms)
        weight = torch.as_tensor(done.loss.weight, dtype=torch.float32)
        totals.append(torch.cat([Totals.of(done).sums.cpu(), weight.cpu()[None]]))
        if step == DECAY:
            update.scale_learning_rate(0.5)
    parameters = torch.cat([p.detach().flatten().cpu() for p in objective.parameters()])
    return totals, parameters, card.replays if card else 0


@pytest.mark.parametrize("name", sorted({*SETTINGS, *NAMES}))
def test_a_recorded_step_is_the_step_itself(name: str) -> None:
    (plain, weights, _), (replayed, others, replays) = trained(name, None), trained(name, StandIn)
    for one, other in zip(plain, replayed, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(weights, others)
    assert replays > STEPS // 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", sorted({*SETTINGS, *NAMES}))
def test_a_card_replays_the_step_itself(name: str) -> None:
    builder.device("cuda")  # asks the libraries for kernels that repeat themselves
    with on_a_stream(torch.device("cuda")):
        (plain, weights, _), (replayed, others, replays) = (
            trained(name, make, "cuda") for make in (None, lambda update: Card())
        )
    for one, other in zip(plain, replayed, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6, equal_nan=True)
    torch.testing.assert_close(others, weights, rtol=1e-4, atol=1e-6)
    assert replays > STEPS // 4


def test_another_learning_rate_is_another_recording() -> None:
    stream = BatchStream(rows(), 8, 0)
    _, update = trained_by(settings_of("vanilla"), stream)
    assert isinstance(update, Joint)
    recorded, batch = Recorded(update, StandIn(update)), next(stream)
    for factor, recordings in ((1.0, 1), (0.5, 2), (1.0, 2)):
        update.scale_learning_rate(factor)
        for step in range(3):
            recorded(batch, step, torch.Generator().manual_seed(0), ())
        assert len(recorded.recordings) == recordings


def test_graphs_are_for_cuda_alone(tmp_path: Any) -> None:
    refuse(True, torch.device("cuda"))
    refuse(False, torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"--training.graphs: graphs need a CUDA device, not cpu; choose false"):
        train([], {"training.graphs": True}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_rule_of_another_make_is_not_recorded() -> None:
    class Other(Update):
        def __call__(self, stream: Any, step: int, generator: Generator) -> Step:
            raise NotImplementedError

    cuda = torch.device("cuda")
    with pytest.raises(ConfigError, match=r"training\.graphs: Other does not extend Joint; choose false"):
        record(Other(), True, cuda)
    record(Other(), None, cuda)


def test_without_a_setting_only_a_card_records() -> None:
    _, update = trained_by(settings_of("vanilla"), BatchStream(rows(), 8, 0))
    assert isinstance(update, Joint)
    move = update.move
    record(update, None, torch.device("cpu"))
    record(update, False, torch.device("cuda"))
    assert update.move == move
    refuse(None, torch.device("cpu"))
