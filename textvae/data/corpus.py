"""A corpus: three splits of sentences, from any source."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from textvae.data.reading.lazy import LazySentences, is_large
from textvae.data.store import kept, read_arrays, write_arrays
from textvae.errors import DataError

if TYPE_CHECKING:
    from textvae.data.grammar import Grammar

__all__ = ["SPLITS", "Corpus", "safe_name"]

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Corpus:
    """Sentences by split: stripped, never blank, without line breaks.

    `remarks` are messages to show to the user once; `grammar`, set only for the embedded corpus,
    computes the exact log-probability of a sentence. If training never sees a sentence twice, `fresh`
    returns the sentences of each epoch; epoch 0 is the train split, and all epochs have the same size.
    """

    name: str
    splits: Mapping[str, Sequence[str]]
    remarks: tuple[str, ...] = ()
    grammar: "Grammar | None" = None
    fresh: Callable[[int], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        for split in SPLITS:
            if not len(self[split]):
                raise DataError(f"the {split} split of {self.name} holds no sentence; add at least one")

    def __getitem__(self, split: str) -> Sequence[str]:
        if split not in self.splits:
            choices = ", ".join(self.splits)
            raise DataError(f"corpus {self.name} has no split `{split}`; choose one of {choices}")
        return self.splits[split]

    def digest(self) -> str:
        """The sha256 of every sentence of every split, in order."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        if not any(is_large(self[split]) for split in SPLITS):
            return self._computed_digest()
        found = kept(
            "digests",
            "\n".join(_identity(self[split]) for split in SPLITS),
            lambda folder: write_arrays(folder, {"sha256": np.array(self._computed_digest())}),
            lambda folder: str(read_arrays(folder)["sha256"]),
        )
        return self._computed_digest() if found is None else found

    def _computed_digest(self) -> str:
        total = hashlib.sha256()
        for split in SPLITS:
            total.update(f"{split}\0".encode())
            _update(total, self[split])
        for split in SPLITS:
            sentences = self[split]
            if isinstance(sentences, LazySentences):
                sentences.refuse_changed()
        return total.hexdigest()


def _identity(sentences: Sequence[str]) -> str:
    """A key that changes if the sentences may have: the stamp of lazy sentences, else a hash of the text."""
    if isinstance(sentences, LazySentences):
        return sentences.stamp
    total = hashlib.sha256()
    _update(total, sentences)
    return total.hexdigest()


def _update(total: "hashlib._Hash", sentences: Iterable[str]) -> None:
    lines = iter(sentences)
    while some := list(islice(lines, 1000)):
        total.update(("\n".join(some) + "\n").encode())


def safe_name(name: str) -> str:
    """`name` with everything but letters, digits, dots, dashes and underscores replaced by a dash."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "corpus"
