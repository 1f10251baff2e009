"""The linear-Gaussian model (probabilistic PCA), exactly solvable, with the interface of a text VAE.

    p(z) = N(0, I)      p(x|z) = N(Wz + μ, σ²I)      p(x) = N(μ, WWᵀ + σ²I)
    p(z|x) = N(Λ⁻¹Wᵀ(x − μ)/σ², Λ⁻¹),  Λ = I + WᵀW/σ²

An observation is a row of n coordinates; its "tokens" are the coordinates, so that objectives, trainer,
estimators and diagnostics run on it unchanged. Any posterior of the library works with the encoder
`Coordinates`: its linear heads read x and 1, which is enough for the exact posterior and for every q(z|x) =
N(Vx + b, S).

References
----------
Tipping & Bishop 1999, *Probabilistic Principal Component Analysis*.
Lucas et al. 2019, *Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse*.
"""

import math
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from textvae.data.batches import Batch, Sequences
from textvae.models.decoders import Decoder
from textvae.models.encoders import Encoder
from textvae.models.posteriors import Posterior
from textvae.models.priors import StandardNormal
from textvae.models.text_vae import TextVAE

__all__ = ["Coordinates", "GaussianDecoder", "LinearGaussian", "LinearPosterior", "observations"]


def observations(x: Tensor) -> Sequences:
    """Rows x (N, n) of real coordinates as sequences of n "tokens" each, in the precision of x."""
    rows, width = x.shape
    return Sequences(x.detach().cpu().numpy().ravel(), np.arange(rows + 1, dtype=np.int64) * width)


class Coordinates(Encoder):
    """The features (B, n + 1) of an observation: its coordinates, and 1."""

    def __init__(self, coordinates: int) -> None:
        super().__init__()
        self.features = coordinates + 1

    def forward(self, batch: Batch) -> Tensor:
        return torch.cat([batch.targets, torch.ones_like(batch.targets[:, :1])], dim=-1)


