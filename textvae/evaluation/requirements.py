"""Preconditions of the estimators, checked before work starts; each error is one sentence."""

from collections.abc import Sequence
from itertools import pairwise

from textvae.data.batches import Sequences
from textvae.errors import ConfigError
from textvae.models.text_vae import TextVAE

__all__ = ["require_counts", "require_density", "require_likelihood", "require_rate", "require_sentences"]


def require_sentences(sequences: Sequences) -> None:
    """Require at least one sentence.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if len(sequences) == 0:
        raise ConfigError("the set of sentences is empty; give at least one sentence")


def require_counts(name: str, counts: Sequence[int]) -> None:
    """Require positive numbers of samples, chains or steps, in increasing order if there are several.

    Raises
    ------
    ConfigError
        If they are not; the message lists them.
    """
    if not counts or counts[0] < 1 or any(a >= b for a, b in pairwise(counts)):
        said, rising = ", ".join(map(str, counts)) or "none", ", in increasing order" if len(counts) > 1 else ""
        raise ConfigError(f"{name}: an estimate needs at least 1 of them{rising}, not {said}")


def require_latent(model: TextVAE, what: str) -> None:
    """Require a z.

    Raises
    ------
    ConfigError
        For a language model, which has none.
    """
    if not model.has_z:
        raise ConfigError(
            f"{what}: a language model has no z and its log p(x) is exact; use a model with latent_dim > 0"
        )


def require_rate(model: TextVAE, what: str) -> None:
    """Require a posterior with a density.

    Raises
    ------
    ConfigError
        For an autoencoder, whose training defines no p(x).
    """
    if not model.has_likelihood:
        raise ConfigError(
            f"{what}: an autoencoder's posterior has no density and its training no rate, "
            "so it defines no likelihood; use a model with another posterior"
        )


def require_likelihood(model: TextVAE, sequences: Sequences, what: str) -> None:
    """Require sentences, a z, and a posterior with a density.

    Raises
    ------
    ConfigError
        For an empty set, a language model, or an autoencoder.
    """
    require_sentences(sequences)
    require_latent(model, what)
    require_rate(model, what)


def require_density(model: TextVAE, sequences: Sequences, what: str) -> None:
    """Require all that a likelihood needs, and a z that ranges over all of ℝᴰ.

    Raises
    ------
    ConfigError
        As `require_likelihood` does, and for z on a sphere.
    """
    require_likelihood(model, sequences, what)
    if model.posterior.spherical:
        raise ConfigError(f"{what}: needs a z that ranges over all of ℝᴰ, but this model's z lies on a sphere")
