"""Datasets of the Hugging Face hub: `hf:NAME` or `hf:NAME:CONFIG`, read lazily from the `datasets` cache."""

import re
from collections.abc import Mapping
from typing import Any

from textvae.data.corpus import SPLITS, Corpus, safe_name
from textvae.data.reading.rows import Column, choose_column, open_column
from textvae.data.reading.text import blank_remark
from textvae.data.sources.client import cause, quiet
from textvae.data.sources.splits import CARVED, carve
from textvae.errors import DataError

__all__ = ["PARQUET", "corpus_of", "open_hub"]

# The revision with the hub's Parquet conversion of each dataset, including script-based ones.
PARQUET = "refs/convert/parquet"

_NAMES = {"train": ("train",), "valid": ("validation", "valid", "val", "dev"), "test": ("test",)}


def open_hub(name: str, *, column: str | None = None, config: str | None = None) -> Corpus:
    """The dataset `name` of the hub."""
    if not name:
        raise DataError("hf: needs a dataset name; write hf:NAME or hf:OWNER/NAME")
    return corpus_of(_load(name, config), name, column)


def corpus_of(tables: Mapping[str, Any], name: str, column: str | None = None) -> Corpus:
    """A corpus from `datasets.Dataset`s by split name; missing splits are carved out of train."""
    tables = _by_split(tables, name)
    splits: dict[str, Column] = {}
    remarks: list[str] = []
    for split, rows in tables.items():
        where = f"{name} ({split})"
        splits[split], blank = open_column(rows, choose_column(rows, column, where), where)
        remarks += blank_remark(blank, where)
    missing = [split for split in SPLITS if split not in splits]
    if missing:
        parts = carve(splits["train"], missing, name)
        splits |= {split: splits["train"].select(positions) for split, positions in parts.items()}
        remarks.append(CARVED.format(name=name, missing=" or ".join(missing)))
    return Corpus(safe_name(name.split("/")[-1]), splits, tuple(remarks))


def _by_split(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = {
        split: tables[alias]
        for split in SPLITS
        for alias in [next((alias for alias in _NAMES[split] if alias in tables), None)]
        if alias is not None
    }
    if "train" not in found:
        raise DataError(f"{name} has no train split: its splits are {', '.join(map(str, tables)) or 'none'}")
    return found


def _load(name: str, config: str | None) -> Mapping[str, Any]:
    try:
        return _download(name, config, None)
    except Exception as error:  # the hub's client raises exceptions of many types
        if "scripts are no longer supported" not in str(error):
            raise _refusal(name, error) from error
    try:
        return _download(name, config, PARQUET)
    except Exception as error:
        raise _refusal(name, error) from error


def _download(name: str, config: str | None, revision: str | None) -> Mapping[str, Any]:
    from datasets import load_dataset

    with quiet(bars=True):
        loaded: Mapping[str, Any] = load_dataset(name, config, revision=revision)
    return loaded


def _refusal(name: str, error: Exception) -> DataError:
    if "Config name is missing" in str(error) or "BuilderConfig" in str(error):
        listed = re.search(r"\[[^]]*\]", str(error))
        choices = listed[0] if listed else "those on its page"
        return DataError(f"hf:{name} has several configurations; write hf:{name}:CONFIG with one of {choices}")
    return DataError(
        f"hf:{name} cannot be read ({cause(error)}); check the name and the connection,"
        " or give the path of a local copy"
    )
