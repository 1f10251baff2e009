"""A table of the grammar's factors: a linear probe's lower bound on I(z; f), and its controls."""

from collections.abc import Sequence
from html import escape
from typing import Any

from textvae.studies.report.columns import number, spread, with_error
from textvae.studies.report.entries import Entry, Row, Summary
from textvae.studies.report.html import cell, table

__all__ = ["factors", "probed_sentences"]

Factor = dict[str, Any]


def factors(rows: Sequence[Row], split: str) -> str:
    """One row per remedy, one column per factor: the bound, its controls, and the probe's accuracy."""
    rows = [row for row in rows if any(entry.factors(split) for entry in row.entries)]
    if not rows:
        return ""
    first = next(entry.factors(split) for row in rows for entry in row.entries if entry.factors(split))
    names = [factor["factor"] for factor in first]
    headings = [
        "remedy",
        "seeds",
        cell("Σ over factors", f"I(x; f) = {sum(factor['ceiling'] for factor in first):.2f}"),
        *map(_heading, first),
    ]
    body = []
    for row in rows:
        probed = [entry for entry in row.entries if entry.factors(split)]
        sums = Summary(tuple(entry.factor_information(split) or 0.0 for entry in probed))
        total = cell(with_error(sums, 2), spread(sums, 2, len(probed)))
        body.append([escape(row.label), str(len(probed)), total, *(_known(probed, split, name) for name in names)])
    return table(headings, body, texts=2)


def probed_sentences(rows: Sequence[Row], split: str) -> set[int]:
    """How many held-out sentences the probes were scored on: the split's."""
    probed = (entry for row in rows for entry in row.entries if entry.factors(split))
    return {entry.measured(split)["sentences"] for entry in probed if "sentences" in entry.measured(split)}


def _heading(factor: Factor) -> str:
    known = f"H = {factor['entropy']:.2f}, I(x; f) = {factor['ceiling']:.2f}"
    best = f"accuracy at most {factor['best_accuracy']:.2f}" if "best_accuracy" in factor else ""
    return cell(factor["factor"], known, best)


def _known(probed: Sequence[Entry], split: str, name: str) -> str:
    found = [factor for entry in probed for factor in entry.factors(split) if factor["factor"] == name]
    bound = _mean(found, "information")
    return cell(
        with_error(bound, 2),
        spread(bound, 2, len(probed)),
        _said(found, ("untrained", "untrained_encoder"), ("shuffled", "shuffled_labels")),
        _said(found, ("accuracy", "accuracy"), ("majority", "majority_accuracy")),
    )


def _said(found: Sequence[Factor], *of: tuple[str, str]) -> str:
    """Means over seeds, each with its name."""
    means = ((name, _mean(found, key)) for name, key in of)
    return ", ".join(f"{name} {number(mean.mean)}" for name, mean in means if mean.n)


def _mean(found: Sequence[Factor], key: str) -> Summary:
    return Summary(tuple(factor[key] for factor in found if factor.get(key) is not None))
