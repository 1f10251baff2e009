"""The corruptions a configuration can name."""

from textvae.objectives.corruptions.corruption import Clean, Corruption
from textvae.objectives.corruptions.words import Words

__all__ = ["CORRUPTIONS", "Corruption"]

CORRUPTIONS = {"none": Clean, "words": Words}
