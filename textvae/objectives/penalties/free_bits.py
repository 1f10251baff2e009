"""Free bits: a rate below λ is not penalised.

The name has six meanings in the literature; each is named here by its unit, and by what is averaged first:

    per dimension, over the batch       Σ_d max(λ, mean_B KL_d)          Kingma et al. 2016
    per dimension, over the sentence    mean_B Σ_d max(λ, KL_d)          Li et al. 2019 (`fb 2`, as a mask)
    per group, over the batch           Σ_g max(λ, mean_B KL_g)          Kingma et al. 2016
    per group, over the sentence        mean_B Σ_g max(λ, KL_g)
    total, over the batch               max(λ, mean_B KL)                Li et al. 2019 (`fb 3`, as a mask)
    total, over the sentence            mean_B max(λ, KL)                Li et al. 2019 (`fb 1`, as a mask)

`form: max` is the formula; `form: mask` is the released code, 1[KL > λ] · KL. For the same grouping
their gradients are identical, and the values differ by λ for every group below λ. A rate that is estimated from
samples is only averaged over the batch first; the bias of that falls with the size of the batch.

References
----------
Kingma et al. 2016, *Improved Variational Inference with Inverse Autoregressive Flow*.
Li et al. 2019, *A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text*.
"""

from typing import Literal

from torch import Tensor

from textvae.fields import Count, NonNegative
from textvae.models.terms import Pass, closed_form
from textvae.objectives.penalties.penalty import Penalty

__all__ = ["FreeBitsPerDimension", "FreeBitsPerGroup", "FreeBitsTotal"]

Form = Literal["max", "mask"]
Over = Literal["batch", "sentence"]


def free(rates: Tensor, nats: float, over: Over, form: Form) -> Tensor:
    """λ free nats in each column of rates (B, groups), averaged over the batch before or after."""
    if over == "batch":
        rates = rates.mean(0, keepdim=True)
    floored = rates.clamp_min(nats) if form == "max" else rates * (rates > nats)
    return floored.sum(-1).mean()


def factorised(done: Pass) -> Tensor:
    """The rate of every dimension, (B, D).

    Raises
    ------
    ValueError
        If posterior or prior does not factorise over dimensions, or the posterior has no rate.
    """
    rates = done.terms.rate_per_dimension
    if rates is None and not done.model.has_likelihood:
        raise ValueError("free bits need a rate, and this posterior has none; choose the penalty none")
    if rates is None:
        raise ValueError(
            "free bits per dimension or group need a posterior and a prior that factorise; choose free_bits_total"
        )
    return rates


def _estimated(done: Pass) -> bool:
    """Whether the rate is the mean over samples of z, for want of a closed form."""
    return done.terms.rate_per_dimension is None and closed_form(done.posterior, done.prior) is None


class FreeBitsPerDimension(Penalty):
    """λ free nats in every dimension.

    Raises
    ------
    ValueError
        At the first pass, if posterior or prior does not factorise over dimensions.
    """

    def __init__(self, *, nats_per_dimension: NonNegative, over: Over = "batch", form: Form = "max") -> None:
        self.nats, self.over, self.form = nats_per_dimension, over, form

    def __call__(self, done: Pass, step: int) -> Tensor:
        return free(factorised(done), self.nats, self.over, self.form)


class FreeBitsPerGroup(Penalty):
    """λ free nats in each of `groups` groups of consecutive dimensions, all of one size.

    Raises
    ------
    ValueError
        At the first pass, if posterior or prior does not factorise over dimensions, or D is not a multiple
        of the number of groups.
    """

    def __init__(
        self, *, nats_per_group: NonNegative, groups: Count, over: Over = "batch", form: Form = "max"
    ) -> None:
        self.nats, self.groups, self.over, self.form = nats_per_group, groups, over, form

    def __call__(self, done: Pass, step: int) -> Tensor:
        rates = factorised(done)
        size, left = divmod(rates.shape[1], self.groups)
        if left:
            raise ValueError(f"{rates.shape[1]} dimensions cannot be cut into {self.groups} equal groups")
        return free(rates.unflatten(1, (self.groups, size)).sum(-1), self.nats, self.over, self.form)


class FreeBitsTotal(Penalty):
    """λ free nats for the whole latent vector.

    Raises
    ------
    ValueError
        At the first pass over the sentence, if the rate has no closed form: for an estimate R̂ from samples,
        E max(λ, R̂) exceeds max(λ, E R̂), and a rate below λ would be penalised.
    """

    def __init__(self, *, nats_total: NonNegative, over: Over = "batch", form: Form = "max") -> None:
        self.nats, self.over, self.form = nats_total, over, form

    def __call__(self, done: Pass, step: int) -> Tensor:
        if self.over == "sentence" and _estimated(done):
            raise ValueError("free bits over the sentence need a rate in closed form; choose over: batch")
        return free(done.terms.rate[:, None], self.nats, self.over, self.form)
