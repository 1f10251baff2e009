"""Surveys of given Gaussian posteriors, as if a model had made them."""

import torch

from textvae.evaluation.density import log_densities, mutual_information
from textvae.evaluation.estimators import Survey
from textvae.models.distributions import DiagonalGaussian, kl_per_dimension


def gaussian_survey(means: torch.Tensor, log_variances: torch.Tensor, seed: int = 0, batch: int = 50) -> Survey:
    """A survey of given Gaussian posteriors (N, D), as if by a model, batches in no order."""
    generator = torch.Generator().manual_seed(seed)
    q = DiagonalGaussian(means, log_variances)
    z = q.transport(torch.randn(means.shape, generator=generator, dtype=means.dtype))
    order = torch.randperm(len(means), generator=generator)
    rate = kl_per_dimension(q, DiagonalGaussian(torch.zeros(means.shape[1]), torch.zeros(means.shape[1])))
    return Survey(
        tokens=torch.ones(len(means)),
        distortion=torch.zeros(len(means)),
        rate=rate.sum(1),
        rate_per_dimension=rate,
        mean=means,
        z=z,
        posteriors=tuple((part, DiagonalGaussian(means[part], log_variances[part])) for part in order.split(batch)),
    )


def linear_gaussian(signal: list[float], noise: list[float], count: int, seed: int) -> tuple[Survey, float]:
    """μ(x) ~ N(0, s²) and q = N(μ, σ²) per dimension: I = Σ ½ ln(1 + s²/σ²)."""
    s, sigma = torch.tensor(signal, dtype=torch.float64), torch.tensor(noise, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1000 + seed)
    means = s * torch.randn((count, len(s)), generator=generator, dtype=torch.float64)
    found = gaussian_survey(means, (2 * sigma.log()).expand_as(means).clone(), seed)
    return found, 0.5 * float((1 + (s / sigma) ** 2).log().sum())


def told(found: Survey, reference: int | None = None) -> tuple[float, int]:
    """The estimate of I_q(x; z) in nats, and the number of sentences behind it."""
    values = mutual_information(*log_densities(found, reference))
    return values["mutual_information"], values["mutual_information_reference"]
