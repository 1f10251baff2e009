"""Download sources of corpus files: web addresses and the hub. A download is complete or leaves no file.

Error messages are clauses without a full stop, so that a caller can join those of several sources.
"""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from textvae.data.sources.client import cause, quiet
from textvae.data.sources.hub import PARQUET
from textvae.errors import DataError

__all__ = ["HubCopy", "Source", "WebCopy", "download"]

CHUNK = 1 << 16


class Source(Protocol):
    """A source of splits; `download` raises DataError if the split is not available."""

    @property
    def name(self) -> str: ...

    def download(self, split: str, target: Path) -> None: ...


@dataclass(frozen=True)
class WebCopy:
    """Plain files at web addresses, one per split."""

    name: str
    urls: Mapping[str, str]
    timeout: float = 30.0

    def download(self, split: str, target: Path) -> None:
        download(self.urls[split], target, self.timeout)


@dataclass(frozen=True)
class HubCopy:
    """A dataset of the hub; formatting each row with `line` restores the original bytes."""

    repository: str
    column: str
    line: str
    rows: "Callable[[HubCopy, str, Path], Iterable[str]] | None" = None

    @property
    def name(self) -> str:
        return f"the hub's {self.repository}"

    def download(self, split: str, target: Path) -> None:
        rows = self.rows or _hub_rows
        try:
            with target.open("w", encoding="utf-8", newline="") as file:
                file.writelines(self.line.format(row) for row in rows(self, split, target.parent / "hub"))
        except Exception as error:  # the hub's client raises exceptions of many types
            target.unlink(missing_ok=True)
            raise DataError(f"it cannot be read ({cause(error)})") from error


def _hub_rows(copy: HubCopy, split: str, cache: Path) -> Iterable[str]:
    from datasets import load_dataset

    name = "validation" if split == "valid" else split
    with quiet():
        rows = load_dataset(copy.repository, revision=PARQUET, split=name, cache_dir=str(cache))
    return (row[copy.column] for row in rows)


def download(url: str, target: Path, timeout: float = 30.0) -> None:
    """Download `url` to `target`; on any failure raise DataError and leave no file."""
    try:
        _copy(url, target, timeout)
    except urllib.error.HTTPError as error:
        error.close()
        reason = str(error.reason).split("\n")[0].rstrip(".")
        raise DataError(f"{url} returned HTTP {error.code} {reason}".rstrip()) from error
    except urllib.error.URLError as error:
        raise DataError(f"{url} cannot be reached ({error.reason})") from error
    except TimeoutError as error:
        raise DataError(f"{url} timed out after {timeout:g} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(f"{url} could not be downloaded ({error or type(error).__name__})") from error


def _copy(url: str, target: Path, timeout: float) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "textvae"})
    complete = False
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer, target.open("wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
            _refuse_short(answer.headers.get("Content-Length"), file.tell())
        complete = True
    finally:
        if not complete:
            target.unlink(missing_ok=True)


def _refuse_short(announced: str | None, received: int) -> None:
    # `read(n)` returns no bytes and raises no error when the connection closes early.
    if announced is not None and received < int(announced):
        raise http.client.HTTPException(f"connection closed after {received:,} of {int(announced):,} bytes")
