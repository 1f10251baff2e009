"""Example output of a model: samples, reconstructions and an interpolation."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from textvae.api import CollapsedWarning, CutWarning, UnknownWarning, Vae
from textvae.runs import Run

__all__ = ["Showcase", "as_list", "pick", "showcase", "write"]

T = TypeVar("T")


@dataclass(frozen=True)
class Showcase:
    """Sentences; for a model without z the last two are empty."""

    samples: list[str]
    reconstructions: list[tuple[str, str]]
    interpolation: list[str]


def showcase(vae: Vae, sentences: Sequence[str], n: int) -> Showcase:
    """`n` samples, greedy reconstructions of `n` sentences, and an interpolation between two sentences."""
    samples = vae.sample(n, seed=0)
    if not vae.model.has_z or len(sentences) < 2:
        return Showcase(samples, [], [])
    originals = pick(sentences, n)
    first, second = pick(sentences, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapsedWarning)  # `evaluate` gives the verdict
        for told in (CutWarning, UnknownWarning):  # `train` and `evaluate` give the numbers of the whole split
            warnings.simplefilter("ignore", told)
        pairs = list(zip(originals, vae.reconstruct(originals), strict=True))
        return Showcase(samples, pairs, vae.interpolate(first, second, 7))


def write(run: Run, shown: Showcase) -> None:
    """Write a showcase to text files in the run; reconstructions are sentence, tab, reconstruction."""
    run.write_text("samples.txt", shown.samples)
    run.write_text("reconstructions.txt", [f"{a}\t{b}" for a, b in shown.reconstructions])
    run.write_text("interpolations.txt", shown.interpolation)


def pick(sentences: Sequence[T], n: int) -> list[T]:
    """`n` evenly spaced sentences."""
    n = min(n, len(sentences))
    return [sentences[i * len(sentences) // n] for i in range(n)]


def as_list(lines: Iterable[str]) -> str:
    """Markdown for TensorBoard, which would otherwise read `<unk>` as a tag."""
    return "\n".join("- " + line.replace("<", "&lt;") for line in lines)
