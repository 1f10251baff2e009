"""The verdict in words, from numbers whose meaning is known."""

import pytest

from textvae.config import recipe_files
from textvae.evaluation.diagnosis import LAG, REMEDIES, diagnose, lags
from textvae.evaluation.verdict import judge

LAGS, LAGS_NOT = (
    {"lag_steps": 500, "lag_sentences": 1000}
    | {
        f"{name}_{what}{error}": 0.0 if error else gain
        for name in ("fresh_encoder", "continued_encoder")
        for what in ("gain", "rate_gain")
        for error in ("", "_se")
    }
    for gain in (1.0, 0.0)
)
LAGGING = {**LAGS, "amortisation_gap": 2.0, "amortisation_gap_se": 0.1}
STUCK = {**LAGS_NOT, "amortisation_gap": 0.01, "amortisation_gap_se": 0.05}


SPREAD = {"posterior_mean_sentences": 64}


def numbers(gain: float, **more):
    return {"verdict": judge(gain, 0.01, 1000).sentence, "latent_dim": 16, "active_units": 0, "rate": 0.01} | more


def said(found) -> str:
    return " ".join([found.headline, *found.findings])


@pytest.mark.parametrize(("evidence", "cause"), [(LAGGING, "inference"), (STUCK, "model"), ({}, "unknown")])
def test_who_is_to_blame_for_a_collapse(evidence, cause):
    found = diagnose(numbers(0.0, **evidence))
    assert found.state == "collapsed"
    assert found.cause == cause
    assert found.headline.startswith("Collapsed: ")
    assert "to blame" in said(found)
    assert (f"The {cause} is to blame" in said(found)) == (cause != "unknown")
    assert set(found.advice) == set(REMEDIES.get(cause, ()))


def test_a_refined_q_that_says_more_is_the_inferences_fault():
    gap = {**LAGS_NOT, "amortisation_gap": 1.0, "amortisation_gap_se": 0.1}
    more = diagnose(numbers(0.0, **gap, refined_rate_gain=2.0, refined_rate_gain_se=0.1))
    less = diagnose(numbers(0.0, **gap, refined_rate_gain=0.0, refined_rate_gain_se=0.0))
    assert (more.cause, less.cause) == ("inference", "model")


@pytest.mark.parametrize(("errors", "lagging"), [(1.5, False), (2.5, True)])
@pytest.mark.parametrize(("what", "least"), [("gain", LAG), ("rate_gain", 0.0)])
def test_an_encoder_lags_by_more_than_two_standard_errors(what, least, errors, lagging):
    close = {f"fresh_encoder_{what}": least + errors * 0.1, f"fresh_encoder_{what}_se": 0.1}
    assert lags(LAGS_NOT | {"fresh_encoder_gain": 1.0, "fresh_encoder_rate_gain": 1.0} | close) is lagging


@pytest.mark.parametrize(
    ("tried", "ways"),
    [
        (LAGS_NOT, "no other q, from another encoder, makes more"),
        (
            {"amortisation_gap": 0.0, "amortisation_gap_se": 0.1},
            "no other q, refined for each sentence, makes more",
        ),
        (STUCK, "no other q, neither refined for each sentence nor from another encoder, makes more"),
    ],
)
def test_no_test_is_named_that_was_not_made(tried, ways):
    assert ways in said(diagnose(numbers(0.0, **tried)))


def test_the_models_posterior_is_close_to_the_prior_only_if_it_was_seen_to_be():
    close = diagnose(numbers(0.0, **STUCK) | SPREAD | {"posterior_mean_spread": 0.1, "inference_mean_spread": 0.0})
    assert (close.cause, "close to the prior" in said(close)) == ("model", True)
    partly = diagnose(numbers(0.6, **STUCK) | SPREAD | {"posterior_mean_spread": 1.6, "inference_mean_spread": 1.5})
    assert (partly.state, partly.cause, "close to the prior" in said(partly)) == ("partly", "model", False)
    assert "close to the prior" not in said(diagnose(numbers(0.0, **STUCK)))


