"""`textvae train`: from settings to a trained run directory, or from an interrupted one onwards."""

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textvae import build
from textvae.api import Vae, load
from textvae.config import Config, Draft, changed_keys, signature
from textvae.console import TrainingDisplay, remark
from textvae.data.batches import BatchStream, Sequences, encode
from textvae.data.corpora import Corpus, open_corpus
from textvae.data.tokenizers import Tokenizer, load_tokenizer, train_tokenizer
from textvae.errors import DataError, RunError
from textvae.runs import Run
from textvae.tasks.environment import describe
from textvae.tasks.showcase import as_list, showcase, write
from textvae.training.metrics import MetricLog, record_settings
from textvae.training.plan import Decay, Plan, Progress
from textvae.training.trainer import Trainer

__all__ = ["train"]

SHOWN = 20
"""Sentences in `samples.txt` and `reconstructions.txt`."""


def train(
    names: Sequence[str] = (), options: Mapping[str, Any] | None = None, directory: str | Path | None = None
) -> Run:
    """Train with recipes and files merged left to right, options last; continue what is in the directory.

    `options` maps dotted keys such as `training.optimiser.lr` to values; the directory is by default
    `runs/<corpus>-<hash of the settings>`.

    Raises
    ------
    ConfigError, DataError, RunError
        Before any work starts where that can be known.
    """
    draft = Draft()
    for name in names:
        draft.merge_file(name)
    for key, value in (options or {}).items():
        draft.set(key, value)
    config = build.complete(draft)
    device = build.device(config.device, draft.blame(("device",)))
    if config.threads:
        torch.set_num_threads(config.threads)
    corpus = open_corpus(config.data.corpus, column=config.data.column)
    for sentence in corpus.remarks:
        remark(sentence)
    run = Run(directory or Path("runs") / f"{corpus.name}-{signature(config)}")
    refuse_other_settings(run, config)
    run.create()
    try:
        with run.lock():
            return _train(run, config, corpus, device)
    except OSError as error:
        raise RunError(f"{error.filename or run.path}: cannot be written: {error.strerror or error}") from None


def _train(run: Run, config: Config, corpus: Corpus, device: torch.device) -> Run:
    refuse_other_sentences(run, config, corpus)
    tokenizer = own_tokenizer(run, config, corpus)
    sequences = {split: encoded(corpus, split, tokenizer, config) for split in ("train", "valid")}
    run.config = config
    if not run.environment:
        run.environment = describe(device, corpus.digest())
    save_once(tokenizer, run)
    trainer = assemble(run, config, corpus, tokenizer, sequences, device)
    start, budget = trainer.progress.step, trainer.plan.budget
    if run.status == "done" and (start >= budget or trainer.progress.stopped):
        remark(f"{run.path}: trained already, {start} steps; --steps N with a larger N goes on")
    else:
        remark(f"{run.path}: continuing from step {start}" if start else f"{run.path}: {budget} steps")
        if not start:
            record_settings(run, config.flat())
        with TrainingDisplay(start, budget) as display:
            remark(closing(run, trainer.fit(display)))
    write(run, showcase(load(run.path), corpus["valid"], SHOWN))
    return run


def refuse_other_settings(run: Run, config: Config) -> None:
    """An existing run goes on only with the settings it was made with, but for its budget."""
    if not run.exists():
        return
    changed = changed_keys(run.config, config)
    if changed:
        raise RunError(
            f"{run.path}: made with other settings of {', '.join(changed)}; use another --run, or go on with "
            f"its own: textvae train {run.path / 'config.yaml'} --run {run.path} --steps N"
        )


def refuse_other_sentences(run: Run, config: Config, corpus: Corpus) -> None:
    """An existing run goes on only with the sentences it was trained on."""
    digest = corpus.digest()
    if run.environment.get("corpus_sha256", digest) != digest:
        raise RunError(
            f"{run.path}: {config.data.corpus} now holds other sentences than it was trained on; use another --run"
        )


