"""Forward and reverse perplexity: samples judged by a language model of real text, and the reverse.

    forward    perplexity of the samples under a language model trained on real sentences: are they fluent?
    reverse    perplexity of real held-out sentences under one trained on samples: do they cover the language?
    real       that of real held-out sentences under the first: what both would be for perfect samples

Both models are the same small LSTM, trained on equally many sentences for equally many steps, so the three
are comparable.

References
----------
Zhao et al. 2018, *Adversarially Regularized Autoencoders*: reverse perplexity.
"""

from typing import Any

import numpy as np

from textvae import builder
from textvae.config import Draft
from textvae.data.batches import Sequences
from textvae.errors import ConfigError
from textvae.evaluation.estimators import Survey, Tick, perplexity
from textvae.evaluation.noise import SentenceNoise
from textvae.models.modes import seeded
from textvae.models.text_vae import TextVAE
from textvae.probes.fitting import maximise_elbo

__all__ = ["cross_perplexities", "first"]

WIDTH = 128


def cross_perplexities(
    real: Sequences,
    samples: Sequences,
    held_out: Sequences,
    vocabulary: int,
    steps: int,
    *,
    seed: int = 0,
    tick: Tick = lambda n: None,
) -> dict[str, Any]:
    """The three perplexities per token; `tick` is called at each of 2 · `steps` optimiser steps.

    Raises
    ------
    ConfigError
        If there are no sentences, or no steps.
    """
    count = min(len(real), len(samples))
    if not (count and len(held_out) and steps >= 1):
        raise ConfigError("forward and reverse perplexity need samples, real sentences and at least 1 step")
    of_real = _trained(first(real, count), vocabulary, steps, seed, tick)
    of_samples = _trained(first(samples, count), vocabulary, steps, seed, tick)
    return {
        "forward_perplexity": _perplexity(of_real, samples),
        "reverse_perplexity": _perplexity(of_samples, held_out),
        "real_perplexity": _perplexity(of_real, held_out),
        "lm_sentences": count,
        "lm_steps": steps,
    }


def first(sequences: Sequences, count: int) -> Sequences:
    """The first `count` sentences."""
    offsets = sequences.offsets[: count + 1]
    return Sequences(sequences.ids[: offsets[-1]], np.asarray(offsets))


def _trained(sequences: Sequences, vocabulary: int, steps: int, seed: int, tick: Tick) -> TextVAE:
    with seeded(seed):
        model = builder.model(builder.complete(_settings()), vocabulary)
        maximise_elbo(model, model.parameters(), sequences, steps, seed=seed, tick=tick)
    return model.eval()


def _settings() -> Draft:
    decoder = {"kind": "lstm", "embedding_dim": WIDTH, "hidden_dim": WIDTH, "dropout_in": 0.0, "dropout_out": 0.0}
    draft = Draft()
    draft.merge({"model": {"latent_dim": 0, "encoder": {"kind": "none"}, "decoder": decoder}}, "language model")
    return draft


def _perplexity(model: TextVAE, sequences: Sequences) -> float:
    nats = Survey.of(model, sequences, SentenceNoise(0, 0)).distortion.double().sum()
    return perplexity(float(nats), len(sequences.ids))
