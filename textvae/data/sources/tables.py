"""Local tables with a text column: csv, json, jsonl and parquet, memory-mapped by `datasets`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textvae.data.corpus import Corpus, safe_name
from textvae.data.reading.rows import choose_column, open_column
from textvae.data.reading.text import Text, blank_remark
from textvae.data.sources.client import cause, quiet
from textvae.data.sources.splits import find_splits
from textvae.errors import DataError

__all__ = ["TABLE_SUFFIXES", "open_table_folder", "read_table"]

_READERS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
TABLE_SUFFIXES = tuple(_READERS)


def open_table_folder(folder: Path, column: str | None = None) -> Corpus:
    """A folder with one table (or one set of numbered shards) per split."""
    read = {split: read_table(paths, column) for split, paths in find_splits(folder, TABLE_SUFFIXES).items()}
    remarks = [remark for split, text in read.items() for remark in blank_remark(text.blank, split)]
    return Corpus(
        safe_name(folder.resolve().name), {split: text.sentences for split, text in read.items()}, tuple(remarks)
    )


def read_table(paths: Sequence[Path], column: str | None = None) -> Text:
    """The text column of a table, or of its numbered shards."""
    where = str(paths[0])
    rows = _load(paths)
    return Text(*open_column(rows, choose_column(rows, column, where), where))


def _load(paths: Sequence[Path]) -> Any:
    from datasets import load_dataset

    reader = _READERS[paths[0].suffix.lower()]
    files = [str(path.resolve()) for path in paths]
    try:
        # The errors of `datasets` do not say that a file is empty.
        if not any(path.stat().st_size for path in paths):
            raise DataError(f"{paths[0]} is empty; it needs at least one row")
        options = _all_text(paths) if reader == "csv" else {}
        with quiet():
            return load_dataset(reader, data_files={"train": files}, split="train", **options)
    except DataError:
        raise
    except Exception as error:  # the readers raise exceptions of many types
        if "corresponds to no data" in str(error):
            raise DataError(f"{paths[0]} has no rows; it needs at least one") from None
        raise DataError(f"{paths[0]} cannot be read as {reader}: {cause(error)}") from error


def _all_text(paths: Sequence[Path]) -> dict[str, Any]:
    """Options that keep cells as written: by default "NA" would be missing and "123" a number."""
    import pandas
    from datasets import Features, Value

    # Read by pandas, as `datasets` does, so that the columns have the same names.
    heads = [pandas.read_csv(path, nrows=1) for path in paths]
    for path, head in zip(paths, heads, strict=True):
        # pandas takes surplus cells for an index: of the unquoted line "no, thanks" only "thanks" would be left.
        if not isinstance(head.index, pandas.RangeIndex):
            raise DataError(
                f"{path}, row 1: has more cells than the header has columns; put text with commas in quotes"
            )
    text = Features({name: Value("string") for name in heads[0].columns})
    return {"features": text, "keep_default_na": False, "na_filter": False}
