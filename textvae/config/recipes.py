"""The corpora and remedies that ship with textvae, by name."""

from pathlib import Path
from typing import Literal

from textvae.errors import ConfigError, did_you_mean

__all__ = ["recipe_files", "resolve"]


def _recipes() -> Path:
    """Where the corpora and remedies lie: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "recipes"
    return packaged if packaged.is_dir() else package.parent / "experiments"


def recipe_files(folder: Literal["corpora", "remedies"]) -> list[Path]:
    """The YAML files that ship with textvae, sorted by name."""
    return sorted((_recipes() / folder).glob("*.yaml"))


def resolve(name: str) -> Path:
    """The file of a recipe, by its name, or the YAML file of that path.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise ConfigError(f"{name}: no such file")
        return Path(name)
    known = {path.stem: path for path in [*recipe_files("corpora"), *recipe_files("remedies")]}
    if name not in known:
        there = f"; to train on its sentences, write --corpus {name}" if Path(name).exists() else ""
        raise ConfigError(
            f"{name}: no corpus or remedy of this name{did_you_mean(name, known)}; "
            f"choose from {', '.join(sorted(known))}, or give a file that ends in .yaml{there}"
        )
    return known[name]
