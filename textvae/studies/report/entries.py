"""The contents of a study's directory, read run by run; only numbers that the runs wrote are used.

Mean ± standard error are over seeds: s.e. = s.d. / √n, with the n − 1 standard deviation over the n seeds of
a row that have the number.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from textvae.config import epochs
from textvae.config.files import read_mapping
from textvae.evaluation.verdict import State, Verdict
from textvae.runs import Run
from textvae.studies.manifest import Manifest, Record

__all__ = ["Entry", "Row", "Summary", "read_entries", "rows_of"]


@dataclass(frozen=True)
class Summary:
    """A number over the seeds of a row."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        """NaN where no seed has the number."""
        return sum(self.values) / self.n if self.n else math.nan

    @property
    def deviation(self) -> float:
        """The standard deviation over seeds; NaN with fewer than two."""
        if self.n < 2:
            return math.nan
        return math.sqrt(sum((value - self.mean) ** 2 for value in self.values) / (self.n - 1))

    @property
    def error(self) -> float:
        """The standard error of the mean over seeds."""
        return self.deviation / math.sqrt(self.n) if self.n else math.nan


@dataclass(frozen=True)
class Entry:
    """A run of the study as stored on disk, and the first stage that it started from."""

    record: Record
    run: Run
    first: "Entry | None" = None

    @cached_property
    def evaluation(self) -> dict[str, dict[str, Any]]:
        return self.run.evaluation

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings as stored, not validated: a report also reads runs of other versions."""
        path = self.run.path / "config.yaml"
        return read_mapping(path) if path.exists() else {}

    @property
    def has_z(self) -> bool:
        """Whether there is a z to integrate out: without one the likelihood is exact."""
        return bool(self.config.get("model", {}).get("latent_dim"))

    def factors(self, split: str) -> list[dict[str, Any]]:
        """Results of the probes on a split, one row per factor; empty if it was not probed."""
        return self._factors.get(split, [])

    def factor_information(self, split: str) -> float | None:
        """The probes' lower bounds on I(z; f), summed over the factors f, in nats."""
        return sum(row["information"] for row in self.factors(split)) if self.factors(split) else None

    @cached_property
    def _factors(self) -> dict[str, list[dict[str, Any]]]:
        weights = self.run.weights_sha256
        parts = {split: self.run.parts(split, weights) for split in self.evaluation}
        return {split: part["knowledge"].get("factors", []) for split, part in parts.items() if "knowledge" in part}

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        return self.run.rows()

    def measured(self, split: str) -> dict[str, Any]:
        """Its numbers on a split; empty if it was not evaluated."""
        return self.evaluation.get(split, {})

    def value(self, split: str, metric: str) -> float | None:
        value = self.measured(split).get(metric)
        return float(value) if isinstance(value, (int, float)) else None

    def state(self, split: str) -> State | None:
        """The state in its verdict; None if it has none."""
        sentence = self.measured(split).get("verdict")
        return Verdict.read(sentence).state if sentence else None

    def course(self, split: str, metric: str) -> tuple[list[int], list[float]]:
        """Steps and values of a metric over training."""
        found = [row for row in self.metrics if row.get("split") == split and row.get(metric) is not None]
        return [row["step"] for row in found], [row[metric] for row in found]

    def updates(self, part: Literal["encoder", "decoder"]) -> float | None:
        """Number of updates of a part, first stage included; a row of the metrics holds means over its steps.

        None where that stage lies elsewhere, as after `--init`.
        """
        steps, means = self.course("train", f"{part}_updates")
        if not steps or (part == "encoder" and not self.has_z) or (self.config.get("first") and not self.first):
            return None
        own = sum(mean * (step - before) for before, step, mean in zip([0, *steps], steps, means, strict=False))
        return own + ((self.first.updates(part) or 0.0) if self.first else 0.0)

    @property
    def epochs(self) -> float | None:
        """Optimiser steps in epochs; the logged epoch also counts batches that did not update the decoder."""
        steps = [row["step"] for row in self.metrics if row.get("split") == "valid"]
        every = epochs(self._training.get("validate_every"))
        if every and len(steps) > 1 and "step" in self.last:
            return float(self.last["step"] * every / steps[0])
        return self.last.get("epoch")

    @property
    def stopped(self) -> bool:
        """Whether it ended by its stop rule: done, with budget left."""
        budget = self._training.get("budget", 0)
        limit, trained = epochs(budget), self.epochs or 0.0
        left = self.last.get("step", 0) < budget if limit is None else round(trained, 1) < limit
        rule = self._training.get("decay") or self._training.get("stop_after")
        return bool(rule) and self.run.status == "done" and left

    @property
    def _training(self) -> dict[str, Any]:
        return self.config.get("training") or {}

    @property
    def last(self) -> dict[str, Any]:
        """The last row written in training."""
        return next((row for row in reversed(self.metrics) if row.get("split") == "train"), {})


@dataclass(frozen=True)
class Row:
    """The seeds of one remedy at one strength on one corpus."""

    corpus: str
    remedy: str
    strength: str
    entries: list[Entry] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{self.remedy} {self.strength}".strip()

    @property
    def has_z(self) -> bool:
        return any(entry.has_z for entry in self.entries)

    def evaluated(self, split: str) -> int:
        """How many of its seeds were evaluated on a split."""
        return sum(bool(entry.measured(split)) for entry in self.entries)

    def summary(self, split: str, metric: str) -> Summary:
        values = (entry.value(split, metric) for entry in self.entries)
        return Summary(tuple(value for value in values if value is not None))

    def settings(self, split: str, key: str) -> set[Any]:
        """The values of an estimator's setting over the seeds."""
        return {entry.measured(split)[key] for entry in self.entries if entry.measured(split).get(key) is not None}


def read_entries(directory: Path, manifest: Manifest) -> list[Entry]:
    """Every run of the study in order, each with its first stage; stages are not entries themselves."""
    records = manifest.records

    def entry(record: Record) -> Entry:
        first = entry(records[record.first]) if record.first else None
        return Entry(record, Run(directory / record.path), first)

    return [entry(record) for record in records.values() if not record.stage]


def rows_of(entries: Iterable[Entry]) -> dict[str, Sequence[Row]]:
    """The rows of every corpus, in the study's order."""
    rows: dict[tuple[str, str, str], Row] = {}
    for entry in entries:
        record = entry.record
        key = (record.corpus, record.remedy, record.strength)
        rows.setdefault(key, Row(*key)).entries.append(entry)
    return {
        corpus: [row for row in rows.values() if row.corpus == corpus]
        for corpus in dict.fromkeys(key[0] for key in rows)
    }
