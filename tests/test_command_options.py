"""Every option of every command reaches its task under its own name, and how a command ends that cannot go on."""

import inspect
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import refused
from cyclopts import App

from textvae.api import Vae
from textvae.bench.cell import Cell
from textvae.cli import app, main

RUN = Path("RUN")
DRAWN = {
    "n": 10,
    "seed": 0,
    "temperature": 1.0,
    "top_p": 1.0,
    "beam": 1,
    "forbid_unknown": False,
    "max_length": 100,
}
"""What `textvae sample` asks for unless it is told otherwise."""
MEASURED = {"run": RUN, "split": "valid", "samples": 100, "seed": 0, "device": "cpu"}
"""What `textvae evaluate` asks for."""

CALLS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "train a b.yaml --corpus C --column D --run R --steps 3 --seed 4 --tokenizer bpe --device cuda --threads 5"
        " --init I --training.optimiser.lr 0.5",
        "textvae.tasks.train:train",
        {
            "names": ("a", "b.yaml"),
            "options": {
                "training.optimiser.lr": 0.5,
                "corpus": "C",
                "column": "D",
                "steps": 3,
                "seed": 4,
                "tokenizer": "bpe",
                "device": "cuda",
                "threads": 5,
            },
            "run": Path("R"),
            "init": Path("I"),
        },
    ),
    ("train", "textvae.tasks.train:train", {"names": (), "options": {}, "run": None, "init": None}),
    (
        "evaluate RUN --split train --samples 3 --seed 4 --corpus C --column D --device cuda --json",
        "textvae.tasks.evaluate:evaluate_run",
        {"run": RUN, "split": "train", "samples": 3, "seed": 4, "corpus": "C", "column": "D", "device": "cuda"},
    ),
    ("evaluate RUN", "textvae.tasks.evaluate:evaluate_run", {**MEASURED, "corpus": None, "column": None}),
    (
        "evaluate RUN --all --split test --samples 3 --seed 4 --lm L --device cuda",
        "textvae.tasks.evaluate_all:evaluate_all",
        {"run": RUN, "split": "test", "samples": 3, "seed": 4, "lm": Path("L"), "device": "cuda"},
    ),
    ("evaluate RUN --all", "textvae.tasks.evaluate_all:evaluate_all", {**MEASURED, "lm": None}),
    (
        "diagnose RUN --split test --lm L --seed 4 --device cuda",
        "textvae.tasks.diagnose:diagnose_run",
        {"run": RUN, "split": "test", "lm": Path("L"), "seed": 4, "device": "cuda"},
    ),
    ("show RUN", "textvae.tasks.show:show", {"directory": RUN}),
    (
        "score RUN F --samples 3 --seed 4 --device cuda",
        "textvae.api:Vae.score",
        {"sentences": ["F"], "samples": 3, "seed": 4},
    ),
    ("score RUN F", "textvae.api:Vae.score", {"sentences": ["F"], "samples": 100, "seed": 0}),
    ("sample RUN", "textvae.api:Vae.sample", DRAWN),
    (
        "sample RUN -n 3 --seed 4 --temperature 0.7 --top-p 0.9 --forbid-unknown --max-length 5 --device cuda",
        "textvae.api:Vae.sample",
        {
            "n": 3,
            "seed": 4,
            "temperature": 0.7,
            "top_p": 0.9,
            "beam": 1,
            "forbid_unknown": True,
            "max_length": 5,
        },
    ),
    ("sample RUN --greedy", "textvae.api:Vae.sample", {**DRAWN, "temperature": None}),
    ("sample RUN --beam 6", "textvae.api:Vae.sample", {**DRAWN, "temperature": None, "beam": 6}),
    ("reconstruct RUN F", "textvae.api:Vae.reconstruct", {"sentences": ["F"], "beam": 1}),
    ("reconstruct RUN F --beam 6 --device cuda", "textvae.api:Vae.reconstruct", {"sentences": ["F"], "beam": 6}),
    (
        "interpolate RUN one two",
        "textvae.api:Vae.interpolate",
        {"a": "one", "b": "two", "steps": 7, "slerp": False},
    ),
    (
        "interpolate RUN one two --steps 3 --slerp --device cuda",
        "textvae.api:Vae.interpolate",
        {"a": "one", "b": "two", "steps": 3, "slerp": True},
    ),
    (
        "encode RUN F --out Z --device cuda",
        "textvae.tasks.lines:encode_lines",
        {"run": RUN, "source": "F", "out": Path("Z"), "device": "cuda"},
    ),
    (
        "probe RUN --split test --seed 4 --device cuda",
        "textvae.tasks.probe:probe",
        {"run": RUN, "split": "test", "seed": 4, "device": "cuda"},
    ),
    (
        "bench --embedding-dim 3 --hidden-dim 5 --vocabulary 7 --batch-size 9 --device cuda --precision tf32"
        " --full --json --profile P --out O --rounds 3 --seconds 0.25 --threads 4",
        "textvae.tasks.bench:run_bench",
        {
            "rounds": 3,
            "seconds": 0.25,
            "threads": 4,
            "full": True,
            "cell": Cell(3, 5, vocabulary=7, batch_size=9, device="cuda", precision="tf32"),
            "trace": Path("P"),
            "out": Path("O"),
        },
    ),
    (
        "study S --out O --jobs 3 --launcher ray",
        "textvae.tasks.study:study",
        {"name": "S", "out": Path("O"), "jobs": 3, "launcher": "ray"},
    ),
    ("settings", "textvae.tasks.settings:page", {}),
    ("report D", "textvae.tasks.report:report", {"directory": Path("D")}),
    (
        "corpus info C --tokenizer char --column D",
        "textvae.tasks.corpus:print_info",
        {"source": "C", "tokenizer": "char", "column": "D"},
    ),
    ("corpus fetch ptb --root R", "textvae.tasks.corpus:fetch_corpus", {"name": "ptb", "root": Path("R")}),
]
"""Command lines, the function that each calls, and the arguments that the function is given by name."""


