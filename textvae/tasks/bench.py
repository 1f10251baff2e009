"""`textvae bench`: what the machine allows, and what training and evaluation make of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from textvae.bench.bench import bench
from textvae.bench.trace import write_trace
from textvae.console import remark

__all__ = ["run_bench", "table_rows"]


def run_bench(rounds: int, seconds: float, threads: int | None, full: bool, trace: Path | None) -> dict[str, Any]:
    """The bench's figures; a trace is written besides where a file for it is named."""
    found = bench(rounds, seconds, threads, full)
    if trace is not None:
        write_trace(trace)
        remark(f"{trace}: written; ui.perfetto.dev opens it, and so does TensorBoard's profiler")
    return found


def table_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """One cell as rows of a name and a figure."""
    training, evaluation, data = found["training"], found["evaluation"], found["data"]
    yield "matrix product", f"{found['ceiling_gflops']:,.0f} GFLOP/s"
    yield "training", f"{training['tokens_per_second']:,.0f} tokens/s"
    yield "    of the product's rate", f"{training['fraction_of_ceiling']:.0%}"
    for name, plain in found["reference"].items():
        times = training["tokens_per_second"] / plain["tokens_per_second"]
        yield f"    {name} reference", f"{plain['tokens_per_second']:,.0f} tokens/s, {times:.1f} times slower"
    for part, share in training["share_of_time"].items():
        yield f"    time in {part}", f"{share:.1%}"
    yield "evaluation, tokens × samples", f"{evaluation['tokens_per_second']:,.0f} /s"
    yield "    of the product's rate", f"{evaluation['fraction_of_ceiling']:.0%}"
    yield "    a sample, in passes of the decoder", f"{evaluation['cost_of_a_sample']:.2f}"
    yield "    Penn Treebank's test, K = 100", f"{evaluation['ptb_test_minutes_at_100_samples']:.1f} minutes"
    yield "data alone", f"{data['tokens_per_second']:,.0f} tokens/s, {data['ratio_to_training']:,.0f} × training"
    yield "optimiser alone", f"{found['optimiser']['steps_per_second']:,.0f} steps/s"
    yield (
        "peak memory: nothing, training, evaluation",
        ", ".join(
            f"{bytes_ / 2**20:,.0f} MiB"
            for bytes_ in (
                found["memory_base_bytes"],
                training["memory_peak_bytes"],
                evaluation["memory_peak_bytes"],
            )
        ),
    )
