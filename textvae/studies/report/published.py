"""Published figures on Penn Treebank, each beside those of our runs that have every setting which defines it."""

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
    """A published row: the work, what was trained and with which settings, its numbers on the test split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    work: str
    what: str
    grade: Literal["V", "M"]
    settings: dict[str, Any]
    elbo: float | None = None
    distortion: float | None = None
    rate: float | None = None
    mutual_information: float | None = None
    mutual_information_reference: int | None = None
    active_units: int | None = None
    iwae_nll: float | None = None
    perplexity_elbo: float | None = None
    perplexity_iwae: float | None = None
    iwae_samples: int | None = None
    note: str = ""

    @property
    def has_z(self) -> bool:
        return bool(self.settings["model.latent_dim"] != 0)


def published() -> list[Published]:
    """All of them."""
    return [Published.model_validate(row) for row in yaml.safe_load(FILE.read_text("utf-8"))["rows"]]


def same_setup(line: Published, config: Mapping[str, Any]) -> bool:
    """Whether a run's settings are all those that define a published row; one that is missing is not."""
    return all(_setting(config, key) == value for key, value in line.settings.items())


def beside(rows: Sequence[Row]) -> list[tuple[list[Published], list[Row]]]:
    """Published rows with the runs of their set-up that were evaluated; rows beside the very same runs together."""
    found: dict[tuple[str, ...], tuple[list[Published], list[Row]]] = {}
    for line in published():
        ours = [same for row in rows if (same := _of_setup(line, row)).entries]
        key = tuple(entry.record.path for row in ours for entry in row.entries)
        if ours:
            found.setdefault(key, ([], ours))[0].append(line)
    return list(found.values())


def _of_setup(line: Published, row: Row) -> Row:
    """The row with those of its seeds alone that stand beside a published one."""
    same = (entry for entry in row.entries if entry.measured(SPLIT) and same_setup(line, entry.config))
    return replace(row, entries=list(same))


def _setting(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key."""
    value: Any = config
    for name in key.split("."):
        value = value.get(name, ABSENT) if isinstance(value, Mapping) else ABSENT
    return value
