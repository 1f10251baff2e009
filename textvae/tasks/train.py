"""`textvae train`: train a run directory from settings, or resume an interrupted one."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textvae import builder
from textvae.api import load
from textvae.config import Config, Draft, changed_keys, signature
from textvae.console.output import remark
from textvae.console.progress import TrainingDisplay
from textvae.data.corpora import Corpus, open_corpus
from textvae.errors import ConfigError, RunError, counted
from textvae.models.modes import flags_kept
from textvae.runs import Run
from textvae.tasks.assembly import assemble, encoded, own_tokenizer, save_once
from textvae.tasks.environment import continued, describe, require_same_sentences
from textvae.tasks.showcase import showcase, write
from textvae.training import graphs
from textvae.training.checkpoints import load_best
from textvae.training.metrics import record_settings
from textvae.training.plan import Progress
from textvae.training.processes import Processes
from textvae.training.trainer import Trainer

__all__ = ["train"]

SHOWN = 20
"""Sentences in `samples.txt` and `reconstructions.txt`."""


def train(
    names: str | Path | Sequence[str | Path] = (),
    options: Mapping[str, Any] | None = None,
    run: str | PathLike[str] | None = None,
    init: str | PathLike[str] | None = None,
) -> Run:
    """Train with recipes and files merged left to right, options last; resume a run already in the directory `run`.

    `options` maps dotted keys such as `training.optimiser.lr` to values; `run` is by default
    `runs/<corpus>-<remedies>-<hash of the settings>`. A first stage is trained in its folder `first`, unless `init`
    is a finished run with the settings of that stage.

    Raises
    ------
    ConfigError, DataError, RunError
        Before any work starts, where possible.
    """
    draft = Draft()
    for name in [names] if isinstance(names, (str, Path)) else names:
        draft.merge_file(str(name))
    for key, value in dict(options or {}).items():
        draft.set(str(key), value)
    config = builder.complete(draft)
    processes = Processes.join(builder.device(config.device, draft.blame(("device",))))
    if init is not None and config.first is None:
        raise ConfigError(f"--init {init}: these settings have no first stage to replace; leave --init out")
    with apart(config.threads, processes.device):
        first = Run.open(init) if init is not None else None
        corpus = opened(config)
        made = Run(run or own_directory([corpus.name, *draft.remedies()], signature(config)))
        return stage(made, config, corpus, processes, first, draft.blame)


def own_directory(names: Sequence[str], settings: str) -> Path:
    """`runs/<names>-<settings>`; or the one of these settings that is there, by whatever files or options."""
    there = list(Path("runs").glob(f"*-{settings}"))
    return there[0] if len(there) == 1 else Path("runs") / "-".join([*names, settings])


@contextmanager
def apart(threads: int | None, device: torch.device) -> Iterator[None]:
    """Leave the caller's threads, random streams and flags of precision as they were: a run sets its own."""
    before, streams = torch.get_num_threads(), (random.getstate(), np.random.get_state())
    with flags_kept(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_num_threads(threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            random.setstate(streams[0])
            np.random.set_state(streams[1])


def opened(config: Config) -> Corpus:
    """The corpus of a configuration, after what there is to say about it."""
    corpus = open_corpus(config.data.corpus, column=config.data.column)
    for sentence in corpus.remarks:
        remark(sentence)
    return corpus


def stage(
    made: Run, config: Config, corpus: Corpus, processes: Processes, init: Run | None, blame: builder.Blame
) -> Run:
    """Train one stage in its directory, after its first stage if it has one."""
    if init is not None and made.checkpoint.exists():
        remark(f"{made.path}: is past its first stage already, so --init {init.path} is not used")
    alone = init is not None or made.checkpoint.exists()
    builder.refuse_device(config.model_copy(update={"first": None}) if alone else config, processes.device, blame)
    if processes.is_main:
        refuse_other_settings(made, config)
        if init is not None and config.first is not None and not made.checkpoint.exists():
            refuse_other_stage(init, config.first)
        made.create()
    run = processes.local_copy(made)
    try:
        with run.lock():
            _train(run, config, corpus, processes, first_stage(run, config, corpus, processes, init, blame))
            return made
    except BrokenPipeError:
        raise  # of the terminal, not of the run
    except OSError as error:
        raise RunError(f"{error.filename or run.path}: cannot be written: {error.strerror or error}") from None


def first_stage(
    run: Run, config: Config, corpus: Corpus, processes: Processes, init: Run | None, blame: builder.Blame
) -> Run | None:
    """The run that this one starts from: `init`, or `RUN/first`, trained here if it is not yet."""
    if config.first is None or run.checkpoint.exists():
        return None
    run.config = config  # so that a run stopped in its first stage is recognised, and resumes
    if init is not None:
        return init
    data, its = config.data, config.first.data
    shared = (data.corpus, data.column) == (its.corpus, its.column)
    made, its_corpus = Run(run.path / "first"), corpus if shared else opened(config.first)
    return stage(made, config.first, its_corpus, processes, None, lambda key: blame(("first", *key)))


def _train(run: Run, config: Config, corpus: Corpus, processes: Processes, first: Run | None) -> None:
    refuse_without_checkpoint(run)
    require_same_sentences(run, config, corpus, "use another --run")
    tokenizer = own_tokenizer(run, config, corpus)
    sequences = {split: encoded(corpus, split, tokenizer, config) for split in ("train", "valid")}
    now = describe(processes.device, corpus.digest())
    record_origin(run, config, now, first)
    save_once(tokenizer, run)
    begun = load(first.path) if first else None
    trainer = assemble(run, config, corpus, tokenizer, sequences, processes, begun)
    refuse_without_best(run, trainer)
    if nothing_left(run, trainer):
        more = "valid had stopped improving" if trainer.progress.stopped else "to continue, give a larger --steps"
        remark(f"{run.path}: trained already, {trainer.progress.step} steps; {more}")
    else:
        announce(run, trainer)
        run.config = config  # with its own budget
        run.environment = continued(run.environment, now, trainer.progress.step)
        if not trainer.progress.step:
            record_settings(run, config.flat())
        with TrainingDisplay(trainer.progress.step, trainer.plan.budget) as display:
            with graphs.on_a_stream(processes.device):
                progress = trainer.fit(display)
            remark(closing(run, progress))
    write(run, showcase(load(run.path), corpus["valid"], SHOWN))


def record_origin(run: Run, config: Config, now: Mapping[str, Any], first: Run | None) -> None:
    """Write the settings and the environment of a run that has not begun; of one that has, compare its classes."""
    if not run.exists():
        run.config = config
    sources = builder.sources(config)
    if not run.environment or not (run.checkpoint.exists() or run.status == "done"):
        stages = {"first_weights_sha256": first.weights_sha256} if first else {}
        run.environment = {**now, "classes_sha256": sources, **stages}
    began = run.environment.get("classes_sha256", {})
    for kind, sha256 in sources.items():
        if began.get(kind, sha256) != sha256:
            remark(
                f"{run.path}: the file of {kind} has changed since the run began, which goes on with the new code"
            )


def nothing_left(run: Run, trainer: Trainer) -> bool:
    """Whether a run has been trained to its end.

    Raises
    ------
    RunError
        If it has not, and cannot end at its budget as a run of as many steps would: it has been there already.
    """
    start, budget, done = trainer.progress.step, trainer.plan.budget, run.status == "done"
    # A run killed at the end of its own budget was validated there; one that ends sooner than planned was not.
    its_own = builder.in_steps(run.config.training.budget, trainer.stream.batches_per_epoch)
    if start and not done and (start > budget or start == budget != its_own):
        raise RunError(f"{run.path}: has {start} steps already; to end it, give --steps {start + 1} or more")
    return done and (start >= budget or trainer.progress.stopped)


def refuse_without_best(run: Run, trainer: Trainer) -> None:
    """Raise if the best weights that a checkpoint tells of are lost: it would go on and end without them."""
    step = trainer.progress.best_step
    if step is None:
        return
    if not run.best.exists():
        raise RunError(f"{run.path}: has lost {run.best.name}, the weights of step {step}; train another --run")
    load_best(run, copy.deepcopy(trainer.objective.model))


def announce(run: Run, trainer: Trainer) -> None:
    """Say where training begins, and what its budget does to the choice of the best weights."""
    start, budget, settles = trainer.progress.step, trainer.plan.budget, trainer.objective.settles_at
    if run.status == "done" and start % trainer.plan.validate_every:
        remark(
            f"{run.path}: was validated at step {start}, where its budget ended, between two validations; a "
            f"run of {budget} steps in one go would not be, and may differ"
        )
    remark(f"{run.path}: continuing from step {start}" if start else f"{run.path}: {counted(budget, 'step')}")
    if settles > budget:
        remark(
            f"{run.path}: the weight or the penalty changes until step {settles:,}, after training ends: no "
            "best weights can be selected on valid; give a larger budget, or a shorter schedule"
        )


def refuse_other_settings(run: Run, config: Config) -> None:
    """Raise if an existing run was made with other settings; only its budget may change."""
    if not run.exists():
        return
    changed = changed_keys(run.config, config)
    if changed:
        raise RunError(
            f"{run.path}: made with other settings of {', '.join(changed)}; use another --run, or resume it with "
            f"its own: textvae train {run.path / 'config.yaml'} --run {run.path} --steps N"
        )


def refuse_other_stage(init: Run, first: Config) -> None:
    """Raise if a run is unfinished, or was trained with settings other than those of a first stage."""
    made = init.config
    changed = changed_keys(made, first)
    if made.training.budget != first.training.budget:
        changed.append("training.budget")
    if changed:
        raise RunError(f"{init.path}: --init: not the first stage of these settings: {', '.join(changed)} differ")
    if init.status != "done":
        raise RunError(f"{init.path}: --init: not finished yet; resume it with the command that started it")


def refuse_without_checkpoint(run: Run) -> None:
    """Raise if a trained run has lost its checkpoint: it would start again and replace its weights.

    A run of no steps has none to lose.
    """
    if run.status != "done" or run.checkpoint.exists():
        return
    if builder.in_steps(run.config.training.budget, 1) > 0:
        raise RunError(
            f"{run.path}: trained already, and {run.checkpoint.name} is missing, so it cannot go on; use it "
            "as it is, or train into another --run"
        )


def closing(run: Run, progress: Progress) -> str:
    """One sentence on how training ended."""
    why = "valid had stopped improving" if progress.stopped else "the budget is spent"
    best = (
        f"no best weights were selected, because {progress.unselected}; the last weights are used instead"
        if progress.unselected
        else f"the best weights are those of step {progress.best_step}"
    )
    return f"{run.path}: done at step {progress.step}, {why}; {best}"
