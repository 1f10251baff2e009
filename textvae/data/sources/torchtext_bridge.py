"""Penn Treebank and vocabularies of torchtext 0.6.0, the only release compatible with torch >= 2.4.

Its `PennTreebank` is one example of all tokens, with `<eos>` after each sentence; here it is split at `<eos>`.
No other file imports torchtext.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textvae.data.corpus import SPLITS
from textvae.data.tokenizers import SPECIALS, WordTokenizer
from textvae.errors import DataError

__all__ = ["from_torchtext", "penn_treebank", "penn_treebank_urls", "to_torchtext"]

# Names of the special tokens in other vocabularies.
_FOREIGN_SPECIALS = frozenset((*SPECIALS, "<bos>", "<sos>", "<eos>", "<PAD>", "<UNK>"))


def penn_treebank(files: Mapping[str, Path]) -> dict[str, list[str]]:
    """The sentences that torchtext reads from the plain-text `files` of the three splits."""
    from torchtext.data import Field
    from torchtext.datasets import PennTreebank

    for path in files.values():
        if path.suffix.lower() == ".gz":
            raise DataError(f"{path} is gzipped, which torchtext cannot read; decompress it, or use `ptb`")
    train, valid, test = (str(files[split].resolve()) for split in SPLITS)
    try:
        # An absolute name replaces `path`; giving `path` keeps torchtext from downloading.
        parts = PennTreebank.splits(Field(), path="", train=train, validation=valid, test=test)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"torchtext cannot read {files['train'].parent}: {error}") from error
    return {split: list(_sentences(part.examples[0].text)) for split, part in zip(SPLITS, parts, strict=True)}


def penn_treebank_urls() -> dict[str, str]:
    """The public address of each split, according to torchtext."""
    from torchtext.datasets import PennTreebank

    return dict(zip(SPLITS, PennTreebank.urls, strict=True))


def to_torchtext(tokenizer: WordTokenizer) -> Any:
    """A `torchtext.vocab.Vocab` with the same ids."""
    from torchtext.vocab import Vocab

    twice = [token for token, count in Counter(tokenizer.vocabulary).items() if count > 1]
    if twice:
        word = twice[0]
        raise DataError(f"{word} is both a word and a special token, which torchtext cannot tell apart; rename it")
    return Vocab(Counter(), specials=list(tokenizer.vocabulary))


def from_torchtext(vocabulary: Any) -> WordTokenizer:
    """A word tokenizer with the words of an old (`.itos`) or new (`get_itos()`) vocabulary, in order.

    Ids change unless the vocabulary begins with the four special tokens of this library.
    """
    reader = getattr(vocabulary, "get_itos", None)
    tokens: Sequence[str] | None = reader() if reader else getattr(vocabulary, "itos", None)
    if tokens is None:
        kind = type(vocabulary).__name__
        raise DataError(f"a {kind} is not a torchtext vocabulary: it has neither `itos` nor `get_itos()`")
    return WordTokenizer([token for token in tokens if token not in _FOREIGN_SPECIALS])


def _sentences(tokens: Sequence[str]) -> Iterator[str]:
    words: list[str] = []
    for token in tokens:
        if token != "<eos>":
            words.append(token)
        elif words:
            yield " ".join(words)
            words = []
    if words:
        yield " ".join(words)
