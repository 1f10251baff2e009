"""From numbers to plain words: is it collapsed, is the model or the inference to blame, what to try.

The state rests on G alone (see `verdict`). Where z is not used, two tests tell whose fault it is, both on
noise or sentences that did not fit them: q refined for each sentence, and another encoder for the frozen
decoder. If either surely gains by saying more, the decoder would have listened and the inference did not
speak; if both gain nothing, the decoder has unlearnt to listen, and its own posterior is the prior. What was
not measured is not spoken of.

References
----------
He et al. 2019, *Lagging Inference Networks and Posterior Collapse*.
Cremer et al. 2018, *Inference Suboptimality in Variational Autoencoders*.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["LAG", "Cause", "Diagnosis", "diagnose"]

Numbers = Mapping[str, Any]
Cause = Literal["model", "inference", "unknown"]

LAG, GAP, ELSEWHERE = 0.1, 0.5, 1.0
"""Nats per sentence, surely (two standard errors): an encoder's gain, a gap worth naming, KL(q(z) ‖ p(z))."""

REMEDIES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "model": (
        ("free_bits_total", "hold the rate at a floor until the decoder has learnt to listen"),
        ("minimum_rate", "hold the rate at a target by a constraint"),
        ("cyclical", "raise the weight in cycles, so that z is tried again"),
        ("word_dropout", "weaken the decoder: with words missing, z is worth asking"),
        ("skip", "lead z past the recurrence to the output"),
        ("beta", "charge less for the rate: a weight below 1"),
    ),
    "inference": (
        ("aggressive", "train the encoder several steps for each one of the decoder"),
        ("semi_amortised", "refine q for each sentence while training"),
        ("pretrained_free_bits", "begin with the encoder of an autoencoder, whose z is worth reading"),
        ("max_pooling", "give the encoder every state to read, not the last alone"),
    ),
    "unused_rate": (
        ("pretrained_free_bits", "begin with the encoder of an autoencoder, whose z is worth reading"),
        ("word_dropout", "weaken the decoder: with words missing, z is worth asking"),
        ("skip", "lead z past the recurrence to the output"),
    ),
    "gap": (
        ("max_pooling", "give the encoder every state to read, not the last alone"),
        ("full_covariance", "let q lean: a full covariance"),
        ("flow_posterior", "let q bend: a normalising flow"),
    ),
    "elsewhere": (
        ("mixture_prior", "let the prior follow q(z): a learned mixture"),
        ("vamp_prior", "let the prior follow q(z): VampPrior"),
        ("wae_mmd", "pull q(z) to the prior as a whole"),
    ),
}


@dataclass(frozen=True)
class Diagnosis:
    """A verdict in sentences. `advice` are names of recipes with what each would do."""

    state: str
    headline: str
    cause: Cause | None
    findings: tuple[str, ...]
    advice: tuple[tuple[str, str], ...]


def diagnose(found: Numbers, known: Callable[[str], bool] = lambda name: True) -> Diagnosis:
    """What the numbers of an evaluation say; those that are missing are not spoken of.

    `known` tells which recipes there are: no other is advised.
    """
    state, _, detail = str(found.get("verdict") or "undefined: nothing was measured").partition(": ")
    if state == "language model":
        return Diagnosis(state, f"It is a language model: {detail}.", None, (), ())
    cause = _cause(found) if state in ("collapsed", "partly") else None
    findings = [say(found) for say in SAYINGS]
    wanted = [name for topic in _topics(found, state, cause) for name in REMEDIES[topic] if known(name[0])]
    return Diagnosis(
        state,
        f"{HEADLINES.get(state, 'Undefined')}: {detail}.",
        cause,
        (*([_blame(found, cause)] if cause else []), *(sentence for sentence in findings if sentence)),
        tuple(dict.fromkeys(wanted)),
    )


HEADLINES = {"collapsed": "Collapsed", "partly": "Partly collapsed", "alive": "Alive", "undecided": "Undecided"}


def _blame(found: Numbers, cause: Cause) -> str:
    if cause == "inference":
        return (
            "The inference is to blame: a better q for the same decoder surely gains by saying more about "
            "the sentence; the model would use z, and its encoder lags behind."
        )
    if cause == "unknown":
        return "Whether the model or the inference is to blame is not shown: what was measured does not tell."
    tried = {"amortisation_gap": "refined for each sentence", "inference_lags": "from another encoder"}
    ways = [way for name, way in tried.items() if found.get(name) is not None]
    return (
        f"The model is to blame: no better q, {'neither ' if len(ways) > 1 else ''}{' nor '.join(ways)}, "
        "finds a use for z in this decoder; its own posterior is about the prior."
    )


def surely(found: Numbers, name: str) -> float | None:
    """A mean less two of its standard errors; None where either is undefined."""
    value, error = found.get(name), found.get(f"{name}_se")
    return None if value is None or error is None else float(value) - 2 * float(error)


def _cause(found: Numbers) -> Cause:
    lags, gap = found.get("inference_lags"), surely(found, "amortisation_gap")
    if lags or (gap is not None and gap >= LAG and _refined_says_more(found)):
        return "inference"
    return "unknown" if (lags is None and gap is None) or _weak(found) else "model"


def _weak(found: Numbers) -> bool:
    """Whether the fresh encoder stayed so far behind the old one that its failure says nothing."""
    gain = found.get("fresh_encoder_gain")
    return gain is not None and gain < -GAP


