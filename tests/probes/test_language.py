"""Forward and reverse perplexity tell dull samples from varied ones and nonsense from fluent text."""

import numpy as np
import pytest
from command_line import sentences

from textvae.data.batches import encode
from textvae.data.tokenizers import WordTokenizer
from textvae.errors import ConfigError
from textvae.probes import language
from textvae.probes.language import cross_perplexities, first

REAL, HELD_OUT = sentences(400, 0), sentences(100, 1)
TOKENIZER = WordTokenizer.train(REAL, 1, None)


def perplexities(samples: list[str], steps: int = 60):
    return cross_perplexities(*(encode(t, TOKENIZER) for t in (REAL, samples, HELD_OUT)), TOKENIZER.size, steps)


def test_real_text_for_samples_is_as_good_as_real_text():
    values = perplexities(sentences(400, 2))
    assert values["forward_perplexity"] == pytest.approx(values["real_perplexity"], rel=0.1)
    assert values["reverse_perplexity"] == pytest.approx(values["real_perplexity"], rel=0.1)
    assert values["lm_sentences"] == 400


def test_one_sentence_again_and_again_is_fluent_and_covers_nothing():
    values = perplexities([REAL[0]] * 400)
    assert values["forward_perplexity"] < 1.2 * values["real_perplexity"]
    assert values["reverse_perplexity"] > 3 * values["real_perplexity"]


def test_words_in_no_order_are_not_fluent():
    random = np.random.default_rng(0)
    values = perplexities([" ".join(random.permutation(text.split())) for text in sentences(400, 2)])
    assert values["forward_perplexity"] > 3 * values["real_perplexity"]


def test_both_language_models_are_trained_on_equally_many_sentences(monkeypatch):
    train, counts = language._trained, []

    def watched(sequences, *given):
        counts.append(len(sequences))
        return train(sequences, *given)

    monkeypatch.setattr(language, "_trained", watched)
    assert perplexities(sentences(50, 2), steps=1)["lm_sentences"] == 50
    assert counts == [50, 50]


def test_the_first_sentences():
    rows = encode(["a b", "c", "d e f"], WordTokenizer(["a", "b", "c", "d", "e", "f"]))
    assert first(rows, 2).lengths.tolist() == [3, 2]
    assert len(first(rows, 9)) == 3


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ConfigError, match="need samples"):
        perplexities([])
    with pytest.raises(ConfigError, match="at least 1 step"):
        perplexities(["a"], steps=0)