def test_a_model_that_spreads_where_q_does_not_is_not_blamed():
    """He et al.'s picture of lag, which neither test of the inference confirms."""
    found = diagnose(numbers(0.0, **STUCK) | SPREAD | {"posterior_mean_spread": 3.2, "inference_mean_spread": 0.0})
    assert found.cause == "unknown"


@pytest.mark.parametrize(
    ("gain", "more", "cause"), [(0.435, 0.133, "unknown"), (0.435, -0.05, "model"), (-0.1, 0.133, "model")]
)
@pytest.mark.parametrize(
    "names", [("amortisation_gap", "refined_rate_gain"), ("fresh_encoder_gain", "fresh_encoder_rate_gain")]
)
def test_the_model_is_blamed_only_if_no_other_q_may_say_more(names, gain, more, cause):
    measured = {names[0]: gain, names[1]: more} | {f"{name}_se": 0.062 for name in names}
    stuck = {key: value for key, value in STUCK.items() if not key.startswith("fresh")} | measured
    if names[0].startswith("fresh") and more > 0 and gain > 0:
        stuck[f"{names[1]}_se"] = 0.08  # not surely more than 0, or it would be the inference's fault
    assert diagnose(numbers(0.0, **stuck)).cause == cause


def test_information_is_given_with_its_error():
    told = {
        "mutual_information": 0.126,
        "mutual_information_se": 0.05,
        "marginal_kl": -0.04,
        "marginal_kl_se": 0.06,
    }
    found = said(diagnose(numbers(0.0) | told | {"mutual_information_cap": 7.6}))
    assert (
        "Of that rate, 0.13 ± 0.05 nats are information about the sentence, and -0.04 ± 0.06 are the cost" in found
    )


def test_a_refined_q_that_is_no_better_is_said_to_be_none():
    gap = {"posterior_gap": 0.5, "posterior_gap_se": 0.1, "family_gap": 0.54, "gap_sentences": 64}
    found = diagnose(numbers(20.0, **gap, amortisation_gap=-0.04, amortisation_gap_se=0.004))
    assert "is not surely better than q, and 0.54 because that q is not p(z|x)" in said(found)


def test_an_undecided_state_blames_nobody():
    found = diagnose(
        {"verdict": judge(3.0, 2.0, 1000).sentence, "latent_dim": 4, "active_units": 1, "rate": 2.0} | STUCK
    )
    assert (found.state, found.cause, found.advice) == ("undecided", None, ())
    assert found.headline.startswith("Undecided: ")


def test_a_rate_that_buys_nothing_is_named():
    found = diagnose(numbers(0.05, **STUCK) | {"rate": 4.0, "active_units": 16})
    assert "At least 4.00 nats of it do not help the decoder" in said(found)
    assert set(REMEDIES["unused_rate"]) <= set(found.advice)
    assert "do not help the decoder" not in said(diagnose(numbers(20.0) | {"rate": 4.0}))


@pytest.mark.parametrize(("rate", "vain"), [(3.0, "At least 1.78 nats"), (2.2, None)])
def test_a_rate_that_is_partly_used_is_not_all_in_vain(rate, vain):
    """Of 3 ± 0.1 nats the decoder uses at most G, 0.9 ± 0.06: two standard errors of each leave 1.78."""
    used = {"rate": rate, "rate_se": 0.1, "listening": 0.9, "listening_se": 0.06}
    found = diagnose(numbers(0.9, **STUCK) | used)
    assert found.state == "partly"
    if vain is None:
        assert "do not help the decoder" not in said(found)
        assert found.advice[0] not in REMEDIES["unused_rate"]
    else:
        assert f"{vain} of it do not help the decoder" in said(found)
        assert set(REMEDIES["unused_rate"]) <= set(found.advice)