def _refined_says_more(found: Numbers) -> bool:
    more = surely(found, "refined_rate_gain")
    return more is not None and more > LAG


def _topics(found: Numbers, state: str, cause: Cause | None) -> list[str]:
    paid = state in ("collapsed", "partly") and (found.get("rate") or 0) >= 1
    topics = ["unused_rate"] if paid else []
    if cause in ("model", "inference"):
        topics.append(cause)
    if state == "alive" and (surely(found, "posterior_gap") or 0) >= GAP and not _held(found):
        topics.append("gap")
    known = not found.get("mutual_information_saturated")  # else marginal_kl is but an upper bound
    if state == "alive" and known and (surely(found, "marginal_kl") or 0) >= ELSEWHERE:
        topics.append("elsewhere")
    return topics


def _held(found: Numbers) -> bool:
    """Whether the encoder would win by saying less: its penalty asked for more than the ELBO does."""
    gain, more = surely(found, "continued_encoder_gain"), found.get("continued_encoder_rate_gain")
    return gain is not None and more is not None and gain >= LAG and more < 0


def _with_error(found: Numbers, name: str) -> str:
    error = found.get(f"{name}_se")
    return f"{found[name]:.2f}" + ("" if error is None else f" ± {error:.2f}")


def _rate(found: Numbers) -> str | None:
    rate, units, width = found.get("rate"), found.get("active_units"), found.get("latent_dim")
    if rate is None:
        return "It has no rate: its posterior is a point, and what follows speaks of its decoder alone."
    said = f"The rate is {rate:.2f} nats per sentence; {units} of {width} dimensions of z are active."
    if str(found.get("verdict")).startswith(("collapsed", "partly")) and rate >= 1:
        said += " It is paid for and buys nothing: a floor holds it, or q moves where the decoder does not look."
    return said


def _information(found: Numbers) -> str | None:
    told, cap = found.get("mutual_information"), found.get("mutual_information_cap")
    elsewhere = found.get("marginal_kl")
    if told is None or elsewhere is None or cap is None:
        return None
    if found.get("mutual_information_saturated"):
        how, paid = f"at least {told:.2f} nats (saturated: ln N is {cap:.2f})", f"at most {elsewhere:.2f}"
    else:
        how, paid = f"{max(told, 0.0):.2f} nats", f"{max(elsewhere, 0.0):.2f}"
    return f"Of that rate z tells {how} of the sentence; {paid} are paid for q(z) being elsewhere than the prior."


def _words(found: Numbers) -> str | None:
    gap, gradient = found.get("word_accuracy_gap"), found.get("gradient_norm")
    if gap is None or gradient is None:
        return None
    return (
        f"With its own z {found['word_accuracy']:.1%} of the next words are right, "
        f"{100 * gap:.1f} percentage points more than with another's; "
        f"log p(x|z) changes by {gradient:.2f} nats per unit of z."
    )


def _gap(found: Numbers) -> str | None:
    gap, share = found.get("posterior_gap"), found.get("amortisation_gap")
    if gap is None:
        return None
    least = "" if found.get("evidence") == "quadrature" else "at least "
    below = f"{least}{_with_error(found, 'posterior_gap')} nats below log p(x)"
    said = f"On {found['gap_sentences']} sentences the ELBO lies {below}"
    if share is None:
        return f"{said}; how much of it is the encoder's fault was not measured."
    return (
        f"{said}: {_with_error(found, 'amortisation_gap')} because the encoder misses the best q, a Gaussian "
        f"refined for each sentence, {least}{_with_error(found, 'family_gap')} because no such q is the posterior."
    )


def _means(found: Numbers) -> str | None:
    model, inference = found.get("posterior_mean_spread"), found.get("inference_mean_spread")
    if model is None or inference is None:
        return None
    return (
        f"Over {found['posterior_mean_sentences']} sentences, posterior means spread by {model:.2f} under the model"
        f" and by {inference:.2f} under q (total variance)."
    )


def _encoders(found: Numbers) -> str | None:
    fresh, further = found.get("fresh_encoder_gain"), found.get("continued_encoder_gain")
    if fresh is None or further is None:
        return None
    said = (
        f"Against the frozen decoder, after {found['lag_steps']} steps: a fresh encoder changes the ELBO of "
        f"{found['lag_sentences']} sentences by {fresh:+.2f} ± {found['fresh_encoder_gain_se']:.2f} nats, the old "
        f"one trained on by {further:+.2f} ± {found['continued_encoder_gain_se']:.2f}."
    )
    less = (found.get("continued_encoder_rate_gain") or 0) < 0 and (
        surely(found, "continued_encoder_gain") or 0
    ) > LAG
    return said + (" It gains by a lower rate: training held the rate above what the ELBO pays." if less else "")


def _worth(found: Numbers) -> str | None:
    net = found.get("lm_gain_net_of_rate")
    if net is None:
        return None
    error, gain = found["lm_gain_net_of_rate_se"], found["lm_gain"]
    worth = "z pays for itself" if net - 2 * error > 0 else "z does not pay for itself"
    net_of_rate = f"net of the rate {net:+.2f} ± {error:.2f}"
    return f"Against that language model the words gain {gain:.2f} nats, {net_of_rate}: {worth}."


SAYINGS = (_rate, _information, _words, _gap, _means, _encoders, _worth)
