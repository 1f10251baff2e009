"""The part that judges generated text: samples, reconstructions and interpolations."""

import warnings
from itertools import pairwise
from typing import Any

from textvae.api import CollapsedWarning
from textvae.console import counting
from textvae.evaluation.text import (
    bleu,
    distinct,
    exact_match,
    factors_kept,
    grammaticality,
    novelty,
    self_bleu,
)
from textvae.probes.language import cross_perplexities
from textvae.tasks.parts.part import Sizes
from textvae.tasks.showcase import pick
from textvae.tasks.subject import Subject

__all__ = ["generated"]

BATCH = 500
STEPS = 7
"""Points of an interpolation, its ends included."""


def generated(subject: Subject, sizes: Sizes) -> dict[str, Any]:
    """Everything said of text that the model makes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapsedWarning)  # the verdict is given elsewhere
        samples = _samples(subject, sizes.text_samples)
        values = _judged("samples", samples, subject) | {
            "samples": len(samples),
            **{f"samples_distinct_{n}": distinct(samples, n) for n in (1, 2, 3)},
            "samples_self_bleu": self_bleu(samples),
            "samples_novelty": novelty(samples, subject.corpus["train"]),
            **_perplexities(subject, samples, sizes),
        }
        return values | (_reconstructed(subject, samples, sizes) if subject.has_z else {})


def _samples(subject: Subject, count: int) -> list[str]:
    """z from the prior, words drawn at temperature 1."""
    drawn: list[str] = []
    with counting("sampling", count) as tick:
        while len(drawn) < count:
            more = min(BATCH, count - len(drawn))
            drawn += subject.vae.sample(more, seed=subject.seed + len(drawn))
            tick(more)
    return drawn


def _perplexities(subject: Subject, samples: list[str], sizes: Sizes) -> dict[str, Any]:
    real, made = subject.encoded(pick(subject.train, len(samples))), subject.encoded(samples)
    vocabulary, steps = subject.vae.tokenizer.size, sizes.lm_steps
    with counting("language models of train and of samples", 2 * steps) as tick:
        return cross_perplexities(real, made, subject.sequences, vocabulary, steps, seed=subject.seed, tick=tick)


def _reconstructed(subject: Subject, samples: list[str], sizes: Sizes) -> dict[str, Any]:
    """Greedy reconstructions from posterior means, and the ways between sentences."""
    vae, originals = subject.vae, pick(subject.sentences, sizes.reconstructions)
    again = vae.reconstruct(originals)
    values = {
        "reconstructions": len(originals),
        "reconstructions_exact": exact_match(originals, again),
        "reconstructions_bleu": bleu(again, originals),
        **_judged("reconstructions", again, subject),
    }
    if subject.corpus.grammar is None:
        return values
    ends = pick(subject.sentences, sizes.interpolations + 1)
    ways = [[a, *vae.interpolate(a, b, STEPS)[1:-1], b] for a, b in pairwise(ends)]
    return values | factors_kept(ways, vae.tokenizer, subject.corpus.grammar, pick(samples, len(ways)))


def _judged(name: str, texts: list[str], subject: Subject) -> dict[str, Any]:
    """What the grammar says of sentences, where there is one."""
    grammar = subject.corpus.grammar
    found = grammaticality(texts, subject.vae.tokenizer, grammar) if grammar is not None else {}
    return {f"{name}_{key}": value for key, value in found.items()}
