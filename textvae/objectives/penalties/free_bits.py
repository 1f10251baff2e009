"""Free bits: a rate below λ costs nothing to keep.

Four meanings stand in the literature; each is named here by its unit, and by what is averaged first:

    per dimension, over the batch       Σ_d max(λ, mean_B KL_d)          Kingma et al. 2016
    per dimension, over the sentence    mean_B Σ_d max(λ, KL_d)          Li et al. 2019 (`fb 2`, as a mask)
    total, over the batch               max(λ, mean_B KL)                Li et al. 2019 (`fb 3`, as a mask)
    total, over the sentence            mean_B max(λ, KL)                Li et al. 2019 (`fb 1`, as a mask)

`form: max` is the formula; `form: mask` is the released code, 1[KL > λ] · KL. For the same grouping
their gradients are identical, and the values differ by λ for every group under λ.

References
----------
Kingma et al. 2016, *Improving Variational Inference with Inverse Autoregressive Flow*.
Li et al. 2019, *A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text*.
"""

from typing import Literal

from torch import Tensor

from textvae.fields import NonNegative
from textvae.models.terms import Pass
from textvae.objectives.penalties.penalty import Penalty

__all__ = ["FreeBitsPerDimension", "FreeBitsTotal"]

Form = Literal["max", "mask"]
Over = Literal["batch", "sentence"]


def free(rate: Tensor, nats: float, form: Form) -> Tensor:
    """max(λ, rate), or its masked form, elementwise."""
    return rate.clamp_min(nats) if form == "max" else rate * (rate > nats)


class FreeBitsPerDimension(Penalty):
    """λ nats free in every dimension.

    Raises
    ------
    ValueError
        At the first pass, if posterior or prior do not factorise over dimensions.
    """

    def __init__(self, *, nats_per_dimension: NonNegative, over: Over = "batch", form: Form = "max") -> None:
        self.nats, self.over, self.form = nats_per_dimension, over, form

    def __call__(self, done: Pass) -> Tensor:
        rate = done.terms.rate_per_dimension
        if rate is None:
            raise ValueError("free bits per dimension need a posterior and a prior that factorise")
        if self.over == "batch":
            return free(rate.mean(0), self.nats, self.form).sum()
        return free(rate, self.nats, self.form).sum(-1).mean()


class FreeBitsTotal(Penalty):
    """λ nats free for the whole latent vector."""

    def __init__(self, *, nats_total: NonNegative, over: Over = "batch", form: Form = "max") -> None:
        self.nats, self.over, self.form = nats_total, over, form

    def __call__(self, done: Pass) -> Tensor:
        if self.over == "batch":
            return free(done.terms.rate.mean(), self.nats, self.form)
        return free(done.terms.rate, self.nats, self.form).mean()
