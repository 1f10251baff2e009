"""Judgements of generated text, by hand and by a grammar small enough to know."""

import math
import sys

import pytest

from textvae.data.grammar import Grammar
from textvae.data.tokenizers import WordTokenizer
from textvae.errors import ConfigError
from textvae.evaluation.text import (
    bleu,
    distinct,
    exact_match,
    factors_kept,
    grammaticality,
    novelty,
    self_bleu,
)

RULES = {
    "sentence": "the {who} {did}",
    "who": "cat | who=cat\ndog | who=dog",
    "did": "ran | did=ran\nsat | did=sat",
}
GRAMMAR = Grammar({"who": {"cat": 1, "dog": 1}, "did": {"ran": 3, "sat": 1}}, RULES)
TOKENIZER = WordTokenizer(["the", "cat", "dog", "ran", "sat"])


def test_grammatical_sentences_and_their_probability():
    found = grammaticality(["the cat ran", "the dog sat", "cat the ran", "the cat"], TOKENIZER, GRAMMAR)
    assert found["grammatical"] == 0.5
    assert found["grammar_log_prob"] == pytest.approx((math.log(3 / 8) + math.log(1 / 8)) / 2)
    # Of two numbers: half of their difference, which is ln 3 here.
    assert found["grammar_log_prob_se"] == pytest.approx(math.log(3) / 2)
    nothing = grammaticality(["cat", "dog"], TOKENIZER, GRAMMAR)
    assert nothing["grammatical"] == 0
    assert nothing["grammar_log_prob"] is None


def test_an_unknown_word_may_be_any_that_the_tokenizer_lacks():
    narrow = WordTokenizer(["the", "cat", "ran", "sat"])
    found = grammaticality(["the <unk> ran"], narrow, GRAMMAR)
    assert found["grammar_log_prob"] == pytest.approx(math.log(3 / 8))


def test_factors_that_both_ends_share_are_looked_for_between_them():
    # The cat is in both ends; of three sentences between, one keeps it, one loses it, one is no sentence.
    path = ["the cat ran", "the cat sat", "the dog sat", "cat cat", "the cat sat"]
    found = factors_kept([path], TOKENIZER, GRAMMAR, ["the cat ran", "the dog ran", "the dog sat", "nonsense"])
    assert found["interpolation_factors_kept"] == pytest.approx(1 / 3)
    assert found["interpolation_grammatical"] == pytest.approx(2 / 3)
    # By the same rule: of four unrelated sentences one has the cat, and one is no sentence.
    assert found["interpolation_factors_by_chance"] == pytest.approx(1 / 4)
    assert (found["interpolation_paths"], found["interpolation_points"]) == (1, 3)


def test_the_error_of_the_factors_kept_is_over_the_paths_that_have_some():
    kept = ["the cat ran", "the cat ran", "the cat sat"]
    lost = ["the dog ran", "the cat ran", "the cat sat", "the dog sat"]
    unlike, broken = ["the cat ran", "the cat ran", "the dog sat"], ["cat", "the cat ran", "the cat sat"]
    found = factors_kept([kept, unlike, lost, broken], TOKENIZER, GRAMMAR, ["the cat ran"])
    assert (found["interpolation_factors_kept"], found["interpolation_paths"]) == (0.5, 2)
    assert found["interpolation_factors_kept_se"] == pytest.approx(0.5)


def test_ends_without_a_common_factor_have_nothing_to_keep():
    found = factors_kept([["the cat ran", "the cat sat", "the dog sat"]], TOKENIZER, GRAMMAR)
    assert found["interpolation_factors_kept"] is None
    assert found["interpolation_grammatical"] == 1
    assert factors_kept([["x", "the cat sat", "the dog sat"]], TOKENIZER, GRAMMAR)["interpolation_points"] == 0


def test_distinct_counts_every_n_gram():
    assert distinct(["a b a", "b a"], 1) == 2 / 5
    assert distinct(["a b a", "b a"], 2) == 2 / 3  # ab, ba, ba
    assert distinct(["a b a", "b a"], 3) == 1
    assert distinct(["a"], 2) is None


def test_novelty_and_exact_match():
    assert novelty(["a b", "c", "c"], iter(["a b", "d"])) == pytest.approx(2 / 3)
    assert exact_match(["a b", "c d"], ["a  b", "c e"]) == 0.5


def test_bleu_at_its_ends_and_by_hand():
    same = ["the cat ran to the old house", "a dog sat on some old bread"]
    assert bleu(same, same) == pytest.approx(100)
    assert bleu(["x y z w"], ["a b c d"]) < 1
    # Five of six words right, 4, 3 and 2 of the n-grams: (5/6 · 4/5 · 3/4 · 2/3)^¼.
    assert bleu(["a b c d e x"], ["a b c d e f"]) == pytest.approx(100 * (1 / 3) ** 0.25, abs=1e-3)


def test_self_bleu_is_high_where_all_say_the_same():
    alike = ["the cat ran to the house"] * 5
    mixed = ["the cat ran to the house", "a dog sold N shares", "our bank fears that some moon rose"]
    assert self_bleu(alike) == pytest.approx(100)
    assert self_bleu(mixed) < 20
    with pytest.raises(ConfigError, match="at least 2"):
        self_bleu(["a"])


def test_without_sacrebleu_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ConfigError, match=r"pip install 'textvae\[metrics\]'"):
        bleu(["a"], ["a"])
