"""CUDA graphs: a gradient step is recorded once for each shape of batch, and replayed from then on.

Launching the kernels of a small model takes the host longer than running them takes the card; a graph launches
all of a step at once. A recording reads its inputs from fixed places: the ids of the batch and the values of
the schedules, which are copied there before every replay. Whatever else the host decides (the shape, the
learning rate, which parameters are trained, a schedule at 0 or 1) is part of a recording's key. Generators are
registered with the graph, so that a replay draws the random numbers that the step itself would draw.

Steps are not recorded while a penalty still changes by schedule, nor with several processes; the first step of
every shape runs as it is, so that the optimiser has its state and the libraries have chosen their kernels. Where
the settings say nothing (`training.graphs: null`), steps are recorded wherever they can be.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, nn

from textvae.data.batches import Batch
from textvae.errors import ConfigError
from textvae.objectives.weights import Schedule
from textvae.training.updates import Joint, Step, Update

__all__ = ["Card", "Record", "Recorded", "on_a_stream", "record", "refuse"]

Record = Callable[[Callable[[], Step], Generator], tuple[Callable[[], None], Step]]
"""Records some work: how to replay it, and its result, which every replay overwrites."""

INPUTS = ("inputs", "targets", "lengths")


def refuse(graphs: bool | None, device: torch.device) -> None:
    """Refuse graphs on a device that has none.

    Raises
    ------
    ValueError
        If the device is not a CUDA device.
    """
    if graphs and device.type != "cuda":
        raise ValueError(f"graphs need a CUDA device, not {device}; choose false")


def record(update: Update, graphs: bool | None, device: torch.device) -> None:
    """Let an update rule replay recordings of its gradient steps; with `graphs` None, if device and rule allow it.

    Raises
    ------
    ConfigError
        If `graphs` is true and the rule is not made of the gradient steps of `Joint`.
    """
    if graphs is False or device.type != "cuda":
        return
    if isinstance(update, Joint):
        update.move = Recorded(update, Card())
    elif graphs:
        raise ConfigError(f"training.graphs: {type(update).__name__} does not extend Joint; choose false")


@contextmanager
def on_a_stream(device: torch.device) -> Iterator[None]:
    """Run on a stream other than the default one, which cannot be recorded."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


class Card:
    """Records work as CUDA graphs that share their memory, which they may because no two run at once."""

    def __init__(self) -> None:
        gc.collect()  # an earlier stage's recordings, which keep their memory until then
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], Step], generator: Generator) -> tuple[Callable[[], None], Step]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        torch.cuda.synchronize()
        # Not `torch.cuda.graph`, which empties the allocator's cache for every recording.
        with _uncollected():
            graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
            try:
                done = work()
            except BaseException:
                with suppress(RuntimeError):  # what went wrong is told by the first error
                    graph.capture_end()
                raise
            graph.capture_end()
        return graph.replay, done


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which may destroy another graph, and that ends a recording."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Recorded:
    """The gradient step of an update rule, recorded; each call overwrites the tensors that the last returned."""

    def __init__(self, update: Joint, record: Record) -> None:
        self.move = update.move
        self.update = update
        self.record = record
        self.parameters = list(update.objective.parameters())
        self.schedules = [part for part in update.objective.modules() if isinstance(part, Schedule)]
        self.places = [torch.zeros((), device=self.parameters[0].device) for _ in self.schedules]
        self.placed = [0.0] * len(self.places)
        self.recordings: dict[Any, tuple[Callable[[], None], Batch, Step] | None] = {}

    def __call__(self, batch: Batch, step: int, generator: Generator, still: Iterable[nn.Parameter]) -> Step:
        values = [schedule.at(step) for schedule in self.schedules]
        key = self._key(batch, still, values)
        changing = step < self.update.objective.penalty.settles_at
        if self.update.processes.size > 1 or changing or key not in self.recordings:
            self.recordings.setdefault(key, None)
            return self.move(batch, step, generator, still)
        for place, before, value in zip(self.places, self.placed, values, strict=True):
            if value != before:
                place.fill_(value)
        self.placed = values
        recording = self.recordings[key] or self._recording(batch, step, generator, still, values)
        self.recordings[key] = recording
        replay, own, done = recording
        for name in INPUTS:
            getattr(own, name).copy_(getattr(batch, name))
        replay()
        return replace(done, batch=batch)

    def _key(self, batch: Batch, still: Iterable[nn.Parameter], values: list[float]) -> tuple[Any, ...]:
        """All that the host decides in a step, apart from what is copied into the places."""
        shape = tuple(batch.targets.shape), batch.padded, batch.tokens
        rates = tuple(group["lr"] for group in self.update.optimiser.param_groups)
        trained = tuple(parameter.requires_grad for parameter in self.parameters)
        switches = tuple(value if value in (0, 1) else None for value in values)
        return shape, rates, trained, switches, id(still)

    def _recording(
        self, batch: Batch, step: int, generator: Generator, still: Iterable[nn.Parameter], values: list[float]
    ) -> tuple[Callable[[], None], Batch, Step]:
        for group in self.update.optimiser.param_groups:  # not before: a checkpoint brings its own
            if "capturable" in group:
                group["capturable"] = True
        own = replace(batch, **{name: getattr(batch, name).clone() for name in INPUTS})
        for schedule, place, value in zip(self.schedules, self.places, values, strict=True):
            schedule.held = None if value in (0, 1) else place
        try:
            replay, done = self.record(lambda: self.move(own, step, generator, still), generator)
        finally:
            for schedule in self.schedules:
                schedule.held = None
        return replay, own, done
