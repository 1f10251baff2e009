"""What the parts of a full evaluation measure: a run's model, its corpus, and one survey of the split."""

import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from textvae.api import Vae, load
from textvae.console.output import remark
from textvae.data.batches import Sequences, encode
from textvae.data.corpora import Corpus, open_corpus
from textvae.errors import ConfigError, DataError
from textvae.evaluation.estimators import Survey
from textvae.evaluation.noise import SentenceNoise
from textvae.runs import Run
from textvae.tasks.environment import require_same_sentences
from textvae.tasks.showcase import pick
from textvae.training.checkpoints import selection_of

__all__ = ["TRAIN", "Subject", "own_corpus", "remark_unselected", "subject_of", "unselected"]

FRESH = 2**40
"""Added to a seed, gives one that no user is likely to choose."""
WARM_UP = 8
"""Sentences surveyed before the time is taken."""
TRAIN = 20_000
"""Maximum number of train sentences that probes are fitted to."""


@dataclass(frozen=True)
class Subject:
    """A run to measure on a split of its own corpus, and optionally a language model to compare it with.

    What is measured is kept under `weights_sha256`, the digest of the weights that were loaded: if the run trains
    on meanwhile, its new weights are not taken for those.
    """

    run: Run
    vae: Vae
    corpus: Corpus
    split: str
    seed: int = 0
    lm: Vae | None = None

    @property
    def weights_sha256(self) -> str | None:
        return self.vae.weights_sha256

    @cached_property
    def sentences(self) -> list[str]:
        return list(self.corpus[self.split])

    @cached_property
    def sequences(self) -> Sequences:
        return self.encoded(self.sentences)

    @cached_property
    def train(self) -> list[str]:
        """At most 20,000 sentences of train, evenly spaced."""
        return pick(self.corpus["train"], TRAIN)

    @cached_property
    def noise(self) -> SentenceNoise:
        return SentenceNoise(self.seed, self.vae.latent_dim)

    @property
    def fresh_noise(self) -> SentenceNoise:
        """Noise that nothing was fitted to; refinement is fitted to `noise`."""
        return SentenceNoise(self.seed + FRESH, self.vae.latent_dim)

    @cached_property
    def timed_survey(self) -> tuple[Survey, float]:
        """The survey of the split, and the seconds it took per sentence."""
        Survey.of(self.vae.model, self.evenly(WARM_UP), self.noise)  # the first products are slow
        began = time.monotonic()
        survey = Survey.of(self.vae.model, self.sequences, self.noise)
        return survey, (time.monotonic() - began) / len(self.sequences)

    @property
    def survey(self) -> Survey:
        return self.timed_survey[0]

    def encoded(self, sentences: list[str]) -> Sequences:
        return encode(sentences, self.vae.tokenizer, self.vae.config.data.max_length)

    def evenly(self, count: int) -> Sequences:
        """At most `count` sentences of the split, evenly spaced."""
        return self.encoded(pick(self.sentences, count))


def own_corpus(run: Run, vae: Vae) -> Corpus:
    """The corpus that the run was trained on.

    Raises
    ------
    DataError
        If it cannot be opened.
    RunError
        If its sentences have changed since.
    """
    data = vae.config.data
    try:
        corpus = open_corpus(data.corpus, column=data.column)
    except DataError as error:
        moved = "; if it has moved, write its new place there"
        raise DataError(f"{run.path / 'config.yaml'}: data.corpus: {error}{moved}") from None
    elsewhere = f"to measure the new ones: textvae evaluate {run.path} --corpus {data.corpus}"
    require_same_sentences(run, vae.config, corpus, elsewhere)
    return corpus


def unselected(run: Run) -> str | None:
    """That a run's weights are its last ones, if training ended before any could be selected; else None."""
    selection = selection_of(run)
    if not selection.startswith("none"):
        return None
    return f"its weights were not selected on valid ({selection.removeprefix('none, ')})"


def remark_unselected(run: Run) -> None:
    """Print it where a run's weights were not selected."""
    if why := unselected(run):
        remark(f"{run.path}: {why}")


def subject_of(run: Run, split: str, seed: int = 0, lm: str | Path | None = None, device: str = "cpu") -> Subject:
    """A run with its model and corpus, ready to measure; `lm` is the run of a language model.

    Raises
    ------
    ConfigError
        If `lm` has a z or another vocabulary than this run, or there are several processes.
    RunError
        If a run is missing or damaged, or the sentences of the corpus have changed.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError("this command runs in a single process; start it without torchrun")
    vae = load(run.path, device)
    remark_unselected(run)
    corpus = own_corpus(run, vae)
    if lm is None:
        return Subject(run, vae, corpus, split, seed)
    against = load(lm, device)
    if against.model.has_z:
        raise ConfigError(f"--lm {lm}: is not a language model: its latent_dim is {against.latent_dim}, not 0")
    if against.tokenizer.content() != vae.tokenizer.content():
        raise ConfigError(f"--lm {lm}: has another vocabulary than {run.path}, so they cannot be compared")
    return Subject(run, vae, corpus, split, seed, against)
