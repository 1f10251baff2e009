"""One sentence on which code made the runs of a study, and whether it was the same for all."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["code_of"]


def code_of(environments: Sequence[Mapping[str, Any]]) -> str:
    """The commits of all runs, or the number of runs by commit; uncommitted changes are named by their hash."""
    made = Counter(_code(environment) for environment in environments if environment.get("commit"))
    if not made:
        return ""
    if len(made) == 1:
        return f"Made by {next(iter(made))}."
    parts = "; ".join(f"{count} by {code}" for code, count in made.most_common())
    return f"The runs were made by different code, first stages counted: {parts}."


def _code(environment: Mapping[str, Any]) -> str:
    """The commit that a run began with, and those that it went on with."""
    seen, codes = dict(environment), [_commit(environment)]
    for change in environment.get("continued", []):
        seen |= change
        codes.append(_commit(seen))
    return ", then ".join(code for code, before in zip(codes, [None, *codes], strict=False) if code != before)


def _commit(environment: Mapping[str, Any]) -> str:
    commit, changes = environment.get("commit"), environment.get("diff_sha256")
    name = f"commit {commit[:10]}" if commit else "an unknown commit"
    return name + (f" with changes {changes[:8]}" if changes else "")
