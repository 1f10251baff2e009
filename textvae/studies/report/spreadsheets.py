"""The report's numbers as CSV: undefined is an empty cell."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from textvae.studies.manifest import Manifest
from textvae.studies.report.columns import columns_of
from textvae.studies.report.entries import Entry, Row

__all__ = ["rows_csv", "runs_csv"]


def rows_csv(corpora: Mapping[str, Sequence[Row]], manifest: Manifest) -> str:
    """One line per corpus, split, row and metric: mean, s.e., s.d., number of seeds, K, N or `exact`, and how many
    seeds have a saturated estimate."""
    lines: list[list[object]] = [
        [
            "corpus",
            "split",
            "remedy",
            "strength",
            "metric",
            "mean",
            "se_over_seeds",
            "sd_over_seeds",
            "seeds",
            "setting",
            "saturated",
        ]
    ]
    for corpus, rows in corpora.items():
        for split in manifest.splits:
            for column in columns_of(manifest.metrics, rows, split):
                for row in rows:
                    found = row.summary(split, column.metric)
                    numbers = [_plain(found.mean), _plain(found.error), _plain(found.deviation), found.n]
                    made = column.note(row, split)
                    flagged = column.saturations(row, split) if column.saturated and found.n else ""
                    lines.append([corpus, split, row.remedy, row.strength, column.metric, *numbers, made, flagged])
    return _csv(lines)


def runs_csv(entries: Sequence[Entry], manifest: Manifest) -> str:
    """One line per run and split with every number of its evaluation except lists."""
    found = [(entry, split, _numbers(entry, split)) for entry in entries for split in manifest.splits]
    lists = {key for *_, values in found for key, value in values.items() if isinstance(value, list)}
    keys = [key for key in dict.fromkeys(key for *_, values in found for key in values) if key not in lists]
    lines: list[list[object]] = [["corpus", "remedy", "strength", "seed", "state", "reason", "split", *keys]]
    for entry, split, values in found:
        r = entry.record
        numbers = ("" if values.get(key) is None else values[key] for key in keys)
        lines.append([r.corpus, r.remedy, r.strength, r.seed, r.state, r.reason, split, *numbers])
    return _csv(lines)


def _numbers(entry: Entry, split: str) -> dict[str, Any]:
    """The evaluation's numbers, its seed renamed to differ from the run's; no K for an exact likelihood."""
    values = {("evaluation_seed" if key == "seed" else key): value for key, value in entry.measured(split).items()}
    return values if entry.has_z or not values else {**values, "iwae_samples": None}


def _plain(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _csv(lines: Sequence[Sequence[object]]) -> str:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows(lines)
    return content.getvalue()