def test_alive_models_are_blamed_for_nothing_but_told_their_gaps():
    gap = {"posterior_gap": 1.5, "posterior_gap_se": 0.1, "amortisation_gap": 1.0, "amortisation_gap_se": 0.1}
    found = diagnose(numbers(20.0, **gap, family_gap=0.5, gap_sentences=64))
    assert (found.state, found.cause) == ("alive", None)
    assert "On 64 sentences the ELBO lies at least 1.50 ± 0.10 nats below log p(x): 1.00 ± 0.10 because" in said(
        found
    )
    assert set(found.advice) == set(REMEDIES["gap"])
    elsewhere = diagnose(numbers(20.0, marginal_kl=3.0, marginal_kl_se=0.1))
    assert set(elsewhere.advice) == set(REMEDIES["elsewhere"])
    assert diagnose(numbers(20.0)).advice == ()


def test_a_rate_held_above_what_the_elbo_pays_is_no_lag():
    encoders = {
        "lag_steps": 100, "lag_sentences": 50, "gap_sentences": 64,
        "fresh_encoder_gain": -3.0, "fresh_encoder_gain_se": 0.1,
        "continued_encoder_gain": 0.4, "continued_encoder_gain_se": 0.02, "continued_encoder_rate_gain": -1.0,
        "posterior_gap": 1.5, "posterior_gap_se": 0.1, "amortisation_gap": 1.0, "family_gap": 0.5,
    }  # fmt: skip
    found = diagnose(numbers(20.0, **encoders))
    assert "mostly by a lower rate" in said(found)
    assert found.advice == ()
    assert "mostly by a lower rate" not in said(
        diagnose(numbers(20.0, **encoders) | {"continued_encoder_rate_gain": 1.0})
    )


def test_saturated_information_is_a_bound():
    told = {"mutual_information": 6.0, "mutual_information_cap": 7.6, "marginal_kl": 0.5}
    assert "at least 6.00 nats (saturated" in said(
        diagnose(numbers(20.0, **told, mutual_information_saturated=True))
    )
    assert "Of that rate, 6.00 nats are information" in said(
        diagnose(numbers(20.0, **told, mutual_information_saturated=False))
    )


@pytest.mark.parametrize(
    ("net", "worth"), [(1.0, "z pays"), (0.1, "too few sentences to tell"), (-2.0, "z does not pay")]
)
def test_z_pays_for_itself_or_not(net, worth):
    gain = {"lm_gain": 5.0, "lm_gain_net_of_rate": net, "lm_gain_net_of_rate_se": 0.1}
    assert worth in said(diagnose(numbers(20.0, **gain)))


def test_a_gain_over_the_language_model_beyond_g_is_not_credited_to_z():
    gain = {"lm_gain": 3.7, "lm_gain_se": 0.1, "lm_gain_net_of_rate": 3.6, "lm_gain_net_of_rate_se": 0.1}
    text = said(diagnose(numbers(0.0, **gain, listening=0.0, listening_se=0.01)))
    assert "even without z it is the better model" in text
    assert "pays for itself" not in text
    assert "z pays for itself" in said(diagnose(numbers(20.0, **gain, listening=20.0, listening_se=0.01)))


def test_models_without_z_or_without_a_rate_are_told_so():
    found = diagnose({"verdict": "language model: there is no z to listen to", "rate": 0.0, "latent_dim": 0})
    assert (found.state, found.findings, found.advice) == ("language model", (), ())
    assert "no rate" in said(diagnose(numbers(20.0) | {"rate": None}))
    assert diagnose({}).headline.startswith("Undefined")


def test_every_recipe_it_may_advise_exists():
    names = {name for topic in REMEDIES.values() for name, _ in topic}
    assert names <= {path.stem for path in recipe_files("remedies")}


def test_only_recipes_that_exist_are_advised():
    found = diagnose(numbers(0.0, **STUCK), known={"beta"}.__contains__)
    assert [name for name, _ in found.advice] == ["beta"]
