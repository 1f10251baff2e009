"""`textvae probe`: the information in z about a sentence's length, first word, words and factors.

For every label f: the ceiling I(x; f), a linear probe's lower bound on I(z; f) with z ~ q(z|x), and three
controls that must find little or nothing: shuffled labels, the majority class, an untrained encoder. Only the
grammar corpus has factors, and their ceilings are exact.
"""

from typing import Any

from textvae.errors import RunError
from textvae.runs import Run
from textvae.tasks.parts.trained import Knowledge
from textvae.tasks.subject import subject_of

__all__ = ["probe"]


def probe(run: Run, split: str = "valid", seed: int = 0, device: str = "cpu") -> list[dict[str, Any]]:
    """One row per label, in nats, factors first: the part `knowledge` of a full evaluation, stored as such.

    Raises
    ------
    RunError
        If the run has no z.
    """
    run.require_writable()
    subject = subject_of(run, split, seed, device=device)
    if not subject.vae.model.has_z:
        raise RunError(f"{run.path}: is a language model, which has no z to probe")
    found = Knowledge().numbers(subject)
    return [*found["factors"], *found["labels"]]
