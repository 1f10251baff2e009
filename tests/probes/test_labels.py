"""Labels by hand; what a code that holds them, or none, is found to know."""

import math

import pytest
import torch

from textvae.data.grammar import embedded_grammar, embedded_split
from textvae.probes.labels import factor_labels, first_word, length, words

TRAIN = ["a b", "a c d", "b", "a b c d e", "c c", "a"] * 50
HELD_OUT = ["a b", "b", "zebra c", "a b c d e f g"] * 20


def entropy(*shares: float) -> float:
    return -sum(share * math.log(share) for share in shares)


def test_words_that_are_nearly_everywhere_ask_nothing():
    assert words(["a b", "b a"] * 20, ["a b"]) is None


def test_length_in_classes_that_train_fills():
    label = length(TRAIN, HELD_OUT)
    lengths = torch.tensor([len(text.split()) for text in HELD_OUT])
    # Longer sentences never stand in a lower class, and equal lengths share one.
    for a in range(4):
        for b in range(4):
            assert (label.held_out[a] <= label.held_out[b]) or lengths[a] > lengths[b]
    assert int(label.train.max()) < label.classes
    assert label.entropy == label.ceiling == pytest.approx(entropy(0.5, 0.25, 0.25))


def test_first_words_and_others():
    label = first_word(TRAIN, HELD_OUT)
    assert label.classes == 4  # a, b, c and another
    assert label.held_out[:4].tolist() == [0, 1, 3, 0]
    assert label.entropy == pytest.approx(entropy(0.5, 0.25, 0.25))
    assert label.majority() == 0.5


def test_the_majority_is_that_of_train():
    assert first_word(["a", "a", "b"], ["b", "b", "b"]).majority() == 0


def test_words_are_questions_of_their_own():
    label = words(TRAIN, HELD_OUT)
    assert label.classes == 5  # a to e: none in nine of ten sentences
    assert label.held_out[:4].sum(1).tolist() == [2, 1, 1, 5]
    shares = label.held_out.double().mean(0).tolist()
    known = [entropy(share, 1 - share) if 0 < share < 1 else 0.0 for share in shares]
    assert label.entropy == pytest.approx(sum(known) / 5)
    assert label.name == "a word, mean of 5"


@pytest.mark.parametrize("make", [length, first_word, words])
def test_a_code_that_holds_the_label_knows_it_and_noise_does_not(make):
    label = make(TRAIN, TRAIN[3:99])

    def code(labels: torch.Tensor) -> torch.Tensor:
        return (torch.eye(label.classes)[labels] if labels.ndim == 1 else labels.double()).float()

    generator = torch.Generator().manual_seed(0)
    noise = tuple(torch.randn((len(column), 4), generator=generator) for column in (label.train, label.held_out))
    row = label.row((code(label.train), code(label.held_out)), noise, seed=0)
    assert row["information"] <= row["entropy"] + 1e-9
    assert row["accuracy"] > 0.99
    assert row["information"] > 0.9 * row["ceiling"]
    assert row["untrained_encoder"] < 0.2 * row["ceiling"]
    assert row["shuffled_labels"] < 0.2 * row["ceiling"]
    assert row["majority_accuracy"] < row["accuracy"]


def test_factors_have_the_grammars_ceilings():
    grammar = embedded_grammar()
    train, held_out = embedded_split("train")[:200], embedded_split("valid")[:60]
    labels = factor_labels(grammar, train, held_out)
    assert [label.name for label in labels] == list(grammar.factors)
    for label in labels:
        values = grammar.factors[label.name]
        assert values[int(label.train[5])] == train[5].factors[label.name]
        assert 0 < label.ceiling <= label.entropy + 1e-9
        posteriors = [grammar.factor_posterior(sentence.text)[label.name] for sentence in held_out]
        assert label.best_accuracy == pytest.approx(sum(p.max() for p in posteriors) / len(posteriors))
        common = (label.held_out == label.train.mode().values).double().mean()
        assert label.majority() == pytest.approx(float(common))
