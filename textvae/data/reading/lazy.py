"""Sentences read from disk on access, never all held in memory."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard, overload

import numpy as np
from numpy.typing import NDArray

from textvae.data import store
from textvae.data.store import kept_arrays

__all__ = ["LazySentences", "arrays_of", "is_large", "select"]


class LazySentences(Sequence[str]):
    """Sentences on disk: about `size` bytes, with a `stamp` that changes whenever the sentences may have."""

    @property
    @abstractmethod
    def stamp(self) -> str: ...

    @property
    @abstractmethod
    def size(self) -> int: ...

    def refuse_changed(self) -> None:
        """Raise DataError if the sentences are no longer those of the stamp; called before results are cached."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "LazySentences": ...
    def __getitem__(self, index: int | slice) -> "str | LazySentences":
        if isinstance(index, slice):
            return self.select(np.arange(*index.indices(len(self))))
        return self.at(index)

    @abstractmethod
    def at(self, index: int) -> str:
        """One sentence; IndexError if out of range."""

    @abstractmethod
    def select(self, positions: NDArray[np.int64]) -> "LazySentences":
        """The sentences at `positions`; stores 8 bytes per sentence, no text."""


def is_large(sentences: Sequence[str]) -> TypeGuard[LazySentences]:
    """Whether the sentences are large enough for results derived from them to be cached."""
    return isinstance(sentences, LazySentences) and sentences.size >= store.LARGE


def arrays_of(
    sentences: Sequence[str], kind: str, options: Sequence[str], make: Callable[[], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray]:
    """The arrays that `make` computes from the sentences under `options`; cached if the sentences are large."""
    if is_large(sentences):
        return kept_arrays(kind, "\n".join((sentences.stamp, *options)), make)
    return make()


def select(sentences: Sequence[str], positions: NDArray[np.int64]) -> Sequence[str]:
    """The sentences at `positions`, lazy if `sentences` is."""
    if isinstance(sentences, LazySentences):
        return sentences.select(positions)
    return [sentences[k] for k in positions]
