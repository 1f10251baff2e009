"""A part of a full evaluation: what it measures, what it needs, what it costs, and its sizes."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from textvae.tasks.subject import Subject

__all__ = ["BOTH_WAYS", "BRIEF", "FULL", "Need", "Part", "Sizes"]

BOTH_WAYS = 1.7
"""Cost of a forward-backward pass, in forward passes."""

Need = Literal["z", "likelihood", "lm", "space"]


@dataclass(frozen=True)
class Sizes:
    """Numbers of sentences, samples and steps of the parts."""

    prior_sentences: int = 200
    prior_samples: int = 1000
    gap_sentences: int = 100
    curve_samples: int = 1000
    refining_steps: int = 150
    mean_samples: int = 256
    temperatures: int = 50
    simulated_sentences: int = 100
    lag_steps: int = 500
    lag_sentences: int = 1000
    text_samples: int = 2000
    reconstructions: int = 500
    interpolations: int = 50
    lm_steps: int = 400


FULL = Sizes()
BRIEF = Sizes(
    prior_sentences=64, prior_samples=300, gap_sentences=64, curve_samples=100, refining_steps=100, temperatures=0,
    lag_steps=150, lag_sentences=500,
)  # fmt: skip
"""For a verdict in two minutes: enough to tell whether the model or the inference is to blame."""


@dataclass(frozen=True)
class Part:
    """One measurement of a run, stored separately so that an interrupted evaluation can resume.

    `passes` is its cost in forward decoder passes of one sentence; forward-backward counts BOTH_WAYS.
    """

    name: str
    what: str
    needs: tuple[Need, ...]
    sizes: tuple[str, ...]
    passes: Callable[[Subject, Sizes], float]
    measure: Callable[[Subject, Sizes], dict[str, Any]]

    def settings(self, subject: Subject, sizes: Sizes) -> Mapping[str, Any]:
        """What its numbers depend on; if it changes they are measured again."""
        lm = {"lm_sha256": subject.lm_sha256} if "lm" in self.needs else {}
        chosen = {name: value for name, value in asdict(sizes).items() if name in self.sizes}
        return {"weights_sha256": subject.run.weights_sha256, "seed": subject.seed, **lm, **chosen}

    def refusal(self, subject: Subject) -> str | None:
        """Why this part does not apply to the run, or None if it does."""
        if "z" in self.needs and not subject.vae.model.has_z:
            return "a language model has no z"
        if "likelihood" in self.needs and not subject.vae.model.has_z:
            return "a language model's likelihood is exact, and it has no z"
        if "likelihood" in self.needs and not subject.vae.model.has_likelihood:
            return "a deterministic autoencoder has no rate and so no likelihood"
        if "space" in self.needs and subject.vae.model.posterior.spherical:
            return "z lies on a sphere, but annealing needs a z that ranges over all of ℝᴰ"
        if "lm" in self.needs and subject.lm is None:
            return "there is no language model to compare with; give one with --lm RUN"
        return None
