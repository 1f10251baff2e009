"""Parts that measure whether z is used: the spectrum of its dimensions, and the decoder's response to z."""

from typing import Any

import torch

from textvae.evaluation.collapse import spectrum
from textvae.evaluation.density import from_prior, mismatch
from textvae.evaluation.estimators import mean_with_error
from textvae.evaluation.listening import (
    another,
    distortion_under,
    gradient_norms,
    position_gain,
    token_log_probs,
    words_right,
)
from textvae.tasks.parts.part import Sizes
from textvae.tasks.subject import Subject

__all__ = ["dimensions", "listening", "positions"]


def dimensions(subject: Subject, sizes: Sizes) -> dict[str, Any]:
    """Active units, the spectrum, (ε, δ)-collapse, and q(z) against p(z) by moments and MMD."""
    return spectrum(subject.found) | mismatch(subject.vae.model, subject.found, subject.seed)


def listening(subject: Subject, sizes: Sizes) -> dict[str, Any]:
    """Distortion under the sentence's own z, the prior's and another's; word accuracy; gradient norms."""
    model, sequences, found = subject.vae.model, subject.sequences, subject.found
    other = found.z[another(len(sequences), subject.seed)]
    prior = from_prior(model, found.z, subject.seed)
    right, wrong = words_right(model, sequences, found.z), words_right(model, sequences, other)
    words = found.tokens.double().mean()
    return {
        **mean_with_error("distortion_own_z", found.distortion),
        **mean_with_error("distortion_prior_z", distortion_under(model, sequences, prior)),
        **mean_with_error("distortion_shuffled_z", distortion_under(model, sequences, other)),
        "word_accuracy": float(right.double().mean() / words),
        **mean_with_error("word_accuracy_gap", (right - wrong).double() / words),
        **mean_with_error("gradient_norm", gradient_norms(model, sequences, found.z)),
    }


def positions(subject: Subject, sizes: Sizes) -> dict[str, Any]:
    """Gain over the language model at every position, and in total before and after subtracting the rate."""
    assert subject.lm is not None
    nothing = torch.empty(len(subject.sequences), 0)
    own = token_log_probs(subject.vae.model, subject.sequences, subject.found.z)
    reference = token_log_probs(subject.lm.model, subject.sequences, nothing)
    return position_gain(own, reference, subject.sequences, subject.found.rate)
