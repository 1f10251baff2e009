"""Turn numbers into sentences: is the model collapsed, is the model or the inference to blame, what to try.

The state depends on G alone (see `verdict`). If z is not used, two tests locate the cause, both scored on
noise or sentences not used for fitting: q refined for each sentence, and another encoder for the frozen
decoder. If either surely gains with a higher rate, the decoder would use z and the inference lags; if surely
neither does, the decoder has no more use for z; else the cause is unknown. A lag early in training ends in a
decoder that has no use for z either, and is not told from the outset of one. Quantities that were not measured
are not mentioned.

References
----------
He et al. 2019, *Lagging Inference Networks and Posterior Collapse*.
Cremer et al. 2018, *Inference Suboptimality in Variational Autoencoders*.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from textvae.evaluation.verdict import State, Verdict

__all__ = ["Cause", "Diagnosis", "diagnose", "lags"]

Numbers = Mapping[str, Any]
Cause = Literal["model", "inference", "unknown"]

LAG, GAP, ELSEWHERE = 0.1, 0.5, 1.0
"""Thresholds in nats per sentence, less two standard errors: encoder gain, posterior gap, KL(q(z) ‖ p(z))."""
SPREAD = 0.18
"""Total variance of posterior means: in one dimension, that of LAG nats of information, −½ log(1 − variance)."""

ENCODERS = ("fresh_encoder", "continued_encoder")

REMEDIES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "model": (
        ("free_bits_total", "hold the rate at a floor until the decoder has learnt to use z"),
        ("minimum_rate", "hold the rate at a target by a constraint"),
        ("pretrained_free_bits", "start from the encoder of a trained autoencoder, whose z is informative"),
        ("aggressive", "train the encoder for several steps per decoder step, in case it lagged early on"),
        (
            "word_dropout",
            "weaken the decoder by leaving out input words, three of four rather than one; it costs much",
        ),
        ("skip", "connect z directly to the output, past the recurrence"),
        ("beta", "give the rate a weight below 1"),
    ),
    "inference": (
        ("aggressive", "train the encoder for several steps per decoder step"),
        ("semi_amortised", "refine q for each sentence during training"),
        ("pretrained_free_bits", "start from the encoder of a trained autoencoder, whose z is informative"),
    ),
    "unused_rate": (
        ("pretrained_free_bits", "start from the encoder of a trained autoencoder, whose z is informative"),
        ("skip", "connect z directly to the output, past the recurrence"),
    ),
    "gap": (
        ("max_pooling", "pool all encoder states instead of using only the last"),
        ("full_covariance", "give q a full covariance"),
        ("flow_posterior", "make q a normalising flow"),
    ),
    "elsewhere": (
        ("mixture_prior", "learn a prior that fits q(z): a mixture"),
        ("vamp_prior", "learn a prior that fits q(z): VampPrior"),
        ("info_vae", "pull the aggregate q(z) towards the prior"),
    ),
}


@dataclass(frozen=True)
class Diagnosis:
    """A verdict in sentences. `advice` holds pairs of a recipe's name and its effect."""

    state: State
    headline: str
    cause: Cause | None
    findings: tuple[str, ...]
    advice: tuple[tuple[str, str], ...]


def diagnose(found: Numbers, known: Callable[[str], bool] = lambda name: True) -> Diagnosis:
    """Diagnose a run from the numbers of an evaluation; missing numbers are not mentioned.

    Only recipes for which `known` is true are advised.
    """
    verdict = Verdict.read(found.get("verdict"))
    if verdict.state == "language model":
        return Diagnosis(verdict.state, f"It is a language model: {verdict.reason}.", None, (), ())
    cause = _cause(found) if verdict.state in UNUSED else None
    findings = [_rate(found, verdict.state), *(say(found) for say in SAYINGS)]
    topics = _topics(found, verdict.state, cause)
    wanted = [name for topic in topics for name in REMEDIES[topic] if known(name[0])]
    return Diagnosis(
        verdict.state,
        f"{HEADLINES[verdict.state]}: {verdict.reason}.",
        cause,
        (*([_blame(found, cause)] if cause else []), *(sentence for sentence in findings if sentence)),
        tuple(dict.fromkeys(wanted)),
    )


UNUSED: tuple[State, ...] = ("collapsed", "partly")
HEADLINES: Mapping[State, str] = {
    "collapsed": "Collapsed",
    "partly": "Partly collapsed",
    "alive": "Alive",
    "undecided": "Undecided",
    "undefined": "Undefined",
}


