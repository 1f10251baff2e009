"""Terminal output: progress and remarks on stderr, tables on stdout."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from textvae.errors import LostProcessError, TextvaeError

__all__ = [
    "StudyDisplay",
    "TrainingDisplay",
    "counting",
    "evaluation_table",
    "one_voice",
    "pacing",
    "probe_table",
    "remark",
    "table",
]


SECONDS = 5.0
"""Minimum interval between two progress lines."""


def remark(sentence: str) -> None:
    """Print one line on stderr."""
    print(sentence, file=sys.stderr, flush=True)


@contextmanager
def one_voice() -> Iterator[None]:
    """Silence every torchrun process except rank 0; the others still report the loss of a process."""
    if os.environ.get("RANK", "0") == "0":
        yield
        return
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
    except LostProcessError:
        raise
    except TextvaeError:
        sys.exit(1)


def table(title: str, headings: Iterable[str], rows: Iterable[Iterable[object]], numbers: bool = False) -> None:
    """Print a table on stdout; with `numbers`, all columns but the first are right-aligned."""
    made = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
    for place, heading in enumerate(headings):
        made.add_column(heading, justify="right" if place and numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 110
    Console(width=width, highlight=False, markup=False, emoji=False).print(made)


def evaluation_table(title: str, splits: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the results of an evaluation, one column per split, with the settings of the estimators."""
    rows = [(label, *(show(split) for split in splits.values())) for label, show in ROWS]
    rows += [
        (label, *(_value(key)(split) for split in splits.values()))
        for label, key in FURTHER
        if any(split.get(key) is not None for split in splits.values())
    ]
    table(title, ["nats per sentence unless stated", *splits], rows, numbers=True)
    for name, split in splits.items():
        print(f"{name}: {split.get('verdict') or '—'}")


def number(value: Any, digits: int = 2) -> str:
    """Format a number; — if it is undefined."""
    if value is None or math.isnan(value):
        return "—"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def _value(key: str, digits: int = 2) -> Callable[[Mapping[str, Any]], str]:
    def show(split: Mapping[str, Any]) -> str:
        value, error = split.get(key), f"{key}_se"
        known = value is not None and error in split
        return number(value, digits) + (f" ± {number(split[error], digits)}" if known else "")

    return show


def _bounded(key: str, how: str) -> Callable[[Mapping[str, Any]], str]:
    """Format a number that is only a bound when the mutual information is saturated."""
    shown = _value(key)
    return lambda split: f"{how} {shown(split)}" if split.get("mutual_information_saturated") else shown(split)


def _negated(key: str) -> Callable[[Mapping[str, Any]], str]:
    shown = _value(key)
    return lambda split: shown({**split, key: -split[key]} if split.get(key) is not None else {})


ROWS: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("sentences", _value("sentences")),
    ("tokens, including EOS", _value("tokens")),
    ("unknown rate", _value("unknown_rate", 4)),
    ("distortion  −E log p(x|z)", _value("distortion")),
    ("rate  KL(q(z|x) ‖ p(z))", _value("rate")),
    ("−ELBO", _negated("elbo")),
    ("importance-weighted NLL", _value("iwae_nll")),
    ("    with K samples", _value("iwae_samples")),
    ("exact NLL of the grammar", _value("exact_nll")),
    ("    excess NLL, paired", _value("excess_nll")),
    ("perplexity from −ELBO", _value("perplexity_elbo")),
    ("perplexity from K samples", _value("perplexity_iwae")),
    ("active units", _value("active_units")),
    ("mutual information  I(x; z)", _bounded("mutual_information", "at least")),
    ("    capped at ln N, N =", _value("mutual_information_reference")),
    ("marginal KL  KL(q(z) ‖ p(z))", _bounded("marginal_kl", "at most")),
    ("listening  G", _value("listening")),
)

FURTHER = (
    ("word accuracy, gain over another z", "word_accuracy_gap"),
    ("norm of the gradient of log p(x|z) in z", "gradient_norm"),
    ("gain over the language model", "lm_gain"),
    ("    net of the rate", "lm_gain_net_of_rate"),
    ("NLL with z from the prior", "prior_nll"),
    ("    samples per sentence", "prior_nll_samples"),
    ("    effective samples, median", "prior_nll_effective_samples"),
    ("    sentences", "prior_nll_sentences"),
    ("gap between log p(x) and ELBO, at least", "posterior_gap"),
    ("    amortisation gap", "amortisation_gap"),
    ("    family gap", "family_gap"),
    ("    sentences", "gap_sentences"),
    ("    their ELBO, q refined per sentence", "refined_elbo"),
    ("        decoder passes per sentence", "refined_elbo_passes"),
    ("    their NLL by quadrature", "quadrature_nll"),
    ("    their importance-weighted NLL, refined q", "refined_iwae_nll"),
    ("        with K samples", "refined_iwae_samples"),
    ("    their NLL by annealing", "ais_nll"),
    ("        temperatures", "ais_temperatures"),
    ("        chains", "ais_chains"),
    ("simulated log p, lower bound", "ais_lower"),
    ("simulated log p, upper bound", "ais_upper"),
    ("    sentences", "ais_simulated"),
    ("ELBO gain of a fresh encoder", "fresh_encoder_gain"),
    ("    of the old one, trained further", "continued_encoder_gain"),
    ("    training steps", "lag_steps"),
    ("    sentences", "lag_sentences"),
    ("samples", "samples"),
    ("    grammatical", "samples_grammatical"),
    ("    not in train", "samples_novelty"),
    ("    self-BLEU", "samples_self_bleu"),
    ("forward perplexity", "forward_perplexity"),
    ("reverse perplexity", "reverse_perplexity"),
    ("    of real text", "real_perplexity"),
    ("    sentences per language model", "lm_sentences"),
    ("    training steps", "lm_steps"),
    ("reconstructions", "reconstructions"),
    ("    exact", "reconstructions_exact"),
    ("    BLEU", "reconstructions_bleu"),
    ("interpolations, factors kept", "interpolation_factors_kept"),
    ("    by chance", "interpolation_factors_by_chance"),
    ("    paths", "interpolation_paths"),
)
"""Further results of a full evaluation, shown if they were measured."""


