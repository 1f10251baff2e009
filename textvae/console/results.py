"""Tables of results: an evaluation by split, and what probes found in z."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from textvae.console.output import number, table

__all__ = ["evaluation_table", "probe_table"]


def evaluation_table(title: str, splits: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the results of an evaluation, one column per split, with the settings of the estimators."""
    rows = [(label, *(show(split) for split in splits.values())) for label, show in ROWS]
    rows = [row for row in rows if row[0] not in EXACT or any(cell != "—" for cell in row[1:])]
    rows += [
        (label, *(_value(key)(split) for split in splits.values()))
        for label, key in FURTHER
        if any(split.get(key) is not None for split in splits.values())
    ]
    table(title, ["nats per sentence unless stated", *splits], rows, numbers=True)
    for name, split in splits.items():
        print(f"{name}: {split.get('verdict') or '—'}")


def probe_table(title: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print what z encodes, one row per label; the last three columns are controls, expected to be low."""
    headings = ["label f", "H(f)", "I(x; f)", "I(z; f) ≥", "accuracy", "majority", "shuffled", "untrained"]
    table(
        f"{title}, nats",
        headings,
        [
            (
                row["factor"],
                f"{row['entropy']:.3f}",
                f"{row['ceiling']:.3f} ± {row['ceiling_se']:.3f}",
                f"{row['information']:.3f} ± {row['information_se']:.3f}",
                f"{row['accuracy']:.1%}",
                f"{row['majority_accuracy']:.1%}",
                f"{row['shuffled_labels']:.3f}",
                f"{row['untrained_encoder']:.3f}",
            )
            for row in rows
        ],
    )


def _value(key: str, digits: int = 2) -> Callable[[Mapping[str, Any]], str]:
    def show(split: Mapping[str, Any]) -> str:
        value, error = split.get(key), f"{key}_se"
        known = value is not None and error in split
        return number(value, digits) + (f" ± {number(split[error], digits)}" if known else "")

    return show


def _bounded(key: str, how: str) -> Callable[[Mapping[str, Any]], str]:
    """Format a number that is only a bound when the mutual information is saturated."""
    shown = _value(key)
    return lambda split: f"{how} {shown(split)}" if split.get("mutual_information_saturated") else shown(split)


def _negated(key: str) -> Callable[[Mapping[str, Any]], str]:
    shown = _value(key)
    return lambda split: shown({**split, key: -split[key]} if split.get(key) is not None else {})


ROWS: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("sentences", _value("sentences")),
    ("tokens, including EOS", _value("tokens")),
    ("unknown rate", _value("unknown_rate", 4)),
    ("distortion  −E log p(x|z)", _value("distortion")),
    ("rate  KL(q(z|x) ‖ p(z))", _value("rate")),
    ("−ELBO", _negated("elbo")),
    ("importance-weighted NLL", _value("iwae_nll")),
    ("    with K samples", _value("iwae_samples")),
    ("exact NLL of the grammar", _value("exact_nll")),
    ("    excess NLL, paired", _value("excess_nll")),
    ("perplexity from −ELBO", _value("perplexity_elbo")),
    ("perplexity from K samples", _value("perplexity_iwae")),
    ("active units", _value("active_units")),
    ("mutual information  I(x; z)", _bounded("mutual_information", "at least")),
    ("    capped at ln N, N =", _value("mutual_information_reference")),
    ("marginal KL  KL(q(z) ‖ p(z))", _bounded("marginal_kl", "at most")),
    ("listening  G", _value("listening")),
)

EXACT = ("exact NLL of the grammar", "    excess NLL, paired")
"""Shown where the truth is known."""

FURTHER = (
    ("word accuracy, gain over another z", "word_accuracy_gap"),
    ("norm of the gradient of log p(x|z) in z", "gradient_norm"),
    ("gain over the language model", "lm_gain"),
    ("    its weights", "lm_sha256"),
    ("    net of the rate", "lm_gain_net_of_rate"),
    ("NLL with z from the prior", "prior_nll"),
    ("    samples per sentence", "prior_nll_samples"),
    ("    effective samples, median", "prior_nll_effective_samples"),
    ("    sentences", "prior_nll_sentences"),
    ("gap between log p(x) and ELBO", "posterior_gap"),
    ("    at least, unless by quadrature; log p(x) by", "evidence"),
    ("    amortisation gap", "amortisation_gap"),
    ("    family gap", "family_gap"),
    ("    sentences", "gap_sentences"),
    ("    their ELBO, q refined per sentence", "refined_elbo"),
    ("        decoder passes per sentence", "refined_elbo_passes"),
    ("    their NLL by quadrature", "quadrature_nll"),
    ("    their importance-weighted NLL, refined q", "refined_iwae_nll"),
    ("        with K samples", "refined_iwae_samples"),
    ("    their NLL by annealing", "ais_nll"),
    ("        temperatures", "ais_temperatures"),
    ("        chains", "ais_chains"),
    ("simulated log p, lower bound", "ais_lower"),
    ("simulated log p, upper bound", "ais_upper"),
    ("    sentences", "ais_simulated"),
    ("ELBO gain of a fresh encoder", "fresh_encoder_gain"),
    ("    of the old one, trained further", "continued_encoder_gain"),
    ("    training steps", "lag_steps"),
    ("    sentences", "lag_sentences"),
    ("samples", "samples"),
    ("    grammatical", "samples_grammatical"),
    ("    not in train", "samples_novelty"),
    ("    self-BLEU", "samples_self_bleu"),
    ("forward perplexity", "forward_perplexity"),
    ("reverse perplexity", "reverse_perplexity"),
    ("    of real text", "real_perplexity"),
    ("    sentences per language model", "lm_sentences"),
    ("    training steps", "lm_steps"),
    ("reconstructions", "reconstructions"),
    ("    exact", "reconstructions_exact"),
    ("    BLEU", "reconstructions_bleu"),
    ("interpolations, factors kept", "interpolation_factors_kept"),
    ("    by chance", "interpolation_factors_by_chance"),
    ("    paths", "interpolation_paths"),
)
"""Further results of a full evaluation, shown if they were measured."""
