"""Does the inference lag? Train q alone against the frozen decoder, and test whether the ELBO rises.

Two encoders are trained on train and scored on held-out sentences: a freshly initialised one, and the old one
trained further. If either gains significantly with a higher rate, the model can use z more than its encoder
does: the inference lags. A gain with a lower rate is no sign of lag: the model was trained under a penalty that
held the rate above the ELBO's optimum.

References
----------
He et al. 2019, *Lagging Inference Networks and Posterior Collapse*.
Cremer et al. 2018, *Inference Suboptimality in Variational Autoencoders*: the amortisation gap.
"""

import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from textvae.data.batches import Sequences
from textvae.evaluation.estimators import Survey, Tick, standard_error
from textvae.evaluation.listening import listening
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.requirements import require_counts, require_likelihood
from textvae.models.modes import fixed, seeded
from textvae.models.posteriors import Posterior
from textvae.models.text_vae import TextVAE
from textvae.probes.fitting import maximise_elbo

__all__ = ["inference_lag", "refitted"]


@dataclass(frozen=True)
class Encoding:
    """Results of an encoder on held-out sentences, in nats per sentence (N,)."""

    elbo: Tensor
    rate: Tensor
    listening: Tensor

    def against(self, own: "Encoding", name: str) -> dict[str, Any]:
        """Its means, and paired differences from the model's own encoder."""
        gain, more = (self.elbo - own.elbo).double(), (self.rate - own.rate).double()
        return {
            f"{name}_elbo": float(self.elbo.double().mean()),
            f"{name}_elbo_se": standard_error(self.elbo),
            f"{name}_gain": float(gain.mean()),
            f"{name}_gain_se": standard_error(gain),
            f"{name}_rate_gain": float(more.mean()),
            f"{name}_rate_gain_se": standard_error(more),
            f"{name}_listening": float(self.listening.double().mean()),
        }


def inference_lag(
    model: TextVAE,
    fresh: Posterior,
    train: Sequences,
    held_out: Sequences,
    steps: int,
    *,
    seed: int = 0,
    lr: float = 3e-3,
    tick: Tick = lambda n: None,
) -> dict[str, Any]:
    """Compare both encoders with the model's own; `tick` is called at each of 2 · `steps` optimiser steps.

    Raises
    ------
    ConfigError
        If there are no steps, or the model has no likelihood.
    """
    require_counts("steps", [steps])
    require_likelihood(model, held_out, "inference lag")
    own = _encode(model, held_out, seed)
    candidates = {
        "fresh_encoder": refitted(model, fresh, train, steps, seed=seed, lr=lr, tick=tick),
        "continued_encoder": refitted(model, model.posterior, train, steps, seed=seed, lr=lr, tick=tick),
    }
    values: dict[str, Any] = {"lag_steps": steps, "lag_sentences": len(held_out)}
    for name, candidate in candidates.items():
        values |= _encode(candidate, held_out, seed).against(own, name)
    return values


def refitted(
    model: TextVAE,
    posterior: Posterior,
    train: Sequences,
    steps: int,
    *,
    seed: int = 0,
    lr: float = 3e-3,
    tick: Tick = lambda n: None,
) -> TextVAE:
    """A copy of the model with a copy of `posterior`, trained against the frozen decoder and prior."""
    found = copy.deepcopy(model).eval()
    found.posterior = copy.deepcopy(posterior).train()
    found.to(next(model.parameters()).device)  # on CUDA this lays the copied LSTMs' weights out in one piece again
    with fixed(found.decoder), fixed(found.prior), seeded(seed):
        maximise_elbo(found, found.posterior.parameters(), train, steps, seed=seed, lr=lr, tick=tick)
    return found.eval()


def _encode(model: TextVAE, held_out: Sequences, seed: int) -> Encoding:
    found = Survey.of(model, held_out, SentenceNoise(seed, model.latent_dim))
    return Encoding(found.elbo, found.rate, listening(model, held_out, found, seed))