class TrainingDisplay:
    """Training progress: a live line if stderr is a terminal, else plain lines."""

    def __init__(self, start: int, budget: int) -> None:
        self.budget = budget
        self.live = sys.stderr.isatty()
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self.live,
        )
        self.task = self.bar.add_task("training", total=budget, completed=start, values="")
        self.shown = start

    def __enter__(self) -> "TrainingDisplay":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def step(self, step: int, values: dict[str, float]) -> None:
        """Show a row of training means."""
        speed = values["tokens_per_second"]
        distortion, rate = number(values["distortion"], 1), number(values["rate"])
        line = f"distortion {distortion}  rate {rate}  β {values['weight']:.2f}"
        line += f"  {speed:,.0f} tokens/s"
        self.bar.update(self.task, completed=step, values=line)
        if not self.live and (step - self.shown >= self.budget / 20 or step == self.budget):
            self.shown = step
            remark(f"step {step}/{self.budget}  {line}")

    def remark(self, sentence: str) -> None:
        """Print a line above the live one."""
        if self.live:
            self.bar.console.print(sentence, highlight=False, markup=False)
        else:
            remark(sentence)


class StudyDisplay:
    """Progress of a study: a live line if stderr is a terminal, else a line for every finished run."""

    def __init__(self, behind: float, total: int) -> None:
        self.start, self.began, self.total = behind, time.monotonic(), total
        self.live = sys.stderr.isatty()
        self.bar = Progress(
            TextColumn("study"),
            BarColumn(),
            TextColumn("{task.fields[values]}"),
            console=Console(stderr=True),
            disable=not self.live,
        )
        self.task = self.bar.add_task("study", total=total, values="")
        self.bar.update(self.task, completed=behind)

    def __enter__(self) -> "StudyDisplay":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, behind: float, event: str) -> None:
        """Show the number of finished runs, plus the completed fraction of running ones, and the latest event."""
        values = f"{behind:.1f} of {self.total} runs, {self._left(behind)}"
        self.bar.update(self.task, completed=behind, values=values)
        if event and self.live:
            self.bar.console.print(event, highlight=False, markup=False)
        elif event:
            remark(f"{event}; {values}")

    def _left(self, behind: float) -> str:
        """The remaining time at the average speed so far."""
        gained = behind - self.start
        if gained <= 0:
            return "about — left"
        seconds = (time.monotonic() - self.began) * (self.total - behind) / gained
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress on stderr, as a bar or, without a terminal, as lines; call the result with increments."""
    if not sys.stderr.isatty():
        yield pacing(what, total)
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda n: bar.advance(task, n)


def pacing(what: str, total: int) -> Callable[[int], None]:
    """Print progress lines at intervals; call the result with the number of items just done."""
    began = said = time.monotonic()
    done = 0

    def tick(n: int) -> None:
        nonlocal done, said
        done += n
        now = time.monotonic()
        if now - said >= SECONDS and 0 < done < total:
            said = now
            remark(f"{what}: {done / total:.0%}, about {(now - began) * (total - done) / done:.0f} s left")

    return tick


def probe_table(title: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print what z encodes, one row per label; the last three columns are controls, expected to be low."""
    headings = ["label f", "H(f)", "I(x; f)", "I(z; f) ≥", "accuracy", "majority", "shuffled", "untrained"]
    table(
        f"{title}, nats",
        headings,
        [
            (
                row["factor"],
                f"{row['entropy']:.3f}",
                f"{row['ceiling']:.3f} ± {row['ceiling_se']:.3f}",
                f"{row['information']:.3f} ± {row['information_se']:.3f}",
                f"{row['accuracy']:.1%}",
                f"{row['majority_accuracy']:.1%}",
                f"{row['shuffled_labels']:.3f}",
                f"{row['untrained_encoder']:.3f}",
            )
            for row in rows
        ],
    )
