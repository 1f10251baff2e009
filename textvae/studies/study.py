"""The study file: corpora × remedies × strengths × seeds, and what is measured of each run.

    corpora: [grammar]
    remedies:
      - lm
      - {remedy: free_bits, strengths: {objective.penalty.nats_per_dimension: [0.1, 0.25, 0.5]}}
    seeds: [0, 1, 2]
    settings: {training.budget: 5 epochs}
    evaluate: {splits: [valid, test], samples: 100}
    baseline: lm

Settings merge from the general to the particular: corpus, `settings`, remedy, the remedy's own settings,
strength, seed.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Lt, MinLen
from pydantic import BaseModel, ConfigDict, ValidationError

from textvae.config import Draft
from textvae.config.files import read_mapping
from textvae.errors import ConfigError, did_you_mean
from textvae.fields import Count

__all__ = ["METRICS", "Measures", "Remedy", "Study", "read_study"]

METRICS = (
    "distortion", "rate", "elbo", "iwae_nll", "excess_nll", "perplexity_elbo", "perplexity_iwae", "unknown_rate",
    "active_units", "mutual_information", "listening",
)  # fmt: skip

Part = TypeVar("Part", bound=BaseModel)
Name = Annotated[str, MinLen(1)]
Seeds = Annotated[list[Annotated[int, Ge(0), Lt(2**32)]], MinLen(1)]


class Section(BaseModel):
    """A mapping with known keys and exact types only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Remedy(Section):
    """A remedy in the study: a recipe by name, or several merged, each value of `strengths` a row of its own.

    Several keys of `strengths` change together: their lists have equal length. `name` names the rows.
    """

    remedy: Name | Annotated[list[Name], MinLen(1)]
    name: Name | None = None
    strengths: dict[str, Annotated[list[Any], MinLen(1)]] = {}
    seeds: Seeds | None = None
    settings: dict[str, Any] = {}

    @property
    def recipes(self) -> list[str]:
        return [self.remedy] if isinstance(self.remedy, str) else self.remedy

    @property
    def label(self) -> str:
        return self.name or "+".join(Path(recipe).stem for recipe in self.recipes)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The settings of each strength; a single empty one if there are no strengths."""
        if not self.strengths:
            return [{}]
        return [
            dict(zip(self.strengths, values, strict=True)) for values in zip(*self.strengths.values(), strict=True)
        ]


class Measures(Section):
    """What is measured of every run: the splits, K of the importance-weighted estimate, whether to probe z."""

    splits: Annotated[list[Literal["valid", "test"]], MinLen(1)] = ["valid"]
    samples: Count = 100
    probe: bool = False


class Study(Section):
    """A grid of runs, and what to tabulate."""

    corpora: Annotated[list[Name], MinLen(1)]
    remedies: Annotated[list[Remedy], MinLen(1)]
    seeds: Seeds = [0]
    settings: dict[str, Any] = {}
    evaluate: Measures = Measures()
    baseline: str | None = None
    metrics: Annotated[list[str], MinLen(1)] = list(METRICS)
    slurm: dict[str, Any] = {}


def read_study(path: Path) -> Study:
    """Read a study from a YAML file and check its keys and types; `grid` checks the settings of its runs.

    Raises
    ------
    ConfigError
        Naming the file, the key and the valid choices.
    """
    said = read_mapping(path, "keys such as corpora and remedies")
    listed = said.get("remedies")
    remedies = {"remedies": _remedies(listed, path)} if isinstance(listed, list) else {}
    study = _checked(Study, said, str(path), **remedies)
    lists: dict[str, Sequence[object]] = {
        "seeds": study.seeds,
        "corpora": study.corpora,
        "metrics": study.metrics,
        "evaluate: splits": study.evaluate.splits,
    }
    for key, values in lists.items():
        _refuse_twice(f"{path}: {key}", values)
    if "seed" in study.settings:
        raise ConfigError(f"{path}: settings: seed: the runs' seeds are given by seeds; leave it out here")
    labels = [remedy.label for remedy in study.remedies]
    if study.baseline is not None and study.baseline not in labels:
        guess = did_you_mean(study.baseline, labels)
        raise ConfigError(
            f"{path}: baseline: no remedy {study.baseline!r} here{guess}; choose from {', '.join(labels)}"
        )
    return study


def _refuse_twice(whose: str, values: Sequence[object]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ConfigError(f"{whose}: {twice[0]} is given twice")


def _remedies(entries: list[Any], path: Path) -> list[Remedy]:
    return [_remedy(entry, f"{path}: remedies, entry {place}") for place, entry in enumerate(entries, 1)]


def _remedy(entry: Any, whose: str) -> Remedy:
    if not isinstance(entry, (str, dict)):
        raise ConfigError(f"{whose}: must be a name, or a mapping with the key remedy, not {entry!r}")
    remedy = _checked(Remedy, {"remedy": entry} if isinstance(entry, str) else entry, whose)
    _refuse_twice(f"{whose}: seeds", remedy.seeds or [])
    if "seed" in remedy.settings:
        raise ConfigError(f"{whose}: settings: seed: its seeds are given by seeds; leave it out here")
    lengths = {key: len(values) for key, values in remedy.strengths.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise ConfigError(f"{whose}: strengths: all keys need the same number of values, but {said}")
    if remedy.strengths:
        _refuse_twice(f"{whose}: strengths", [", ".join(map(str, step.values())) for step in remedy.steps])
    if not re.fullmatch(r"\w[\w.+-]*", remedy.label):
        raise ConfigError(
            f"{whose}: name: {remedy.label!r} becomes a folder name; use only letters, digits and _ . + -"
        )
    return remedy


def _checked(schema: type[Part], said: Mapping[str, Any], whose: str, **parts: Any) -> Part:
    """`said` validated as this schema, with `parts` that are already validated."""
    draft = Draft(values={}, origin=dict.fromkeys(schema.model_fields, whose))
    draft.merge(said, whose)
    try:
        return schema.model_validate({**said, **parts})
    except ValidationError as error:
        raise ConfigError(draft.explain(error, (), schema)) from None
