"""The cost of a step in one process and in several, and of the communication between them.

    torchrun --nproc-per-node 2 -m textvae.bench.scaling

prints one JSON object. Contenders take turns, and the best round of each counts, in seconds of wall time and
of this process's CPU time: other load on the machine affects the first, but not the second.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from textvae import builder
from textvae.bench.cell import MEAN, Cell, Workload, sentences_of
from textvae.data.batches import Batch, collate
from textvae.training.processes import Processes

__all__ = ["scaling"]

ROUNDS = 20
BATCHES = (32, 128)


def scaling(processes: Processes, batch_size: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """Best seconds of each contender at the reference sizes, on sentences of Penn Treebank's mean length.

    whole       a step of one process on the whole batch
    share       a step of one process on its share of the batch
    together    a step of all processes on the whole batch
    average     the exchange of all gradients
    word        the exchange of one number
    """
    load = Workload(Cell(batch_size=batch_size))
    batch = whole_batch(batch_size, load.cell.vocabulary)
    share = batch.part(slice(0, batch_size // processes.size))
    parameters = list(load.objective.parameters())
    contenders: dict[str, Callable[[], object]] = {
        "whole": lambda: step(load, Processes(), batch),
        "share": lambda: step(load, Processes(), share),
        "together": lambda: step(load, processes, batch),
        "average": lambda: processes.average(parameters),
        "word": lambda: processes.any(False),
    }
    best = {name: (float("inf"), float("inf")) for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            if processes.is_main or name not in ("whole", "share"):
                best[name] = tuple(map(min, best[name], timed(work)))  # type: ignore[assignment]
            processes.wait()
    return {
        "batch": batch_size,
        "tokens": batch.tokens,
        "parameters": sum(p.numel() for p in parameters),
        **{name: {"wall_seconds": wall, "processor_seconds": own} for name, (wall, own) in best.items()},
    }


def whole_batch(sentences: int, vocabulary: int) -> Batch:
    """A batch of sentences that all have the mean length."""
    made = sentences_of(np.full(sentences, round(MEAN)), vocabulary)
    return collate([made[k] for k in range(sentences)])


def step(load: Workload, processes: Processes, batch: Batch) -> None:
    """One optimiser step."""
    load.update.processes = processes
    with processes.splitting(load.objective):
        load.update(iter([batch]), 0, load.generator)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall time and of this process's CPU time."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - own


def main() -> None:
    processes = Processes.join(builder.device("cpu"))
    torch.set_num_threads(1)
    found = [scaling(processes, size) for size in BATCHES]
    if processes.is_main:
        print(json.dumps({"processes": processes.size, "cells": found}, indent=1))


if __name__ == "__main__":
    main()
