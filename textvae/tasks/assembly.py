"""From settings and a corpus to what the training loop needs, on the device."""

import random
import shutil
from collections.abc import Callable

import numpy as np
import torch

from textvae import builder
from textvae.api import Vae
from textvae.config import Config
from textvae.console.output import remark
from textvae.console.progress import counting
from textvae.data.batches import BatchStream, Sequences, encode
from textvae.data.corpora import Corpus
from textvae.data.prepared import prepared_sequences, prepared_tokenizer
from textvae.data.resident import gathering_on
from textvae.data.tokenizers import Tokenizer, load_tokenizer
from textvae.errors import DataError, RunError, counted
from textvae.runs import Run
from textvae.tasks.showcase import as_list, showcase
from textvae.training import graphs, precision
from textvae.training.metrics import MetricLog
from textvae.training.plan import Decay, Plan
from textvae.training.processes import Processes
from textvae.training.trainer import Trainer

__all__ = ["assemble", "encoded", "own_tokenizer", "save_once"]


def own_tokenizer(run: Run, config: Config, corpus: Corpus) -> Tokenizer:
    """The run's tokenizer, trained on the train split if it has none yet."""
    if run.tokenizer.is_dir():
        return load_tokenizer(run.tokenizer)
    data = config.data
    with counting("reading the vocabulary", len(corpus["train"])) as tick:
        return prepared_tokenizer(
            corpus, data.tokenizer, min_count=data.min_count, vocabulary_size=data.vocabulary_size, tick=tick
        )


def save_once(tokenizer: Tokenizer, run: Run) -> None:
    """Save the tokenizer in the run atomically, unless it has one."""
    if run.tokenizer.is_dir():
        return
    scratch = run.path / ".tokenizer"
    shutil.rmtree(scratch, ignore_errors=True)
    tokenizer.save(scratch)
    scratch.rename(run.tokenizer)


def encoded(corpus: Corpus, split: str, tokenizer: Tokenizer, config: Config) -> Sequences:
    """A split in tokens; sentences longer than `max_length` are cut, and their number is printed."""
    with counting(f"tokenising {split}", len(corpus[split])) as tick:
        sequences = prepared_sequences(corpus, split, tokenizer, config.data.max_length, tick)
    if sequences.cut:
        remark(
            f"{corpus.name}: {split}: {counted(sequences.cut, 'sentence')} cut to "
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
    processes: Processes,
    first: Vae | None,
) -> Trainer:
    """Everything the training loop needs, on the device, restored from the run's checkpoint if it has one.

    Raises
    ------
    RunError
        If the first stage's vocabulary is another.
    """
    random.seed(config.seed)
    np.random.seed(config.seed)
    torch.manual_seed(config.seed)
    device = processes.device
    again, gathering = fresh(corpus, tokenizer, config), gathering_on(device)
    stream = BatchStream(sequences["train"], config.data.batch_size, config.seed, again, gathering)
    epoch = stream.batches_per_epoch
    model = builder.model(config, tokenizer.size).to(device)
    if first is not None:
        if first.tokenizer.content() != tokenizer.content():
            raise RunError(f"{run.path}: the first stage was trained with another vocabulary")
        builder.inherit(model, first.model, config)
    objective = builder.objective(config, model, tokenizer.size, epoch).to(device)
    precision.prepare(objective, config.training.precision, device)
    update = builder.update(config, objective, epoch)
    # What a class from outside decides on the host is not known: its steps are recorded only if asked for.
    recorded = False if config.training.graphs is None and builder.external(config) else config.training.graphs
    graphs.record(update, recorded, device)
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
        update,
        stream,
        sequences["valid"],
        plan(config, epoch),
        seed=config.seed,
        show=show,
        processes=processes,
    )


def fresh(corpus: Corpus, tokenizer: Tokenizer, config: Config) -> Callable[[int], Sequences] | None:
    """A function from epoch to encoded sentences, if the corpus generates new ones each epoch; else None."""
    sentences = corpus.fresh
    if sentences is None:
        return None
    return lambda epoch: encode(sentences(epoch), tokenizer, config.data.max_length)


def plan(config: Config, steps_per_epoch: int) -> Plan:
    """The training schedule, with all epochs converted to steps."""
    training = builder.in_steps(config.training.model_dump(), steps_per_epoch)
    return Plan(
        budget=training["budget"],
        validate_every=max(1, training["validate_every"]),
        log_every=training["log_every"],
        checkpoint_every=training["checkpoint_every"],
        decay=Decay(**training["decay"]) if training["decay"] else None,
        stop_after=training["stop_after"],
    )
