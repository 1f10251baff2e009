"""A part of a full evaluation: what it measures, what it needs, what it costs, and its sizes."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from textvae.evaluation.estimators import REVISION
from textvae.tasks.subject import Subject

__all__ = ["BOTH_WAYS", "Need", "Part"]

BOTH_WAYS = 1.7
"""Cost of a forward-backward pass, in forward passes."""

Need = Literal["z", "likelihood", "lm", "space"]


@dataclass(frozen=True)
class Part(ABC):
    """One measurement of a run, stored separately so that an interrupted evaluation can resume.

    Its fields are its sizes, numbers of sentences, samples and steps; all of them are stored with its numbers.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]] = ()

    @abstractmethod
    def passes(self, subject: Subject) -> float:
        """Its cost in forward decoder passes of one sentence; forward-backward counts BOTH_WAYS."""

    @abstractmethod
    def measure(self, subject: Subject) -> dict[str, Any]:
        """Its numbers.

        Raises
        ------
        ConfigError
            If this run cannot be measured so.
        """

    def numbers(self, subject: Subject) -> dict[str, Any]:
        """Those stored with the same weights and settings, else measured and stored now; raises as `measure`."""
        known = self.known(subject)
        if known is not None:
            return known
        began = time.monotonic()
        values = self.measure(subject)
        values = {**values, f"{self.name}_seconds": round(time.monotonic() - began, 1)}
        subject.run.write_part(subject.split, self.name, self.settings(subject), values)
        return values

    def known(self, subject: Subject) -> dict[str, Any] | None:
        """Its numbers, if they are stored with the same weights, settings and estimators."""
        return subject.run.read_part(subject.split, self.name, self.settings(subject))

    def settings(self, subject: Subject) -> Mapping[str, Any]:
        """What its numbers depend on; if it changes they are measured again."""
        lm = {"lm_sha256": subject.lm and subject.lm.weights_sha256} if "lm" in self.needs else {}
        own = {"weights_sha256": subject.weights_sha256, "seed": subject.seed, "estimators": REVISION}
        return {**own, **lm, **asdict(self)}

    def refusal(self, subject: Subject) -> str | None:
        """Why this part does not apply to the run, or None if it does."""
        model = subject.vae.model
        if "z" in self.needs and not model.has_z:
            return "a language model has no z"
        if "likelihood" in self.needs and not model.has_z:
            return "a language model's likelihood is exact, and it has no z"
        if "likelihood" in self.needs and not model.has_likelihood:
            return "a deterministic autoencoder has no rate and so no likelihood"
        if "space" in self.needs and model.posterior.spherical:
            return "z lies on a sphere, but annealing needs a z that ranges over all of ℝᴰ"
        if "lm" in self.needs and subject.lm is None:
            return "there is no language model to compare with; give one with --lm RUN"
        return None