def _blame(found: Numbers, cause: Cause) -> str:
    if cause == "inference":
        return (
            "The inference is to blame: for the same decoder, a q with a higher rate has a significantly higher "
            "ELBO; the model would use z, but its encoder lags behind."
        )
    if cause == "unknown":
        return "The measurements do not show whether the model or the inference is to blame."
    tried = {"refined for each sentence": found.get("amortisation_gap"), "from another encoder": lags(found)}
    ways = [way for way, outcome in tried.items() if outcome is not None]
    said = (
        f"The model is to blame, as it is now: no other q, {'neither ' if len(ways) > 1 else ''}"
        f"{' nor '.join(ways)}, makes more use of z with this decoder"
    )
    spread = found.get("posterior_mean_spread")
    if spread is not None and spread < SPREAD:
        said += "; the model's own posterior is close to the prior"
    return (
        f"{said}. Whether its encoder lagged behind earlier in training, before the decoder turned away from z, "
        "cannot be seen any more."
    )


def surely(found: Numbers, name: str) -> float | None:
    """A mean minus two standard errors; None if either is undefined."""
    value, error = found.get(name), found.get(f"{name}_se")
    return None if value is None or error is None else float(value) - 2 * float(error)


def perhaps(found: Numbers, name: str) -> float | None:
    """A mean plus two standard errors; None if either is undefined."""
    value, error = found.get(name), found.get(f"{name}_se")
    return None if value is None or error is None else float(value) + 2 * float(error)


def _cause(found: Numbers) -> Cause:
    lag, gap = lags(found), surely(found, "amortisation_gap")
    if lag or (gap is not None and gap >= LAG and _refined_says_more(found)):
        return "inference"
    doubted = _weak(found) or _model_spreads(found) or _might_say_more(found)
    return "unknown" if (lag is None and gap is None) or doubted else "model"


def lags(found: Numbers) -> bool | None:
    """Whether another encoder surely gains LAG nats with a higher rate; None if none was tried."""
    gains = [(surely(found, f"{name}_gain"), surely(found, f"{name}_rate_gain")) for name in ENCODERS]
    tried = [(gain, more) for gain, more in gains if gain is not None and more is not None]
    return any(gain >= LAG and more > 0 for gain, more in tried) if tried else None


def _model_spreads(found: Numbers) -> bool:
    """Whether the posterior means vary far more under the model than under q, which is the mark of lag."""
    model, inference = found.get("posterior_mean_spread"), found.get("inference_mean_spread")
    return model is not None and inference is not None and model - inference >= SPREAD


def _weak(found: Numbers) -> bool:
    """Whether the fresh encoder is so much worse than the old one that its failure is uninformative."""
    gain = found.get("fresh_encoder_gain")
    return gain is not None and gain < -GAP


def _might_say_more(found: Numbers) -> bool:
    """Whether one of the other q may gain LAG nats with a rate higher by as much: its upper bounds allow it."""
    tried = [(f"{name}_gain", f"{name}_rate_gain") for name in ENCODERS]
    tried.append(("amortisation_gap", "refined_rate_gain"))
    bounds = [(perhaps(found, gain), perhaps(found, more)) for gain, more in tried]
    return any(gain is not None and more is not None and gain >= LAG and more >= LAG for gain, more in bounds)


def _refined_says_more(found: Numbers) -> bool:
    more = surely(found, "refined_rate_gain")
    return more is not None and more > LAG


def _topics(found: Numbers, state: State, cause: Cause | None) -> list[str]:
    topics = ["unused_rate"] if _vain(found, state) else []
    if cause in ("model", "inference"):
        topics.append(cause)
    if state == "alive" and (surely(found, "posterior_gap") or 0) >= GAP and not _held(found):
        topics.append("gap")
    known = not found.get("mutual_information_saturated")  # else marginal_kl is only an upper bound
    if state == "alive" and known and (surely(found, "marginal_kl") or 0) >= ELSEWHERE:
        topics.append("elsewhere")
    return topics


def _vain(found: Numbers, state: State) -> float | None:
    """The part of the rate that surely does not help the decoder, if it is a nat or more and z is hardly used.

    With z of q(z), log p(x|z) averaged over other sentences' z is at most log ∫ p(x|z) q(z) dz: what the decoder
    gains by a sentence's own z over its own marginal is at most G.
    """
    if state not in UNUSED or found.get("rate") is None:
        return None
    vain = (surely(found, "rate") or found["rate"]) - (perhaps(found, "listening") or 0)
    return float(vain) if vain >= 1 else None


