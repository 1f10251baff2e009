"""Linear probes: how much of a label can be read off z by a linear classifier.

I(z; f) ≥ H(f) − CE, with CE the cross-entropy of a classifier fitted on train and scored on held-out z:
a lower bound, never the information itself. A classifier fitted to shuffled labels must find nothing.

References
----------
Barber & Agakov 2003, *The IM Algorithm*: the bound.
"""

import math

import torch
from torch import Tensor

from textvae.evaluation.estimators import standard_error

__all__ = ["LinearProbe", "information_bound"]

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
        with torch.no_grad():
            return self._losses(self._standardised(features), labels)

    def _standardised(self, features: Tensor) -> Tensor:
        scaled = (features.double() - self.mean) / self.scale
        return torch.cat([scaled, scaled.new_ones(len(scaled), 1)], dim=1)

    def _losses(self, rows: Tensor, labels: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(rows @ self.weight.T, labels, reduction="none")

    def _fit(self, rows: Tensor, labels: Tensor) -> None:
        optimiser = torch.optim.LBFGS([self.weight], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = self._losses(rows, labels).mean() + RIDGE * self.weight[:, :-1].square().sum() / len(rows)
            loss.backward()
            return loss

        optimiser.step(closure)


def information_bound(
    entropy: float, train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], classes: int
) -> tuple[float, float]:
    """H(f) − CE and its standard error over held-out rows; each pair is (features (N, D), labels (N,))."""
    losses = LinearProbe(*train, classes).cross_entropy(*held_out)
    error = standard_error(losses)
    return entropy - float(losses.mean()), error if math.isfinite(error) else 0.0
