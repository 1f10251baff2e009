"""Labels to predict from z: a sentence's factors, its length, its first word, the words in it.

A factor's entropy, and the ceiling I(x; f) that no code of x can exceed, come from the grammar. The other
labels are functions of the sentence: their ceiling is their entropy, estimated on the held-out sentences.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textvae.data.grammar import Grammar, Sentence
from textvae.evaluation.estimators import standard_error
from textvae.probes.linear import Reading, hits, read_off

__all__ = ["Label", "factor_labels", "first_word", "length", "words"]

Codes = tuple[Tensor, Tensor]
"""z of train (N, D) and of held-out sentences (M, D)."""

BINS, FIRST_WORDS, WORDS = 8, 30, 100


@dataclass(frozen=True)
class Label:
    """A label of train (N,) and held-out sentences (M,), or W questions (N, W), with its ceiling.

    The mean of `surprisal` (M,) is the label's entropy.
    """

    name: str
    train: Tensor
    held_out: Tensor
    classes: int
    surprisal: Tensor
    ceiling: float
    ceiling_se: float
    best_accuracy: float

    @property
    def entropy(self) -> float:
        """H(f) in nats, averaged over questions if there are several."""
        return float(self.surprisal.mean())

    def row(self, z: Codes, untrained: Codes, seed: int) -> dict[str, Any]:
        """Results of a linear probe of z, and its controls: untrained codes, shuffled labels, majority."""
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        known = self.read(z, self.train)
        return {
            "factor": self.name,
            "values": self.classes,
            "entropy": self.entropy,
            "ceiling": self.ceiling,
            "ceiling_se": self.ceiling_se,
            "information": known.information,
            "information_se": known.information_se,
            "accuracy": known.accuracy,
            "best_accuracy": self.best_accuracy,
            "majority_accuracy": self.majority(),
            "shuffled_labels": self.read(z, self.train[order]).information,
            "untrained_encoder": self.read(untrained, self.train).information,
        }

    def read(self, z: Codes, fitted_to: Tensor) -> Reading:
        """A probe fitted to labels of train, scored on the held-out ones."""
        return read_off(self.surprisal, (z[0], fitted_to), (z[1], self.held_out), self.classes)

    def majority(self) -> float:
        """Accuracy of always giving the most frequent answer of train."""
        counts = self.train.bincount(minlength=self.classes) if self.train.ndim == 1 else self.train.sum(0)
        return hits(counts.double().expand(len(self.held_out), -1), self.held_out)


def factor_labels(grammar: Grammar, train: Sequence[Sentence], held_out: Sequence[Sentence]) -> list[Label]:
    """One label per factor that generated the sentences; posteriors are exact."""
    posteriors = [grammar.factor_posterior(sentence.text) for sentence in held_out]
    ceilings = grammar.information(posteriors)

    def label(name: str, values: Sequence[str]) -> Label:
        prior = np.asarray(grammar.factor_prior()[name])
        return Label(
            name,
            torch.tensor([values.index(sentence.factors[name]) for sentence in train]),
            torch.tensor([values.index(sentence.factors[name]) for sentence in held_out]),
            len(values),
            torch.full((len(held_out),), -float((prior * np.log(prior)).sum()), dtype=torch.float64),
            *ceilings[name],
            best_accuracy=float(np.mean([posterior[name].max() for posterior in posteriors])),
        )

    return [label(name, values) for name, values in grammar.factors.items()]


def length(train: Sequence[str], held_out: Sequence[str]) -> Label:
    """Number of words, in eight classes about equally frequent in train."""

    def counted(texts: Sequence[str]) -> Tensor:
        return torch.tensor([len(text.split()) for text in texts], dtype=torch.float64)

    edges = torch.unique(counted(train).quantile(torch.arange(1, BINS, dtype=torch.float64) / BINS))
    labels = torch.bucketize(counted(train), edges), torch.bucketize(counted(held_out), edges)
    return _function_of_the_sentence("length", *labels, len(edges) + 1)


def first_word(train: Sequence[str], held_out: Sequence[str]) -> Label:
    """Which of the 30 most frequent first words of train a sentence begins with, or another."""
    frequent = Counter(_first(text) for text in train).most_common(FIRST_WORDS)
    place = {word: i for i, (word, _) in enumerate(frequent)}

    def places(texts: Sequence[str]) -> Tensor:
        return torch.tensor([place.get(_first(text), len(place)) for text in texts])

    return _function_of_the_sentence("first word", places(train), places(held_out), len(place) + 1)


def words(train: Sequence[str], held_out: Sequence[str]) -> Label | None:
    """Whether each of the 100 most frequent words, those in at least 90 % of train left out, is in a sentence.

    None if that leaves no word.
    """
    counts = Counter(word for text in train for word in set(text.split()))
    chosen = [word for word, count in counts.most_common() if count < 0.9 * len(train)][:WORDS]
    if not chosen:
        return None
    place = {word: i for i, word in enumerate(chosen)}

    def present(texts: Sequence[str]) -> Tensor:
        answers = torch.zeros(len(texts), len(chosen), dtype=torch.int64)
        for row, text in enumerate(texts):
            answers[row, [place[word] for word in set(text.split()) & place.keys()]] = 1
        return answers

    name = f"a word, mean of {len(chosen)}"
    return _function_of_the_sentence(name, present(train), present(held_out), len(chosen))


def _function_of_the_sentence(name: str, train: Tensor, held_out: Tensor, classes: int) -> Label:
    """A label whose ceiling is its entropy, averaged over questions if there are several."""
    if held_out.ndim == 1:
        share = held_out.bincount(minlength=classes).double() / len(held_out)
        surprisal = -share[held_out].log()
    else:
        share = held_out.double().mean(0)
        surprisal = -share.where(held_out.bool(), 1 - share).log().mean(1)
    ceiling, error = float(surprisal.mean()), standard_error(surprisal)
    return Label(name, train, held_out, classes, surprisal, ceiling, error, best_accuracy=1.0)


def _first(text: str) -> str:
    return text.split(maxsplit=1)[0] if text.split() else ""
