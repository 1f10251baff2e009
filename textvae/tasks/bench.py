"""`textvae bench`: the machine's limits, and how much of them training and evaluation reach."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from textvae import builder
from textvae.bench.bench import bench
from textvae.bench.cell import REFERENCE, Cell
from textvae.bench.machine import describe
from textvae.bench.trace import require_room, write_trace
from textvae.console.output import remark
from textvae.errors import ConfigError, TextvaeError
from textvae.files import write_atomically
from textvae.training.precision import refuse

__all__ = ["run_bench", "table_rows"]


def run_bench(
    rounds: int,
    seconds: float,
    threads: int | None,
    full: bool,
    cell: Cell = REFERENCE,
    trace: Path | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Run the benchmark and return its figures; if `trace` is given, also write a trace there.

    Figures are written to `out` cell by cell; cells that it already holds are not measured again.
    """
    for path in (trace, out):
        if path is not None:
            require_room(path)

    def keep(found: dict[str, Any]) -> None:
        if out is not None:
            write_atomically(out, f"{json.dumps(found, indent=1)}\n")

    if threads:
        torch.set_num_threads(threads)
    cell = replace(cell, device=str(builder.device(cell.device)))
    try:
        refuse(cell.precision, torch.device(cell.device))
    except ValueError as error:
        raise ConfigError(f"--precision: {error}") from None
    machine = describe()
    found = bench(rounds, seconds, machine, full, cell, keep, _known(out, machine))
    if trace is not None:
        write_trace(trace, cell)
        remark(f"{trace}: written; open it with ui.perfetto.dev or TensorBoard's profiler")
    return found


def _known(out: Path | None, machine: Mapping[str, Any]) -> dict[str, Any]:
    """The finished cells of an interrupted benchmark, by name; failed ones are measured again.

    Raises
    ------
    TextvaeError
        If the file holds no benchmark, or one of another machine, number of threads or versions.
    """
    if out is None or not out.exists():
        return {}
    try:
        found = json.loads(out.read_text("utf-8"))
        cells = [{key: value for key, value in found.items() if key not in ("machine", "cells")}]
        other = [name for name, value in machine.items() if found["machine"].get(name) != value]
        known = {cell["name"]: cell for cell in [*cells, *found.get("cells", [])] if "error" not in cell}
    except (ValueError, AttributeError, KeyError, TypeError):
        raise TextvaeError(f"{out}: holds no benchmark results; name another file, or delete it") from None
    if other:
        was = ", ".join(f"{name} was {found['machine'].get(name)}, is {machine[name]}" for name in other)
        raise TextvaeError(f"{out}: holds results of another setup: {was}; name another file")
    return known


def table_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Rows (name, figure) of one cell."""
    training, evaluation, data = found["training"], found["evaluation"], found["data"]
    yield "matrix product, torch.mm", f"{found['ceiling_gflops']:,.0f} GFLOP/s"
    yield "    the fastest known here", f"{found['fastest_product_gflops']:,.0f} GFLOP/s"
    yield "training", f"{training['tokens_per_second']:,.0f} tokens/s"
    yield "    of torch's product", f"{training['fraction_of_ceiling']:.0%}"
    yield "    of the fastest product", f"{training['fraction_of_fastest_product']:.0%}"
    for name, plain in found["reference"].items():
        times = training["tokens_per_second"] / plain["tokens_per_second"]
        yield f"    {name} reference", f"{plain['tokens_per_second']:,.0f} tokens/s, {times:.1f} times slower"
    for part, share in training["share_of_time"].items():
        yield f"    time in {part}", f"{share:.1%}"
    yield "evaluation, tokens × samples", f"{evaluation['tokens_per_second']:,.0f} /s"
    yield "    of torch's product", f"{evaluation['fraction_of_ceiling']:.0%}"
    yield "    of the fastest product", f"{evaluation['fraction_of_fastest_product']:.0%}"
    yield "    cost of a sample, in decoder passes", f"{evaluation['cost_of_a_sample']:.2f}"
    yield "    Penn Treebank's test, K = 100", f"{evaluation['ptb_test_minutes_at_100_samples']:.1f} minutes"
    yield "data alone", f"{data['tokens_per_second']:,.0f} tokens/s, {data['ratio_to_training']:,.0f} × training"
    yield "optimiser alone", f"{found['optimiser']['steps_per_second']:,.0f} steps/s"
    yield (
        "peak memory: baseline, training, evaluation",
        ", ".join(
            f"{bytes_ / 2**20:,.0f} MiB"
            for bytes_ in (
                found["memory_base_bytes"],
                training["memory_peak_bytes"],
                evaluation["memory_peak_bytes"],
            )
        ),
    )
