"""A table of published figures, with the study's runs of the same set-up beneath them."""

from collections.abc import Sequence

from textvae.studies.report.columns import Column, columns_of, number
from textvae.studies.report.entries import Row
from textvae.studies.report.html import cell, grouped
from textvae.studies.report.published import GRADES, SPLIT, Published, beside
from textvae.studies.report.tables import metric_cell

__all__ = ["published_beside_ours"]

METRICS = (
    *("elbo", "distortion", "rate", "mutual_information", "active_units"),
    *("iwae_nll", "perplexity_elbo", "perplexity_iwae", "unknown_rate"),
)


def published_beside_ours(rows: Sequence[Row]) -> str:
    """Groups of published rows, and under each the runs that have all the settings defining them."""
    found = beside(rows)
    if not found:
        return ""
    columns = columns_of(METRICS, rows, SPLIT)
    groups = [
        ("", [*(_theirs(line, columns) for line in lines), *(_ours(row, lines, columns) for row in ours)])
        for lines, ours in found
    ]
    return grouped(["", "grade", *(column.heading for column in columns)], groups, texts=2)


def _theirs(line: Published, columns: Sequence[Column]) -> list[str]:
    grade = f"<abbr title='{GRADES[line.grade]}'>{line.grade}</abbr>"
    return [cell(f"{line.work}: {line.what}", line.note), grade, *(_figure(line, column) for column in columns)]


def _figure(line: Published, column: Column) -> str:
    value = getattr(line, column.metric)
    if value is None:
        return number(None)
    made = getattr(line, column.setting) if column.setting else None
    exact = "exact" if column.setting and not line.has_z else ""
    note = f"{column.symbol} = {made:,}" if made else exact
    least = "≥ " if column.saturated and getattr(line, column.saturated) else ""
    return cell(least + number(-value if column.negated else value, _digits(value)), note)


def _digits(value: float) -> int:
    """As many digits as published: 102.6 is not shown as 102.60."""
    return len(str(value).partition(".")[2])


def _ours(row: Row, lines: Sequence[Published], columns: Sequence[Column]) -> list[str]:
    optimiser = row.entries[0].config["training"]["optimiser"]
    with_ = f"{optimiser['kind']}, learning rate {optimiser['lr']:g}"
    seeds = f"{len(row.entries)} seed{'s' if len(row.entries) > 1 else ''}"
    name = cell(f"ours: {row.label}", ", ".join((_steps(row), seeds, with_)), _cut_short(row, lines))
    return [f"<b>{name}</b>", "", *(metric_cell(c, row, SPLIT, c.note(row, SPLIT)) for c in columns)]


def _steps(row: Row) -> str:
    """Optimiser steps of the runs; epochs would also count batches that did not update the decoder."""
    steps = sorted({entry.last["step"] for entry in row.entries if "step" in entry.last})
    return f"{_range(steps, ',')} optimiser steps" if steps else ""


def _cut_short(row: Row, lines: Sequence[Published]) -> str:
    """`6 of at most 100 epochs` if runs ended before a published budget, and not by their stop rule."""
    ended = [entry.epochs for entry in row.entries if entry.epochs is not None and not entry.stopped]
    budgets = sorted({line.epochs for line in lines if any(round(epochs, 1) < line.epochs for epochs in ended)})
    short = sorted(round(epochs, 1) for epochs in ended if budgets and epochs < budgets[-1])
    return f"{_range(short, 'g')} of at most {' or '.join(map(str, budgets))} epochs" if budgets else ""


def _range(ordered: Sequence[float], form: str) -> str:
    return "–".join(f"{value:{form}}" for value in dict.fromkeys((ordered[0], ordered[-1])))
