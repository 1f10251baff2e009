"""The report's tables, as HTML: numbers with their estimator's K or N, verdicts, matched rates, factors, runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from textvae.studies.report.columns import Column, columns_of, number, spread, with_error
from textvae.studies.report.entries import Entry, Row, Summary
from textvae.studies.report.html import cell, chip, sentence, table
from textvae.studies.report.matched import MATCHED, at_rate
from textvae.studies.report.published import GRADES, Published, published

__all__ = ["factors", "matched_rates", "measured", "published_beside_ours", "runs"]

PUBLISHED = (
    "elbo",
    "distortion",
    "rate",
    "mutual_information",
    "active_units",
    "perplexity_elbo",
    "perplexity_iwae",
)


def measured(rows: Sequence[Row], split: str, metrics: Sequence[str], baseline: str | None) -> str:
    """A row a remedy and strength: mean ± standard error over seeds, the standard deviation beneath."""
    rows = [row for row in rows if any(entry.measured(split) for entry in row.entries)]
    columns = columns_of(metrics, rows, split)
    if not columns:
        return ""
    base = next((row for row in rows if row.remedy == baseline), None)
    beside = [f"IW NLL − {escape(str(baseline))}<small>paired by seed</small>"] if base else []
    headings = ["remedy", "seeds", "verdict", *(_heading(c, rows, split) for c in columns), *beside]
    body = [
        [
            escape(row.label),
            str(sum(bool(entry.measured(split)) for entry in row.entries)),
            _verdicts(row, split),
            *(_cell(column, row, rows, split) for column in columns),
            *([_difference(row, base, split)] if base else []),
        ]
        for row in rows
    ]
    return table(headings, body, texts=3)


def matched_rates(rows: Sequence[Row], split: str) -> str:
    """−ELBO, IW NLL and G at the same rates, for remedies of two strengths or more."""
    points = at_rate(rows, split)
    if not points:
        return ""
    rates = sorted({rate for found in points.values() for rate in found})
    headings = ["remedy", *(f"R = {rate:g}<small>{name}</small>" for rate in rates for _, name, _ in MATCHED)]
    body = [
        [escape(remedy), *(number(value) for rate in rates for value in found.get(rate, [None] * len(MATCHED)))]
        for remedy, found in points.items()
    ]
    return table(headings, body)


def factors(rows: Sequence[Row]) -> str:
    """What z knows of the grammar's factors: a linear probe's lower bound on I(z; f), held out."""
    probed = [row for row in rows if any(entry.probes for entry in row.entries)]
    if not probed:
        return ""
    first = next(entry.probes for row in probed for entry in row.entries if entry.probes)
    headings = [
        f"{escape(factor['factor'])}<small>H = {factor['entropy']:.3f}, I(x; f) = {factor['ceiling']:.3f}</small>"
        for factor in first
    ]
    return table(["remedy", *headings], [[escape(row.label), *_known(row, first)] for row in probed])


def published_beside_ours(rows: Sequence[Row]) -> str:
    """Published figures, and ours of the same recipe beneath, on the test split."""
    columns = columns_of(PUBLISHED, rows, "test")
    body: list[list[str]] = []
    for remedy in dict.fromkeys(line.remedy for line in published()):
        for line in (line for line in published() if line.remedy == remedy):
            samples = f"K = {line.iwae_samples}" if line.iwae_samples else ""
            what = cell(f"{line.work}: {line.what}", samples, line.note)
            grade = f"<abbr title='{GRADES[line.grade]}'>{line.grade}</abbr>"
            body.append([what, grade, *(_theirs(line, column) for column in columns)])
        for row in (row for row in rows if row.remedy == remedy and any(e.measured("test") for e in row.entries)):
            epochs = max(entry.last.get("epoch", 0.0) for entry in row.entries)
            ours = f"<b>{cell(f'ours: {row.label}', f'{epochs:.0f} epochs, {len(row.entries)} seeds')}</b>"
            body.append([ours, "", *(_cell(column, row, rows, "test") for column in columns)])
    return table(["", "grade", *(_heading(column, rows, "test") for column in columns)], body)


def runs(entries: Sequence[Entry], splits: Sequence[str]) -> str:
    """Every run: where it stands, what training cost, and the verdict on each split in full."""
    body = []
    for entry in entries:
        last = entry.last
        cost = [
            number(last.get("step"), 0),
            number(last.get("elapsed_seconds"), 0),
            number(last.get("tokens_per_second"), 0),
        ]
        sentences = [sentence(entry.measured(split).get("verdict") or "—") for split in splits]
        state = escape(entry.record.path), chip(entry.record.state) if entry.record.state != "done" else "done"
        body.append([*state, *cost, *sentences])
    headings = [
        "run",
        "state",
        "steps",
        "seconds of training",
        "tokens/s",
        *(f"verdict, {split}" for split in splits),
    ]
    return table(headings, body, texts=2)


def _theirs(line: Published, column: Column) -> str:
    value = getattr(line, column.metric)
    return number(value if value is None or not column.negated else -value, column.digits)


def _heading(column: Column, rows: Sequence[Row], split: str) -> str:
    return cell(column.heading, column.estimator(rows, split))


def _cell(column: Column, row: Row, rows: Sequence[Row], split: str) -> str:
    found = column.summary(row, split)
    notes = spread(found, column.digits, len(row.entries)), column.cell_note(row, rows, split)
    return cell(with_error(found, column.digits), *notes)


def _difference(row: Row, base: Row, split: str) -> str:
    """IW NLL less the baseline's of the same seed."""
    if row is base:
        return "0"
    theirs = {entry.record.seed: entry.value(split, "iwae_nll") for entry in base.entries}
    pairs = ((entry.value(split, "iwae_nll"), theirs.get(entry.record.seed)) for entry in row.entries)
    found = Summary(tuple(ours - other for ours, other in pairs if ours is not None and other is not None))
    return cell(with_error(found, 2), spread(found, 2, len(row.entries)))


def _verdicts(row: Row, split: str) -> str:
    words = Counter(verdict for entry in row.entries if (verdict := entry.verdict(split)))
    return "".join(chip(word, count) for word, count in words.items()) or "—"


def _known(row: Row, factors: Sequence[Mapping[str, object]]) -> list[str]:
    cells = []
    for place in range(len(factors)):
        found = Summary(tuple(entry.probes[place]["information"] for entry in row.entries if entry.probes))
        cells.append(cell(with_error(found, 3), spread(found, 3, len(row.entries))))
    return cells
