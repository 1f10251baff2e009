"""`textvae evaluate`: measure a run on a split, and keep the numbers with the settings behind them."""

import hashlib
from typing import Any

from textvae.api import load
from textvae.console import counting, remark
from textvae.data.corpora import open_corpus
from textvae.evaluation.evaluate import evaluate
from textvae.runs import Run, finite

__all__ = ["evaluate_run"]


def evaluate_run(
    run: Run,
    split: str = "valid",
    samples: int = 100,
    corpus_source: str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Numbers of one split, from `evaluation.json` if they were made with these weights and settings.

    Sentences from elsewhere (`corpus_source`) are measured but not kept: the file speaks of the run's own.
    """
    vae = load(run.path, device)
    data = vae.config.data
    settings = {"iwae_samples_asked": samples, "seed": seed, "weights_sha256": _digest(run)}
    kept = run.evaluation.get(split, {})
    if corpus_source is None and all(kept.get(key) == value for key, value in settings.items()):
        remark(f"{run.path}: {split} was evaluated already with these settings")
        return dict(kept)
    corpus = open_corpus(corpus_source or data.corpus, column=data.column)
    sentences = corpus[split]
    passes = 1 if vae.latent_dim == 0 else 2
    with counting(f"evaluating {split}", passes * len(sentences)) as tick:
        values = evaluate(
            vae.model,
            vae.tokenizer,
            sentences,
            samples=samples,
            seed=seed,
            max_length=data.max_length,
            grammar=corpus.grammar,
            tick=tick,
        )
    values = finite({**values, **settings})
    if corpus_source is None:
        run.evaluation = {**run.evaluation, split: values}
    return dict(values)


def _digest(run: Run) -> str:
    return hashlib.sha256(run.best.read_bytes()).hexdigest()[:16]
