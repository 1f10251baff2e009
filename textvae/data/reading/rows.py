"""The text column of a memory-mapped table, as a lazy sequence of sentences."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textvae.data.reading.lazy import LazySentences, arrays_of
from textvae.data.reading.text import clean, refuse_nul
from textvae.errors import DataError

__all__ = ["Column", "choose_column", "open_column"]

SET = "set data.column (or --column) to one of"

TEXT_COLUMNS = ("text", "sentence")


class Column(LazySentences):
    """One column of a `datasets.Dataset`; rows are read from disk on access."""

    def __init__(self, rows: Any, name: str) -> None:
        self._rows = rows.select_columns([name])
        self._name = name

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def stamp(self) -> str:
        # The fingerprint covers the cached files behind the rows and every later selection.
        return f"{self._rows._fingerprint} {self._name}"

    @property
    def size(self) -> int:
        table = self._rows.data
        return int(table.nbytes * len(self) // max(1, len(table)))

    def at(self, index: int) -> str:
        return clean(self._rows[index][self._name] or "")

    def __iter__(self) -> Iterator[str]:
        for batch in self._rows.iter(batch_size=1000):
            for text in batch[self._name]:
                yield clean(text or "")

    def select(self, positions: NDArray[np.int64]) -> "Column":
        """The same column at `positions`; stores 8 bytes per row, no text."""
        return Column(self._rows.select(positions), self._name)


def open_column(rows: Any, name: str, where: str) -> tuple[Column, int]:
    """Column `name` of `rows` without its blank rows, and the number of blank rows."""
    column = Column(rows, name)
    full = arrays_of(column, "rows", (), lambda: {"full": _full(column, where)})["full"]
    if not len(full):
        raise DataError(f"{where} holds no sentence in column {name}; fill it or choose another column")
    blank = len(column) - len(full)
    return (column.select(full) if blank else column), blank


def _full(column: Column, where: str) -> NDArray[np.int64]:
    """Which rows of `column` are not blank."""
    texts = (refuse_nul(text, f"{where}, row {k}") for k, text in enumerate(column, start=1))
    return np.flatnonzero(np.fromiter((bool(text) for text in texts), dtype=bool, count=len(column)))


def choose_column(rows: Any, column: str | None, where: str) -> str:
    """The text column: `column` if given, else `text` or `sentence`."""
    names = [name for name in rows.column_names if _is_text(rows, name)]
    advice = f"{SET} {', '.join(names)}" if names else "none of its columns holds text alone"
    wanted = (column,) if column else TEXT_COLUMNS
    found = next((name for name in wanted if name in rows.column_names), None)
    if found is None:
        asked = f"`{column}`" if column else "`text` or `sentence`"
        raise DataError(f"{where} has no column {asked}; {advice}")
    if not _is_text(rows, found):
        kind = getattr(rows.features[found], "dtype", "nested values, or values of several types")
        raise DataError(f"{where}: column {found} holds {kind}, not text; {advice}")
    return found


def _is_text(rows: Any, name: str) -> bool:
    return getattr(rows.features[name], "dtype", None) in ("string", "large_string")
