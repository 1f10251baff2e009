"""`textvae probe`: what z knows about the factors that made each sentence of the grammar corpus.

For every factor f: the exact ceiling I(x; f), a linear probe's lower bound on I(z; f) with z ~ q(z|x), and
three controls that must find nothing or little: labels shuffled, the majority class, an untrained encoder.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from textvae import build
from textvae.api import Vae, load
from textvae.data.batches import encode
from textvae.data.grammar import Grammar, Sentence, embedded_grammar, embedded_split
from textvae.errors import RunError
from textvae.evaluation.estimators import survey
from textvae.evaluation.noise import SentenceNoise
from textvae.models.text_vae import TextVAE
from textvae.probes.linear import Reading, read_off
from textvae.runs import Run

__all__ = ["probe"]

Labels = dict[str, Tensor]


def probe(run: Run, split: str = "valid", seed: int = 0) -> list[dict[str, Any]]:
    """One row a factor, in nats; kept in `probes.json`.

    Raises
    ------
    RunError
        If the run has no z, or was not trained on the grammar corpus.
    """
    vae = load(run.path)
    if not vae.config.data.corpus.startswith("grammar"):
        raise RunError(
            f"{run.path}: was trained on {vae.config.data.corpus}; only the grammar corpus knows its factors"
        )
    if vae.latent_dim == 0:
        raise RunError(f"{run.path}: is a language model, it has no z to probe")
    grammar = embedded_grammar()
    train, held_out = embedded_split("train"), embedded_split(split)
    trained = _sampled(vae, vae.model, train, seed), _sampled(vae, vae.model, held_out, seed)
    fresh = _untrained(vae, seed)
    untrained = _sampled(vae, fresh, train, seed), _sampled(vae, fresh, held_out, seed)
    labels = _labels(grammar, train), _labels(grammar, held_out)
    ceilings = grammar.information([sentence.text for sentence in held_out])
    rows = [_row(grammar, name, ceilings[name], trained, untrained, labels, seed) for name in grammar.factors]
    run.write_json("probes.json", {"split": split, "seed": seed, "factors": rows})
    return rows


def _row(
    grammar: Grammar,
    name: str,
    ceiling: tuple[float, float],
    trained: tuple[Tensor, Tensor],
    untrained: tuple[Tensor, Tensor],
    labels: tuple[Labels, Labels],
    seed: int,
) -> dict[str, Any]:
    prior = np.asarray(grammar.factor_prior()[name])
    entropy = -float((prior * np.log(prior)).sum())
    classes = len(prior)
    train, held_out = labels[0][name], labels[1][name]
    shuffled = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))]

    def read(z: tuple[Tensor, Tensor], fitted_to: Tensor) -> Reading:
        return read_off(entropy, (z[0], fitted_to), (z[1], held_out), classes)

    known = read(trained, train)
    majority = train.bincount(minlength=classes).argmax()
    return {
        "factor": name,
        "values": classes,
        "entropy": entropy,
        "ceiling": ceiling[0],
        "ceiling_se": ceiling[1],
        "information": known.information,
        "information_se": known.information_se,
        "accuracy": known.accuracy,
        "majority_accuracy": float((held_out == majority).double().mean()),
        "shuffled_labels": read(trained, shuffled).information,
        "untrained_encoder": read(untrained, train).information,
    }


def _sampled(vae: Vae, model: TextVAE, sentences: list[Sentence], seed: int) -> Tensor:
    """One z ~ q(z|x) for each sentence (N, D)."""
    sequences = encode((s.text for s in sentences), vae.tokenizer, vae.config.data.max_length)
    return survey(model, sequences, SentenceNoise(seed, vae.latent_dim)).z


def _untrained(vae: Vae, seed: int) -> TextVAE:
    """The same model before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build.model(vae.config, vae.tokenizer.size)


def _labels(grammar: Grammar, sentences: list[Sentence]) -> Labels:
    return {
        name: torch.tensor([values.index(s.factors[name]) for s in sentences])
        for name, values in grammar.factors.items()
    }
