"""The grammar knows its sentences: probabilities by enumeration, draws by frequency, posteriors by Bayes."""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textvae.data.grammar import SPLIT_SIZES, Grammar, embedded_grammar, embedded_split
from textvae.data.grammar.inflection import gerund, indefinite, past, plural, third_person
from textvae.data.grammar.notation import is_rule, read_rules
from textvae.errors import DataError

DIGESTS = {
    "train": "3aa64a3e01740cb757f1f7e75fb70daf1f6e96aa5d5fb875f171ba3fbd4b0528",
    "valid": "823de4d9a9875a51510a50d580dc8e8ebc15a926e86a3fe724abda7571a4b349",
    "test": "d6d6016e36735e50f06f1e6094d4db92e5aa8a1244699d9683c9ca50263e6c97",
}

FACTORS = {"hour": {"day": 1, "night": 2}, "mood": {"calm": 3, "wild": 1}}
COUPLING = {("night", "wild"): 4.0}
RULES = {
    # "red fox ran" and "fox ran" come about in two ways each.
    "sentence": """
        3 {who:.8} {does}
        1/2 {who} fox {does} | mood=calm
        1 {who} {does} at {hour} | hour=night
    """,
    "who": "2 ~ fox red_fox owl | hour=night\n1 ~ red fox hen",
    "does": "~ ran slept\n2 fox ran | mood=wild\nran ε {hour:.5} | hour=day",
    "hour": "noon | hour=day\n3 ~ midnight dusk dawn | hour=night",
    "unused": "never",
}
WORDS = ["fox", "red", "owl", "hen", "ran", "slept", "at", "noon", "midnight", "dusk", "dawn", "<unk>", "x"]
NEWS = ["the", "company", "said", "profits", "rose", "N", "%", "<unk>", "'s"]
Joint = tuple[str, ...]


