"""`textvae evaluate`: measure a run on a split, and store the numbers with their settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textvae import build
from textvae.api import Vae, load
from textvae.console import counting, remark
from textvae.data.corpora import open_corpus
from textvae.data.grammar import Grammar
from textvae.evaluation.evaluate import evaluate
from textvae.runs import Run, finite
from textvae.tasks.parts.kept import headlines
from textvae.tasks.subject import own_corpus
from textvae.training.processes import Processes

__all__ = ["evaluate_run"]


def evaluate_run(
    run: Run | str | Path,
    split: str = "valid",
    samples: int = 100,
    corpus_source: str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Numbers of one split, taken from `evaluation.json` if stored with these weights and settings.

    Under torchrun the processes share every batch, and rank 0 stores the result. Numbers on another corpus
    (`corpus_source`) are not stored: the file only holds those on the run's own.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    processes = Processes.join(build.device(device))
    vae = load(run.path, processes.device)
    settings = {"iwae_samples_asked": samples, "seed": seed, "weights_sha256": run.weights_sha256}
    kept = run.evaluation.get(split, {})
    if corpus_source is None and all(kept.get(key) == value for key, value in settings.items()):
        remark(f"{run.path}: {split} was already evaluated with these settings")
        return dict(kept)
    corpus = own_corpus(run, vae) if corpus_source is None else open_corpus(corpus_source)
    with processes.splitting(vae.model):
        values = {**_measure(vae, corpus[split], corpus.grammar, split, samples, seed), **settings}
    if corpus_source is None and processes.is_main:
        values = {**values, **headlines(run, split, seed)}
        run.evaluation = {**run.evaluation, split: values}
    return values


def _measure(
    vae: Vae, sentences: Sequence[str], grammar: Grammar | None, split: str, samples: int, seed: int
) -> dict[str, Any]:
    passes = 2 if vae.model.has_z else 1
    with counting(f"evaluating {split}", passes * len(sentences)) as tick:
        values = evaluate(
            vae.model,
            vae.tokenizer,
            sentences,
            samples=samples,
            seed=seed,
            max_length=vae.config.data.max_length,
            grammar=grammar,
            tick=tick,
        )
    if values["cut"]:
        limit = vae.config.data.max_length
        remark(f"{split}: {values['cut']} sentences cut to {limit} tokens (data.max_length of this run)")
    return dict(finite(values))
