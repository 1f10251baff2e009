"""The Penn Treebank with Mikolov's preprocessing: found locally or downloaded, and verified by MD5.

Its licence does not allow redistribution. Public copies disappear, so a local folder comes first, then the
hub, then torchtext's address; a downloaded file with another MD5 is never kept.

References: Marcus, Santorini & Marcinkiewicz, Building a large annotated corpus of English, CL 1993;
Mikolov et al., Recurrent neural network based language model, Interspeech 2010.
"""

import hashlib
import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textvae.data.corpus import SPLITS, Corpus
from textvae.data.reading.lines import open_text
from textvae.data.reading.text import TEXT_SUFFIXES, blank_remark, open_bytes
from textvae.data.sources.downloads import HubCopy, Source, WebCopy
from textvae.data.sources.splits import files_by_split, find_splits, one_file
from textvae.errors import DataError

__all__ = [
    "MD5",
    "Fetched",
    "fetch",
    "find_ptb",
    "is_standard",
    "open_ptb",
    "ptb_folders",
    "standard_remark",
    "standard_sources",
]

MD5 = {
    "train": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "valid": "aa0affc06ff7c36e977d7cd49e3839bf",
    "test": "8b80168b89c18661a38ef683c0dc3721",
}
REPOSITORY = "ptb-text-only/ptb_text_only"


def data_roots() -> list[Path]:
    """Where corpora are searched for, in order; downloads go to the first."""
    named = os.environ.get("TEXTVAE_DATA")
    return [*([Path(named).expanduser()] if named else []), Path("data")]


def ptb_folders() -> list[Path]:
    """The folders that may hold the Penn Treebank."""
    return [root / "ptb" for root in data_roots()]


def find_ptb() -> dict[str, Path]:
    """The local file of each split."""
    folder = next((folder for folder in ptb_folders() if folder.is_dir()), None)
    if folder is None:
        raise DataError(
            f"there is no Penn Treebank in $TEXTVAE_DATA/ptb ({os.environ.get('TEXTVAE_DATA') or 'not set'})"
            " or data/ptb; run `textvae corpus fetch ptb`, or put train.txt, valid.txt and test.txt there"
        )
    return one_file(find_splits(folder, TEXT_SUFFIXES))


def open_ptb() -> Corpus:
    """The local Penn Treebank, with a remark on whether it is the standard version."""
    files = find_ptb()
    texts = {split: open_text(path) for split, path in files.items()}
    blanks = [remark for split, text in texts.items() for remark in blank_remark(text.blank, files[split].name)]
    splits = {split: text.sentences for split, text in texts.items()}
    return Corpus("ptb", splits, (standard_remark(files), *blanks))


def is_standard(files: Mapping[str, Path], md5: Mapping[str, str] = MD5) -> bool:
    """Whether the files of all splits are byte for byte those used in the literature."""
    return not _deviating(files, md5)


def standard_remark(files: Mapping[str, Path]) -> str:
    """`is_standard` as a sentence."""
    folder, deviating = files["train"].parent, _deviating(files, MD5)
    if not deviating:
        return f"the files in {folder} are the standard Penn Treebank (MD5)"
    return (
        f"the files in {folder} are not the standard Penn Treebank ({', '.join(deviating)} differ by MD5),"
        " so results are not comparable with published ones"
    )


@dataclass(frozen=True)
class Fetched:
    """Where a corpus was stored; `sources` is empty if it was already there."""

    folder: Path
    sources: tuple[str, ...]

    def __str__(self) -> str:
        if not self.sources:
            return f"{self.folder} already holds the standard files; nothing was downloaded"
        return f"downloaded from {' and '.join(self.sources)} to {self.folder}; the MD5 checksums match"


def standard_sources() -> tuple[Source, ...]:
    """The hub, then torchtext's address."""
    from textvae.data.sources.torchtext_bridge import penn_treebank_urls

    hub = HubCopy(REPOSITORY, column="sentence", line=" {} \n")
    return hub, WebCopy("torchtext's address", penn_treebank_urls())


def fetch(
    name: str,
    root: Path | None = None,
    *,
    sources: Sequence[Source] | None = None,
    md5: Mapping[str, str] = MD5,
) -> Fetched:
    """Download corpus `name` to `root`/`name`, each file from the first source whose MD5 matches."""
    if name != "ptb":
        raise DataError(f"there is nothing to fetch for `{name}`; choose ptb (hf:NAME is downloaded on first use)")
    folder = (data_roots()[0] if root is None else root) / name
    missing = _missing(folder, md5)
    if not missing:
        return Fetched(folder, ())
    try:
        used = _fill(folder, missing, standard_sources() if sources is None else sources, md5)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}") from error
    return Fetched(folder, used)


def _fill(
    folder: Path, missing: Sequence[str], sources: Sequence[Source], md5: Mapping[str, str]
) -> tuple[str, ...]:
    # Next to the target, so that renaming is atomic; deleted in every case, including Ctrl-C.
    nearby = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    with tempfile.TemporaryDirectory(prefix=".textvae-fetch-", dir=nearby) as partial:
        used = _gather(missing, Path(partial), sources, md5)
        folder.mkdir(parents=True, exist_ok=True)
        for split in missing:
            _file(Path(partial), split).replace(_file(folder, split))
    return used


def _gather(
    missing: Sequence[str], partial: Path, sources: Sequence[Source], md5: Mapping[str, str]
) -> tuple[str, ...]:
    """Download the missing splits into `partial`; a source that fails once is not tried again."""
    left, used, failures = list(missing), [], []
    for source in sources:
        try:
            while left:
                _take(source, left[0], _file(partial, left[0]), md5)
                used.append(source.name)
                left.pop(0)
        except DataError as error:
            failures.append(f"{source.name}: {error}")
    if left:
        raise DataError(
            f"ptb could not be fetched from any source ({'; '.join(failures)}); try again later, or put"
            " train.txt, valid.txt and test.txt into data/ptb or $TEXTVAE_DATA/ptb yourself"
        )
    return tuple(dict.fromkeys(used))


def _take(source: Source, split: str, target: Path, md5: Mapping[str, str]) -> None:
    source.download(split, target)
    found = _md5(target)
    if found != md5[split]:
        raise DataError(f"its {split} file has MD5 {found} instead of {md5[split]}")


def _missing(folder: Path, md5: Mapping[str, str]) -> list[str]:
    """Splits missing from `folder`; an existing file that differs is the user's and is never replaced."""
    if not folder.is_dir():
        return list(SPLITS)
    present = {split: paths[0] for split, paths in files_by_split(folder, TEXT_SUFFIXES).items() if paths}
    deviating = _deviating(present, md5)
    if deviating:
        path = present[deviating[0]]
        raise DataError(f"{path} is not the standard file (by its MD5); move it away, then fetch again")
    return [split for split in SPLITS if split not in present]


def _deviating(files: Mapping[str, Path], md5: Mapping[str, str]) -> list[str]:
    return [split for split, path in files.items() if _md5(path) != md5[split]]


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with open_bytes(path) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return digest.hexdigest()


def _file(folder: Path, split: str) -> Path:
    return folder / f"{split}.txt"