def derivations(symbol: str, assignment: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Every derivation's words and probability, from the notation's lines alone."""
    if not is_rule(symbol):
        yield symbol, 1.0
        return
    lines = read_rules(RULES)[symbol]
    weights = [
        line.inside if all(assignment[f] in values for f, values in line.tests.items()) else line.outside
        for line in lines
    ]
    for line, weight in zip(lines, weights, strict=True):
        for parts in product(*(list(derivations(part, assignment)) for part in line.symbols)) if weight else ():
            probability = math.prod([p for _, p in parts]) * weight / sum(weights)
            yield " ".join(words for words, _ in parts if words), probability


@pytest.fixture(scope="module")
def small() -> Grammar:
    return Grammar(FACTORS, RULES, ["4/1 | hour=night mood=wild"])


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[Joint, float]]:
    """p(x, f) of every sentence of the small grammar."""
    joints = list(product(*FACTORS.values()))
    weights = {
        joint: math.prod(w[v] for w, v in zip(FACTORS.values(), joint, strict=True)) * COUPLING.get(joint, 1)
        for joint in joints
    }
    table: dict[str, dict[Joint, float]] = defaultdict(lambda: dict.fromkeys(joints, 0.0))
    for joint in joints:
        for text, probability in derivations("{sentence}", dict(zip(FACTORS, joint, strict=True))):
            table[text][joint] += probability * weights[joint] / sum(weights.values())
    return dict(table)


def masked(text: str, vocabulary: set[str]) -> str:
    return " ".join(word if word in vocabulary else "<unk>" for word in text.split())


def test_every_sentence_has_its_enumerated_probability(small, truth):
    total = math.fsum(math.exp(small.log_prob(text)) for text in truth)
    assert total == pytest.approx(1, abs=1e-12)
    for text, joint in truth.items():
        assert math.exp(small.log_prob(text)) == pytest.approx(sum(joint.values()), rel=1e-12)


def test_ambiguity_is_summed_over():
    grammar = Grammar({}, {"sentence": "{a} {b}", "a": "3 red\n1 red fox", "b": "1 ran\n1 fox ran"})
    assert grammar.log_prob("red fox ran") == pytest.approx(math.log(3 / 4 * 1 / 2 + 1 / 4 * 1 / 2))


@given(vocabulary=st.sets(st.sampled_from(WORDS)))
def test_merged_words_sum_to_unknown(small, truth, vocabulary):
    merged: dict[str, float] = defaultdict(float)
    for text, joint in truth.items():
        merged[masked(text, vocabulary)] += sum(joint.values())
    assert sum(merged.values()) == pytest.approx(1)
    for text, probability in merged.items():
        assert math.exp(small.log_prob(text, vocabulary)) == pytest.approx(probability, rel=1e-9)


def test_unknown_is_impossible_where_nothing_is_unknown(small):
    assert small.log_prob("<unk> ran") == -math.inf
    assert small.log_prob("<unk> ran", small.words()) == -math.inf
    assert small.log_prob("never ran", small.words() | {"never"}) == -math.inf


def test_posterior_is_bayes_by_enumeration(small, truth):
    for text, joint in truth.items():
        table = np.array(list(joint.values())).reshape(2, 2) / sum(joint.values())
        np.testing.assert_allclose(small.joint_posterior(text), table, atol=1e-12)
        marginals = small.factor_posterior(text)
        np.testing.assert_allclose(marginals["hour"], table.sum(1), atol=1e-12)
        np.testing.assert_allclose(marginals["mood"], table.sum(0), atol=1e-12)


def test_prior_is_the_posteriors_mean(small, truth):
    mean = sum(math.exp(small.log_prob(text)) * small.joint_posterior(text) for text in truth)
    np.testing.assert_allclose(small.joint_prior(), mean, atol=1e-12)
    np.testing.assert_allclose(small.factor_prior()["hour"], mean.sum(1), atol=1e-12)


def test_draws_have_the_exact_joint_distribution(small, truth):
    n = 40_000
    draws = Counter((s.text, tuple(s.factors.values())) for s in islice(small.stream(1), n))
    expected = {(text, f): n * p for text, joint in truth.items() for f, p in joint.items() if p > 0}
    assert draws.keys() <= expected.keys()
    cells = [cell for cell, e in expected.items() if e >= 5]
    chi_square = sum((draws[cell] - expected[cell]) ** 2 / expected[cell] for cell in cells)
    assert abs(chi_square - len(cells)) < 4 * math.sqrt(2 * len(cells))


def test_entropy_and_information_meet_enumeration(small, truth):
    p = np.array([sum(joint.values()) for joint in truth.values()])
    mean, error = small.entropy(4_000, seed=5)
    assert abs(mean + (p * np.log(p)).sum()) < 4 * error
    table = np.array([[*joint.values()] for joint in truth.values()]).reshape(-1, 2, 2).sum(2)
    exact = (table * np.log(np.maximum(table, 1e-300) / (p[:, None] * table.sum(0)))).sum()
    posteriors = [small.factor_posterior(s.text) for s in islice(small.stream(6), 4_000)]
    mean, error = small.information(posteriors)["hour"]
    assert abs(mean - exact) < 4 * error


def test_words_are_those_of_possible_sentences(small, truth):
    assert small.words() == {word for text in truth for word in text.split()}


@pytest.mark.parametrize("text", ["", "fox", "ran ran", "{sentence}", "fox ran at", "| ~ ε"])
def test_impossible_sentences(small, text):
    assert small.log_prob(text) == -math.inf
    with pytest.raises(ValueError, match="does not produce"):
        small.joint_posterior(text)


@settings(max_examples=50, deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(NEWS)).map(" ".join), vocabulary=st.none() | st.just({"the", "N"}))
def test_any_string_has_a_log_probability(text, vocabulary):
    assert embedded_grammar().log_prob(text, vocabulary) <= 0


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"sentence": "{sentence} on\nstop"}, "call themselves"),
        ({"sentence": "{nothing} here"}, "not among the rules"),
        ({"sentence": "here | hour=dawn"}, "dawn"),
        ({"sentence": "here | place=home"}, "place"),
        ({"sentence": "{a}", "a": "here | hour=day"}, "no line under"),
    ],
)
def test_faulty_rules_are_named(rules, message):
    with pytest.raises(ValueError, match=message):
        Grammar(FACTORS, rules)


@pytest.mark.parametrize(
    ("inflect", "entry", "form"),
    [
        (plural, "agency", "agencies"),
        (plural, "chairman:chairmen", "chairmen"),
        (plural, "tax", "taxes"),
        (indefinite, "offer", "an_offer"),
        (indefinite, "utility", "a_utility"),
        (indefinite, "urban", "an_urban"),
        (third_person, "buy:bought", "buys"),
        (past, "deny", "denied"),
        (past, "raise", "raised"),
        (past, "fall:fell", "fell"),
        (gerund, "raise", "raising"),
        (gerund, "slip:slipped:slipping", "slipping"),
    ],
)
def test_inflection(inflect, entry, form):
    assert inflect(entry) == form


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_splits_never_change(split):
    sentences = embedded_split(split)
    assert len(sentences) == SPLIT_SIZES[split]
    text = "\n".join(f"{s.text}\t{' '.join(s.factors.values())}" for s in sentences)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGESTS[split]


def test_splits_and_streams_are_distinct_draws():
    heads = [tuple(s.text for s in embedded_split(name)[:5]) for name in SPLIT_SIZES]
    heads += [tuple(s.text for s in islice(embedded_grammar().stream(seed), 5)) for seed in range(3)]
    assert len(set(heads)) == len(heads)


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match="train, valid, test"):
        embedded_split("dev")


def test_the_corpus_has_the_shape_of_news():
    grammar, train = embedded_grammar(), [s.text.split() for s in embedded_split("train")]
    assert all(4 <= len(words) <= 25 for words in train)
    assert 10 < np.mean([len(words) for words in train]) < 13
    assert 500 <= len(grammar.words()) <= 1_500
    counts = np.sort(list(Counter(word for words in train for word in words).values()))[::-1]
    ranks = np.arange(1, len(counts) + 1)
    assert -1.3 < np.polyfit(np.log(ranks), np.log(counts), 1)[0] < -0.7
    assert 0.5 < counts[:100].sum() / counts.sum() < 0.8


def test_articles_fit_the_word_that_follows():
    text = "\n".join(s.text for s in embedded_split("train"))
    assert not re.search(r"\ba (?!uni|uti|eu)[aeiou]", text)
    assert not re.search(r"\ban [^aeiou]", text)


def test_every_sentence_is_possible_and_its_factors_are_too():
    grammar = embedded_grammar()
    for sentence in embedded_split("valid"):
        posterior = grammar.joint_posterior(sentence.text)
        place = tuple(values.index(sentence.factors[name]) for name, values in grammar.factors.items())
        assert math.isfinite(grammar.log_prob(sentence.text))
        assert posterior[place] > 0
        assert posterior.sum() == pytest.approx(1)


def test_posteriors_are_calibrated_on_the_corpus():
    """−log p(f|x) of the true factors has the mean of the posterior's entropy, and is not always 0."""
    grammar, surprise, entropy = embedded_grammar(), [], []
    for sentence in embedded_split("test"):
        posterior = grammar.joint_posterior(sentence.text)
        place = tuple(values.index(sentence.factors[name]) for name, values in grammar.factors.items())
        surprise.append(-math.log(posterior[place]))
        entropy.append(-(posterior * np.log(np.maximum(posterior, 1e-300))).sum())
    difference = np.subtract(surprise, entropy)
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(difference))
    assert np.mean(entropy) > 0.3


