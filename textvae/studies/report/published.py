"""Published figures on Penn Treebank, each with the runs that have every setting defining it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from textvae.studies.report.entries import Row

__all__ = ["GRADES", "SPLIT", "Published", "beside", "published", "same_setup"]

FILE = Path(__file__).with_name("published.yaml")
SPLIT = "test"
GRADES = {
    "V": "read in the document or its released code",
    "M": "as quoted elsewhere, not yet checked against the paper",
}
ABSENT = object()


class Published(BaseModel):
    """A published row: the work, what was trained, with which settings and for how many epochs at most, and its
    numbers on the test split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    work: str
    what: str
    grade: Literal["V", "M"]
    settings: dict[str, Any]
    epochs: int
    elbo: float | None = None
    distortion: float | None = None
    rate: float | None = None
    mutual_information: float | None = None
    mutual_information_reference: int | None = None
    mutual_information_saturated: bool = False
    active_units: int | None = None
    iwae_nll: float | None = None
    perplexity_elbo: float | None = None
    perplexity_iwae: float | None = None
    iwae_samples: int | None = None
    unknown_rate: float = 0.0582  # of Mikolov's test split, for every row: 4,794 of 82,430 words
    note: str = ""

    @property
    def has_z(self) -> bool:
        return bool(self.settings["model.latent_dim"] != 0)


def published() -> list[Published]:
    """All published rows."""
    return [Published.model_validate(row) for row in yaml.safe_load(FILE.read_text("utf-8"))["rows"]]


def same_setup(line: Published, config: Mapping[str, Any]) -> bool:
    """Whether a run has every setting that defines a published row; a missing setting does not match."""
    return all(_setting(config, key) == value for key, value in line.settings.items())


def beside(rows: Sequence[Row]) -> list[tuple[list[Published], list[Row]]]:
    """Published rows with the evaluated runs of their set-up; rows that match the same runs are grouped."""
    found: dict[tuple[str, ...], tuple[list[Published], list[Row]]] = {}
    for line in published():
        ours = [same for row in rows if (same := _of_setup(line, row)).entries]
        key = tuple(entry.record.path for row in ours for entry in row.entries)
        if ours:
            found.setdefault(key, ([], ours))[0].append(line)
    return list(found.values())


def _of_setup(line: Published, row: Row) -> Row:
    """The row with only the evaluated seeds that have a published row's set-up."""
    same = (entry for entry in row.entries if entry.measured(SPLIT) and same_setup(line, entry.config))
    return replace(row, entries=list(same))


def _setting(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key."""
    value: Any = config
    for name in key.split("."):
        value = value.get(name, ABSENT) if isinstance(value, Mapping) else ABSENT
    return value
