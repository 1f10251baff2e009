"""Which file is which split, and how a corpus without splits is divided into three.

Sentences are divided by the rank of a hash of position and content: the result is the same on every machine, and
adding lines moves few others. Repeated sentences may fall into several splits, as in an i.i.d. sample;
`corpus info` prints the overlap.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textvae.data.corpus import SPLITS
from textvae.data.reading.lazy import arrays_of
from textvae.errors import DataError, counted

__all__ = ["CARVED", "carve", "files_by_split", "find_files", "find_splits", "one_file"]

CARVED = (
    "{name} has no {missing} split of its own: 5 % of the sentences, at most 10,000, were set aside for each,"
    " selected by a hash of position and content, so the same ones every time"
)

MOST = 10_000
"""Maximum number of sentences set aside for a split: more would make validation of large corpora slow."""

_ALIASES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}


def find_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The visible files of `folder` whose names end in one of `suffixes`, in alphabetical order."""
    try:
        files = [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror or error}") from error
    return sorted(path for path in files if path.name[0] != "." and path.name.lower().endswith(suffixes))


def files_by_split(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """For each split the candidate files in `folder`: none, one or several."""
    files = find_files(folder, suffixes)
    return {split: _matches(split, files) for split in SPLITS}


def find_splits(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """For each split the file in `folder` named after it, or its numbered shards."""
    found = files_by_split(folder, suffixes)
    missing = [split for split in SPLITS if not found[split]]
    if missing:
        raise DataError(_missing(folder, missing, suffixes))
    for split, paths in found.items():
        if len({_unsharded(path) for path in paths}) > 1:
            names = ", ".join(path.name for path in paths)
            raise DataError(f"{folder} has several files for its {split} split ({names}); keep one of them")
    chosen = [path for paths in found.values() for path in paths]
    twice = sorted({path.name for path in chosen if chosen.count(path) > 1})
    if twice:
        raise DataError(f"{folder}: {twice[0]} matches two splits; rename it after the one it holds")
    return found


def one_file(files: Mapping[str, Sequence[Path]]) -> dict[str, Path]:
    """The file of each split.

    Raises
    ------
    DataError
        If a split is in several shards.
    """
    for split, paths in files.items():
        if len(paths) > 1:
            raise DataError(
                f"{paths[0].parent} has its {split} split in {len(paths)} files ({paths[0].name}, …); concatenate"
                " them into one text file (cat); only tables are read in shards"
            )
    return {split: paths[0] for split, paths in files.items()}


def carve(sentences: Sequence[str], missing: Sequence[str], name: str) -> dict[str, NDArray[np.int64]]:
    """Positions of `train` and of each missing split, which gets 5 % of the sentences, but at least one."""
    if len(sentences) <= len(missing):
        count, wanted = counted(len(sentences), "sentence"), " and ".join(missing)
        raise DataError(f"{name} holds only {count}: too few to set aside {wanted}; add sentences")
    return dict(arrays_of(sentences, "splits", missing, lambda: _cut(sentences, missing)))


def _cut(sentences: Sequence[str], missing: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    order = np.argsort(_keys(sentences), kind="stable")
    part = min(MOST, max(1, len(sentences) // 20))
    carved = {"train": order[part * len(missing) :]}
    carved |= {split: order[part * k : part * (k + 1)] for k, split in enumerate(missing)}
    return {split: np.sort(positions) for split, positions in carved.items()}


def _keys(sentences: Iterable[str]) -> NDArray[np.uint64]:
    hashes = (hashlib.sha256(f"{k}\t{sentence}".encode()).digest() for k, sentence in enumerate(sentences))
    return np.fromiter((int.from_bytes(key[:8], "big") for key in hashes), dtype=np.uint64)


def _matches(split: str, files: list[Path]) -> list[Path]:
    """Files with an alias of the split as a word of their name; if none, those with its name anywhere."""
    by_word = [path for path in files if set(_ALIASES[split]) & set(re.split(r"[^a-z]+", path.name.lower()))]
    return by_word or [path for path in files if split in path.name.lower()]


def _unsharded(path: Path) -> str:
    return re.sub(r"-\d+-of-\d+", "", path.name)


def _missing(folder: Path, missing: list[str], suffixes: tuple[str, ...]) -> str:
    held = ", ".join(path.name for path in find_files(folder, suffixes)[:10]) or "none"
    kinds, ending = " or ".join(suffixes), suffixes[0]
    wanted = " and ".join(f"{split}{ending}" for split in missing)
    return f"{folder} has no {' and no '.join(missing)} split; add {wanted} (its files in {kinds}: {held})"
