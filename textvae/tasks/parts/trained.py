"""Parts that train something small in order to measure: encoders for the frozen decoder, probes of z."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from textvae import builder
from textvae.console.progress import counting
from textvae.data.batches import Sequences
from textvae.data.grammar import embedded_grammar, embedded_split
from textvae.errors import ConfigError
from textvae.evaluation.estimators import Survey
from textvae.evaluation.noise import SentenceNoise
from textvae.models.modes import seeded
from textvae.models.text_vae import TextVAE
from textvae.probes.inference_lag import inference_lag
from textvae.probes.labels import Label, factor_labels, first_word, length, words
from textvae.tasks.parts.part import BOTH_WAYS, Part
from textvae.tasks.showcase import pick
from textvae.tasks.subject import TRAIN, Subject

__all__ = ["Knowledge", "Lag"]


@dataclass(frozen=True)
class Lag(Part):
    """Other encoders trained for the frozen decoder."""

    name = "lag"
    what = "other encoders for the frozen decoder"
    needs = ("likelihood",)

    lag_steps: int = 500
    lag_sentences: int = 1000

    def passes(self, subject: Subject) -> float:
        return 2 * BOTH_WAYS * 64 * self.lag_steps

    def measure(self, subject: Subject) -> dict[str, Any]:
        train, held_out = subject.encoded(subject.train), subject.evenly(self.lag_sentences)
        fresh = untrained(subject).posterior
        with counting("encoders against the frozen decoder", 2 * self.lag_steps) as tick:
            return inference_lag(
                subject.vae.model, fresh, train, held_out, self.lag_steps, seed=subject.seed, tick=tick
            )


@dataclass(frozen=True)
class Knowledge(Part):
    """Linear probes of z ~ q(z|x): one row per factor of the grammar corpus, and one per other label."""

    name = "knowledge"
    what = "linear probes of z"
    needs = ("z",)

    def passes(self, subject: Subject) -> float:
        return 4 * len(subject.train)

    def measure(self, subject: Subject) -> dict[str, Any]:
        train, held_out = subject.encoded(subject.train), subject.sequences
        if min(len(train), len(held_out)) < 2:
            raise ConfigError(f"probes need at least 2 sentences of train and of {subject.split}")
        z = _codes(subject.vae.model, train, subject.seed), subject.survey.z
        fresh = untrained(subject)
        untold = _codes(fresh, train, subject.seed), _codes(fresh, held_out, subject.seed)
        asked = labels(subject)
        with counting("probes of z", sum(map(len, asked.values()))) as tick:

            def row(label: Label) -> dict[str, Any]:
                tick(1)
                return label.row(z, untold, subject.seed)

            rows = {kind: [row(label) for label in each] for kind, each in asked.items()}
        return {"probe_train": len(train), **rows}


def labels(subject: Subject) -> dict[str, list[Label]]:
    """The factors of the grammar corpus, and for every corpus length, first word and words."""
    texts = subject.train, subject.sentences
    known = subject.corpus.grammar is not None
    return {
        "factors": factor_labels(
            embedded_grammar(), pick(embedded_split("train"), TRAIN), embedded_split(subject.split)
        )
        if known
        else [],
        "labels": [label for label in (length(*texts), first_word(*texts), words(*texts)) if label],
    }


def untrained(subject: Subject) -> TextVAE:
    """A freshly initialised model of the same configuration."""
    with seeded(subject.seed):
        return builder.model(subject.vae.config, subject.vae.tokenizer.size).to(subject.vae.device)


def _codes(model: TextVAE, sequences: Sequences, seed: int) -> Tensor:
    """One z ~ q(z|x) for each sentence (N, D)."""
    return Survey.of(model, sequences, SentenceNoise(seed, model.latent_dim)).z
