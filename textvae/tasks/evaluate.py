"""`textvae evaluate`: measure a run on a split, and store the numbers with their settings."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from textvae import builder
from textvae.api import load
from textvae.console.output import remark
from textvae.console.progress import counting
from textvae.data.corpora import open_whole
from textvae.errors import RunError, counted, require_whole
from textvae.evaluation.estimators import REVISION, Survey
from textvae.evaluation.evaluate import asked, evaluate
from textvae.files import finite
from textvae.runs import Run
from textvae.tasks.subject import Subject, own_corpus, remark_unselected
from textvae.training.processes import Processes

__all__ = ["evaluate_run", "evaluate_subject", "headlines"]


def evaluate_run(
    run: str | PathLike[str],
    split: str = "valid",
    samples: int = 100,
    corpus: str | None = None,
    column: str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Numbers of one split, taken from `evaluation.json` if stored with these weights and settings.

    Under torchrun the processes share every batch, and rank 0 stores the result. Numbers on another corpus
    (`corpus`, and its text column if it is a table; of a single file all of it) are not stored: the file only
    holds those on the run's own.
    """
    require_whole("samples", samples, 1)
    require_whole("seed", seed, 0)
    run = Run.open(run)
    processes = Processes.join(builder.device(device))
    vae = load(run.path, processes.device)
    if processes.is_main:
        remark_unselected(run)
    if corpus is None and (known := _known(run, split, asked(samples, seed, vae.weights_sha256))):
        return known
    opened = own_corpus(run, vae) if corpus is None else open_whole(corpus, column=column)
    for sentence in () if corpus is None or not processes.is_main else opened.remarks:
        remark(sentence)
    subject = Subject(run, vae, opened, split, seed)
    with processes.splitting(vae.model):
        values = _measured(subject, samples)
    return _keep(subject, values) if corpus is None and processes.is_main else values


def evaluate_subject(subject: Subject, samples: int) -> dict[str, Any]:
    """What `evaluate_run` returns and stores, from the subject's own survey, and every part stored so far."""
    known = _known(subject.run, subject.split, asked(samples, subject.seed, subject.vae.weights_sha256))
    return _keep(subject, known or _measured(subject, samples, subject.survey))


def _known(run: Run, split: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The numbers of a split in `evaluation.json`, if stored with these weights and settings."""
    known = dict(run.evaluation.get(split, {}))
    if not known.items() >= settings.items():
        return None
    remark(f"{run.path}: {split} was already evaluated with these settings")
    return known


def _keep(subject: Subject, values: Mapping[str, Any]) -> dict[str, Any]:
    """Store the numbers of a split in `evaluation.json`, with those of the parts measured so far.

    Where they cannot be written they are still returned, and that is printed.
    """
    run, split = subject.run, subject.split
    whole = {**values, **headlines(subject)}
    before = run.evaluation.get(split, {})
    more = before.get("iwae_samples_asked", 0)
    if before.get("weights_sha256") == subject.weights_sha256 and more > values["iwae_samples_asked"]:
        remark(f"{run.path}: {split}: its numbers with {more} samples are replaced by these")
    try:
        run.keep_evaluation(split, whole)
    except RunError as error:
        remark(f"{error}; the numbers are printed but not kept")
    return whole


def headlines(subject: Subject) -> dict[str, Any]:
    """Every scalar of the parts that were measured with the subject's weights and seed."""
    parts = subject.run.parts(subject.split, subject.weights_sha256, subject.seed, estimators=REVISION)
    values = (item for part in parts.values() for item in part.items())
    return {name: value for name, value in values if not isinstance(value, (list, dict))}


def _measured(subject: Subject, samples: int, survey: Survey | None = None) -> dict[str, Any]:
    vae, sentences, split = subject.vae, subject.corpus[subject.split], subject.split
    settings = asked(samples, subject.seed, vae.weights_sha256)
    passes = (survey is None) + vae.model.has_likelihood
    with counting(f"evaluating {split}", passes * len(sentences)) as tick:
        values = evaluate(
            vae.model,
            vae.tokenizer,
            sentences,
            samples=samples,
            seed=subject.seed,
            max_length=vae.config.data.max_length,
            grammar=subject.corpus.grammar,
            survey=survey,
            tick=tick,
        )
    if values["cut"]:
        limit = vae.config.data.max_length
        remark(f"{split}: {counted(values['cut'], 'sentence')} cut to {limit} tokens (data.max_length of this run)")
    return {**finite(values), **settings}
