"""Remedies compared at the same rate, by linear interpolation between the strengths of each on either side."""

from collections.abc import Sequence
from itertools import pairwise

from textvae.studies.report.entries import Row

__all__ = ["MATCHED", "at_rate"]

MATCHED = (("elbo", "−ELBO", -1.0), ("iwae_nll", "IW NLL", 1.0), ("listening", "G", 1.0))
"""Metric, heading and sign of what is compared."""
RATES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

Found = dict[float, list[float]]


def at_rate(rows: Sequence[Row], split: str) -> dict[str, Found]:
    """{remedy: {rate: the numbers of MATCHED}} at the rates of RATES that lie between two of its strengths."""
    remedies = dict.fromkeys(row.remedy for row in rows)
    found = {remedy: _between(_points([row for row in rows if row.remedy == remedy], split)) for remedy in remedies}
    return {remedy: values for remedy, values in found.items() if values}


def _points(strengths: Sequence[Row], split: str) -> list[tuple[float, list[float]]]:
    """(rate, numbers) of each strength, means over seeds, by rate; strengths that lack one are left out."""
    points = []
    for row in strengths:
        rate = row.summary(split, "rate")
        values = [row.summary(split, metric) for metric, _, _ in MATCHED]
        if rate.n and all(value.n for value in values):
            signs = (sign for _, _, sign in MATCHED)
            points.append((rate.mean, [sign * value.mean for sign, value in zip(signs, values, strict=True)]))
    return sorted(points)


def _between(points: Sequence[tuple[float, list[float]]]) -> Found:
    found: Found = {}
    for (low, before), (high, after) in pairwise(points):
        for rate in RATES:
            if low <= rate <= high and low < high:
                share = (rate - low) / (high - low)
                found[rate] = [a + share * (b - a) for a, b in zip(before, after, strict=True)]
    return found
