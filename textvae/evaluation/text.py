"""Quality of generated text: exact where a grammar gives its probability, by word counts elsewhere.

    grammatical        share of sentences with p*(x) > 0; the mean of log p*(x) is over those
    factors kept       along an interpolation, p(f | x) of the value that both ends share, mean over factors
    exact match, BLEU  of reconstructions against their originals
    distinct-n         different n-grams ÷ all n-grams
    self-BLEU          BLEU of each sentence against all others; high means little diversity
    novelty            share of sentences that are not in train

References
----------
Li et al. 2016, *A Diversity-Promoting Objective Function*: distinct-n.
Zhu et al. 2018, *Texygen*: self-BLEU.
Post 2018, *A Call for Clarity in Reporting BLEU Scores*: sacrebleu.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch

from textvae.data.grammar import Grammar
from textvae.data.tokenizers import Tokenizer
from textvae.errors import ConfigError
from textvae.evaluation.estimators import standard_error
from textvae.evaluation.exact import exact_nll, known_words

__all__ = [
    "bleu",
    "distinct",
    "exact_match",
    "factors_kept",
    "grammaticality",
    "missing_bleu",
    "novelty",
    "self_bleu",
]

COMPARED = 200
"""Maximum number of sentences for self-BLEU, whose cost grows with its square."""


def grammaticality(sentences: Sequence[str], tokenizer: Tokenizer, grammar: Grammar) -> dict[str, Any]:
    """Share of grammatical sentences, and the mean of log p* over those; all unknown words are one word."""
    log_probs = -exact_nll(sentences, tokenizer, grammar)
    possible = log_probs.isfinite()
    return {
        "grammatical": float(possible.double().mean()),
        "grammatical_se": standard_error(possible.double()),
        "grammar_log_prob": float(log_probs[possible].mean()) if possible.any() else None,
        "grammar_log_prob_se": standard_error(log_probs[possible]),
        "sentences": len(sentences),
    }


def factors_kept(
    paths: Iterable[Sequence[str]], tokenizer: Tokenizer, grammar: Grammar, others: Sequence[str] = ()
) -> dict[str, Any]:
    """Probability that the sentences between two ends keep the factor values that both ends share.

    Every path is a list of sentences, its ends first and last. A factor's value at an end is its most
    probable one; in between, its exact posterior probability counts, 0 for an ungrammatical sentence.
    `others` are sentences unrelated to the ends; their score by the same rule is the chance level. Paths
    whose ends share a value have equal weight, and the standard error is over paths.
    """
    known = known_words(tokenizer)
    chance = [_factors(text, grammar, known) for text in others]
    kept, grammatical, unrelated = [], [], []
    for first, *between, last in paths:
        ends = [_factors(end, grammar, known) for end in (first, last)]
        if not all(ends):
            continue
        shared = {
            name: int(a.argmax())
            for (name, a), b in zip(ends[0].items(), ends[1].values(), strict=True)
            if a.argmax() == b.argmax()
        }
        found = [_factors(text, grammar, known) for text in between]
        grammatical += [float(bool(each)) for each in found]
        if shared:
            kept.append(_share_kept(found, shared))
            unrelated += [_share_kept(chance, shared)] if chance else []
    return {
        "interpolation_grammatical": float(np.mean(grammatical)) if grammatical else None,
        "interpolation_factors_kept": float(np.mean(kept)) if kept else None,
        "interpolation_factors_kept_se": standard_error(torch.tensor(kept)),
        "interpolation_factors_by_chance": float(np.mean(unrelated)) if unrelated else None,
        "interpolation_paths": len(kept),
        "interpolation_points": len(grammatical),
    }


def _share_kept(found: Sequence[dict[str, np.ndarray]], shared: Mapping[str, int]) -> float:
    """The mean probability of the shared values over sentences, 0 in an ungrammatical one."""
    return float(np.mean([each[name][value] if each else 0.0 for each in found for name, value in shared.items()]))


def exact_match(originals: Sequence[str], others: Sequence[str]) -> float:
    """Share of sentences that equal their original word by word."""
    return float(np.mean([a.split() == b.split() for a, b in zip(originals, others, strict=True)]))


def bleu(sentences: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU of sentences against one reference each, 0 to 100, split at spaces.

    Raises
    ------
    ConfigError
        If sacrebleu is not installed.
    """
    found = _sacrebleu().corpus_bleu(list(sentences), [list(references)], tokenize="none", force=True)
    return float(found.score)


def self_bleu(sentences: Sequence[str]) -> float:
    """Mean BLEU of each of the first 200 sentences against the others, 0 to 100; raises as `bleu` does."""
    compared = list(sentences[:COMPARED])
    if len(compared) < 2:
        raise ConfigError("self-BLEU compares sentences with each other: give at least 2")
    metric = _sacrebleu().BLEU(tokenize="none", force=True, effective_order=True)
    scores = [metric.sentence_score(s, compared[:i] + compared[i + 1 :]).score for i, s in enumerate(compared)]
    return float(np.mean(scores))


def distinct(sentences: Iterable[str], n: int) -> float | None:
    """Different n-grams as a share of all; None where no sentence has n words."""
    rows = [sentence.split() for sentence in sentences]
    grams = [tuple(row[i : i + n]) for row in rows for i in range(len(row) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def novelty(sentences: Sequence[str], train: Iterable[str]) -> float:
    """Share of sentences that are not in `train`, which is iterated once and not stored."""
    made = set(sentences)
    seen = {sentence for sentence in train if sentence in made}
    return float(np.mean([sentence not in seen for sentence in sentences]))


def _factors(sentence: str, grammar: Grammar, known: Container[str] | None) -> dict[str, np.ndarray]:
    """p(f|x) of every factor; empty for a sentence that the grammar cannot generate."""
    try:
        return dict(grammar.factor_posterior(sentence, known))
    except ValueError:
        return {}


def missing_bleu() -> str | None:
    """What to install for BLEU; None if it is there."""
    return None if find_spec("sacrebleu") else "BLEU needs sacrebleu: pip install 'textvae[metrics]'"


def _sacrebleu() -> ModuleType:
    if missing := missing_bleu():
        raise ConfigError(missing)
    import sacrebleu

    found: ModuleType = sacrebleu
    return found
