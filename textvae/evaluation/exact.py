"""The exact NLL of the grammar that a corpus comes from, and a model's excess over it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textvae.data.batches import Sequences
from textvae.data.grammar import Grammar
from textvae.data.tokenizers import Tokenizer, WordTokenizer
from textvae.evaluation.estimators import mean_with_error

__all__ = ["against_the_truth", "exact_nll", "known_words"]


def against_the_truth(
    nll: Tensor, sentences: Sequence[str], sequences: Sequences, tokenizer: Tokenizer, grammar: Grammar
) -> dict[str, Any]:
    """The grammar's exact NLL of the scored sentences, and the model's excess over it, paired.

    Nothing where sentences were cut, or where subwords have characters that they cannot spell: the grammar's
    probability of such a sentence as it is tokenized is not known.
    """
    unspelt = known_words(tokenizer) is None and bool(np.isin(sequences.ids, tokenizer.unknown).any())
    if sequences.cut or unspelt:
        return {}
    exact = exact_nll(sentences, tokenizer, grammar)
    return {"exact_nll": float(exact.mean()), **mean_with_error("excess_nll", nll.double() - exact)}


def exact_nll(sentences: Sequence[str], tokenizer: Tokenizer, grammar: Grammar) -> Tensor:
    """−log p*(x) of each sentence as tokenized: the probabilities of unknown words are summed into `<unk>`."""
    known = known_words(tokenizer)
    return -torch.tensor([grammar.log_prob(sentence, known) for sentence in sentences], dtype=torch.float64)


def known_words(tokenizer: Tokenizer) -> frozenset[str] | None:
    """The words that a word tokenizer distinguishes; None for subword tokenizers, which spell words."""
    return frozenset(tokenizer.vocabulary) if isinstance(tokenizer, WordTokenizer) else None
