"""`textvae remedies`: every shipped recipe by name, with the comment its file begins with."""

from typing import Literal

from textvae.config import recipe_files

__all__ = ["described"]


def described(folder: Literal["corpora", "remedies"]) -> list[tuple[str, str]]:
    """(name, comment on its first line) of every recipe in a folder."""
    return [(path.stem, path.read_text("utf-8").split("\n")[0].lstrip("# ")) for path in recipe_files(folder)]
