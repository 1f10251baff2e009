"""Conversion between sentences and token ids: words, or sentencepiece subwords and characters."""

from textvae.data.tokenizers.base import BOS, EOS, PAD, SPECIALS, UNK, UNPREDICTED, Tokenizer
from textvae.data.tokenizers.subword import BpeTokenizer, CharTokenizer, SubwordTokenizer, UnigramTokenizer
from textvae.data.tokenizers.train import KINDS, load_tokenizer, train_tokenizer
from textvae.data.tokenizers.word import WordTokenizer

__all__ = [
    "BOS",
    "EOS",
    "KINDS",
    "PAD",
    "SPECIALS",
    "UNK",
    "UNPREDICTED",
    "BpeTokenizer",
    "CharTokenizer",
    "SubwordTokenizer",
    "Tokenizer",
    "UnigramTokenizer",
    "WordTokenizer",
    "load_tokenizer",
    "train_tokenizer",
]
