"""Notation of grammar rules: a rule is a block of lines, each line one way to rewrite it.

    weight body | factor=value,value factor=value

The weight (default 1) applies where all tests hold and is 0 elsewhere; `9/1` is 9 where they hold and
1 elsewhere. A leading number is always the weight. In the body, `{name}` is another rule, `{name:.3}` is that
rule with probability .3 and empty otherwise, `ε` is empty, and anything else is a word. A body that begins
with `~` is a list of entries, each a line of its own, whose shares of the weight follow Zipf's law: entry r
has 1/(r + 1) over the sum. Underscores join the words of an entry.

References
----------
Zipf 1949, *Human Behavior and the Principle of Least Effort*.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Line", "is_rule", "read_condition", "read_rules"]

EMPTY = "ε"
ZIPF = "~"

WEIGHT = re.compile(r"(?P<inside>\d*\.?\d+)(/(?P<outside>\d*\.?\d+))?")
OPTIONAL = re.compile(r"\{(?P<name>[^{}:]+):(?P<probability>\d*\.?\d+)\}")


@dataclass(frozen=True)
class Line:
    """One way to rewrite a rule: `inside` is its weight where all tests hold, `outside` elsewhere."""

    symbols: tuple[str, ...]
    inside: float = 1.0
    outside: float = 0.0
    tests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def is_rule(symbol: str) -> bool:
    """Whether a symbol names a rule; if not, it is a word."""
    return symbol.startswith("{")


def read_rules(blocks: Mapping[str, str]) -> dict[str, list[Line]]:
    """All rules by symbol, including those for optional symbols."""
    rules = {f"{{{name}}}": list(_read_block(block)) for name, block in blocks.items()}
    used = {symbol for lines in rules.values() for line in lines for symbol in line.symbols}
    for symbol in sorted(used):
        if match := OPTIONAL.fullmatch(symbol):
            probability = float(match["probability"])
            rules[symbol] = [Line((f"{{{match['name']}}}",), probability), Line((), 1 - probability)]
    return rules


def read_condition(text: str) -> Line:
    """A line without a body, `weight | tests`: a factor of the prior over the factors' joint values."""
    (line,) = _read_line(text)
    return line


def _read_block(block: str) -> Iterator[Line]:
    for text in block.strip().splitlines():
        yield from _read_line(text)


def _read_line(text: str) -> Iterator[Line]:
    left, _, right = text.partition("|")
    words = left.split()
    inside, outside = 1.0, 0.0
    if words and (match := WEIGHT.fullmatch(words[0])):
        inside, outside = float(match["inside"]), float(match["outside"] or 0)
        words = words[1:]
    tests = _read_tests(right.split())
    if words[:1] != [ZIPF]:
        yield Line(tuple(word for word in words if word != EMPTY), inside, outside, tests)
        return
    for entry, share in zip(words[1:], _zipf(len(words) - 1), strict=True):
        yield Line(tuple(entry.split("_")), share * inside, share * outside, tests)


def _read_tests(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    pairs = (text.split("=") for text in texts)
    return {name: tuple(values.split(",")) for name, values in pairs}


def _zipf(count: int) -> list[float]:
    weights = [1 / (rank + 1) for rank in range(1, count + 1)]
    return [weight / sum(weights) for weight in weights]
