"""Each row of a table shows the number of its key, with the error of that number."""

import re
from typing import Any

import pytest

from textvae.console import progress
from textvae.console.output import number
from textvae.console.progress import StudyDisplay, TrainingDisplay
from textvae.console.results import EXACT, evaluation_table, probe_table

ALWAYS = (
    ("sentences", "sentences"),
    ("tokens, including EOS", "tokens"),
    ("unknown rate", "unknown_rate"),
    ("distortion  −E log p(x|z)", "distortion"),
    ("rate  KL(q(z|x) ‖ p(z))", "rate"),
    ("−ELBO", "elbo"),
    ("importance-weighted NLL", "iwae_nll"),
    ("with K samples", "iwae_samples"),
    ("exact NLL of the grammar", "exact_nll"),
    ("excess NLL, paired", "excess_nll"),
    ("perplexity from −ELBO", "perplexity_elbo"),
    ("perplexity from K samples", "perplexity_iwae"),
    ("active units", "active_units"),
    ("mutual information  I(x; z)", "mutual_information"),
    ("capped at ln N, N =", "mutual_information_reference"),
    ("marginal KL  KL(q(z) ‖ p(z))", "marginal_kl"),
    ("listening  G", "listening"),
)
MEASURED = (
    ("word accuracy, gain over another z", "word_accuracy_gap"),
    ("norm of the gradient of log p(x|z) in z", "gradient_norm"),
    ("gain over the language model", "lm_gain"),
    ("its weights", "lm_sha256"),
    ("net of the rate", "lm_gain_net_of_rate"),
    ("NLL with z from the prior", "prior_nll"),
    ("samples per sentence", "prior_nll_samples"),
    ("effective samples, median", "prior_nll_effective_samples"),
    ("sentences", "prior_nll_sentences"),
    ("gap between log p(x) and ELBO", "posterior_gap"),
    ("at least, unless by quadrature; log p(x) by", "evidence"),
    ("amortisation gap", "amortisation_gap"),
    ("family gap", "family_gap"),
    ("sentences", "gap_sentences"),
    ("their ELBO, q refined per sentence", "refined_elbo"),
    ("decoder passes per sentence", "refined_elbo_passes"),
    ("their NLL by quadrature", "quadrature_nll"),
    ("their importance-weighted NLL, refined q", "refined_iwae_nll"),
    ("with K samples", "refined_iwae_samples"),
    ("their NLL by annealing", "ais_nll"),
    ("temperatures", "ais_temperatures"),
    ("chains", "ais_chains"),
    ("simulated log p, lower bound", "ais_lower"),
    ("simulated log p, upper bound", "ais_upper"),
    ("sentences", "ais_simulated"),
    ("ELBO gain of a fresh encoder", "fresh_encoder_gain"),
    ("of the old one, trained further", "continued_encoder_gain"),
    ("training steps", "lag_steps"),
    ("sentences", "lag_sentences"),
    ("samples", "samples"),
    ("grammatical", "samples_grammatical"),
    ("not in train", "samples_novelty"),
    ("self-BLEU", "samples_self_bleu"),
    ("forward perplexity", "forward_perplexity"),
    ("reverse perplexity", "reverse_perplexity"),
    ("of real text", "real_perplexity"),
    ("sentences per language model", "lm_sentences"),
    ("training steps", "lm_steps"),
    ("reconstructions", "reconstructions"),
    ("exact", "reconstructions_exact"),
    ("BLEU", "reconstructions_bleu"),
    ("interpolations, factors kept", "interpolation_factors_kept"),
    ("by chance", "interpolation_factors_by_chance"),
    ("paths", "interpolation_paths"),
)
COUNTS = ("sentences", "tokens", "active_units", "mutual_information_reference", "iwae_samples")
NAMES = ("lm_sha256", "evidence")


def split_of(shift: int) -> dict[str, Any]:
    """A split with a number, and an error where there can be one, that no other key has."""
    found: dict[str, Any] = {"verdict": f"verdict {shift}"}
    for place, (_, key) in enumerate((*ALWAYS, *MEASURED)):
        value = 1000 * shift + 10 * place
        if key in NAMES:
            found[key] = f"{key} {shift}"
        elif key in COUNTS:
            found[key] = value
        else:
            found |= {key: -value - 0.25 if key == "elbo" else value + 0.25, f"{key}_se": place + 0.5}
    return found


