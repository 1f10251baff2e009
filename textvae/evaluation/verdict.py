"""The verdict on a run: whether its decoder uses z. It depends on G alone (see `listening`).

    surely G ≥ 1 nat      alive
    surely G ≥ 0.1        partly
    surely G < 0.5        collapsed
    otherwise             undecided: too few sentences

Surely is by two standard errors over sentences, of which there must be ten: a standard error from fewer is itself
too uncertain.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["LANGUAGE_MODEL", "State", "Verdict", "judge"]

State = Literal["alive", "partly", "collapsed", "undecided", "undefined", "language model"]

PARTLY_FROM, COLLAPSED_BELOW, ALIVE_FROM = 0.1, 0.5, 1.0
FEWEST = 10
"""With fewer sentences than this, nothing is sure."""


@dataclass(frozen=True)
class Verdict:
    """A state and the reason for it, with the thresholds that it was judged by."""

    state: State
    reason: str

    @property
    def sentence(self) -> str:
        """State, colon, reason: what result files keep."""
        return f"{self.state}: {self.reason}"

    @classmethod
    def read(cls, sentence: object) -> "Verdict":
        """The verdict behind a sentence of a result file; undefined if there is none, or none that is known."""
        said = sentence if isinstance(sentence, str) else "undefined: nothing was measured"
        word, _, reason = said.partition(": ")
        known: tuple[State, ...] = get_args(State)
        return cls(next((state for state in known if state == word), "undefined"), reason)


LANGUAGE_MODEL = Verdict("language model", "there is no z to listen to")


def judge(gain: float, error: float, sentences: int) -> Verdict:
    """Whether the decoder uses z, from the mean G in nats per sentence, its standard error, and their number."""
    found = f"another sentence's z costs {gain:.2f} ± {error:.2f} nats per sentence more than its own"
    surely, at_most = gain - 2 * error, gain + 2 * error
    if math.isnan(surely):
        return Verdict("undefined", found)
    if sentences < FEWEST:
        return Verdict(
            "undecided", f"{found}; {sentences} sentences are too few for a verdict, which takes {FEWEST}"
        )
    if surely < PARTLY_FROM and at_most >= COLLAPSED_BELOW:
        return Verdict("undecided", f"{found}; too few sentences to tell whether the decoder listens to z")
    if surely < PARTLY_FROM:
        return Verdict("collapsed", f"{found}, surely below {COLLAPSED_BELOW}; its z tells the decoder nothing")
    if surely < ALIVE_FROM:
        how = f"surely {PARTLY_FROM} but not {ALIVE_FROM}"
        hardly = "the decoder hardly listens to z"
        told = hardly if at_most < ALIVE_FROM else "too few sentences to tell how much the decoder listens to z"
        return Verdict("partly", f"{found}, {how}; {told}")
    return Verdict("alive", f"{found}, surely at least {ALIVE_FROM}; the decoder listens to z")
