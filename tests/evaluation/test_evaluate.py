"""What `evaluate` reports of a split: every key, each number recomputed by hand."""

import math

import pytest
import torch
from command_line import CONTRACT
from helpers import SIZES, alive, deafen, tiny

from textvae.data.batches import encode
from textvae.data.grammar import Grammar
from textvae.data.tokenizers import CharTokenizer, WordTokenizer, train_tokenizer
from textvae.errors import ConfigError
from textvae.evaluation.estimators import Survey, importance_weighted_nll
from textvae.evaluation.evaluate import KEYS, evaluate
from textvae.evaluation.exact import against_the_truth, exact_nll
from textvae.evaluation.noise import SentenceNoise

TOKENIZER = WordTokenizer(["a", "b", "c"])
SENTENCES = ["a b c", "", "c zebra", "a", "b b zebra b", "c c a", "zebra zebra"]
TOKENS = 4 + 1 + 3 + 2 + 5 + 4 + 3

LISTENING = ("active_units", "mutual_information", "mutual_information_reference", "listening", "listening_se")
IMPORTANCE = ("iwae_nll", "iwae_nll_se", "iwae_samples", "perplexity_iwae", "perplexity_per_word_iwae")
TRUTH = ("exact_nll", "excess_nll", "excess_nll_se")


