"""Remedies compared at the same rate: each seed's curve over its strengths, interpolated linearly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from textvae.studies.report.columns import KNOWN, Column
from textvae.studies.report.entries import Entry, Row, Summary

__all__ = ["MATCHED", "Measure", "at_rate"]

RATES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Measure:
    """A quantity compared at matched rate: a number of a run on a split, and the column of its estimator."""

    heading: str
    of: Callable[[Entry, str], float | None]
    digits: int = 2
    column: Column | None = None

    def estimator(self, rows: Sequence[Row], split: str) -> str:
        return self.column.estimator(rows, split) if self.column else ""

    def cell_note(self, strengths: Sequence[Row], rows: Sequence[Row], split: str) -> str:
        """The estimator's settings for a remedy's strengths where they differ from the heading's."""
        notes = (self.column.cell_note(row, rows, split) for row in strengths) if self.column else ()
        return ", ".join(dict.fromkeys(filter(None, notes)))


MATCHED = (
    Measure("−ELBO", lambda entry, split: _negated(entry.value(split, "elbo"))),
    Measure("IW NLL", lambda entry, split: entry.value(split, "iwae_nll"), column=KNOWN["iwae_nll"]),
    Measure("listening G", lambda entry, split: entry.value(split, "listening")),
    Measure("Σ I(z; f) ≥", lambda entry, split: entry.factor_information(split)),
    Measure("encoder updates", lambda entry, split: entry.updates("encoder"), digits=0),
    Measure("decoder updates", lambda entry, split: entry.updates("decoder"), digits=0),
)

Found = dict[float, dict[str, list[Summary]]]


def at_rate(rows: Sequence[Row], split: str, measures: Sequence[Measure] = MATCHED) -> Found:
    """{rate: {remedy: measures, over the seeds whose strengths bracket the rate}}."""
    remedies = {row.remedy: _seeds([other for other in rows if other.remedy == row.remedy]) for row in rows}
    found: Found = {}
    for rate in RATES:
        for remedy, seeds in remedies.items():
            values = [_summary(seeds, split, measure, rate) for measure in measures]
            if any(value.n for value in values):
                found.setdefault(rate, {})[remedy] = values
    return found


def _seeds(strengths: Sequence[Row]) -> list[list[Entry]]:
    """The runs of each seed over the strengths of a remedy."""
    entries = [entry for row in strengths for entry in row.entries]
    seeds = dict.fromkeys(entry.record.seed for entry in entries)
    return [[entry for entry in entries if entry.record.seed == seed] for seed in seeds]


def _summary(seeds: Sequence[Sequence[Entry]], split: str, measure: Measure, rate: float) -> Summary:
    values = (_on_curve(_points(entries, split, measure), rate) for entries in seeds)
    return Summary(tuple(value for value in values if value is not None))


def _points(entries: Sequence[Entry], split: str, measure: Measure) -> list[tuple[float, float]]:
    """(rate, number) of the runs that have both, by rate."""
    pairs = ((entry.value(split, "rate"), measure.of(entry, split)) for entry in entries)
    return sorted((rate, value) for rate, value in pairs if rate is not None and value is not None)


def _on_curve(points: Sequence[tuple[float, float]], rate: float) -> float | None:
    """The value at a rate between two neighbours; None outside them."""
    for (low, before), (high, after) in pairwise(points):
        if low <= rate <= high and low < high:
            return before + (rate - low) / (high - low) * (after - before)
    return None


def _negated(value: float | None) -> float | None:
    return None if value is None else -value
