"""`textvae evaluate --all`: every part in turn, each stored when done, so that an interrupted run resumes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from textvae.console.output import remark
from textvae.errors import ConfigError, counted
from textvae.runs import Run
from textvae.tasks.evaluate import evaluate_subject, headlines
from textvae.tasks.parts import FULL, Part
from textvae.tasks.subject import Subject, subject_of

__all__ = ["evaluate_all", "expected_minutes", "measure"]


def evaluate_all(
    run: Run,
    split: str = "valid",
    samples: int = 100,
    lm: str | Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    parts: Sequence[Part] = FULL,
) -> dict[str, Any]:
    """Every number of a split; `evaluation.json` is updated after each part.

    Parts already measured with the same weights and settings are not measured again.
    """
    run.require_writable()
    subject = subject_of(run, split, seed, lm, device)
    wanted = _possible(subject, parts)
    todo = [part for part in wanted if part.known(subject) is None]
    minutes = expected_minutes(subject, todo, samples)
    remark(
        f"{run.path}: {len(todo)} of {len(wanted)} parts are to be measured on {split}, about {minutes:.0f} "
        f"minutes with {counted(torch.get_num_threads(), 'thread')}; if interrupted, run the same command to resume"
    )
    values = evaluate_subject(subject, samples)
    for number, part in enumerate(todo, 1):
        remark(f"{number}/{len(todo)} {part.name}: {part.what}")
        measure(part, subject)
        values |= headlines(subject)
        run.keep_evaluation(split, values)
    if run.weights_sha256 != subject.weights_sha256:
        remark(f"{run.path}: was trained further meanwhile; these numbers are of the weights before that")
    return values


def measure(part: Part, subject: Subject) -> dict[str, Any]:
    """The numbers of a part, measured now unless stored; none, which is printed, if the run cannot have them."""
    try:
        return part.numbers(subject)
    except ConfigError as error:
        remark(f"{part.name} is left out: {error}")
        return {}


def expected_minutes(subject: Subject, parts: Sequence[Part], samples: int = 0) -> float:
    """Expected time of the parts, and of an importance-weighted estimate from `samples` where it takes as many."""
    (_, seconds), model = subject.timed_survey, subject.vae.model
    drawn = samples * len(subject.sequences) if model.has_z and model.has_likelihood else 0
    return (sum(part.passes(subject) for part in parts) + drawn) * seconds / 60


def _possible(subject: Subject, parts: Sequence[Part]) -> list[Part]:
    """The parts that apply to this run; the others are printed with the reason."""
    for part in parts:
        if reason := part.refusal(subject):
            remark(f"{part.name} ({part.what}) is left out: {reason}")
    return [part for part in parts if part.refusal(subject) is None]
