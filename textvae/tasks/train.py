"""`textvae train`: from settings to a trained run directory, or from an interrupted one onwards."""

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textvae import build
from textvae.api import Vae
from textvae.config import Config, Draft, changed_keys, signature
from textvae.console import TrainingDisplay, remark
from textvae.data.batches import BatchStream, Sequences, encode
from textvae.data.corpora import Corpus, open_corpus
from textvae.data.tokenizers import Tokenizer, load_tokenizer, train_tokenizer
from textvae.errors import ConfigError, DataError, RunError
from textvae.runs import Run
from textvae.tasks.environment import describe
from textvae.tasks.showcase import as_list, pick, showcase
from textvae.training.metrics import MetricLog
from textvae.training.trainer import Decay, Plan, Progress, Trainer

__all__ = ["train"]


def train(names: Sequence[str], options: Sequence[tuple[str, Any]], directory: Path | None = None) -> Run:
    """Train with the named recipes and files merged left to right, options last; continue what is there.

    Raises
    ------
    ConfigError, DataError, RunError
        Before any work starts where that can be known.
    """
    draft = Draft()
    for name in names:
        draft.merge_file(name)
    for key, value in options:
        draft.set(key, value)
    config = build.complete(draft)
    device = prepare_device(config)
    corpus = open_corpus(config.data.corpus, column=config.data.column)
    for sentence in corpus.remarks:
        remark(sentence)
    run = Run(directory or Path("runs") / f"{corpus.name}-{signature(config)}")
    refuse_other_settings(run, config)
    run.create()
    with run.lock():
        return _train(run, config, corpus, device)


def _train(run: Run, config: Config, corpus: Corpus, device: torch.device) -> Run:
    fresh = not run.exists()
    digest = corpus.digest()
    if fresh:
        run.config = config
        run.environment = describe(device, digest)
    elif run.environment.get("corpus_sha256", digest) != digest:
        raise RunError(
            f"{run.path}: {config.data.corpus} now holds other sentences than it was trained on; use another --run"
        )
    tokenizer = own_tokenizer(run, config, corpus)
    sequences = {split: encoded(corpus, split, tokenizer, config) for split in ("train", "valid")}
    trainer = assemble(run, config, corpus, tokenizer, sequences, device)
    start, budget = trainer.progress.step, trainer.plan.budget
    if run.status == "done" and (start >= budget or trainer.progress.stopped):
        remark(f"{run.path}: trained already, {start} steps; --steps N with a larger N goes on")
        return run
    run.config = config
    remark(f"{run.path}: continuing from step {start}" if start else f"{run.path}: {budget} steps")
    with TrainingDisplay(start, budget) as display:
        progress = trainer.fit(display)
    remark(closing(run, progress))
    showcase(run, corpus["valid"])
    return run


def prepare_device(config: Config) -> torch.device:
    """The device, its threads set.

    Raises
    ------
    ConfigError
        If torch does not know it or it is not there.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    try:
        device = torch.device(config.device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise ConfigError(
            f"--device {config.device}: not available here; choose cpu or a device that torch sees"
        ) from None
    return device


def refuse_other_settings(run: Run, config: Config) -> None:
    """An existing run goes on only with the settings it was made with, but for its budget."""
    if not run.exists():
        return
    changed = changed_keys(run.config, config)
    if changed:
        raise RunError(f"{run.path}: made with other settings of {', '.join(changed)}; use another --run")


def own_tokenizer(run: Run, config: Config, corpus: Corpus) -> Tokenizer:
    """The run's tokenizer, trained on the train split and saved on the first call."""
    if run.tokenizer.is_dir():
        return load_tokenizer(run.tokenizer)
    data = config.data
    tokenizer = train_tokenizer(
        data.tokenizer, corpus["train"], min_count=data.min_count, max_size=data.vocabulary_size
    )
    scratch = run.path / ".tokenizer"
    shutil.rmtree(scratch, ignore_errors=True)
    tokenizer.save(scratch)
    scratch.rename(run.tokenizer)
    return tokenizer


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
    shown = pick(corpus["valid"], 5)

    def show(log: MetricLog, step: int) -> None:
        log.board.add_text("samples", as_list(vae.sample(5, seed=0)), step)
        if vae.latent_dim:
            pairs = zip(shown, vae.decode(vae.encode(shown), temperature=1.0), strict=True)
            log.board.add_text("reconstructions", as_list(f"{a}  →  {b}" for a, b in pairs), step)

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
        else "no weights were selected, since the weight of the penalty had not settled"
    )
    return f"{run.path}: done at step {progress.step}, {why}; {best}"
