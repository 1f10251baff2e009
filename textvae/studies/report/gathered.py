"""A manifest of runs that no study made: all runs in a folder, those that differ in their seed alone as one row.

A row is named by its folder and described by the settings in which the rows differ.
"""

import itertools
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from textvae.config.schema import flat, of_runtime
from textvae.data.corpus import safe_name
from textvae.errors import RunError
from textvae.runs import Run
from textvae.studies.manifest import Manifest, Record
from textvae.studies.study import METRICS

__all__ = ["gathered"]

SEED = re.compile(r"[-_/.]*(seed|s)?[-_=]*\d+$")
"""How the name of a folder ends that is one seed's."""

Settings = Mapping[str, Any]


def gathered(directory: Path) -> Manifest:
    """The manifest of the runs at or under `directory`; nothing is written.

    Raises
    ------
    RunError
        If there are none.
    """
    found = {path.parent: _settings(path) for path in sorted(directory.rglob(Run.MARKER))}
    found = {path: settings for path, settings in found.items() if "data.corpus" in settings}
    stages = [path for path in found if path.name == "first" and path.parent in found]
    rows = _rows({path: settings for path, settings in found.items() if path not in stages})
    if not rows:
        raise RunError(f"{directory}: no study and no runs here; give a directory that study or train wrote")
    names = dict(zip(_names(rows, directory), rows, strict=True))
    labels = {path: name for name, paths in names.items() for path in paths} | dict.fromkeys(stages, "first")
    corpora = _corpora(settings["data.corpus"] for settings in found.values())
    records = [_record(path, directory, name, found[path], stages, corpora) for path, name in labels.items()]
    evaluated = {split for paths in rows for path in paths for split in Run(path).evaluation}
    without_z = [name for name, paths in names.items() if found[paths[0]].get("model.latent_dim") == 0]
    return Manifest(
        title=f"Runs in {directory.resolve().name}",
        metrics=list(METRICS),
        splits=[split for split in ("valid", "test", "train") if split in evaluated],
        baseline=without_z[0] if len(without_z) == 1 else None,
        remedies=_differences({name: found[paths[0]] for name, paths in names.items()}),
        records={record.path: record for record in records},
    )


def _settings(config: Path) -> Settings:
    """By dotted key, not validated, since runs of other versions are read, too; empty if the file is damaged."""
    try:
        values = yaml.safe_load(config.read_text("utf-8"))
    except (yaml.YAMLError, ValueError):
        return {}
    return dict(flat(values)) if isinstance(values, dict) else {}


def _told(key: str) -> bool:
    """Whether runs that differ in this key, of any stage, are different rows."""
    return not (of_runtime(key) or key.rpartition("first.")[2] == "seed")


def _rows(runs: Mapping[Path, Settings]) -> list[list[Path]]:
    """Runs with the same settings but for the seed, which differs; a second run of one seed begins a new row."""
    rows: dict[tuple[str, int], list[Path]] = defaultdict(list)
    times: Counter[tuple[str, Any]] = Counter()
    for path, settings in runs.items():
        alike = json.dumps({key: value for key, value in settings.items() if _told(key)}, sort_keys=True)
        seed = (alike, settings.get("seed"))
        rows[alike, times[seed]].append(path)
        times[seed] += 1
    return list(rows.values())


def _names(rows: Sequence[Sequence[Path]], directory: Path) -> Iterable[str]:
    """The folder of a row's run, or what the folders of its runs are called without their seeds."""
    taken: set[str] = set()
    for paths in rows:
        folders = [os.path.relpath(path, directory) for path in paths]
        stems = {SEED.sub("", folder) for folder in folders} if len(folders) > 1 else set()
        name = next(iter(stems)) if len(stems) == 1 and not stems & {"", *taken} else folders[0]
        taken.add(name)
        yield directory.resolve().name if name == "." else name


def _corpora(sources: Iterable[Any]) -> dict[str, str]:
    """A name for each corpus, which is also one of files: the end of its source, or all of it if that is taken."""
    names: dict[str, str] = {}
    for source in sorted({str(source) for source in sources}):
        whole = safe_name(source)
        numbered = (f"{whole}-{number}" for number in itertools.count(2))
        choices = itertools.chain((safe_name(Path(source).name), whole), numbered)
        names[source] = next(name for name in choices if name not in names.values())
    return names


def _record(
    path: Path, directory: Path, name: str, settings: Settings, stages: Sequence[Path], corpora: Mapping[str, str]
) -> Record:
    return Record(
        path=os.path.relpath(path, directory),
        corpus=corpora[str(settings["data.corpus"])],
        remedy=name,
        strength="",
        seed=settings.get("seed", 0),
        stage=path in stages,
        first=os.path.relpath(path / "first", directory) if path / "first" in stages else None,
        state=Run(path).status or "waiting",
    )


def _differences(rows: Mapping[str, Settings]) -> dict[str, str]:
    """The settings of each row that most do not share; of a first stage, only those unlike the row's own."""
    keys = dict.fromkeys(key for settings in rows.values() for key in settings if _told(key))
    counts = {key: Counter(str(row.get(key)) for row in rows.values()) for key in keys}

    def tells(key: str, settings: Settings) -> bool:
        own = settings.get(key.removeprefix("first.")) if key.startswith("first.") else None
        value = str(settings[key])
        return 2 * counts[key][value] <= len(rows) and value not in (str(own), "{}")

    return {
        name: ", ".join(f"{key} {settings[key]}" for key in keys if key in settings and tells(key, settings))
        for name, settings in rows.items()
    }
