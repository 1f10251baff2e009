"""Subwords and characters, with sentencepiece.

The text is not normalised, except that runs of whitespace become one space: no NFKC, because likelihoods per
word are comparable only if the words are those of the corpus. A literal `<unk>` in the text is a single piece,
`▁<unk>`, which sentencepiece would otherwise split; the unknown id stands for characters not seen in training.
`N`, Penn Treebank's symbol for numbers, is not declared: it is frequent enough to become a piece, whereas
declaring it would split every other word at its N.

References: Kudo & Richardson, SentencePiece, EMNLP 2018 (1808.06226); Kudo, Subword regularization, ACL 2018
(1804.10959); Sennrich, Haddow & Birch, Neural machine translation of rare words with subword units, ACL 2016
(1508.07909).
"""

import io
import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from textvae.data.tokenizers.base import BOS, EOS, PAD, SPECIALS, UNK, UNK_WORD, Tokenizer, spoken
from textvae.errors import DataError

__all__ = ["BpeTokenizer", "CharTokenizer", "SubwordTokenizer", "UnigramTokenizer"]

SPACE = "▁"
DEFAULT_SIZE = 8000
# Pieces never span a space, so lines may be split there; otherwise training takes minutes on a long line.
LINE = 1000
# The lowest character coverage that sentencepiece accepts.
LEAST_COVERAGE = 0.98
# sentencepiece keeps its training lines in memory: above this number, only every second, third, … is used.
MANY = 1_000_000


class SubwordTokenizer(Tokenizer):
    """A trained sentencepiece model; its kinds differ only in training."""

    content_file = "sentencepiece.model"
    default_size: ClassVar[int] = DEFAULT_SIZE

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._processor = _open(model)
        count: int = self._processor.get_piece_size()
        self._pieces: list[str] = [self._processor.id_to_piece(i) for i in range(count)]
        self._pieces[: len(SPECIALS)] = SPECIALS

    @classmethod
    def train(cls, sentences: Iterable[str], vocabulary_size: int | None = None) -> "SubwordTokenizer":
        """`vocabulary_size` counts predicted types, including UNK and EOS; a small corpus gives fewer."""
        every = sentences if isinstance(sentences, Sequence) else list(sentences)
        lines = every[:: max(1, math.ceil(len(every) / MANY))]
        size = cls.default_size if vocabulary_size is None else vocabulary_size + 2
        return cls(_train(cls.kind, lines, size))

    @property
    def size(self) -> int:
        return len(self._pieces)

    @property
    def unknown(self) -> tuple[int, ...]:
        return tuple(i for i, piece in enumerate(self._pieces) if piece.removeprefix(SPACE) == UNK_WORD)

    def encode(self, sentence: str) -> list[int]:
        ids: list[int] = self._processor.encode(_spaced(sentence))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self._pieces[i] for i in spoken(ids)).replace(SPACE, " ").strip()

    def content(self) -> bytes:
        return self._model

    @classmethod
    def from_content(cls, content: bytes) -> "SubwordTokenizer":
        return cls(content)


class UnigramTokenizer(SubwordTokenizer):
    """Kudo's unigram language model over pieces; suits text without spaces between words."""

    kind = "unigram"


class BpeTokenizer(SubwordTokenizer):
    """Byte-pair encoding: repeatedly merges the most frequent pair."""

    kind = "bpe"


class CharTokenizer(SubwordTokenizer):
    """Single characters, including the space."""

    kind = "char"
    # Larger than any alphabet, so all characters of train are kept unless the user sets a smaller size.
    default_size = 1 << 20


def _open(model: bytes) -> Any:
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise DataError("the sentencepiece model is damaged; restore it or train it again") from error


def _train(kind: str, lines: Sequence[str], size: int) -> bytes:
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    marked = any(UNK_WORD in line.split() for line in lines)
    try:
        SentencePieceTrainer.train(
            sentence_iterator=_counted_words(lines) if kind == "unigram" else _short(lines),
            input_format="tsv" if kind == "unigram" else "text",
            model_writer=model,
            model_type=kind,
            vocab_size=size,
            character_coverage=_coverage(lines, size if kind == "char" else size // 2),
            user_defined_symbols=[SPACE + UNK_WORD] if marked else [],
            pad_id=PAD,
            bos_id=BOS,
            unk_id=UNK,
            eos_id=EOS,
            # Names with spaces, which no text contains: sentencepiece skips training text that contains them.
            pad_piece="< pad >",
            bos_piece="< s >",
            unk_piece="< unk >",
            eos_piece="< /s >",
            hard_vocab_limit=False,
            normalization_rule_name="identity",
            max_sentence_length=9 * LINE,  # bytes: a pair of words of LINE characters fits
            num_threads=1,  # fixed order of summation: the same model on every machine
            minloglevel=2,
        )
    except RuntimeError as error:
        short = "required_chars" in str(error)
        reason = "its characters alone are more" if short else " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"sentencepiece cannot train a {kind} tokenizer of {size} ids ({reason}); change vocabulary_size"
            " or add text"
        ) from error
    return model.getvalue()


def _short(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from _wrapped(_spaced(line))


def _wrapped(text: str) -> list[str]:
    return [text] if len(text) <= LINE else textwrap.wrap(text, LINE, break_on_hyphens=False)


def _counted_words(lines: Iterable[str]) -> Iterator[str]:
    """Every distinct word and how often it occurs, as lines of a table, a word of two or more with a pair of it.

    Of running text, sentencepiece takes as candidates substrings that different characters follow, so a word that
    only ever comes before a space would have to be made of smaller pieces.
    """
    for whole, count in Counter(word for line in lines for word in line.split()).items():
        for word in _wrapped(whole):
            if count >= 2:
                yield f"{word} {word}\t1"
            if count != 2:
                yield f"{word}\t{max(1, count - 2)}"


def _coverage(lines: Iterable[str], most: int) -> float:
    """The share of text in the `most` frequent characters; rarer ones would leave no room for subwords."""
    counts = Counter(character for line in lines for character in line)
    if len(counts) <= most:
        return 1.0
    kept = sum(count for _, count in counts.most_common(most))
    return max(LEAST_COVERAGE, kept / counts.total())


def _spaced(sentence: str) -> str:
    return " ".join(sentence.split())
