"""What the bench counts, and that its ratios are those of what it measured."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command_line import refused, worked
from torch import nn

from textvae.bench import bench as room
from textvae.bench.bench import compare
from textvae.bench.cell import REFERENCE, Cell, Workload, grid, penn_lengths
from textvae.bench.contenders import STEP, WHOLE, middling
from textvae.bench.machine import describe
from textvae.bench.memory import NOTHING, peak
from textvae.bench.trace import write_trace
from textvae.errors import ConfigError, TextvaeError
from textvae.tasks import bench as task
from textvae.tasks.bench import run_bench, table_rows

SMALL = Cell(embedding_dim=8, hidden_dim=8, latent_dim=4, vocabulary=60, batch_size=4)


def test_products_are_the_matrices_that_every_token_meets() -> None:
    model = Workload(SMALL).model
    lstms = {name: m for name, m in model.named_modules() if isinstance(m, nn.LSTM)}
    counted = {name: sum(p.numel() for p in m.parameters() if p.dim() > 1) for name, m in lstms.items()}
    assert SMALL.products == {
        "encoder": counted["posterior.encoder.forwards.0"],
        "recurrence": counted["decoder.lstm.0"],
        "output": model.decoder.output.weight.numel(),
    }
    assert 6 * sum(REFERENCE.products.values()) == 21_848_064


def test_sentences_are_as_long_as_penn_treebanks() -> None:
    lengths = penn_lengths(100_000)
    assert lengths.mean() == pytest.approx(22.1, rel=0.01)
    assert lengths.std() == pytest.approx(10.1, rel=0.02)
    chosen = middling(60)
    assert np.ptp(chosen.lengths) <= 1
    assert abs(chosen.lengths.mean() - np.median(lengths)) <= 1


def test_the_full_bench_has_every_cell_once() -> None:
    cells = list(grid("cpu"))
    assert len(set(cells)) == len(cells) == 2 * 3 * 2
    assert REFERENCE in cells
    assert {cell.precision for cell in grid("cuda")} == {"float32", "tf32", "bf16"}


def test_ratios_are_of_best_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "peak", lambda cell, work, threads: 7)
    seen = {}
    measured = room.interleaved

    def watched(*arguments: object) -> dict[str, list[float]]:
        seen.update(measured(*arguments))  # type: ignore[arg-type]
        return seen

    monkeypatch.setattr(room, "interleaved", watched)
    found = compare(SMALL, 2, 0.0)
    top = {name: max(rates) for name, rates in seen.items()}
    training, evaluation = found["training"], found["evaluation"]
    flops = 6 * sum(SMALL.products.values())
    assert training["fraction_of_ceiling"] == pytest.approx(top["training"] * flops / top["ceiling"])
    assert training["ratio_to_reference"] == pytest.approx(top["training"] / top["packed"])
    assert sum(training["share_of_time"].values()) == pytest.approx(1)
    assert training["share_of_time"].keys() == {*STEP, "rest"}
    assert evaluation["cost_of_a_sample"] == pytest.approx(top["decoder"] / evaluation["tokens_per_second"])
    assert {found[part]["memory_peak_bytes"] for part in ("training", "evaluation", "data", "optimiser")} == {7}
    assert all(isinstance(row, tuple) for row in table_rows(json.loads(json.dumps(found))))


RATES = {
    "ceiling": [2e9, 4e9, 2.5e9],
    "product": [8e9, 7e9, 6e9],
    "training": [1e5, 5e4, 2.5e4],
    "packed": [4e4, 5e4, 1e4],
    "padded": [2e4, 1e4, 2.5e4],
    "decoder": [1e6, 3e6, 2e6],
    "evaluation": [2e6, 1e6, 5e5],
    "encoder": [4e5, 2e5, 1e5],
    "recurrence": [1e5, 5e5, 2e5],
    "output": [1e6, 8e5, 9e5],
    "clipping": [1e4, 9e3, 8e3],
    "optimiser": [4e3, 5e3, 2e3],
    "data": [1e7, 2e7, 1e6],
}
"""Work per second in three rounds, all invented; `SMALL` has 512, 640 and 480 parameters in its products."""


def test_every_ratio_is_the_one_that_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    bytes_of = {work: 2**20 * (place + 1) for place, work in enumerate((NOTHING, *RATES))}
    monkeypatch.setattr(room, "peak", lambda cell, work, threads: bytes_of[work])
    monkeypatch.setattr(room, "interleaved", lambda contenders, *_: {name: RATES[name] for name in contenders})
    found = json.loads(json.dumps(compare(SMALL, 3, 0.0)))
    assert (found["rounds"], found["ceiling_gflops"], found["fastest_product_gflops"]) == (3, 4, 8)
    step = penn_lengths(4_000).sum() / 1_000
    """Tokens: 4,000 sentences are a thousand batches of 4."""
    steps = 1e5 / step
    shares = {
        "encoder": 1 / 4,
        "recurrence": 1 / 5,
        "output": 1 / 10,
        "clipping": steps / 1e4,
        "optimiser": steps / 5e3,
        "data": 1 / 200,
    }
    training = dict(found["training"])
    assert training.pop("share_of_time") == pytest.approx({**shares, "rest": 1 - sum(shares.values())})
    assert training.pop("fraction_of_fastest_product_of_parts") == pytest.approx(
        {"encoder": 0.1536, "recurrence": 0.24, "output": 0.36}
    )
    assert training == pytest.approx(
        {
            "flops_per_token": 9792,
            "tokens_per_second": 1e5,
            "fraction_of_ceiling": 0.2448,
            "fraction_of_fastest_product": 0.1224,
            "median_fraction_of_ceiling": 0.1224,
            "ratio_to_reference": 2,
            "ratio_to_padded_reference": 4,
            "memory_peak_bytes": bytes_of["training"],
        }
    )
    assert found["evaluation"] == pytest.approx(
        {
            "samples": 16,
            "tokens_per_second": 2e6,
            "fraction_of_ceiling": 1.12,
            "fraction_of_fastest_product": 0.56,
            "decoder_tokens_per_second": 3e6,
            "cost_of_a_sample": 1.5,
            "ptb_test_minutes_at_100_samples": 0.0686917,
            "memory_peak_bytes": bytes_of["evaluation"],
        }
    )
    assert found["data"] == {
        "tokens_per_second": 2e7,
        "ratio_to_training": 200,
        "memory_peak_bytes": bytes_of["data"],
    }
    assert found["optimiser"] == {"steps_per_second": 5e3, "memory_peak_bytes": bytes_of["optimiser"]}
    assert found["memory_base_bytes"] == bytes_of[NOTHING]
    assert found["reference"] == {
        "packed": {"tokens_per_second": 5e4, "memory_peak_bytes": bytes_of["packed"]},
        "padded": {"tokens_per_second": 2.5e4, "memory_peak_bytes": bytes_of["padded"]},
    }
    assert [(name.strip(), figure) for name, figure in table_rows(found)] == [
        ("matrix product, torch.mm", "4 GFLOP/s"),
        ("the fastest known here", "8 GFLOP/s"),
        ("training", "100,000 tokens/s"),
        ("of torch's product", "24%"),
        ("of the fastest product", "12%"),
        ("packed reference", "50,000 tokens/s, 2.0 times slower"),
        ("padded reference", "25,000 tokens/s, 4.0 times slower"),
        *((f"time in {part}", f"{share:.1%}") for part, share in shares.items()),
        ("time in rest", f"{1 - sum(shares.values()):.1%}"),
        ("evaluation, tokens × samples", "2,000,000 /s"),
        ("of torch's product", "112%"),
        ("of the fastest product", "56%"),
        ("cost of a sample, in decoder passes", "1.50"),
        ("Penn Treebank's test, K = 100", "0.1 minutes"),
        ("data alone", "20,000,000 tokens/s, 200 × training"),
        ("optimiser alone", "5,000 steps/s"),
        ("peak memory: baseline, training, evaluation", "1 MiB, 4 MiB, 8 MiB"),
    ]


def test_a_vocabulary_too_large_for_all_logits_has_no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "peak", lambda cell, work, threads: 7)
    monkeypatch.setattr(room, "LARGEST_PLAIN", 50)
    found = compare(SMALL, 1, 0.0)
    assert found["reference"] == {}
    assert found["training"]["ratio_to_reference"] is None
    assert len(list(table_rows(found))) > 10


def test_work_leaves_the_weights_of_others_alone() -> None:
    load = Workload(SMALL)
    before = [parameter.detach().clone() for parameter in load.model.parameters()]
    for make in STEP.values():
        make(load)()
    for old, parameter in zip(before, load.model.parameters(), strict=True):
        assert torch.equal(old, parameter)


def test_the_machine_is_described_without_its_name() -> None:
    import platform

    described = describe()
    assert {"processor", "cores", "threads", "torch"} <= described.keys()
    assert platform.node() not in json.dumps(described)


def test_a_trace_names_steps_and_operations(tmp_path: Path) -> None:
    write_trace(tmp_path / "step.json", SMALL)
    names = {event.get("name") for event in json.loads((tmp_path / "step.json").read_text("utf-8"))["traceEvents"]}
    assert {"training step 0", "training step 4", "importance-weighted evaluation", "aten::mm"} <= names


def test_a_place_to_write_to_is_looked_for_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "bench", None)
    for name in ("trace", "out"):
        with pytest.raises(TextvaeError, match="there is no folder"):
            run_bench(1, 0.01, None, False, **{name: Path("nowhere/at/all/step.json")})
        with pytest.raises(TextvaeError, match="is a folder"):
            run_bench(1, 0.01, None, False, **{name: tmp_path})


def test_a_precision_that_the_device_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "bench", None)
    with pytest.raises(ConfigError, match="--precision: bf16 needs a CUDA device, not cpu; choose float32"):
        run_bench(1, 0.01, None, False, replace(SMALL, precision="bf16"))


def test_the_fastest_product_is_never_slower_than_torchs_own() -> None:
    assert room.fastest({"ceiling": 3.0, "product": 7.0}) == 7
    assert room.fastest({"ceiling": 3.0, "product": 2.0}) == 3


def test_a_full_bench_that_was_stopped_goes_on_and_outlives_a_cell_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [replace(SMALL, batch_size=size) for size in (1, 2, 3)]
    asked: list[int] = []

    def compared(cell: Cell, rounds: int, seconds: float) -> dict[str, Any]:
        asked.append(cell.batch_size)
        if cell.batch_size == 2 and asked.count(2) == 1:
            raise TextvaeError("no memory")
        if cell.batch_size == 3 and asked.count(3) == 1:
            raise KeyboardInterrupt
        return {"name": cell.name}

    monkeypatch.setattr(room, "compare", compared)
    monkeypatch.setattr(room, "grid", lambda device: cells if device == "cpu" else [])
    out = tmp_path / "bench.json"
    with pytest.raises(KeyboardInterrupt):
        run_bench(1, 0.01, None, True, cells[0], out=out)
    kept = json.loads(out.read_text("utf-8"))
    assert [cell.get("error") for cell in kept["cells"]] == ["no memory"]
    run_bench(1, 0.01, None, True, cells[0], out=out)
    assert asked == [1, 2, 3, 2, 3]
    assert [cell["name"] for cell in json.loads(out.read_text("utf-8"))["cells"]] == [
        cell.name for cell in cells[1:]
    ]
    made = json.loads(out.read_text("utf-8"))
    out.write_text(json.dumps(made | {"machine": made["machine"] | {"threads": 77}}), "utf-8")
    with pytest.raises(TextvaeError, match=r"results of another setup: threads was 77, is .*name another file"):
        run_bench(1, 0.01, None, True, cells[0], out=out)


def test_what_a_file_holds_is_never_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a bench of fewer cells or on another device, nor by one killed while it retries a failed cell."""
    cells = [replace(SMALL, batch_size=size) for size in (1, 2, 3)]
    fails: list[type[BaseException]] = [MemoryError, KeyboardInterrupt]

    def compared(cell: Cell, rounds: int, seconds: float) -> dict[str, Any]:
        if cell.batch_size == 2:
            raise fails.pop(0)
        return {"name": cell.name}

    monkeypatch.setattr(room, "compare", compared)
    monkeypatch.setattr(room, "grid", lambda device: cells)
    out = tmp_path / "bench.json"

    def held() -> set[str]:
        found = json.loads(out.read_text("utf-8"))
        return {cell["name"] for cell in (found, *found["cells"]) if "error" not in cell}

    run_bench(1, 0.01, None, True, cells[0], out=out)
    whole = {cells[0].name, cells[2].name}
    assert held() == whole
    with pytest.raises(KeyboardInterrupt):
        run_bench(1, 0.01, None, True, cells[0], out=out)
    assert held() == whole
    assert [cell["name"] for cell in run_bench(1, 0.01, None, False, cells[0], out=out)["cells"]] == [cells[2].name]
    assert held() == whole
    monkeypatch.setattr(task.builder, "device", lambda name: name)
    run_bench(1, 0.01, None, False, replace(cells[0], device="meta"), out=out)
    assert held() == {*whole, replace(cells[0], device="meta").name}


