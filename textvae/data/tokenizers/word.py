"""Words separated by whitespace, most frequent first, ties in alphabetical order."""

from collections import Counter
from collections.abc import Iterable, Sequence

from textvae.data.tokenizers.base import SPECIALS, UNK, UNK_WORD, Tokenizer, spoken
from textvae.errors import DataError

__all__ = ["WordTokenizer", "count_words"]


class WordTokenizer(Tokenizer):
    """A word's id is its rank among `words`, after the four special ids.

    A literal `<unk>` in the text is the unknown id. Other words that look like special tokens, such as
    `</s>`, are ordinary words: text cannot produce another special id.
    """

    kind = "word"
    content_file = "vocabulary.txt"

    def __init__(self, words: Sequence[str]) -> None:
        self._vocabulary = (*SPECIALS, *words)
        self._ids = {word: i for i, word in enumerate(words, start=len(SPECIALS))}
        if UNK_WORD in self._ids or len(self._ids) != len(words):
            raise DataError(f"a vocabulary lists every word once, without {UNK_WORD}; remove the others")
        if len(words) < 2:
            count = "1 word" if words else "no word"
            raise DataError(
                f"the vocabulary has {count} besides the special tokens and a model needs two;"
                " lower min_count, raise vocabulary_size or add text"
            )

    @classmethod
    def train(
        cls, sentences: Iterable[str], min_count: int = 1, vocabulary_size: int | None = None
    ) -> "WordTokenizer":
        """Words seen at least `min_count` times; `vocabulary_size` includes <unk> and EOS."""
        return cls.of_counts(count_words(sentences), min_count, vocabulary_size)

    @classmethod
    def of_counts(
        cls, counts: "Counter[str]", min_count: int = 1, vocabulary_size: int | None = None
    ) -> "WordTokenizer":
        """`train`, given the count of each word."""
        ranked = sorted(counts.keys() - {UNK_WORD}, key=lambda word: (-counts[word], word))
        kept = [word for word in ranked if counts[word] >= min_count]
        return cls(kept if vocabulary_size is None else kept[: max(0, vocabulary_size - 2)])

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Tokens by id."""
        return self._vocabulary

    @property
    def size(self) -> int:
        return len(self._vocabulary)

    def encode(self, sentence: str) -> list[int]:
        return [self._ids.get(word, UNK) for word in sentence.split()]

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self._vocabulary[i] for i in spoken(ids))

    def content(self) -> bytes:
        # No word contains a line feed, which is whitespace.
        return "".join(f"{word}\n" for word in self._vocabulary[len(SPECIALS) :]).encode()

    @classmethod
    def from_content(cls, content: bytes) -> "WordTokenizer":
        return cls(content.decode().split("\n")[:-1])


def count_words(sentences: Iterable[str]) -> "Counter[str]":
    """The count of each word."""
    return Counter(word for sentence in sentences for word in sentence.split())
