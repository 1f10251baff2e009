"""The state of a study's cells: `manifest.json` in its directory, which the report reads.

Beside it are `study.yaml` (a copy of the study file), `settings.yaml` (its settings for all runs) and the runs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from textvae.errors import RunError
from textvae.files import Directory

__all__ = ["Manifest", "Record", "State", "StudyDirectory"]

NAME = "manifest.json"
State = Literal["waiting", "running", "interrupted", "failed", "done"]


class StudyDirectory(Directory):
    """The directory of a study: its runs, and what they share."""

    KIND, MARKER, OTHER = "study", "study.yaml", "choose another --out"


@dataclass
class Record:
    """One cell: its state, the seconds that its jobs took over all attempts, and the reason if it failed.

    A `stage` is trained for other cells to start from, and is not evaluated; `first` is the path of the one that
    this cell starts from.
    """

    path: str
    corpus: str
    remedy: str
    strength: str
    seed: int
    stage: bool = False
    first: str | None = None
    state: State = "waiting"
    seconds: float = 0.0
    reason: str = ""


@dataclass
class Manifest:
    """The cells of a study in order, a description of each remedy (its recipe's first line), what to tabulate."""

    title: str
    metrics: list[str]
    splits: list[str]
    baseline: str | None
    remedies: dict[str, str]
    records: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> "Manifest | None":
        """The manifest of a study's directory; None if there is none.

        Raises
        ------
        RunError
            If it is damaged.
        """
        if not (directory / NAME).exists():
            return None
        values = StudyDirectory(directory).read_json(NAME)
        try:
            records = [Record(**record) for record in values.pop("records")]
            return cls(**values, records={record.path: record for record in records})
        except (TypeError, KeyError):
            said = "damaged, or made by an incompatible version; delete it and run its study again"
            raise RunError(f"{directory / NAME}: {said}") from None

    def write(self, directory: Path) -> None:
        """Write the manifest atomically."""
        values = {**asdict(self), "records": [asdict(record) for record in self.records.values()]}
        StudyDirectory(directory).write_json(NAME, values)

    def keep(self, others: Mapping[str, Record]) -> None:
        """Take over an earlier manifest's records of the same cells; those running then become interrupted."""
        for path in self.records.keys() & others.keys():
            old = others[path]
            state: State = "interrupted" if old.state == "running" else old.state
            self.records[path] = replace(self.records[path], state=state, seconds=old.seconds, reason=old.reason)

    def count(self, states: Iterable[State]) -> int:
        return sum(record.state in set(states) for record in self.records.values())
