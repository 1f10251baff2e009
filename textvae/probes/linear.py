"""Linear probes: how much of a label can be read off z by a linear classifier.

I(z; f) ≥ H(f) − CE, with CE the cross-entropy of a classifier fitted on train and scored on held-out z:
a lower bound, never the information itself. A classifier fitted to shuffled labels must find nothing.
Labels may be classes (N,), or many yes-or-no questions at once (N, W), each with its own bound; their mean is
reported, since their sum is no bound on the information about all answers together.

References
----------
Barber & Agakov 2003, *The IM Algorithm*: the bound.
Conneau et al. 2018, *What You Can Cram into a Single Vector*: sentence length and content as labels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from textvae.evaluation.estimators import standard_error

__all__ = ["LinearProbe", "Reading", "hits", "read_off"]

Labelled = tuple[Tensor, Tensor]
"""Features (N, D) and labels: classes (N,), or answers 0 and 1 to W questions (N, W)."""

RIDGE = 1e-3
ITERATIONS = 100


class LinearProbe:
    """Logistic regression on standardised features, fitted by L-BFGS with a small ridge.

    Multinomial over `classes` for labels (N,); one binary regression per question for answers (N, classes).
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        self.mean = features.double().mean(0)
        self.scale = features.double().std(0).clamp_min(1e-6)
        self.weight = torch.zeros(classes, features.shape[1] + 1, dtype=torch.float64, requires_grad=True)
        self._fit(self._standardised(features), labels)

    def cross_entropy(self, features: Tensor, labels: Tensor) -> Tensor:
        """−log p(label | features) of every row (N,), in nats; summed over questions."""
        return _losses(self.logits(features), labels)

    def logits(self, features: Tensor) -> Tensor:
        """(N, classes)."""
        with torch.no_grad():
            return self._standardised(features) @ self.weight.T

    def _standardised(self, features: Tensor) -> Tensor:
        scaled = (features.double() - self.mean) / self.scale
        return torch.cat([scaled, scaled.new_ones(len(scaled), 1)], dim=1)

    def _fit(self, rows: Tensor, labels: Tensor) -> None:
        optimiser = torch.optim.LBFGS([self.weight], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = _losses(rows @ self.weight.T, labels).mean()
            loss = loss + RIDGE * self.weight[:, :-1].square().sum() / len(rows)
            loss.backward()
            return loss

        optimiser.step(closure)


@dataclass(frozen=True)
class Reading:
    """Results of a probe on held-out features: a lower bound `information` in nats, and its accuracy."""

    information: float
    information_se: float
    accuracy: float


def read_off(surprisal: Tensor, train: Labelled, held_out: Labelled, classes: int) -> Reading:
    """Fit a probe on train and score it on held-out rows.

    `surprisal` (N,) of the held-out labels, averaged over questions, has the mean H(f): −log p̂(f) where the
    entropy is that of counts, H(f) itself where it is known. The error is that of the differences, because
    counted entropy and cross-entropy come from the same rows.
    """
    probe = LinearProbe(*train, classes)
    losses = probe.cross_entropy(*held_out) / (classes if held_out[1].ndim > 1 else 1)
    gains = surprisal - losses
    return Reading(float(gains.mean()), standard_error(gains), hits(probe.logits(held_out[0]), held_out[1]))


def hits(scores: Tensor, labels: Tensor) -> float:
    """Accuracy of the highest score; for answers, the share of a row's n yeses among its n highest scores."""
    if labels.ndim == 1:
        return float((scores.argmax(1) == labels).double().mean())
    rank = scores.argsort(1, descending=True).argsort(1)
    yeses = labels.sum(1, keepdim=True)
    return float(((rank < yeses) & labels.bool()).sum() / yeses.sum().clamp_min(1))


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.ndim == 1:
        return cross_entropy(logits, labels, reduction="none")
    return binary_cross_entropy_with_logits(logits, labels.double(), reduction="none").sum(1)
