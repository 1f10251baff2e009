"""Linear probes: how much of a label can be read off z by a linear classifier.

I(z; f) ≥ H(f) − CE, with CE the cross-entropy of a classifier fitted on train and scored on held-out z:
a lower bound, never the information itself. A classifier fitted to shuffled labels must find nothing.

References
----------
Barber & Agakov 2003, *The IM Algorithm*: the bound.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from textvae.evaluation.estimators import standard_error

__all__ = ["LinearProbe", "Reading", "read_off"]

Labelled = tuple[Tensor, Tensor]
"""Features (N, D) and labels (N,)."""

RIDGE = 1e-3
ITERATIONS = 100


class LinearProbe:
    """Multinomial logistic regression on standardised features, fitted by L-BFGS with a small ridge."""

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        self.mean = features.double().mean(0)
        self.scale = features.double().std(0).clamp_min(1e-6)
        self.weight = torch.zeros(classes, features.shape[1] + 1, dtype=torch.float64, requires_grad=True)
        self._fit(self._standardised(features), labels)

    def cross_entropy(self, features: Tensor, labels: Tensor) -> Tensor:
        """−log p(label | features) of every row (N,), in nats."""
        return -self.log_probs(features).gather(1, labels[:, None])[:, 0]

    def log_probs(self, features: Tensor) -> Tensor:
        """log p(· | features) of every row (N, classes)."""
        with torch.no_grad():
            return (self._standardised(features) @ self.weight.T).log_softmax(1)

    def _standardised(self, features: Tensor) -> Tensor:
        scaled = (features.double() - self.mean) / self.scale
        return torch.cat([scaled, scaled.new_ones(len(scaled), 1)], dim=1)

    def _fit(self, rows: Tensor, labels: Tensor) -> None:
        optimiser = torch.optim.LBFGS([self.weight], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = cross_entropy(rows @ self.weight.T, labels)
            loss = loss + RIDGE * self.weight[:, :-1].square().sum() / len(rows)
            loss.backward()
            return loss

        optimiser.step(closure)


@dataclass(frozen=True)
class Reading:
    """What a probe reads off held-out features: at least `information` nats, and the right label this often."""

    information: float
    information_se: float
    accuracy: float


def read_off(entropy: float, train: Labelled, held_out: Labelled, classes: int) -> Reading:
    """Fit a probe on train and score it on held-out rows; `entropy` is the exact H(f) of the label."""
    probe = LinearProbe(*train, classes)
    losses = probe.cross_entropy(*held_out)
    right = probe.log_probs(held_out[0]).argmax(1) == held_out[1]
    return Reading(entropy - float(losses.mean()), standard_error(losses), float(right.double().mean()))