def undefined(value) -> bool:
    """What the run directory writes as null."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def test_every_key_of_the_contract_stands_in_every_evaluation():
    assert set(KEYS) >= CONTRACT
    models = {
        "vae": alive(2),
        "lm": tiny(0, encoder=("none", {})),
        "ae": tiny(2, posterior="dirac"),
    }
    for model in models.values():
        for sentences in (SENTENCES, ["a"]):
            values = evaluate(model, TOKENIZER, sentences, samples=3)
            assert set(values) == set(KEYS)
            assert isinstance(values["verdict"], (str, type(None)))


def test_a_vaes_numbers_by_hand():
    model, noise = alive(2), SentenceNoise(5, 2)
    values = evaluate(model, TOKENIZER, SENTENCES, samples=10, seed=5)
    sequences = encode(SENTENCES, TOKENIZER)
    found = Survey.of(model, sequences, noise)
    nll = importance_weighted_nll(model, sequences, 10, noise).double()
    n = len(SENTENCES)
    assert (values["sentences"], values["tokens"], values["cut"]) == (n, TOKENS, 0)
    elbo = -(found.distortion + found.rate)
    for name, column in {"distortion": found.distortion, "rate": found.rate, "elbo": elbo, "iwae_nll": nll}.items():
        assert values[name] == pytest.approx(column.mean().item(), abs=1e-9)
        deviation = math.sqrt(((column - column.mean()) ** 2).sum().item() / (n - 1))
        assert values[f"{name}_se"] == pytest.approx(deviation / math.sqrt(n), abs=1e-9)
    assert values["rate_per_dimension"] == pytest.approx(found.rate_per_dimension.mean(0).tolist())
    assert sum(values["rate_per_dimension"]) == pytest.approx(values["rate"])
    assert values["iwae_samples"] == 10
    assert values["perplexity_elbo"] == pytest.approx(math.exp(-elbo.sum().item() / TOKENS))
    assert values["perplexity_iwae"] == pytest.approx(math.exp(nll.sum().item() / TOKENS))
    assert values["perplexity_iwae"] < values["perplexity_elbo"]
    assert values["mutual_information_reference"] == n
    assert all(undefined(values[name]) for name in TRUTH)
    assert values["verdict"].split(":")[0] in {"collapsed", "partly", "alive", "undecided"}


def test_the_perplexity_of_a_uniform_decoder_is_the_number_of_types():
    """With equal logits, every token, EOS too, has probability 1/5."""
    model = tiny(0, encoder=("none", {}))
    model.decoder.output.weight.data.zero_()
    values = evaluate(model, TOKENIZER, SENTENCES, samples=1)
    assert values["perplexity_elbo"] == pytest.approx(5)
    assert values["perplexity_iwae"] == pytest.approx(5)
    assert values["perplexity_per_word_elbo"] == pytest.approx(5)
    assert values["distortion"] == pytest.approx(TOKENS * math.log(5) / len(SENTENCES))


def test_the_unknown_rate_by_hand():
    """Four zebras among 22 tokens, the seven EOS included: what a perplexity averages over."""
    assert evaluate(alive(2), TOKENIZER, SENTENCES, samples=1)["unknown_rate"] == pytest.approx(4 / TOKENS)
    assert evaluate(alive(2), TOKENIZER, ["a b", "c"], samples=1)["unknown_rate"] == 0
    assert evaluate(alive(2), TOKENIZER, ["zebra <unk>"], samples=1)["unknown_rate"] == pytest.approx(2 / 3)


def test_a_language_model_has_no_z_to_speak_of():
    model = tiny(0, encoder=("none", {}))
    values = evaluate(model, TOKENIZER, SENTENCES, samples=50)
    assert values["rate"] == 0
    assert values["rate_per_dimension"] == []
    assert values["elbo"] == pytest.approx(-values["distortion"])
    assert values["iwae_nll"] == pytest.approx(values["distortion"])
    assert values["iwae_samples"] == 1
    assert all(undefined(values[name]) for name in LISTENING)
    assert values["verdict"].startswith("language model")


def test_an_autoencoder_has_no_likelihood():
    values = evaluate(tiny(2, posterior="dirac"), TOKENIZER, SENTENCES, samples=5)
    missing = ("rate", "rate_se", "elbo", "elbo_se", "perplexity_elbo", "perplexity_per_word_elbo", *IMPORTANCE)
    assert {name: values[name] for name in missing if not undefined(values[name])} == {}
    assert undefined(values["rate_per_dimension"])
    assert undefined(values["mutual_information"])
    assert values["distortion"] > 0
    assert values["active_units"] is not None
    assert math.isfinite(values["listening"])


def test_one_sentence_has_no_spread():
    values = evaluate(alive(2), TOKENIZER, ["a b"], samples=4)
    assert undefined(values["elbo_se"])
    assert undefined(values["active_units"])
    assert undefined(values["listening"])
    assert undefined(values["verdict"])
    assert values["mutual_information"] == pytest.approx(0, abs=1e-6)
    assert values["mutual_information_reference"] == 1


def test_a_deaf_decoder_is_collapsed_whatever_its_rate():
    model = deafen(alive(2))
    model.posterior.mean.weight.data *= 5
    model.posterior.log_variance.weight.data *= 5
    values = evaluate(model, TOKENIZER, 2 * SENTENCES, samples=2)
    assert values["rate"] > 1
    assert values["active_units"] == 2
    assert values["listening"] == 0
    assert values["verdict"].startswith("collapsed")


def test_evaluation_is_a_pure_function_of_model_sentences_and_seed():
    model = alive(2).train()
    one, two = (evaluate(model, TOKENIZER, SENTENCES, samples=12, seed=1) for _ in range(2))
    assert one == two
    assert model.training
    assert evaluate(model, TOKENIZER, SENTENCES, samples=12, seed=2)["iwae_nll"] != one["iwae_nll"]


@pytest.mark.parametrize("samples", [0, -3])
def test_no_samples_are_refused(samples):
    with pytest.raises(ConfigError, match="samples: an estimate needs at least 1"):
        evaluate(alive(2), TOKENIZER, SENTENCES, samples=samples)


def test_progress_counts_every_sentence_in_both_passes():
    ticks: list[int] = []
    evaluate(alive(2), TOKENIZER, SENTENCES, samples=2, tick=ticks.append)
    assert sum(ticks) == 2 * len(SENTENCES)


def test_subwords_are_compared_per_word():
    """A character model of uniform predictions: few nats a character, many a word."""
    tokenizer = train_tokenizer("char", ["a b c", "ab ca", "cab a b"] * 20)
    model = tiny(0, encoder=("none", {}), vocabulary=tokenizer.size)
    model.decoder.output.weight.data.zero_()
    sentences = ["cab ba", "a"]
    values = evaluate(model, tokenizer, sentences, samples=1)
    tokens = sum(len(tokenizer.encode(s)) + 1 for s in sentences)
    types = tokenizer.size - 2
    assert values["tokens"] == tokens > 5
    assert values["perplexity_elbo"] == pytest.approx(types)
    # Three words and two EOS.
    assert values["perplexity_per_word_elbo"] == pytest.approx(types ** (tokens / 5))
    assert values["perplexity_per_word_iwae"] == pytest.approx(types ** (tokens / 5))


def test_cut_sentences_flatter_no_perplexity_per_word():
    """Words that were cut off cost no nats, so they may not be counted either."""
    model = tiny(0, encoder=("none", {}))
    model.decoder.output.weight.data.zero_()
    values = evaluate(model, TOKENIZER, ["a b c a b c a b", "a"], samples=1, max_length=2)
    assert values["cut"] == 1
    assert values["tokens"] == 5
    assert values["perplexity_elbo"] == pytest.approx(5)
    for name in ("perplexity_per_word_elbo", "perplexity_per_word_iwae"):
        assert undefined(values[name]) or values[name] == pytest.approx(5)


RULES = {"sentence": "2 a b | f=x\n1 a {tail:.5} | f=y", "tail": "b c\nc"}
GRAMMAR = Grammar({"f": {"x": 1, "y": 2}}, RULES)


def test_the_grammars_exact_nll_stands_beside_the_models():
    sentences = ["a b", "a c", "a b c", "a"]
    model = alive(2)
    values = evaluate(model, TOKENIZER, sentences, samples=10, grammar=GRAMMAR)
    exact = torch.tensor([-GRAMMAR.log_prob(s, {"a", "b", "c"}) for s in sentences], dtype=torch.float64)
    assert exact.isfinite().all()
    nll = importance_weighted_nll(model, encode(sentences, TOKENIZER), 10, SentenceNoise(0, 2)).double()
    excess = nll - exact
    assert values["exact_nll"] == pytest.approx(exact.mean().item(), abs=1e-9)
    assert values["excess_nll"] == pytest.approx(excess.mean().item(), abs=1e-6)
    assert values["excess_nll_se"] == pytest.approx(excess.std().item() / 2, abs=1e-6)
    assert values["excess_nll"] == pytest.approx(values["iwae_nll"] - values["exact_nll"], abs=1e-6)


def test_exact_nll_belongs_to_the_tokens_that_were_scored():
    """Where c is unknown, "a c" is "a <unk>", whose probability sums over all that c could be."""
    narrow = WordTokenizer(["a", "b"])
    nll = exact_nll(["a c", "a b"], narrow, GRAMMAR)
    expected = [-GRAMMAR.log_prob("a c", {"a", "b"}), -GRAMMAR.log_prob("a b", {"a", "b"})]
    assert nll.tolist() == pytest.approx(expected)
    wide = exact_nll(["a c"], TOKENIZER, GRAMMAR)
    assert wide[0] == pytest.approx(-GRAMMAR.log_prob("a c"))


@pytest.mark.parametrize("letters", ["ab", "abc"])
def test_sentences_that_characters_cannot_spell_have_no_exact_nll(letters):
    tokenizer = CharTokenizer.train([" ".join(letters)])
    sequences = encode(["a b", "a b c"], tokenizer)
    found = against_the_truth(torch.ones(2), ["a b", "a b c"], sequences, tokenizer, GRAMMAR)
    assert set(found) == (set(TRUTH) if "c" in letters else set())


def test_cut_sentences_have_no_exact_nll():
    values = evaluate(alive(2), TOKENIZER, ["a b", "a b c"], samples=2, max_length=2, grammar=GRAMMAR)
    assert values["cut"] == 1
    assert all(undefined(values[name]) for name in TRUTH)
    assert math.isfinite(values["iwae_nll"])


def test_two_layers_and_single_precision_are_evaluated_alike():
    model = tiny(2, decoder=("lstm", {**SIZES, "layers": 2}))
    double = evaluate(model, TOKENIZER, SENTENCES, samples=5)
    single = evaluate(model.float(), TOKENIZER, SENTENCES, samples=5)
    for name in ("distortion", "rate", "elbo", "iwae_nll", "perplexity_iwae", "listening", "mutual_information"):
        assert single[name] == pytest.approx(double[name], rel=1e-4, abs=1e-5)
