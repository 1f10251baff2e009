"""Stored results of a run, part by part: `evaluation/<split>/<part>.json`, each with its settings.

With a seed other than 0 the file is `<part>-seed-<seed>.json`, so that one does not replace the other. A part is
written when it is done, so that an interrupted evaluation resumes after the last one.
"""

from collections.abc import Mapping
from typing import Any

from textvae.runs import Run

__all__ = ["headlines", "keep", "kept"]


def keep(run: Run, split: str, part: str, settings: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Write the numbers of a part."""
    (run.path / "evaluation" / split).mkdir(parents=True, exist_ok=True)
    run.write_json(_file(split, part, settings), {"settings": dict(settings), "values": dict(values)})


def kept(run: Run, split: str, part: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The stored numbers of a part, if they were measured with these settings."""
    found = run.read_json(_file(split, part, settings))
    same = found.get("settings") == dict(settings)
    return dict(found["values"]) if same else None


def headlines(run: Run, split: str, weights_sha256: str | None, seed: int) -> dict[str, Any]:
    """Every scalar of the parts that were measured with these weights and this seed."""
    values: dict[str, Any] = {}
    present = {"weights_sha256": weights_sha256, "seed": seed}
    for path in sorted((run.path / "evaluation" / split).glob("*.json")):
        found = run.read_json(str(path.relative_to(run.path)))
        if found.get("settings", {}).items() >= present.items():
            values |= {
                name: value for name, value in found["values"].items() if not isinstance(value, (list, dict))
            }
    return values


def _file(split: str, part: str, settings: Mapping[str, Any]) -> str:
    seed = settings["seed"]
    return f"evaluation/{split}/{part}{f'-seed-{seed}' if seed else ''}.json"
