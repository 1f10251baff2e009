"""One sentence on which code made the runs of a study, and whether it was the same for all."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["code_of"]


def code_of(environments: Sequence[Mapping[str, Any]]) -> str:
    """The commit of all runs, or the number of runs by commit; uncommitted changes are named by their hash."""
    made = Counter(_code(environment) for environment in environments if environment.get("commit"))
    if not made:
        return ""
    if len(made) == 1:
        return f"Made by {next(iter(made))}."
    parts = "; ".join(f"{count} by {code}" for code, count in made.most_common())
    return f"The runs were made by different code, first stages counted: {parts}."


def _code(environment: Mapping[str, Any]) -> str:
    changes = environment.get("diff_sha256")
    return f"commit {environment['commit'][:10]}" + (f" with changes {changes[:8]}" if changes else "")
