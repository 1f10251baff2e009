"""What a study's directory says of its cells: `manifest.json`, which the report reads.

Beside it lie `study.yaml`, a copy of the study file, `settings.yaml`, what it sets for all, and the runs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from textvae.errors import RunError
from textvae.runs import Run

__all__ = ["Manifest", "Record", "State"]

NAME = "manifest.json"
State = Literal["waiting", "running", "interrupted", "failed", "done"]


@dataclass
class Record:
    """One cell: where it stands, how long it took in all, and why it failed if it did.

    A `stage` is trained for others to start from, and not measured.
    """

    path: str
    corpus: str
    remedy: str
    strength: str
    seed: int
    stage: bool = False
    state: State = "waiting"
    seconds: float = 0.0
    reason: str = ""


@dataclass
class Manifest:
    """The cells of a study, in its order; what each remedy is, by its recipe's first line; what to tabulate."""

    title: str
    metrics: list[str]
    splits: list[str]
    baseline: str | None
    remedies: dict[str, str]
    records: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """The manifest of a study's directory.

        Raises
        ------
        RunError
            If there is none, or it is damaged.
        """
        if not (directory / NAME).is_file():
            raise RunError(f"{directory}: no study here (it has no {NAME}); textvae study FILE --out {directory}")
        values = Run(directory).read_json(NAME)
        try:
            records = [Record(**record) for record in values.pop("records")]
            return cls(**values, records={record.path: record for record in records})
        except (TypeError, KeyError):
            raise RunError(f"{directory / NAME}: damaged, or made by other code; run its study again") from None

    def write(self, directory: Path) -> None:
        """Write it whole, or leave the old one."""
        values = {**asdict(self), "records": [asdict(record) for record in self.records.values()]}
        Run(directory).write_json(NAME, values)

    def keep(self, others: Mapping[str, Record]) -> None:
        """Take over what an earlier manifest knew of the same cells; one that ran when it ended was interrupted."""
        for path in self.records.keys() & others.keys():
            old = others[path]
            if old.state == "running":
                old.state = "interrupted"
            self.records[path] = old

    def count(self, states: Iterable[State]) -> int:
        return sum(record.state in set(states) for record in self.records.values())
