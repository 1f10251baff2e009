"""Remarks on corpora for which words are the wrong tokens: no spaces between words, or too many rare words.

Both are checked on the first sentences of train only. The share of tokens whose type occurs once estimates the
share of unknown words in new text (Good & Turing). It is high in any small sample of ordinary language, so the
threshold is higher there, and a few lines are not checked at all.

References: Good, The population frequencies of species and the estimation of population parameters,
Biometrika 1953.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

__all__ = ["word_remarks"]

SAMPLE = 20_000
LONGEST_WORD = 12.0
FLOOD = 0.2
FLOOD_IF_SMALL = 0.5
SMALL = 10_000
TOO_SMALL = 200


def word_remarks(sentences: Iterable[str]) -> tuple[str, ...]:
    """Remarks on using words as the tokens of `sentences`; often empty."""
    sample = list(islice(sentences, SAMPLE))
    counts = Counter(word for sentence in sample for word in sentence.split())
    characters = sum(len(word) * count for word, count in counts.items())
    tokens = counts.total()
    if tokens and _without_spaces(len(sample), tokens, characters):
        return (
            f"a line has {tokens / len(sample):.1f} words of {characters / tokens:.0f} characters on average:"
            " where spaces do not separate words, use `--tokenizer unigram`",
        )
    if tokens and _flooded(counts):
        types, text = _once(counts) / len(counts), _once(counts) / tokens
        return (
            f"{types:.0%} of the word types occur once, so about {text:.0%} of the words in new text will be"
            " unknown: consider `--tokenizer unigram`",
        )
    return ()


def _without_spaces(sentences: int, tokens: int, characters: int) -> bool:
    if characters > LONGEST_WORD * tokens:
        return True
    return tokens < 1.5 * sentences and characters > 4 * tokens


def _flooded(counts: "Counter[str]") -> bool:
    tokens, once = counts.total(), _once(counts)
    if tokens < TOO_SMALL:
        return False
    bar = FLOOD if tokens >= SMALL else FLOOD_IF_SMALL
    return once > len(counts) / 2 and once > bar * tokens


def _once(counts: "Counter[str]") -> int:
    return sum(count == 1 for count in counts.values())
