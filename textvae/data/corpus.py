"""What a corpus is: three splits of sentences, whatever they were read from."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textvae.errors import DataError

if TYPE_CHECKING:
    from textvae.data.grammar import Grammar

__all__ = ["SPLITS", "Corpus", "safe_name"]

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Corpus:
    """Sentences by split: stripped, never blank, without line breaks.

    `remarks` are sentences the user should read once; `grammar`, which only the embedded corpus has,
    gives the exact log-probability of a sentence. `fresh`, where training never sees a sentence twice,
    gives the sentences of each epoch; epoch 0 is the train split, and each is as large.
    """

    name: str
    splits: Mapping[str, Sequence[str]]
    remarks: tuple[str, ...] = ()
    grammar: "Grammar | None" = None
    fresh: Callable[[int], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        for split in SPLITS:
            if not len(self[split]):
                raise DataError(f"The {split} split of {self.name} holds no sentence: add at least one.")

    def __getitem__(self, split: str) -> Sequence[str]:
        if split not in self.splits:
            choices = ", ".join(self.splits)
            raise DataError(f"Corpus {self.name} has no split `{split}`: choose one of {choices}.")
        return self.splits[split]

    def digest(self) -> str:
        """The sha256 of every sentence of every split, in order."""
        total = hashlib.sha256()
        for split in SPLITS:
            total.update(f"{split}\0".encode())
            for sentence in self[split]:
                total.update(sentence.encode())
                total.update(b"\n")
        return total.hexdigest()


def safe_name(name: str) -> str:
    """`name` with everything but letters, digits, dots, dashes and underscores replaced by a dash."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "corpus"
