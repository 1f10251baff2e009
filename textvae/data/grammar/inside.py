"""The inside recursion over non-recursive rules, for all joint values of the factors at once.

With β(A, i, j) the probability that symbol A yields the tokens from i to j,

    β(A, i, j) = Σ_{A → B₁…B_n} p(A → B₁…B_n) Σ_{i = k₀ ≤ … ≤ k_n = j} Π_m β(B_m, k_{m-1}, k_m),

a sum over all derivations of an ambiguous sentence. It runs top-down, and only where the next token may begin
a right-hand side, so that little of the table is filled.

References
----------
Baker 1979, *Trainable Grammars for Speech Recognition*: the inside algorithm.
Lari & Young 1990, *The Estimation of Stochastic Context-Free Grammars Using the Inside-Outside Algorithm*.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
from numpy.typing import NDArray

from textvae.data.grammar.notation import is_rule

__all__ = ["UNKNOWN", "Array", "Body", "Inside", "Rules", "bottom_up", "merged", "pooled"]

UNKNOWN = "<unk>"

Array = NDArray[np.float64]
Body = tuple[str, ...]
"""The right-hand side of a rule: words and names of rules."""
Rules = Mapping[str, Mapping[Body, Array]]
"""For every rule, its bodies with their probabilities (J,) under every joint value."""


class Inside:
    """β of one set of rules, indexed by the next word."""

    def __init__(self, rules: Rules) -> None:
        self._starting: dict[str, dict[str, list[tuple[Body, Array]]]] = {}
        self._anywhere: dict[str, list[tuple[Body, Array]]] = {}
        firsts: dict[str, frozenset[str]] = {}
        for name in bottom_up(rules):
            self._index(name, rules[name], firsts)

    def spans(
        self, symbol: str, start: int, tokens: Sequence[str], table: dict[tuple[str, int], dict[int, Array]]
    ) -> dict[int, Array]:
        """β(symbol, start, j), (J,), for every end j at which it is positive; `table` stores known values."""
        if (symbol, start) not in table:
            word = tokens[start] if start < len(tokens) else ""
            ends: dict[int, Array] = {}
            for body, probability in self._starting[symbol].get(word, self._anywhere[symbol]):
                _add(ends, self._follow(body, start, probability, tokens, table))
            table[symbol, start] = ends
        return table[symbol, start]

    def _follow(
        self,
        body: Body,
        start: int,
        probability: Array,
        tokens: Sequence[str],
        table: dict[tuple[str, int], dict[int, Array]],
    ) -> dict[int, Array]:
        """p(body) times the inner sum over k₁ … k_{n-1}, for every end k_n."""
        front = {start: probability}
        for part in body:
            reached: dict[int, Array] = {}
            for position, so_far in front.items():
                if is_rule(part):
                    spans = self.spans(part, position, tokens, table)
                    _add(reached, {end: so_far * beta for end, beta in spans.items()})
                elif tokens[position : position + 1] == [part]:
                    _add(reached, {position + 1: so_far})
            front = reached
        return front

    def _index(self, name: str, bodies: Mapping[Body, Array], firsts: dict[str, frozenset[str]]) -> None:
        """Index the bodies by the words that may come first; "" stands for a body that may be empty."""
        by_body = {body: _first_words(body, firsts) for body in bodies}
        firsts[name] = frozenset().union(*by_body.values())
        self._anywhere[name] = [(body, p) for body, p in bodies.items() if "" in by_body[body]]
        self._starting[name] = {
            word: [(body, p) for body, p in bodies.items() if by_body[body] & {word, ""}] for word in firsts[name]
        }


def bottom_up(rules: Rules) -> tuple[str, ...]:
    """The names of the rules, each after the rules that its bodies use.

    Raises
    ------
    ValueError
        If a rule is recursive or uses an unknown rule.
    """
    named = {name: {part for body in rules[name] for part in body if is_rule(part)} for name in rules}
    for name, parts in named.items():
        if missing := parts - rules.keys():
            raise ValueError(f"rule {name} uses {sorted(missing)}, which are not among the rules")
    try:
        return tuple(TopologicalSorter(named).static_order())
    except CycleError as error:
        raise ValueError(f"rules must not call themselves: {' → '.join(error.args[1])}") from error


def merged(rules: Rules, unknown: Container[str]) -> Rules:
    """The rules with every unknown word replaced by `<unk>`."""

    def replaced(body: Body) -> Body:
        return tuple(UNKNOWN if part in unknown else part for part in body)

    return {name: pooled((replaced(body), p) for body, p in bodies.items()) for name, bodies in rules.items()}


def pooled(weighted: Iterable[tuple[Body, Array]]) -> dict[Body, Array]:
    """Merge equal bodies, adding their weights."""
    total: dict[Body, Array] = {}
    for body, weight in weighted:
        total[body] = total[body] + weight if body in total else weight
    return total


def _add(total: dict[int, Array], more: Mapping[int, Array]) -> None:
    for end, value in more.items():
        total[end] = total[end] + value if end in total else value


def _first_words(body: Body, firsts: Mapping[str, frozenset[str]]) -> frozenset[str]:
    words: frozenset[str] = frozenset()
    for part in body:
        words |= firsts[part] if is_rule(part) else {part}
        if not is_rule(part) or "" not in firsts[part]:
            return words - {""}
    return words | {""}
