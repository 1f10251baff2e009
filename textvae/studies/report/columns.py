"""Headings and formats of the reported numbers, with the settings of their estimators."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from textvae.studies.report.entries import Row, Summary

__all__ = ["KNOWN", "Column", "columns_of", "number", "spread", "with_error"]


@dataclass(frozen=True)
class Column:
    """A metric of `evaluation.json` in a table: heading, digits, sign, the key of its estimator's setting, and of
    the flag that the estimate is saturated: only a lower bound."""

    metric: str
    heading: str
    digits: int = 2
    negated: bool = False
    setting: str | None = None
    symbol: str = "K"
    saturated: str | None = None

    def summary(self, row: Row, split: str) -> Summary:
        found = row.summary(split, self.metric)
        return Summary(tuple(-value for value in found.values)) if self.negated else found

    def estimator(self, rows: Sequence[Row], split: str) -> str:
        """`K = 100` if every estimate in the column was made with that setting, else empty."""
        found = {made for row in rows for made in self._settings(row, split)}
        return self.estimators(rows, split) if len(found) == 1 else ""

    def note(self, row: Row, split: str) -> str:
        """The setting behind the row's number: `exact` without a z, `K = 7, 100` where seeds differ, else empty."""
        if self.setting is None or not row.summary(split, self.metric).n:
            return ""
        return self.estimators([row], split) if row.has_z else "exact"

    def estimators(self, rows: Sequence[Row], split: str) -> str:
        """Every setting behind these estimates, `K = 7, 100`; empty if all are exact."""
        found = sorted({made for row in rows for made in self._settings(row, split)})
        return f"{self.symbol} = {', '.join(f'{made:,}' for made in found)}" if found else ""

    def cell_note(self, row: Row, rows: Sequence[Row], split: str) -> str:
        """The row's note where it differs from the heading's, else empty."""
        note = self.note(row, split)
        return "" if note == self.estimator(rows, split) else note

    def saturations(self, row: Row, split: str) -> int:
        """How many seeds of a row have a saturated estimate."""
        flags = (entry.measured(split).get(self.saturated) for entry in row.entries if self.saturated)
        return sum(flag is True for flag in flags)

    def _settings(self, row: Row, split: str) -> set[int]:
        """The settings of the estimates; empty for a language model, whose likelihood is exact."""
        return row.settings(split, self.setting) if self.setting and row.has_z else set()


KNOWN = {
    column.metric: column
    for column in (
        Column("distortion", "distortion"),
        Column("rate", "rate"),
        Column("elbo", "−ELBO", negated=True),
        Column("iwae_nll", "IW NLL", setting="iwae_samples"),
        Column("exact_nll", "exact NLL"),
        Column("excess_nll", "IW NLL above the truth", setting="iwae_samples"),
        Column("perplexity_elbo", "perplexity, −ELBO"),
        Column("perplexity_iwae", "perplexity, IW", setting="iwae_samples"),
        Column("perplexity_per_word_elbo", "perplexity per word, −ELBO"),
        Column("perplexity_per_word_iwae", "perplexity per word, IW", setting="iwae_samples"),
        Column("active_units", "active units", digits=1),
        Column(
            "mutual_information",
            "I(x; z)",
            setting="mutual_information_reference",
            symbol="N",
            saturated="mutual_information_saturated",
        ),
        Column("listening", "listening G"),
        Column("unknown_rate", "unknown rate", digits=4),
    )
}
"""Columns by metric."""


def columns_of(metrics: Sequence[str], rows: Sequence[Row], split: str) -> list[Column]:
    """The columns of these metrics that any row has a number for."""
    asked = [KNOWN.get(metric, Column(metric, metric.replace("_", " "))) for metric in metrics]
    return [column for column in asked if any(row.summary(split, column.metric).n for row in rows)]


def number(value: float | None, digits: int = 2) -> str:
    """A number with a true minus sign; — if undefined."""
    if value is None or math.isnan(value):
        return "—"
    text = f"{value:,.{digits}f}"
    # −0.00 is printed as 0.00.
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def with_error(found: Summary, digits: int) -> str:
    """Mean ± standard error over seeds; the mean alone where there is one seed."""
    error = "" if math.isnan(found.error) else f" ± {found.error:.{digits}f}"
    return number(found.mean, digits) + error


def spread(found: Summary, digits: int, seeds: int) -> str:
    """The standard deviation over seeds, and how many seeds have the number if not all `seeds` do."""
    parts = [] if math.isnan(found.deviation) else [f"s.d. {found.deviation:.{digits}f}"]
    if found.n and found.n != seeds:
        parts.append(f"n = {found.n}")
    return ", ".join(parts)