class GaussianDecoder(Decoder):
    """N(Wz + μ, σ²I), with one σ² that is fixed or learned; each coordinate's log-density counts as a token's."""

    log_variance: Tensor

    def __init__(self, coordinates: int, latent_dim: int, *, variance: float, learned: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(latent_dim, coordinates)
        start = torch.tensor(math.log(variance))
        if learned:
            self.log_variance = nn.Parameter(start)
        else:
            self.register_buffer("log_variance", start)

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        """log N(xᵢ; (Wz + μ)ᵢ, σ²) of every coordinate under z (K, B, D): (K, B, n)."""
        squared: Tensor = (batch.targets - self.linear(z)) ** 2 * (-self.log_variance).exp()
        return -0.5 * (squared + self.log_variance + math.log(2 * math.pi))

    def start(self, z: Tensor) -> NoReturn:
        raise NotImplementedError("a Gaussian decoder has no words to say")

    def step(self, words: Tensor, state: object) -> NoReturn:
        raise NotImplementedError("a Gaussian decoder has no words to say")


class LinearGaussian(TextVAE):
    """Probabilistic PCA of n coordinates with a posterior of any family; exact quantities in closed form."""

    decoder: GaussianDecoder

    def __init__(
        self, posterior: Posterior, coordinates: int, *, variance: float = 1.0, learned: bool = False
    ) -> None:
        dim = posterior.latent_dim
        decoder = GaussianDecoder(coordinates, dim, variance=variance, learned=learned)
        super().__init__(posterior, StandardNormal(dim), decoder)

    @property
    def evidence(self) -> MultivariateNormal:
        """p(x) = N(μ, WWᵀ + σ²I)."""
        linear = self.decoder.linear
        noise = self.decoder.log_variance.exp() * torch.eye(len(linear.bias)).to(linear.bias)
        return MultivariateNormal(linear.bias, linear.weight @ linear.weight.T + noise)

    @property
    def precision(self) -> Tensor:
        """Λ = I + WᵀW/σ² (D, D), of the exact posterior."""
        weight = self.decoder.linear.weight
        return torch.eye(self.latent_dim).to(weight) + weight.T @ weight / self.decoder.log_variance.exp()

    @property
    def mutual_information(self) -> Tensor:
        """I(x; z) = ½ log det Λ of the model itself, in nats."""
        return 0.5 * torch.logdet(self.precision)

    @property
    def diagonal_gap(self) -> Tensor:
        """log p(x) − elbo of the best diagonal Gaussian, ½(Σ_d log Λ_dd − log det Λ), the same for every x."""
        return 0.5 * (self.precision.diagonal().log().sum() - torch.logdet(self.precision))

    def log_evidence(self, batch: Batch) -> Tensor:
        """log p(x) (B,)."""
        log_prob: Tensor = self.evidence.log_prob(batch.targets)
        return log_prob

    def exact_posterior(self) -> "LinearPosterior":
        """p(z|x), a full Gaussian: the posterior gap is 0."""
        weight, bias = self.decoder.linear.weight, self.decoder.linear.bias
        covariance = torch.linalg.inv(self.precision)
        slope = covariance @ weight.T / self.decoder.log_variance.exp()
        return LinearPosterior(slope, -slope @ bias, covariance)

    def best_diagonal(self) -> "LinearPosterior":
        """The diagonal Gaussian with the highest ELBO: the exact mean, and variances 1/Λ_dd."""
        exact = self.exact_posterior()
        return LinearPosterior(exact.slope, exact.offset, torch.diag(1 / self.precision.diagonal()))

    def sample(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """z (count, D) from the prior and x (count, n) from the model given z."""
        linear = self.decoder.linear
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((count, self.latent_dim + len(linear.bias)), generator=generator).to(linear.bias)
        z, ripple = noise.split([self.latent_dim, len(linear.bias)], -1)
        with torch.no_grad():
            return z, linear(z) + (0.5 * self.decoder.log_variance).exp() * ripple


@dataclass(frozen=True)
class LinearPosterior:
    """q(z|x) = N(Vx + b, S), and its terms on Gaussian data, each computed from its own closed form."""

    slope: Tensor  # V (D, n)
    offset: Tensor  # b (D,)
    covariance: Tensor  # S (D, D)

    def __call__(self, x: Tensor) -> MultivariateNormal:
        """q(z|x) of rows x (B, n)."""
        return MultivariateNormal(x @ self.slope.T + self.offset, self.covariance)

    def marginal(self, data: MultivariateNormal) -> MultivariateNormal:
        """q(z) = N(Vm + b, VCVᵀ + S) where the data are N(m, C)."""
        spread = self.slope @ data.covariance_matrix @ self.slope.T
        return MultivariateNormal(self.slope @ data.mean + self.offset, spread + self.covariance)

    def rate(self, data: MultivariateNormal) -> Tensor:
        """E KL(q(z|x) ‖ N(0, I)) = ½(tr S + tr VCVᵀ + |Vm + b|² − D − log det S)."""
        spread = self.slope @ data.covariance_matrix @ self.slope.T
        moments = (self.covariance + spread).trace() + (self.slope @ data.mean + self.offset).square().sum()
        return 0.5 * (moments - len(self.offset) - torch.logdet(self.covariance))

    def mutual_information(self, data: MultivariateNormal) -> Tensor:
        """I_q(x; z) = ½ log det(I + S⁻¹VCVᵀ)."""
        spread = self.slope @ data.covariance_matrix @ self.slope.T
        ratio = torch.linalg.solve(self.covariance, spread)
        return 0.5 * torch.logdet(torch.eye(len(ratio)).to(ratio) + ratio)

    def marginal_kl(self, data: MultivariateNormal) -> Tensor:
        """KL(q(z) ‖ N(0, I))."""
        eye = torch.eye(len(self.offset)).to(self.offset)
        divergence: Tensor = kl_divergence(
            self.marginal(data), MultivariateNormal(torch.zeros_like(self.offset), eye)
        )
        return divergence

    def distortion(self, model: LinearGaussian, data: MultivariateNormal) -> Tensor:
        """E −log p(x|z) = ½(n log 2πσ² + E|x − Wz − μ|² / σ²)."""
        weight, bias = model.decoder.linear.weight, model.decoder.linear.bias
        left = torch.eye(len(bias)).to(bias) - weight @ self.slope
        missed = left @ data.mean - weight @ self.offset - bias
        spread = left @ data.covariance_matrix @ left.T + weight @ self.covariance @ weight.T
        log_variance = model.decoder.log_variance
        squared = (spread.trace() + missed.square().sum()) * (-log_variance).exp()
        return 0.5 * (len(bias) * (math.log(2 * math.pi) + log_variance) + squared)
