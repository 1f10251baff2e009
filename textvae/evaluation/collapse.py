"""Which dimensions have collapsed: active units, the spectrum of the posterior means, (ε, δ)-collapse.

    active_units    #{d : Var_x E_q[z_d | x] ≥ 0.01}

Dimension d is (ε, δ)-collapsed if P_x[KL(q(z_d|x) ‖ p(z_d)) < ε] ≥ 1 − δ: its posterior is close to the prior
for nearly all sentences. A single threshold hides how sharp the transition is, so a curve over ε is reported.

References
----------
Lucas et al. 2019, *Don't Blame the ELBO!*: (ε, δ)-collapse.
Burda et al. 2016, *Importance Weighted Autoencoders*: active units.
"""

from typing import Any

import torch
from torch import Tensor

from textvae.evaluation.estimators import Survey

__all__ = ["ACTIVE", "DELTA", "active_units", "collapsed_dimensions", "mean_variances", "spectrum"]

ACTIVE = 0.01
"""Minimum Var_x E_q[z_d | x] of an active unit."""
DELTA = 0.01
EPSILONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Nats."""


def active_units(means: Tensor) -> int | None:
    """Number of dimensions of the posterior means (N, D) with variance ≥ 0.01; None if N < 2 or D = 0."""
    spectrum = mean_variances(means)
    return None if spectrum is None else sum(variance >= ACTIVE for variance in spectrum)


def mean_variances(means: Tensor) -> list[float] | None:
    """Var_x E_q[z_d | x] of each dimension of the posterior means (N, D), descending; None if N < 2 or D = 0."""
    if len(means) < 2 or not means.shape[1]:
        return None
    variances: list[float] = means.double().var(0).sort(descending=True).values.tolist()
    return variances


def collapsed_dimensions(rates: Tensor, epsilon: float, delta: float = DELTA) -> int:
    """Number of (ε, δ)-collapsed dimensions of `rates` (N, D)."""
    return int(((rates < epsilon).double().mean(0) >= 1 - delta).sum())


def spectrum(survey: Survey) -> dict[str, Any]:
    """Variances of the posterior means and mean rates, largest first, and the curve of collapse.

    Rates and curve are None if the posterior or prior does not factorise over dimensions.
    """
    rates = survey.rate_per_dimension
    values: dict[str, Any] = {
        "active_units": active_units(survey.mean),
        "mean_variances": mean_variances(survey.mean),
        "collapse_delta": DELTA,
        "collapse_epsilons": list(EPSILONS),
        "collapsed_dimensions": None,
        "rates": None,
    }
    if rates is None:
        return values
    return values | {
        "collapsed_dimensions": [collapsed_dimensions(rates, epsilon) for epsilon in EPSILONS],
        "rates": torch.sort(rates.double().mean(0), descending=True).values.tolist(),
    }