def shown(split: dict[str, Any], key: str) -> str:
    if key in (*COUNTS, *NAMES):
        return split[key] if key in NAMES else f"{split[key]:,}"
    digits = 4 if key == "unknown_rate" else 2
    return f"{abs(split[key]):,.{digits}f} ± {split[f'{key}_se']:.{digits}f}"


def printed(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, ...]]:
    """The rows on stdout, the heading first."""
    lines = [re.split("[│┃]", line) for line in capsys.readouterr().out.splitlines()]
    return [tuple(cell.strip() for cell in cells) for cells in lines if len(cells) > 1]


def test_a_row_shows_the_number_of_its_key_with_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    valid, test = split_of(1), split_of(2)
    evaluation_table("a run", {"valid": valid, "test": test})
    heading, *rows = printed(capsys)
    assert heading == ("nats per sentence unless stated", "valid", "test")
    assert rows == [(label, shown(valid, key), shown(test, key)) for label, key in (*ALWAYS, *MEASURED)]


def test_what_was_not_measured_has_a_dash_or_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation_table("a run", {"valid": {}, "test": {"prior_nll": 3.0, "elbo": None, "rate": 1.0, "rate_se": None}})
    _, *rows = printed(capsys)
    assert rows == [
        *(
            (label, "—", "1.00 ± —" if key == "rate" else "—")
            for label, key in ALWAYS
            if label not in map(str.strip, EXACT)
        ),
        ("NLL with z from the prior", "—", "3.00"),
    ]


def test_each_split_has_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation_table("a run", {"valid": {"verdict": "alive: it is"}, "test": {}})
    assert capsys.readouterr().out.splitlines()[-2:] == ["valid: alive: it is", "test: —"]


def test_a_saturated_information_is_told_as_a_bound_where_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"mutual_information": 7.0, "marginal_kl": 2.0, "marginal_kl_se": 0.1}
    evaluation_table("a run", {"valid": {**known, "mutual_information_saturated": True}, "test": known})
    rows = {label: rest for label, *rest in printed(capsys)}
    assert rows["mutual information  I(x; z)"] == ["at least 7.00", "7.00"]
    assert rows["marginal KL  KL(q(z) ‖ p(z))"] == ["at most 2.00 ± 0.10", "2.00 ± 0.10"]


def test_a_label_has_its_information_and_its_controls(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "factor": "tense",
        "entropy": 1.1,
        "ceiling": 1.0,
        "ceiling_se": 0.01,
        "information": 0.8,
        "information_se": 0.02,
        "accuracy": 0.75,
        "best_accuracy": 0.99,
        "majority_accuracy": 0.5,
        "shuffled_labels": 0.003,
        "untrained_encoder": 0.04,
    }
    probe_table("a run", [row])
    heading, first = printed(capsys)
    assert dict(zip(heading, first, strict=True)) == {
        "label f": "tense",
        "H(f)": "1.100",
        "I(x; f)": "1.000 ± 0.010",
        "I(z; f) ≥": "0.800 ± 0.020",
        "accuracy": "75.0%",
        "majority": "50.0%",
        "shuffled": "0.003",
        "untrained": "0.040",
    }


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 2, "—"),
        (float("nan"), 2, "—"),
        ("", 2, "—"),
        ("ais", 2, "ais"),
        (1234, 2, "1,234"),
        (1234.5, 2, "1,234.50"),
        (0.123456, 4, "0.1235"),
        (-0.5, 1, "-0.5"),
    ],
)
def test_a_number_is_printed(value: object, digits: int, text: str) -> None:
    assert number(value, digits) == text


def test_training_tells_its_numbers_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingDisplay(start=10, budget=100) as display:
        for step in (12, 15, 19, 100):
            values = {"distortion": step + 0.26, "rate": 1.5, "weight": 0.305, "tokens_per_second": 12345.6}
            display.step(step, values)
    assert capsys.readouterr().err.splitlines() == [
        f"step {step}/100  distortion {step}.3  rate 1.50  β 0.30  12,346 tokens/s" for step in (15, 100)
    ]


def test_a_study_tells_how_far_it_is_and_what_is_left_at_its_own_speed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with StudyDisplay(2.0, 10) as display:
        display(2.0, "began")
        now[0] += 40
        display(4.5, "")
        display(4.0, "some are done")
        now[0] += 20
        display(9.5, "nearly")
    assert capsys.readouterr().err.splitlines() == [
        "began; 2.0 of 10 runs",
        "some are done; 4.0 of 10 runs, about 2 min left",
        "nearly; 9.5 of 10 runs, about 4 s left",
    ]