def test_the_corpus_tells_much_of_every_factor():
    grammar = embedded_grammar()
    information = grammar.information([grammar.factor_posterior(s.text) for s in embedded_split("test")])
    for name, prior in grammar.factor_prior().items():
        ceiling = -(prior * np.log(prior)).sum()
        assert 0.5 * ceiling < information[name][0] <= ceiling + 1e-9


def test_entropy_agrees_between_seeds_and_with_the_valid_split():
    grammar = embedded_grammar()
    (first, error), (second, other_error) = grammar.entropy(1_000, 1), grammar.entropy(1_000, 2)
    assert abs(first - second) < 4 * math.hypot(error, other_error)
    assert 25 < first < 45
    nll = [-grammar.log_prob(sentence.text) for sentence in embedded_split("valid")]
    assert abs(np.mean(nll) - first) < 4 * math.hypot(error, np.std(nll) / math.sqrt(len(nll)))


def test_a_smaller_vocabulary_makes_sentences_likelier():
    grammar = embedded_grammar()
    counts = Counter(word for s in embedded_split("train") for word in s.text.split())
    for minimum in (1, 30, 300):
        vocabulary = {word for word, count in counts.items() if count >= minimum}
        gain = [
            grammar.log_prob(s.text, vocabulary) - grammar.log_prob(s.text) for s in embedded_split("test")[:300]
        ]
        assert min(gain) > -1e-9
        assert (max(gain) > 1) == (minimum > 1)
