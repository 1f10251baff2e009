"""The interface of tokenizers, and their format on disk.

Ids 0 to 3 are the same in every tokenizer. PAD and BOS are never predicted, so a tokenizer of `size` ids has
`size - 2` predicted types, <unk> and EOS among them.

A saved tokenizer is `tokenizer.json` (kind, size, sha256 of the content) and one content file.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

from textvae.errors import DataError
from textvae.files import write_atomically

__all__ = [
    "BOS",
    "EOS",
    "HEADER",
    "PAD",
    "SPECIALS",
    "UNK",
    "UNK_WORD",
    "UNPREDICTED",
    "Tokenizer",
    "read_header",
    "spoken",
]

PAD, BOS, UNK, EOS = 0, 1, 2, 3
UNPREDICTED = 2
"""Ids below this, PAD and BOS, are never predicted."""
UNK_WORD = "<unk>"
SPECIALS = ("<pad>", "<s>", UNK_WORD, "</s>")

HEADER = "tokenizer.json"


class Tokenizer(ABC):
    """Converts sentences to ids and back."""

    kind: ClassVar[str]
    content_file: ClassVar[str]

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of ids, 0 to size - 1, including the four special ones."""

    @property
    def predicted(self) -> int:
        """Number of types a model can predict: all but PAD and BOS."""
        return self.size - UNPREDICTED

    @property
    def unknown(self) -> tuple[int, ...]:
        """The ids that are read as <unk>."""
        return (UNK,)

    @abstractmethod
    def encode(self, sentence: str) -> list[int]:
        """The ids of `sentence`, without BOS and EOS."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The sentence up to the first EOS; PAD and BOS are skipped, UNK becomes <unk>."""

    @abstractmethod
    def content(self) -> bytes:
        """The bytes that `from_content` needs; equal for equal tokenizers."""

    @classmethod
    @abstractmethod
    def from_content(cls, content: bytes) -> "Tokenizer":
        """The inverse of `content`."""

    def save(self, folder: Path) -> None:
        """Write the tokenizer to `folder`; the header comes last, so an incomplete one cannot be loaded."""
        folder.mkdir(parents=True, exist_ok=True)
        content = self.content()
        header = {"kind": self.kind, "size": self.size, "sha256": hashlib.sha256(content).hexdigest()}
        write_atomically(folder / self.content_file, content)
        write_atomically(folder / HEADER, json.dumps(header, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, header: dict[str, Any]) -> "Tokenizer":
        """The tokenizer in `folder`, checked against its `header`."""
        path = folder / cls.content_file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}; restore the file") from error
        if hashlib.sha256(content).hexdigest() != header.get("sha256"):
            raise DataError(f"{path} does not match the checksum in {HEADER}; restore both from one copy")
        return cls.from_content(content)


def read_header(folder: Path) -> dict[str, Any]:
    """The contents of `tokenizer.json` in `folder`."""
    path = folder / HEADER
    try:
        header = json.loads(path.read_bytes())
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}; give a folder that holds a tokenizer"
        raise DataError(message) from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: it is not JSON; restore the file") from error
    if not isinstance(header, dict) or "kind" not in header:
        raise DataError(f"{path} is damaged: it names no kind of tokenizer; restore the file")
    return header


def spoken(ids: Iterable[int]) -> Iterator[int]:
    """The `ids` of text: those before the first EOS, without PAD and BOS."""
    return (i for i in takewhile(lambda i: i != EOS, map(int, ids)) if i not in (PAD, BOS))