def own_tokenizer(run: Run, config: Config, corpus: Corpus) -> Tokenizer:
    """The run's tokenizer, trained on the train split where it has none yet."""
    if run.tokenizer.is_dir():
        return load_tokenizer(run.tokenizer)
    data = config.data
    return train_tokenizer(
        data.tokenizer, corpus["train"], min_count=data.min_count, vocabulary_size=data.vocabulary_size
    )


def save_once(tokenizer: Tokenizer, run: Run) -> None:
    """Save the tokenizer in the run, whole or not at all, where none is."""
    if run.tokenizer.is_dir():
        return
    scratch = run.path / ".tokenizer"
    shutil.rmtree(scratch, ignore_errors=True)
    tokenizer.save(scratch)
    scratch.rename(run.tokenizer)


def encoded(corpus: Corpus, split: str, tokenizer: Tokenizer, config: Config) -> Sequences:
    """A split in tokens; sentences longer than `max_length` are cut, with a remark that counts them."""
    sequences = encode(corpus[split], tokenizer, config.data.max_length)
    if sequences.cut:
        remark(
            f"{corpus.name}: {split}: {sequences.cut} sentences cut to "
            f"{config.data.max_length} tokens (data.max_length)"
        )
    if not len(sequences):
        raise DataError(f"{corpus.name}: the {split} split has no sentences")
    return sequences


def assemble(
    run: Run,
    config: Config,
    corpus: Corpus,
    tokenizer: Tokenizer,
    sequences: dict[str, Sequences],
    device: torch.device,
) -> Trainer:
    """Everything the loop needs, on the device, at the run's own checkpoint."""
    random.seed(config.seed)
    np.random.seed(config.seed)
    torch.manual_seed(config.seed)
    stream = BatchStream(sequences["train"], config.data.batch_size, config.seed, fresh(corpus, tokenizer, config))
    epoch = stream.batches_per_epoch
    model = build.model(config, tokenizer.size).to(device)
    objective = build.objective(config, model, epoch)
    vae = Vae(model, tokenizer, config)

    def show(log: MetricLog, step: int) -> None:
        shown = showcase(vae, corpus["valid"], 5)
        log.board.add_text("samples", as_list(shown.samples), step)
        if shown.reconstructions:
            pairs = as_list(f"{a}  →  {b}" for a, b in shown.reconstructions)
            log.board.add_text("reconstructions", pairs, step)

    return Trainer(
        run,
        objective,
        build.update(config, objective, epoch),
        stream,
        sequences["valid"],
        plan(config, epoch),
        config.seed,
        device,
        show,
    )


def fresh(corpus: Corpus, tokenizer: Tokenizer, config: Config) -> Callable[[int], Sequences] | None:
    """The encoded sentences of each epoch, for a corpus that has fresh ones in each."""
    sentences = corpus.fresh
    if sentences is None:
        return None
    return lambda epoch: encode(sentences(epoch), tokenizer, config.data.max_length)


def plan(config: Config, steps_per_epoch: int) -> Plan:
    """When things happen, epochs turned into steps once and for all."""
    training = build.in_steps(config.training.model_dump(), steps_per_epoch)
    return Plan(
        budget=training["budget"],
        validate_every=max(1, training["validate_every"]),
        log_every=training["log_every"],
        checkpoint_every=training["checkpoint_every"],
        decay=Decay(**training["decay"]) if training["decay"] else None,
        stop_after=training["stop_after"],
    )


def closing(run: Run, progress: Progress) -> str:
    """What training came to, in one sentence."""
    why = "valid had stopped improving" if progress.stopped else "the budget is spent"
    best = (
        f"the best weights are those of step {progress.best_step}"
        if progress.best_step is not None
        else "no weights were selected, for valid was never looked at with the weight settled; the last stand in"
    )
    return f"{run.path}: done at step {progress.step}, {why}; {best}"
