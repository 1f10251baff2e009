"""Posteriors and priors of every family, random ones, for the tests of invariants."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers import HIDDEN, VOCABULARY, batch_of, make, members, randomise

from textvae.builder import SLOTS
from textvae.models.distributions import Reparameterised
from textvae.models.posteriors import BatchStatistics, Posterior

BATCH = batch_of([4, 5], [], [6, 6, 2])
ENCODER = {"embedding_dim": HIDDEN, "hidden_dim": HIDDEN}


def smallest(kind: str) -> int:
    """The least `latent_dim` of a family."""
    return {"vmf": 2, "power_spherical": 2, "uniform_sphere": 2, "mixture": 1, "vamp": 1, "flow": 1}.get(kind, 0)


def density_where(kind: str) -> str:
    """Where a family of either slot has its density."""
    return "sphere" if kind in ("vmf", "power_spherical", "uniform_sphere") else "everywhere"


def posterior_module(kind: str, options: dict[str, Any], latent_dim: int = 2, seed: int = 0) -> Posterior:
    """A random float64 posterior in evaluation mode."""
    encoder = make("model.encoder", "lstm", VOCABULARY, **ENCODER)
    posterior: Posterior = make("model.posterior", kind, encoder, latent_dim, **options).double()
    randomise(posterior, 1.5, seed)
    tame(posterior)
    return posterior.eval()


def tame(module: torch.nn.Module) -> None:
    """Bring flows nearer to the identity: at random they are so steep that no grid resolves them."""
    for name, parameter in module.named_parameters():
        if name.startswith("bijection."):
            parameter.data *= 0.3


def posterior_of(
    kind: str, options: dict[str, Any], latent_dim: int = 2, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Reparameterised:
    """q(z|x) of three sentences."""
    return posterior_module(kind, options, latent_dim, seed).to(dtype)(BATCH)


def prior_of(
    kind: str,
    options: dict[str, Any],
    latent_dim: int = 2,
    posterior: str | None = None,
    dtype: torch.dtype = torch.float64,
) -> Reparameterised:
    """A random p(z); `posterior` is the one it meets, a plain one that suits it unless said."""
    prior = make("model.prior", kind, latent_dim, **options)
    suits = posterior or ("vmf" if prior.spherical else "diagonal")
    met = posterior_module(suits, {}, latent_dim)
    prior.meet(met)
    randomise(prior.double(), 1.0, 0)
    tame(prior)
    met.to(dtype)
    return prior.to(dtype)()


def together(posterior: str, prior: str) -> bool:
    """Whether a posterior and a prior make a model."""
    if prior == "vamp":
        modules = posterior_module(posterior, {}).modules()
        return not any(isinstance(module, BatchStatistics) for module in modules)
    return bool(
        SLOTS["model.posterior"].members[posterior].spherical == SLOTS["model.prior"].members[prior].spherical
    )


def _all() -> Iterator[Any]:
    for name, which in (("posterior", posterior_of), ("prior", prior_of)):
        for member in members(f"model.{name}"):
            yield pytest.param(which, *member.values, id=f"{name}:{member.id}")


POSTERIORS_AND_PRIORS = list(_all())
"""(posterior_of or prior_of, kind, options) of every entry of both slots, as test parameters."""