class Reached(Exception):
    """A task was called; the command has nothing more to do."""


def recording(task: Callable[..., Any], seen: dict[str, Any]) -> Callable[..., None]:
    """In place of a task: keep what each of its parameters is given, and end the command."""

    def called(*given: Any, **named: Any) -> None:
        seen.update(inspect.signature(task).bind(*given, **named).arguments)
        raise Reached

    return called


@pytest.mark.parametrize(("line", "place", "expected"), CALLS, ids=[line for line, _, _ in CALLS])
def test_a_command_calls_its_task_with_its_options(
    line: str, place: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, name = place.partition(":")
    *owner, name = name.split(".")
    target = getattr(import_module(module), owner[0]) if owner else import_module(module)
    seen: dict[str, Any] = {}
    loaded: list[tuple[Path, str]] = []
    monkeypatch.setattr(target, name, recording(getattr(target, name), seen))
    monkeypatch.setattr("textvae.api.load", lambda *asked: loaded.append(asked) or Vae.__new__(Vae))
    monkeypatch.setattr("textvae.runs.Run.open", lambda run: run)
    monkeypatch.setattr("textvae.tasks.lines.read_lines", lambda source: [source])
    with pytest.raises(Reached):
        main(shlex.split(line))
    seen.pop("self", None)
    assert seen == expected
    assert loaded == ([(RUN, "cuda" if "cuda" in line else "cpu")] if owner else [])


def options(commands: App, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The words of every command, with the names of each of its options."""
    for name in commands:
        if name.startswith("-"):
            continue
        command = commands[name]
        if command.default_command is None:
            yield from options(command, (*words, name))
        else:
            for argument in command.assemble_argument_collection():
                if argument.parse and any(given.startswith("-") for given in argument.names):
                    yield (*words, name), argument.names


def test_no_option_of_a_command_is_left_out() -> None:
    lines = [shlex.split(line) for line, _, _ in CALLS]
    known = list(options(app))
    assert (("corpus", "fetch"), ("--root",)) in known
    for words, names in known:
        of_command = [line for line in lines if tuple(line[: len(words)]) == words]
        assert any(name in line for line in of_command for name in names), (words, names)


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (MemoryError(), "not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB"), "not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: …"), "not enough memory"),
    ],
)
def test_an_end_before_its_time_is_one_sentence(
    failure: BaseException, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(directory: Path) -> None:
        raise failure

    monkeypatch.setattr("textvae.tasks.show.show", fails)
    assert refused("show", "RUN", code=1) == sentence


def test_a_failure_that_is_not_the_users_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(directory: Path) -> None:
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr("textvae.tasks.show.show", fails)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        main(["show", "RUN"])
