"""Sentences that are read from disk as they are asked for, and never all held in memory."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard, overload

import numpy as np
from numpy.typing import NDArray

from textvae.data import store
from textvae.data.store import kept_arrays

__all__ = ["LazySentences", "arrays_of", "is_large", "select"]


class LazySentences(Sequence[str]):
    """A sequence of sentences on disk: about `size` bytes, with a `stamp` that changes whenever they might."""

    @property
    @abstractmethod
    def stamp(self) -> str: ...

    @property
    @abstractmethod
    def size(self) -> int: ...

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
        """One sentence; IndexError beyond the last."""

    @abstractmethod
    def select(self, positions: NDArray[np.int64]) -> "LazySentences":
        """The sentences at `positions` only: 8 bytes each, no text."""


def is_large(sentences: Sequence[str]) -> TypeGuard[LazySentences]:
    """Whether what is worked out of these sentences is worth keeping."""
    return isinstance(sentences, LazySentences) and sentences.size >= store.LARGE


def arrays_of(
    sentences: Sequence[str], kind: str, options: Sequence[str], make: Callable[[], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray]:
    """The arrays that `make` works out of these sentences under `options`; kept where the sentences are large."""
    if is_large(sentences):
        return kept_arrays(kind, "\n".join((sentences.stamp, *options)), make)
    return make()


def select(sentences: Sequence[str], positions: NDArray[np.int64]) -> Sequence[str]:
    """The sentences at `positions`, read as lazily as those they are chosen from."""
    if isinstance(sentences, LazySentences):
        return sentences.select(positions)
    return [sentences[k] for k in positions]
