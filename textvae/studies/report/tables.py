"""The report's tables, as HTML: numbers with their estimator's K or N, verdicts, matched rates, runs."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from textvae.studies.report.columns import KNOWN, Column, columns_of, number, spread, with_error
from textvae.studies.report.entries import Entry, Row, Summary
from textvae.studies.report.html import cell, chip, grouped, sentence, table
from textvae.studies.report.matched import MATCHED, Measure, at_rate

__all__ = ["matched_rates", "measured", "metric_cell", "metric_heading", "runs"]


def measured(rows: Sequence[Row], split: str, metrics: Sequence[str], baseline: str | None) -> str:
    """One row per remedy and strength: mean ± standard error over seeds, the standard deviation beneath."""
    rows = [row for row in rows if row.evaluated(split)]
    columns = columns_of(metrics, rows, split)
    if not columns:
        return ""
    base = next((row for row in rows if row.remedy == baseline), None)
    nll = KNOWN["iwae_nll"]
    beside = [cell(f"IW NLL − {base.label}", "paired by seed", nll.estimator(rows, split))] if base else []
    headings = ["remedy", "seeds", "verdict", *(metric_heading(column, rows, split) for column in columns), *beside]
    body = [
        [
            escape(row.label),
            _seeds(row, split),
            _verdicts(row, split),
            *(metric_cell(column, row, split, column.cell_note(row, rows, split)) for column in columns),
            *([_difference(row, base, split, nll.cell_note(row, rows, split))] if base else []),
        ]
        for row in rows
    ]
    return table(headings, body, texts=3)


def metric_heading(column: Column, rows: Sequence[Row], split: str) -> str:
    """A metric with its estimator's setting where that is the same for all rows."""
    return cell(column.heading, column.estimator(rows, split))


def metric_cell(column: Column, row: Row, split: str, made: str) -> str:
    """Mean ± standard error of a row, ≥ if a seed's is saturated; its spread and the estimator's `made` beneath."""
    found = column.summary(row, split)
    least = "≥ " if column.saturations(row, split) else ""
    return cell(least + with_error(found, column.digits), spread(found, column.digits, row.evaluated(split)), made)


def matched_rates(rows: Sequence[Row], split: str) -> str:
    """Remedies with several strengths compared at the same rates: mean ± standard error over seeds."""
    entries = [entry for row in rows for entry in row.entries]
    measures = [m for m in MATCHED if any(m.of(entry, split) is not None for entry in entries)]
    found = at_rate(rows, split, measures)
    headings = [cell(measure.heading, measure.estimator(rows, split)) for measure in measures]
    groups = [
        (f"R = {rate:g} nats", [_at(remedy, values, measures, rows, split) for remedy, values in at.items()])
        for rate, at in found.items()
    ]
    return grouped(["remedy", "seeds", *headings], groups, texts=2) if groups else ""


def runs(entries: Sequence[Entry], splits: Sequence[str]) -> str:
    """Every run: its state, the cost of training, and the full verdict on each split."""
    body = []
    for entry in entries:
        last = entry.last
        cost = [
            number(last.get("step"), 0),
            number(entry.updates("encoder"), 0),
            number(entry.updates("decoder"), 0),
            number(last.get("elapsed_seconds"), 0),
            number(last.get("tokens_per_second"), 0),
        ]
        sentences = [sentence(entry.measured(split).get("verdict") or "—") for split in splits]
        state = escape(entry.record.path), chip(entry.record.state) if entry.record.state != "done" else "done"
        body.append([*state, *cost, *sentences])
    headings = [
        *("run", "state", "optimiser steps", "encoder updates", "decoder updates"),
        *("seconds of training", "tokens/s"),
        *(f"verdict, {split}" for split in splits),
    ]
    return table(headings, body, texts=2)


def _at(
    remedy: str, values: Sequence[Summary], measures: Sequence[Measure], rows: Sequence[Row], split: str
) -> list[str]:
    """The cells of a remedy at one rate."""
    strengths = [row for row in rows if row.remedy == remedy]
    seeds = max(value.n for value in values)
    cells = (
        cell(
            with_error(value, measure.digits),
            f"n = {value.n}" if 0 < value.n < seeds else "",
            measure.cell_note(strengths, rows, split),
        )
        for measure, value in zip(measures, values, strict=True)
    )
    return [escape(remedy), str(seeds), *cells]


def _seeds(row: Row, split: str) -> str:
    """Number of evaluated seeds, and of how many if not all were evaluated."""
    done, asked = row.evaluated(split), len(row.entries)
    return str(done) if done == asked else f"{done} of {asked}"


def _difference(row: Row, base: Row, split: str, made: str) -> str:
    """IW NLL minus the baseline's of the same seed, and the row's own estimator's setting `made` beneath."""
    if row is base:
        return "0"
    theirs = {entry.record.seed: entry.value(split, "iwae_nll") for entry in base.entries}
    pairs = ((entry.value(split, "iwae_nll"), theirs.get(entry.record.seed)) for entry in row.entries)
    found = Summary(tuple(ours - other for ours, other in pairs if ours is not None and other is not None))
    return cell(with_error(found, 2), spread(found, 2, row.evaluated(split)), made)


def _verdicts(row: Row, split: str) -> str:
    states = Counter(state for entry in row.entries if (state := entry.state(split)))
    return "".join(chip(state, count) for state, count in states.items()) or "—"
