"""`textvae bench`: the speed of training and evaluation, relative to that of a plain matrix product.

Everything is measured in turn, in one process, over several rounds, and the best rounds are compared, so other
load on the machine affects all contenders alike. Two matrix products define the machine's limit: `ceiling`,
plain `torch.mm`, and the fastest one known for this machine. A trained token costs 6P floating-point
operations, P being the parameters that enter matrix products for every token (2P forward, 4P backward); one
that is only decoded costs twice the decoder's P.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import torch

from textvae.bench.cell import REFERENCE, Cell, Workload, grid
from textvae.bench.contenders import PLAIN, SAMPLES, STEP, WHOLE
from textvae.bench.memory import NOTHING, peak
from textvae.bench.timing import best, interleaved
from textvae.console.output import remark
from textvae.errors import TextvaeError
from textvae.training.graphs import on_a_stream

__all__ = ["bench", "compare"]

LARGEST_PLAIN = 50_000
"""The largest vocabulary that the plain reference is run with: it holds all logits at once."""
PENN_TEST = 82_430
"""Tokens of Penn Treebank's test split, EOS counted."""
WEIGHED = ("training", "evaluation", "data", "optimiser")
"""The contenders whose peak memory is measured, besides the reference."""
PER_STEP = ("clipping", "optimiser")
"""The parts measured in steps per second; the others in tokens per second."""


def bench(
    rounds: int = 10,
    seconds: float = 0.5,
    machine: Mapping[str, Any] = MappingProxyType({}),
    full: bool = False,
    chosen: Cell = REFERENCE,
    keep: Callable[[dict[str, Any]], None] = lambda found: None,
    known: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Measure one cell, and if `full`, also those of the grid on its device, which are stored under `cells`.

    `keep` receives the results so far after every cell; cells of `known`, by name, are not measured again and
    stay in the results, also those that this call would not measure. Each round lasts at least `seconds` for
    each contender.
    """
    cells = dict(known)

    def found() -> dict[str, Any]:
        others = [values for name, values in cells.items() if name != chosen.name]
        return {"machine": dict(machine), **cells[chosen.name], "cells": others}

    for cell in (chosen, *grid(chosen.device)) if full else (chosen,):
        if cell.name not in cells:
            measure = compare if cell == chosen else _attempt
            cells[cell.name] = measure(cell, rounds, seconds)
            keep(found())
    return found()


def _attempt(cell: Cell, rounds: int, seconds: float) -> dict[str, Any]:
    """A cell's results, or its error: a cell that runs out of memory does not end the benchmark."""
    try:
        return compare(cell, rounds, seconds)
    except (TextvaeError, RuntimeError, MemoryError) as error:
        remark(f"{cell.name}: skipped: {error}")
        return {"name": cell.name, "error": str(error)}


def compare(cell: Cell, rounds: int, seconds: float) -> dict[str, Any]:
    """Rates, ratios of the best rounds, and peak memory of every contender in one cell."""
    remark(cell.name)
    load = Workload(cell)
    plain = PLAIN if cell.vocabulary <= LARGEST_PLAIN else {}
    # On a GPU a part on its own is launched operation by operation and takes longer than the whole recorded step.
    parts = STEP if load.device.type == "cpu" else {name: STEP[name] for name in ("optimiser", "data")}
    contenders = {name: make(load) for name, make in {**WHOLE, **plain, **parts}.items()}
    with on_a_stream(load.device):
        rates = interleaved(contenders, rounds, seconds, load.device)
    remark(f"{cell.name}: peak memory, each in a process of its own")
    memory = {work: peak(cell, work, torch.get_num_threads()) for work in (NOTHING, *WEIGHED, *plain)}
    return {
        "name": cell.name,
        "cell": asdict(cell),
        "rounds": rounds,
        "ceiling_gflops": max(rates["ceiling"]) / 1e9,
        "fastest_product_gflops": fastest(best(rates)) / 1e9,
        "memory_base_bytes": memory[NOTHING],
        "training": {**_training(load, rates), "memory_peak_bytes": memory["training"]},
        "reference": {name: _reference(rates[name], memory[name]) for name in plain},
        "evaluation": {**_evaluation(cell, best(rates)), "memory_peak_bytes": memory["evaluation"]},
        "data": {
            "tokens_per_second": max(rates["data"]),
            "ratio_to_training": max(rates["data"]) / max(rates["training"]),
            "memory_peak_bytes": memory["data"],
        },
        "optimiser": {"steps_per_second": max(rates["optimiser"]), "memory_peak_bytes": memory["optimiser"]},
    }


def fastest(found: Mapping[str, float]) -> float:
    """The rate of the fastest matrix product: `torch.mm` may leave half of a CPU unused."""
    return max(found["ceiling"], found["product"])


def _training(load: Workload, rates: Mapping[str, list[float]]) -> dict[str, Any]:
    found, flops = best(rates), 6 * sum(load.cell.products.values())
    fractions = [speed * flops / top for speed, top in zip(rates["training"], rates["ceiling"], strict=True)]
    return {
        "flops_per_token": flops,
        "tokens_per_second": found["training"],
        "fraction_of_ceiling": found["training"] * flops / found["ceiling"],
        "fraction_of_fastest_product": found["training"] * flops / fastest(found),
        "median_fraction_of_ceiling": statistics.median(fractions),
        "ratio_to_reference": found["training"] / found["packed"] if "packed" in found else None,
        "ratio_to_padded_reference": found["training"] / found["padded"] if "padded" in found else None,
        "share_of_time": _shares(load, found) if load.device.type == "cpu" else {},
        "fraction_of_fastest_product_of_parts": {
            part: 6 * products * found[part] / fastest(found)
            for part, products in load.cell.products.items()
            if part in found
        },
    }


def _shares(load: Workload, found: Mapping[str, float]) -> dict[str, float]:
    """The share of a training step's time that each of its parts takes on its own, and the rest."""
    tokens = len(load.stream.sequences.ids) / load.stream.batches_per_epoch
    steps = found["training"] / tokens
    shares = {part: (steps if part in PER_STEP else found["training"]) / found[part] for part in STEP}
    return {**shares, "rest": 1 - sum(shares.values())}


def _reference(speeds: Sequence[float], memory: int) -> dict[str, Any]:
    return {"tokens_per_second": max(speeds), "memory_peak_bytes": memory}


def _evaluation(cell: Cell, found: Mapping[str, float]) -> dict[str, Any]:
    products = cell.products["recurrence"] + cell.products["output"]
    return {
        "samples": SAMPLES,
        "tokens_per_second": found["evaluation"],
        "fraction_of_ceiling": 2 * products * found["evaluation"] / found["ceiling"],
        "fraction_of_fastest_product": 2 * products * found["evaluation"] / fastest(found),
        "decoder_tokens_per_second": found["decoder"],
        "cost_of_a_sample": found["decoder"] / found["evaluation"],
        "ptb_test_minutes_at_100_samples": 100 * PENN_TEST / found["evaluation"] / 60,
    }
