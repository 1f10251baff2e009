"""Expand a study into its cells: one complete configuration, one folder and one chain of commands each.

The folder of a cell is `<corpus>/<remedy>[-<strength>]/seed-<n>` in the study's directory. A first stage is a
cell of its own, `<corpus>/first-…`, shared by all cells that start from the same one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textvae import builder
from textvae.config import Config, Draft, signature
from textvae.config.recipes import resolve
from textvae.errors import ConfigError
from textvae.studies.study import Remedy, Study

__all__ = ["Cell", "expand", "shared"]


@dataclass(frozen=True)
class Cell:
    """One run of a study: `textvae train` with a corpus, the study's settings, the other recipes, and options.

    A first stage has no recipes: its complete configuration is written to a file and trained.
    """

    corpus: str
    remedy: str
    strength: str
    seed: int
    recipes: tuple[str, ...]
    options: Mapping[str, Any]
    config: Config
    first: "Cell | None" = None

    @property
    def stage(self) -> bool:
        """Whether it is a first stage."""
        return not self.recipes

    @property
    def row(self) -> str:
        """Name shared by its seeds: a row of the report's tables, and a folder."""
        return f"{self.corpus}/{self.remedy}{f'-{self.strength}' if self.strength else ''}"

    @property
    def path(self) -> str:
        return f"{self.row}/seed-{self.seed}"


def expand(study: Study, file: Path) -> tuple[list[Cell], list[str]]:
    """Every cell of a study, first stages first, and every problem, with its file, cell and setting."""
    cells: list[Cell] = []
    problems: list[str] = []
    for corpus in study.corpora:
        try:
            resolve(_found(corpus, file))
        except ConfigError as error:  # once, and not for every remedy
            problems.append(f"{file}: corpora: {error}")
            continue
        for remedy in study.remedies:
            for step in remedy.steps:
                try:
                    cells.extend(_seeds(study, file, corpus, remedy, step))
                except ConfigError as error:
                    name = f"{Path(corpus).stem}/{remedy.label}{_dash(step.values())}"
                    problems.append(f"{file}: {name}: {_said(error, file)}")
    twice = [path for path, count in Counter(cell.path for cell in cells).items() if count > 1]
    problems += [
        f"{file}: two cells would share the folder {path}; give one of its remedies, or corpus files, another name"
        for path in twice
    ]
    # Sorted by seed: a study stopped halfway has run every row once before any row twice.
    cells.sort(key=lambda cell: cell.seed)
    return [*_stages(cells), *cells], problems


def _said(error: ConfigError, file: Path) -> str:
    """An error without the study's name, which is said before it; its settings are no options of a command."""
    return str(error).removeprefix(f"{file}: ").removeprefix("--")


def shared(study: Study) -> dict[str, Any]:
    """A study's settings for every run, nested; without those of first stages, which not every run has."""
    return _nested({key: value for key, value in study.settings.items() if not _of_first_stage(key)})


def _seeds(study: Study, file: Path, corpus: str, remedy: Remedy, step: Mapping[str, Any]) -> Iterator[Cell]:
    """The cells of a row, with the configurations that their commands will make; they differ only in the seed."""
    corpus, *recipes = (_found(name, file) for name in (corpus, *remedy.recipes))
    draft = Draft()
    draft.merge_file(corpus)
    draft.merge(shared(study), f"{file}: settings")
    for recipe in recipes:
        draft.merge_file(recipe)
    staged = draft.values["first"] is not None or "first" in remedy.settings
    of_stage = {key: value for key, value in study.settings.items() if staged and _of_first_stage(key)}
    options = {**of_stage, **remedy.settings, **step}
    for key, value in options.items():
        draft.set(key, value)
    stage = (draft.values["first"] or {}).get("recipe", remedy.label)
    complete = builder.complete(draft)
    for seed in study.seeds if remedy.seeds is None else remedy.seeds:
        config = _seeded(complete, seed)
        name = Path(corpus).stem
        yield Cell(
            corpus=name,
            remedy=remedy.label,
            strength=_dash(step.values()).removeprefix("-"),
            seed=seed,
            recipes=(corpus, *recipes),
            options={**options, "seed": seed},
            config=config,
            first=_first(name, stage, config),
        )


def _seeded(config: Config, seed: int) -> Config:
    """The same settings with another seed, also for their first stage."""
    first = config.first and _seeded(config.first, seed)
    return config.model_copy(update={"seed": seed, "first": first})


def _first(corpus: str, name: str, config: Config) -> Cell | None:
    """The first stage of a configuration, named by its recipe, its budget and the signature of its settings."""
    if config.first is None:
        return None
    alike = signature(config.first.model_copy(update={"seed": 0}))
    return Cell(
        corpus=corpus,
        remedy=f"first-{Path(name).stem}",
        strength=_dash((config.first.training.budget, alike)).removeprefix("-"),
        seed=config.first.seed,
        recipes=(),
        options={},
        config=config.first,
        first=_first(corpus, name, config.first),
    )


def _stages(cells: list[Cell]) -> list[Cell]:
    """The first stages of cells, and their own first stages, each once, the earliest first."""
    stages = {cell.first.path: cell.first for cell in cells if cell.first}
    return [*_stages(list(stages.values())), *stages.values()] if stages else []


def _of_first_stage(key: str) -> bool:
    return key.split(".")[0] == "first"


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested mappings."""
    draft = Draft(values={})
    for key, value in settings.items():
        draft.set(key, value)
    return draft.values


def _found(name: str, file: Path) -> str:
    """A recipe's name unchanged; a file's absolute path, searched for beside the study first."""
    if not name.endswith((".yaml", ".yml")):
        return name
    beside = file.parent / name
    return str((beside if beside.is_file() else resolve(name)).resolve())


def _dash(values: Iterable[Any]) -> str:
    """-0.25 for a strength of 0.25; empty without a strength."""
    return "".join("-" + re.sub(r"[^\w.+-]+", "-", str(value)).rstrip("-") for value in values)