def _held(found: Numbers) -> bool:
    """Whether the old encoder, trained on for the ELBO alone, surely gains, and mostly by a lower rate."""
    gain, more = surely(found, "continued_encoder_gain"), found.get("continued_encoder_rate_gain")
    return gain is not None and more is not None and gain >= LAG and -more >= found["continued_encoder_gain"] / 2


def _with_error(found: Numbers, name: str) -> str:
    error = found.get(f"{name}_se")
    return f"{found[name]:.2f}" + ("" if error is None else f" ± {error:.2f}")


def _rate(found: Numbers, state: State) -> str:
    rate, units, width = found.get("rate"), found.get("active_units"), found.get("latent_dim")
    if rate is None:
        return "It has no rate: its posterior is a point, so the following describes its decoder alone."
    said = f"The rate is {rate:.2f} nats per sentence; {units} of {width} dimensions of z are active."
    vain = _vain(found, state)
    if vain is not None:
        said += (
            f" At least {vain:.2f} nats of it do not help the decoder: either a floor (such as free bits) keeps "
            "the rate up, or q varies in directions the decoder ignores."
        )
    return said


def _information(found: Numbers) -> str | None:
    cap = found.get("mutual_information_cap")
    if cap is None or found.get("mutual_information") is None or found.get("marginal_kl") is None:
        return None
    if found.get("mutual_information_saturated"):
        bounds, why = ("at least ", "at most "), f" (saturated: ln N is {cap:.2f})"
    else:
        bounds, why = ("", ""), ""
    how = f"{bounds[0]}{_with_error(found, 'mutual_information')} nats{why}"
    paid = f"{bounds[1]}{_with_error(found, 'marginal_kl')}"
    return (
        f"Of that rate, {how} are information about the sentence, and {paid} are the cost of q(z) not matching "
        "the prior."
    )


def _words(found: Numbers) -> str | None:
    gap, gradient = found.get("word_accuracy_gap"), found.get("gradient_norm")
    if gap is None or gradient is None:
        return None
    return (
        f"With the sentence's own z, {found['word_accuracy']:.1%} of the next words are predicted correctly, "
        f"{100 * abs(gap):.1f} percentage points {'fewer' if gap < 0 else 'more'} than with another sentence's; "
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
        return f"{said}; the encoder's share of this gap was not measured."
    rest = f"{_with_error(found, 'family_gap')} because that q is not p(z|x)"
    if (surely(found, "amortisation_gap") or 0) <= 0:
        return f"{said}: a Gaussian refined for each sentence is not surely better than q, and {rest}."
    return (
        f"{said}: {_with_error(found, 'amortisation_gap')} because the encoder misses the best q (a Gaussian "
        f"refined for each sentence), {rest}."
    )


def _means(found: Numbers) -> str | None:
    model, inference = found.get("posterior_mean_spread"), found.get("inference_mean_spread")
    if model is None or inference is None:
        return None
    return (
        f"Over {found['posterior_mean_sentences']} sentences, the total variance of the posterior means is "
        f"{model:.2f} under the model and {inference:.2f} under q."
    )


def _encoders(found: Numbers) -> str | None:
    fresh, further = found.get("fresh_encoder_gain"), found.get("continued_encoder_gain")
    if fresh is None or further is None:
        return None
    said = (
        f"Against the frozen decoder, after {found['lag_steps']} steps: a fresh encoder changes the ELBO of "
        f"{found['lag_sentences']} sentences by {fresh:+.2f} ± {found['fresh_encoder_gain_se']:.2f} nats, the old "
        f"one, trained further, by {further:+.2f} ± {found['continued_encoder_gain_se']:.2f}."
    )
    lower = " It gains mostly by a lower rate: training left the rate above the ELBO's optimum for this decoder."
    return said + (lower if _held(found) else "")


def _worth(found: Numbers) -> str | None:
    net = found.get("lm_gain_net_of_rate")
    if net is None:
        return None
    error, gain = found["lm_gain_net_of_rate_se"], found["lm_gain"]
    least, most = surely(found, "lm_gain"), perhaps(found, "listening")
    worth = (
        "more than z can give it (at most G), so even without z it is the better model"
        if least is not None and most is not None and least > most
        else "z pays for itself"
        if net - 2 * error > 0
        else "z does not pay for itself"
        if net + 2 * error < 0
        else "too few sentences to tell whether z pays for itself"
    )
    net_of_rate = f"{net:+.2f} ± {error:.2f} net of the rate"
    return f"Compared with the language model, it gains {gain:.2f} nats on the words, {net_of_rate}: {worth}."


SAYINGS = (_information, _words, _gap, _means, _encoders, _worth)
