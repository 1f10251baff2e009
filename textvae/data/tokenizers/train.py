"""The kinds of tokenizer; training one, and loading one."""

from collections.abc import Iterable
from pathlib import Path

from textvae.data.tokenizers.base import HEADER, Tokenizer, read_header
from textvae.data.tokenizers.subword import BpeTokenizer, CharTokenizer, SubwordTokenizer, UnigramTokenizer
from textvae.data.tokenizers.word import WordTokenizer
from textvae.errors import DataError

__all__ = ["KINDS", "load_tokenizer", "train_tokenizer"]

_SUBWORDS: dict[str, type[SubwordTokenizer]] = {
    "unigram": UnigramTokenizer,
    "bpe": BpeTokenizer,
    "char": CharTokenizer,
}
_ALL: dict[str, type[Tokenizer]] = {"word": WordTokenizer, **_SUBWORDS}
KINDS = tuple(_ALL)


def train_tokenizer(
    kind: str, sentences: Iterable[str], *, min_count: int = 1, vocabulary_size: int | None = None
) -> Tokenizer:
    """Train a tokenizer on `sentences`, which should be those of train only.

    `vocabulary_size` limits the predicted types: all ids but PAD and BOS. `min_count` applies to words only.
    """
    if kind not in _ALL:
        raise DataError(f"there is no tokenizer `{kind}`; choose one of {', '.join(KINDS)}")
    if kind == "word":
        return WordTokenizer.train(sentences, min_count, vocabulary_size)
    if min_count != 1:
        raise DataError(f"min_count = {min_count} is for words only: with {kind} tokens set vocabulary_size")
    return _SUBWORDS[kind].train(sentences, vocabulary_size)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer saved in `folder`."""
    header = read_header(folder)
    if header["kind"] not in KINDS:
        choices = ", ".join(KINDS)
        raise DataError(f"{folder / HEADER}: kind `{header['kind']}` is unknown; it should be one of {choices}")
    return _ALL[header["kind"]].load(folder, header)
