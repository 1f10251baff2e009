"""The verdict's thresholds, and the verdict of a result file read back."""

import math

import pytest

from textvae.evaluation.verdict import LANGUAGE_MODEL, Verdict, judge


@pytest.mark.parametrize(
    ("gain", "error", "word"),
    [
        (0.0, 0.0, "collapsed"),
        (-0.3, 0.01, "collapsed"),
        (0.099, 0.0, "collapsed"),
        (0.1, 0.0, "partly"),
        (0.3, 0.11, "undecided"),
        (0.25, 0.12, "collapsed"),
        (0.5, 0.21, "undecided"),
        (0.3, 0.09, "partly"),
        (0.99, 0.0, "partly"),
        (1.0, 0.0, "alive"),
        (1.5, 0.26, "partly"),
        (1.5, 0.24, "alive"),
        (20.0, 0.3, "alive"),
        (0.0, 0.24, "collapsed"),
        (0.0, 0.26, "undecided"),
        (3.0, 2.0, "undecided"),
    ],
)
def test_the_verdict_rests_on_what_is_sure(gain, error, word):
    found = judge(gain, error, 1000)
    assert found.state == word
    said = found.sentence
    assert said.startswith(f"{word}: ")
    assert f"{gain:.2f} ± {error:.2f}" in said
    assert "0.1" in said or "0.5" in said or "1.0" in said or "too few sentences" in said


@pytest.mark.parametrize(("error", "hardly"), [(0.1, True), (0.19, True), (0.21, False), (0.24, False)])
def test_a_decoder_hardly_listens_only_if_surely_below_a_nat(error, hardly):
    said = judge(0.6, error, 1000).sentence
    assert said.startswith("partly: ")
    assert ("hardly listens" in said, "too few sentences" in said) == (hardly, not hardly)


def test_no_verdict_is_given_on_an_undefined_gain():
    assert judge(math.nan, math.nan, 1000).state == "undefined"
    assert judge(5.0, math.nan, 1000).state == "undefined"


@pytest.mark.parametrize(
    ("sentences", "word"), [(2, "undecided"), (9, "undecided"), (10, "alive"), (1000, "alive")]
)
def test_no_verdict_is_given_on_fewer_than_ten_sentences(sentences, word):
    found = judge(5.0, 0.1, sentences)
    assert found.state == word
    assert (f"{sentences} sentences are too few" in found.sentence) == (word == "undecided")


@pytest.mark.parametrize(
    "verdict", [judge(0.0, 0.0, 99), judge(1.5, 0.1, 99), judge(math.nan, 0.0, 99), LANGUAGE_MODEL]
)
def test_a_result_file_keeps_the_verdict_as_a_sentence(verdict):
    assert Verdict.read(verdict.sentence) == verdict


def test_a_missing_or_unknown_verdict_is_undefined():
    assert Verdict.read(None).sentence == "undefined: nothing was measured"
    assert Verdict.read("").state == Verdict.read("splendid: it is").state == "undefined"
