"""The embedded corpus: its grammar, built from rules and lexicon, and its splits.

The splits are independent draws, not de-duplicated. Their seeds are digests, so that a seed of a fresh
stream will not equal one by chance.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from itertools import islice

from textvae.data.grammar.english import AGREEING, AGREEMENT, COUPLINGS, FACTORS, RULES
from textvae.data.grammar.grammar import Grammar, Sentence
from textvae.data.grammar.inflection import gerund, indefinite, lemma, past, plural, third_person
from textvae.data.grammar.lexicon import ANY, BY_POLARITY, BY_TOPIC, LISTS
from textvae.errors import DataError

__all__ = ["SPLIT_SIZES", "embedded_epoch", "embedded_grammar", "embedded_split"]

SPLIT_SIZES = {"train": 20_000, "valid": 2_000, "test": 2_000}

FORMS: Mapping[str, Callable[[str], str]] = {
    "": lemma,
    ".a": indefinite,
    ".plural": plural,
    ".third": third_person,
    ".past": past,
    ".gerund": gerund,
}
"""Forms made of every list, whether nouns or verbs; the grammar drops those that no rule uses."""


@cache
def embedded_grammar() -> Grammar:
    """The grammar of the embedded corpus."""
    rules = dict(RULES)
    for name, words in LISTS.items():
        rules |= _inflected(name, {ANY: words})
    for name, by_topic in BY_TOPIC.items():
        rules |= _inflected(name, by_topic)
    for name, by_polarity in BY_POLARITY.items():
        rules |= _polar(name, by_polarity)
    for form in FORMS:
        rules[f"say{form}"] = _by_value(f"{{say_*{form}}} | certainty=*", "firm", "hedged")
    for name, text in AGREEING.items():
        rules |= _agreeing(name, text)
    return Grammar(FACTORS, rules, COUPLINGS)


@cache
def embedded_split(name: str) -> list[Sentence]:
    """The sentences of a split: train, valid or test."""
    if name not in SPLIT_SIZES:
        raise DataError(f"the embedded corpus has no split {name!r}; choose from {', '.join(SPLIT_SIZES)}")
    return _draw(name, SPLIT_SIZES[name])


def embedded_epoch(epoch: int) -> list[str]:
    """Fresh sentences for each epoch, as many as train has; epoch 0 is train itself."""
    name = f"epoch {epoch}" if epoch else "train"
    return [sentence.text for sentence in _draw(name, SPLIT_SIZES["train"])]


def _draw(name: str, count: int) -> list[Sentence]:
    seed = int(hashlib.sha256(f"textvae embedded {name}".encode()).hexdigest(), 16)
    return list(islice(embedded_grammar().stream(seed), count))


def _inflected(name: str, by_topic: Mapping[str, str]) -> dict[str, str]:
    """A rule for every form of a list."""
    return {f"{name}{form}": _listed(by_topic, inflect) for form, inflect in FORMS.items()}


def _listed(by_topic: Mapping[str, str], inflect: Callable[[str], str]) -> str:
    """The topic's own words with probability 4/5, else those shared by all topics, if a list has both."""
    lines = []
    for topic, entries in by_topic.items():
        words = " ".join(map(inflect, entries.split()))
        lines.append(f"1 ~ {words}" if topic == ANY else f"4 ~ {words} | topic={topic}")
    return "\n".join(lines)


def _polar(name: str, by_polarity: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Lists of each polarity, a rule for the sentence's own (in 9 of 10 draws), and one for its opposite."""
    rules: dict[str, str] = {}
    for polarity, by_topic in by_polarity.items():
        rules |= _inflected(f"{name}.{polarity}", by_topic)
    for form in FORMS:
        good, bad = f"{{{name}.good{form}}}", f"{{{name}.bad{form}}}"
        rules[f"{name}{form}"] = f"9/1 {good} | polarity=good\n9/1 {bad} | polarity=bad"
        rules[f"contrary_{name}{form}"] = f"9/1 {bad} | polarity=good\n9/1 {good} | polarity=bad"
    return rules


def _agreeing(name: str, text: str) -> dict[str, str]:
    """A rule for each number of the subject, and one that follows the number factor."""
    rules = {name: _by_value(f"{{{name}.*}} | number=*", *AGREEMENT)}
    for number, words in AGREEMENT.items():
        rules[f"{name}.{number}"] = text
        for placeholder, word in words.items():
            rules[f"{name}.{number}"] = rules[f"{name}.{number}"].replace(placeholder, word)
    return rules


def _by_value(line: str, *values: str) -> str:
    return "\n".join(line.replace("*", value) for value in values)
