"""The embedded corpus: news-like sentences from a grammar with exact probabilities."""

from textvae.data.grammar.embedded import SPLIT_SIZES, embedded_epoch, embedded_grammar, embedded_split
from textvae.data.grammar.grammar import Grammar, Sentence

__all__ = ["SPLIT_SIZES", "Grammar", "Sentence", "embedded_epoch", "embedded_grammar", "embedded_split"]