@pytest.mark.parametrize(("device", "first"), [("cpu", 1), ("cuda", 14)])
def test_on_a_gpu_the_first_call_is_two_epochs(device: str, first: int) -> None:
    asked: list[int] = []

    def update(stream: Any, step: int, generator: Any) -> Any:
        asked.append(step)
        return SimpleNamespace(batch=SimpleNamespace(tokens=3))

    stream = SimpleNamespace(batches_per_epoch=7)
    load: Any = SimpleNamespace(update=update, stream=stream, generator=None, device=torch.device(device))
    work = WHOLE["training"](load)
    assert (work(), work(), work()) == (3 * first, 3, 3)
    assert len(asked) == first + 2


@pytest.mark.slow
def test_memory_is_the_works_own() -> None:
    ballast = np.ones(2**27)  # 1 GiB here is not counted there
    base, training = (peak(SMALL, work, 1) for work in (NOTHING, "training"))
    assert 2**26 < base <= training < 2**30
    large = peak(Cell(64, 8, 4, 400_000, 4), "training", 1)
    # Two embeddings of 400,000 × 64 and a softmax of × 8, with their gradients.
    assert large - training > 2 * 400_000 * (64 + 64 + 8) * 4
    assert ballast.all()


@pytest.mark.slow
def test_two_hundred_thousand_types_train_in_four_gigabytes() -> None:
    assert peak(Cell(vocabulary=200_000), "training", 1) < 4 * 10**9


@pytest.mark.slow
def test_the_command_prints_json() -> None:
    found = json.loads(worked("bench", "--rounds", 1, "--seconds", 0.01, "--threads", 1, "--json").out)
    assert found["cell"]["vocabulary"] == 10_000
    assert found["machine"]["threads"] == 1
    flops = 6 * (4 * 256 * (256 + 256) + 4 * 256 * (256 + 32 + 256) + 256 * 10_000)
    assert found["training"]["flops_per_token"] == flops
    rate = found["training"]["tokens_per_second"] * flops / (found["ceiling_gflops"] * 1e9)
    assert found["training"]["fraction_of_ceiling"] == pytest.approx(rate)


def test_seconds_must_be_positive() -> None:
    assert "seconds" in refused("bench", "--seconds", 0, code=2)
