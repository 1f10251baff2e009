"""The corpora, remedies and studies shipped with textvae, by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from textvae.errors import ConfigError, did_you_mean

__all__ = ["YAML", "recipe_files", "resolve"]

YAML = (".yaml", ".yml")
"""How the name of a file of settings ends."""

Folder = Literal["corpora", "remedies", "studies"]
ONE_OF: dict[Folder, str] = {"corpora": "corpus", "remedies": "remedy", "studies": "study"}


def _recipes() -> Path:
    """Their folder: inside an installed package, or next to it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "recipes"
    return packaged if packaged.is_dir() else package.parent / "experiments"


def recipe_files(folder: Folder) -> list[Path]:
    """The YAML files shipped with textvae, sorted by name."""
    return sorted((_recipes() / folder).glob("*.yaml"))


def resolve(name: str, folders: Sequence[Folder] = ("corpora", "remedies")) -> Path:
    """The file of the recipe `name`, or `name` itself if it is the path of a YAML file.

    Raises
    ------
    ConfigError
        If neither exists.
    """
    if name.endswith(YAML):
        if not Path(name).is_file():
            raise ConfigError(f"{name}: {'is a directory, not a file' if Path(name).is_dir() else 'no such file'}")
        return Path(name)
    known = {path.stem: path for folder in folders for path in recipe_files(folder)}
    found = known.get(name.replace("-", "_"))
    if found is None:
        there = f"; sentences are named by the key data.corpus, or --corpus {name}" if Path(name).exists() else ""
        guess = did_you_mean(name, known)
        choices = "" if guess else f"; choose from {', '.join(sorted(known))}"
        raise ConfigError(
            f"{name}: no {' or '.join(ONE_OF[folder] for folder in folders)} of this name{guess}{choices}, or give "
            f"a file ending in .yaml{there if 'corpora' in folders else ''}"
        )
    return found
