"""Everything reported about a run on one split, with the estimator's settings beside each number.

References
----------
The definitions are in docs/measures.md.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from textvae.data.batches import Sequences, encode
from textvae.data.grammar import Grammar
from textvae.data.tokenizers import UNK, Tokenizer
from textvae.evaluation.collapse import active_units, mean_variances
from textvae.evaluation.density import information
from textvae.evaluation.estimators import (
    REVISION,
    Survey,
    Tick,
    importance_weighted_nll,
    mean_with_error,
    perplexity,
)
from textvae.evaluation.exact import against_the_truth
from textvae.evaluation.listening import another, listening, mean_along
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.requirements import require_counts
from textvae.evaluation.verdict import LANGUAGE_MODEL, judge
from textvae.models.text_vae import TextVAE

__all__ = ["NUMBERS", "asked", "evaluate", "latent_use"]


def asked(samples: int, seed: int, weights_sha256: str | None) -> dict[str, Any]:
    """What is stored beside the numbers of a split: only with all of these are they the ones that are asked for."""
    return {
        "iwae_samples_asked": samples,
        "seed": seed,
        "weights_sha256": weights_sha256,
        "estimators": REVISION,
    }


def evaluate(
    model: TextVAE,
    tokenizer: Tokenizer,
    sentences: Sequence[str],
    *,
    samples: int,
    seed: int = 0,
    max_length: int | None = None,
    grammar: Grammar | None = None,
    survey: Survey | None = None,
    tick: Tick = lambda n: None,
) -> dict[str, Any]:
    """Measure a frozen model on a split, in nats per sentence; undefined numbers are NaN or None.

    `survey` is that of these sentences with this seed, if there is one already.

    Raises
    ------
    ConfigError
        If `samples` is not positive.
    """
    require_counts("samples", [samples])
    sequences = encode(sentences, tokenizer, max_length)
    noise = SentenceNoise(seed, model.latent_dim)
    if survey is None:
        survey = Survey.of(model, sequences, noise, tick=tick)
    values = {
        "sentences": len(sequences),
        "tokens": len(sequences.ids),
        "cut": sequences.cut,
        "unknown_rate": unknown_rate(sequences),
        **survey.means(),
    }
    # Truncated words are not scored; counting them would make the perplexity per word too low.
    words = 0 if sequences.cut else sum(len(sentence.split()) + 1 for sentence in sentences)
    nats = -survey.elbo.double().sum().item()
    values |= {
        "perplexity_elbo": perplexity(nats, len(sequences.ids)),
        "perplexity_per_word_elbo": perplexity(nats, words),
    }
    values |= latent_use(model, sequences, survey, seed)
    if model.has_likelihood:
        nll = importance_weighted_nll(model, sequences, samples, noise, tick=tick)
        values |= likelihood(nll, samples if model.has_z else 1, len(sequences.ids), words)
        if grammar is not None:
            values |= against_the_truth(nll, sentences, sequences, tokenizer, grammar)
    return {**dict.fromkeys(KEYS), **values}


KEYS = (
    "sentences", "tokens", "cut", "unknown_rate",
    "distortion", "distortion_se", "rate", "rate_se", "rate_per_dimension", "elbo", "elbo_se",
    "iwae_nll", "iwae_nll_se", "iwae_samples",
    "perplexity_elbo", "perplexity_iwae", "perplexity_per_word_elbo", "perplexity_per_word_iwae",
    "active_units", "mean_variances", "mutual_information", "mutual_information_se", "mutual_information_reference",
    "mutual_information_cap", "mutual_information_saturated",
    "marginal_kl", "marginal_kl_se", "marginal_kl_reference",
    "listening", "listening_se", "exact_nll", "excess_nll", "excess_nll_se", "verdict",
)  # fmt: skip
"""Keys of every evaluation; null where undefined."""

NUMBERS = tuple(
    key
    for key in KEYS
    if key not in ("rate_per_dimension", "mean_variances", "mutual_information_saturated", "verdict")
)
"""The keys with a single number, which can be averaged over runs."""


def latent_use(model: TextVAE, sequences: Sequences, survey: Survey, seed: int) -> dict[str, Any]:
    """Active units, the split of the rate, G and the verdict; only a verdict for a model without z."""
    if not model.has_z:
        return {"verdict": LANGUAGE_MODEL.sentence}
    spectrum = {"active_units": active_units(survey.mean), "mean_variances": mean_variances(survey.mean)}
    values = {**spectrum, **information(model, survey)}
    if len(sequences) < 2:
        return values
    gain = mean_along("listening", listening(model, sequences, survey, seed), another(len(sequences), seed))
    return {**values, **gain, "verdict": judge(gain["listening"], gain["listening_se"], len(sequences)).sentence}


def likelihood(nll: Tensor, samples: int, tokens: int, words: int) -> dict[str, Any]:
    """The importance-weighted estimate and its perplexities."""
    nats = nll.double().sum().item()
    return {
        **mean_with_error("iwae_nll", nll),
        "iwae_samples": samples,
        "perplexity_iwae": perplexity(nats, tokens),
        "perplexity_per_word_iwae": perplexity(nats, words),
    }


def unknown_rate(sequences: Sequences) -> float:
    """Share of unknown tokens among all tokens that a perplexity averages over (EOS included)."""
    return float((sequences.ids == UNK).mean())
