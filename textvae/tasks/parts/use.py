"""Parts that measure whether z is used: the spectrum of its dimensions, and the decoder's response to z."""

from dataclasses import dataclass
from typing import Any

import torch

from textvae.evaluation.collapse import spectrum
from textvae.evaluation.density import from_prior, mismatch
from textvae.evaluation.estimators import mean_with_error
from textvae.evaluation.listening import (
    another,
    distortion_under,
    gradient_norms,
    mean_along,
    position_gain,
    token_log_probs,
    words_right,
)
from textvae.tasks.parts.part import BOTH_WAYS, Part
from textvae.tasks.subject import Subject

__all__ = ["Dimensions", "Listening", "Positions"]


@dataclass(frozen=True)
class Dimensions(Part):
    """Active units, the spectrum, (ε, δ)-collapse, and q(z) against p(z) by moments and MMD."""

    name = "dimensions"
    what = "spectrum of z, its collapse, q(z) against p(z)"
    needs = ("z",)

    def passes(self, subject: Subject) -> float:
        return 0

    def measure(self, subject: Subject) -> dict[str, Any]:
        return spectrum(subject.survey) | mismatch(subject.vae.model, subject.survey, subject.seed)


@dataclass(frozen=True)
class Listening(Part):
    """Distortion under the sentence's own z, the prior's and another's; word accuracy; gradient norms."""

    name = "listening"
    what = "does the decoder listen: other z, word accuracy, gradients"
    needs = ("z",)

    def passes(self, subject: Subject) -> float:
        return (2 + 2 + BOTH_WAYS) * len(subject.sequences)

    def measure(self, subject: Subject) -> dict[str, Any]:
        model, sequences, found = subject.vae.model, subject.sequences, subject.survey
        prior = from_prior(model, found.z, subject.seed)
        right, words = words_right(model, sequences, found.z), found.tokens.double().mean()
        numbers = {
            **mean_with_error("distortion_own_z", found.distortion),
            **mean_with_error("distortion_prior_z", distortion_under(model, sequences, prior)),
            "word_accuracy": float(right.double().mean() / words),
            **mean_with_error("gradient_norm", gradient_norms(model, sequences, found.z)),
        }
        if len(sequences) < 2:
            return numbers
        other = another(len(sequences), subject.seed)
        borrowed = found.z[other]
        fewer = (right - words_right(model, sequences, borrowed)).double() / words
        return {
            **numbers,
            **mean_along("distortion_shuffled_z", distortion_under(model, sequences, borrowed), other),
            **mean_along("word_accuracy_gap", fewer, other),
        }


@dataclass(frozen=True)
class Positions(Part):
    """Gain over the language model at every position, and in total before and after subtracting the rate."""

    name = "positions"
    what = "gain over a language model, by position"
    needs = ("z", "lm")

    def passes(self, subject: Subject) -> float:
        return 2 * len(subject.sequences)

    def measure(self, subject: Subject) -> dict[str, Any]:
        assert subject.lm is not None
        nothing = torch.empty(len(subject.sequences), 0)
        own = token_log_probs(subject.vae.model, subject.sequences, subject.survey.z)
        reference = token_log_probs(subject.lm.model, subject.sequences, nothing)
        gain = position_gain(own, reference, subject.sequences, subject.survey.rate)
        return {**gain, "lm_sha256": subject.lm.weights_sha256}
