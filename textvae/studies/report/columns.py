"""How a number is headed and printed, with the setting of its estimator beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from textvae.studies.report.entries import Row, Summary

__all__ = ["Column", "columns_of", "number", "spread", "with_error"]


@dataclass(frozen=True)
class Column:
    """A metric of `evaluation.json` in a table: heading, digits, sign, and the key of its estimator's setting."""

    metric: str
    heading: str
    digits: int = 2
    negated: bool = False
    setting: str | None = None
    symbol: str = "K"

    def summary(self, row: Row, split: str) -> Summary:
        found = row.summary(split, self.metric)
        return Summary(tuple(-value for value in found.values)) if self.negated else found

    def estimator(self, rows: Sequence[Row], split: str) -> str:
        """` K = 100` if that is how every estimate in the column was made, else nothing."""
        found = {made for row in rows for made in self._settings(row, split)}
        return f"{self.symbol} = {found.pop():,}" if len(found) == 1 else ""

    def cell_note(self, row: Row, rows: Sequence[Row], split: str) -> str:
        """The estimator's setting where the heading cannot speak for all; `exact` without a z to integrate out."""
        if self.setting is None or not row.summary(split, self.metric).n:
            return ""
        made = self._settings(row, split)
        if not made:
            return "exact"
        return "" if self.estimator(rows, split) else f"{self.symbol} = {', '.join(f'{m:,}' for m in sorted(made))}"

    def _settings(self, row: Row, split: str) -> set[int]:
        """The settings of estimates; a language model's likelihood is none."""
        if self.setting is None:
            return set()
        has_z = row.settings(split, "active_units") or row.settings(split, "mutual_information_reference")
        return row.settings(split, self.setting) if has_z else set()


KNOWN = (
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
    Column("mutual_information", "I(x; z)", setting="mutual_information_reference", symbol="N"),
    Column("listening", "listening G"),
    Column("unknown_rate", "unknown rate", digits=4),
)


def columns_of(metrics: Sequence[str], rows: Sequence[Row], split: str) -> list[Column]:
    """The columns of these metrics that any row has a number for."""
    known = {column.metric: column for column in KNOWN}
    asked = [known.get(metric, Column(metric, metric.replace("_", " "))) for metric in metrics]
    return [column for column in asked if any(row.summary(split, column.metric).n for row in rows)]


def number(value: float | None, digits: int = 2) -> str:
    """A number with a true minus sign, or — where there is none."""
    if value is None or math.isnan(value):
        return "—"
    text = f"{value:,.{digits}f}"
    # −0.00 is 0.00.
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def with_error(found: Summary, digits: int) -> str:
    """Mean ± standard error over seeds; the mean alone where there is one seed."""
    error = "" if math.isnan(found.error) else f" ± {found.error:.{digits}f}"
    return number(found.mean, digits) + error


def spread(found: Summary, digits: int, seeds: int) -> str:
    """The standard deviation over seeds by its name, and how many seeds have the number where not all do."""
    parts = [] if math.isnan(found.deviation) else [f"s.d. {found.deviation:.{digits}f}"]
    if found.n and found.n != seeds:
        parts.append(f"n = {found.n}")
    return ", ".join(parts)
