"""A probabilistic grammar whose sentences have exact probabilities and exact posteriors over factors.

A joint value f of a few discrete factors is drawn first; then every rule, beginning with `sentence`, is
rewritten by one of its lines, drawn with a probability that may depend on f. Rules are not recursive,
so lengths are bounded. A sentence x of tokens w₁…w_T has

    p(x) = Σ_f p(f) p(x|f),      p(x|f) = Σ over all derivations of x,      p(f|x) = p(f) p(x|f) / p(x).

Every probability is an array (J,) over the joint values, so that one pass handles all of them (`inside`).
Words outside a vocabulary are replaced by `<unk>` in the rules, and the probabilities of right-hand sides
that become equal are added.
"""

import math
import random
from bisect import bisect
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, product
from typing import TypeVar

import numpy as np

from textvae.data.grammar.inside import UNKNOWN, Array, Body, Inside, Rules, bottom_up, merged, pooled
from textvae.data.grammar.notation import Line, is_rule, read_condition, read_rules

__all__ = ["Grammar", "Sentence", "mean_and_error"]

START = "{sentence}"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, its tokens joined by spaces, and the factors it was generated from."""

    text: str
    factors: Mapping[str, str]


class Grammar:
    """A distribution over sentences, given by factors with their priors and by rules (see `notation`).

    `factors` maps a factor's name to the weights of its values; `couplings`, lines `weight | tests`,
    multiply the weights of joint values. Without couplings the factors are independent.

    Raises
    ------
    ValueError
        If the rules are recursive, name an unknown rule, factor or value, or leave a rule without a
        line under a joint value that reaches it.
    """

    def __init__(
        self,
        factors: Mapping[str, Mapping[str, float]],
        rules: Mapping[str, str],
        couplings: Sequence[str] = (),
    ) -> None:
        self.factors: Mapping[str, tuple[str, ...]] = {name: tuple(values) for name, values in factors.items()}
        self._shape = tuple(map(len, self.factors.values()))
        self._assignments = [
            dict(zip(self.factors, values, strict=True)) for values in product(*self.factors.values())
        ]
        self._values = {name: np.array([a[name] for a in self._assignments]) for name in self.factors}
        self._prior = self._joint_prior(factors, couplings)
        self._rules = self._reachable(
            {name: self._probabilities(lines) for name, lines in read_rules(rules).items()}
        )
        bodies = [body for bodies in self._rules.values() for body in bodies]
        self._words = frozenset(symbol for body in bodies for symbol in body if not is_rule(symbol))
        self._insides: dict[frozenset[str], Inside] = {}
        self._choices: dict[tuple[str, int], tuple[list[float], list[Body]]] = {}

    def words(self) -> frozenset[str]:
        """All words that occur in some derivation."""
        return self._words

    def stream(self, seed: int) -> Iterator[Sentence]:
        """Endless independent sentences, drawn with `Random.random` only, which is stable across versions."""
        uniform = random.Random(seed).random
        bounds, joints = _bounds(enumerate(self._prior.tolist()))
        while True:
            joint = joints[bisect(bounds, uniform())]
            words: list[str] = []
            self._expand(START, joint, uniform, words)
            yield Sentence(" ".join(words), self._assignments[joint])

    def log_prob(self, sentence: str, vocabulary: Container[str] | None = None) -> float:
        """log p(x) in nats, -inf if x is impossible; words outside the vocabulary are one word, `<unk>`."""
        total = float(self._joint(sentence, vocabulary).sum())
        return math.log(total) if total > 0 else -math.inf

    def joint_posterior(self, sentence: str, vocabulary: Container[str] | None = None) -> Array:
        """p(f|x) with one axis per factor, in the order of `factors`.

        Raises
        ------
        ValueError
            If the sentence has probability 0.
        """
        joint = self._joint(sentence, vocabulary)
        if not joint.any():
            raise ValueError(f"no posterior: the grammar does not produce {sentence!r}")
        posterior: Array = (joint / joint.sum()).reshape(self._shape)
        return posterior

    def factor_posterior(self, sentence: str, vocabulary: Container[str] | None = None) -> Mapping[str, Array]:
        """p(fᵢ|x) of each factor; raises as `joint_posterior` does."""
        return self._marginals(self.joint_posterior(sentence, vocabulary))

    def joint_prior(self) -> Array:
        """p(f) with one axis per factor, in the order of `factors`."""
        prior: Array = self._prior.reshape(self._shape).copy()
        return prior

    def factor_prior(self) -> Mapping[str, Array]:
        """p(fᵢ) of each factor."""
        return self._marginals(self.joint_prior())

    def information(self, posteriors: Sequence[Mapping[str, Array]]) -> Mapping[str, tuple[float, float]]:
        """I(x; fᵢ) = H(fᵢ) − E H(fᵢ|x) in nats, from the `factor_posterior` of sentences, with standard errors."""
        return {
            name: mean_and_error([_entropy(prior) - _entropy(posterior[name]) for posterior in posteriors])
            for name, prior in self.factor_prior().items()
        }

    def entropy(self, n: int, seed: int) -> tuple[float, float]:
        """E[−log p(x)] in nats per sentence over n fresh sentences, with its standard error."""
        return mean_and_error([-self.log_prob(sentence.text) for sentence in islice(self.stream(seed), n)])

    def _joint_prior(self, factors: Mapping[str, Mapping[str, float]], couplings: Sequence[str]) -> Array:
        weights = [math.prod(factors[name][a[name]] for name in a) for a in self._assignments]
        prior = np.array(weights, dtype=float)
        for coupling in couplings:
            prior *= self._weight(read_condition(coupling))
        return prior / float(prior.sum())

    def _weight(self, line: Line) -> Array:
        """A line's weight under every joint value, (J,)."""
        holds = np.ones(len(self._assignments), dtype=bool)
        for name, values in line.tests.items():
            if unknown := set(values) - set(self.factors.get(name, ())):
                raise ValueError(f"factor {name!r} lacks {sorted(unknown)}; factors are {self.factors}")
            holds &= np.isin(self._values[name], values)
        return np.where(holds, line.inside, line.outside)

    def _probabilities(self, lines: Iterable[Line]) -> dict[Body, Array]:
        weights = pooled((line.symbols, self._weight(line)) for line in lines)
        total = np.sum(list(weights.values()), axis=0)
        # A rule without a line under a joint value has probability 0 there and must be unreachable.
        return {body: weight / np.where(total > 0, total, 1) for body, weight in weights.items()}

    def _reachable(self, rules: Rules) -> Rules:
        """The rules and bodies reachable under some joint value."""
        reached = dict.fromkeys(rules, np.zeros(len(self._assignments), dtype=bool))
        reached[START] = self._prior > 0
        kept: dict[str, dict[Body, Array]] = {}
        for name in reversed(bottom_up(rules)):
            stuck = reached[name] & (np.sum(list(rules[name].values()), axis=0) == 0)
            if stuck.any():
                raise ValueError(f"rule {name} has no line under {dict(self._assignments[stuck.argmax()])}")
            kept[name] = {body: p for body, p in rules[name].items() if (reached[name] & (p > 0)).any()}
            for body, probability in kept[name].items():
                for part in filter(is_rule, body):
                    reached[part] = reached[part] | (reached[name] & (probability > 0))
        return {name: bodies for name, bodies in kept.items() if bodies}

    def _expand(self, symbol: str, joint: int, uniform: Callable[[], float], words: list[str]) -> None:
        if (symbol, joint) not in self._choices:
            bodies = self._rules[symbol].items()
            self._choices[symbol, joint] = _bounds((body, float(p[joint])) for body, p in bodies)
        bounds, choices = self._choices[symbol, joint]
        for part in choices[bisect(bounds, uniform())]:
            if is_rule(part):
                self._expand(part, joint, uniform, words)
            else:
                words.append(part)

    def _joint(self, sentence: str, vocabulary: Container[str] | None) -> Array:
        """p(x, f) for every joint value, (J,)."""
        tokens = sentence.split()
        unknown: frozenset[str] = frozenset()
        if vocabulary is not None:
            unknown = frozenset(word for word in self._words if word not in vocabulary)
            tokens = [token if token in vocabulary else UNKNOWN for token in tokens]
        spans = self._inside(unknown).spans(START, 0, tokens, {})
        return self._prior * spans.get(len(tokens), np.zeros_like(self._prior))

    def _inside(self, unknown: frozenset[str]) -> Inside:
        if unknown not in self._insides:
            self._insides[unknown] = Inside(merged(self._rules, unknown))
        return self._insides[unknown]

    def _marginals(self, joint: Array) -> Mapping[str, Array]:
        axes = range(joint.ndim)
        return {name: joint.sum(tuple(a for a in axes if a != i)) for i, name in enumerate(self.factors)}


def _bounds(weighted: Iterable[tuple[T, float]]) -> tuple[list[float], list[T]]:
    """The items of positive probability, and the boundaries of their shares of [0, 1)."""
    items = [(thing, probability) for thing, probability in weighted if probability > 0]
    # The last share ends at 1 up to rounding; without its end, no draw can fall beyond it.
    return list(accumulate(probability for _, probability in items))[:-1], [thing for thing, _ in items]


def _entropy(probabilities: Array) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean of at least two values, and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))
