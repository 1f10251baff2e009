"""`textvae diagnose`: a diagnosis of a run as a page in plain words with plots, in two minutes.

RUN/diagnosis/diagnosis.md     the verdict, what to try, and links to the plots
RUN/diagnosis/diagnosis.json   the numbers behind it
RUN/diagnosis/*.png            the plots; page and plots are also in TensorBoard

Parts that a full evaluation has already measured with the same weights are reused.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textvae.config import recipe_files
from textvae.console.output import remark
from textvae.errors import ConfigError, counted
from textvae.evaluation.diagnosis import Diagnosis, diagnose
from textvae.evaluation.evaluate import latent_use
from textvae.files import finite, write_atomically
from textvae.plots import diagnosis as pictures
from textvae.plots.figure import Figure, pixels, png, require_matplotlib
from textvae.runs import Run
from textvae.tasks.evaluate_all import expected_minutes, measure
from textvae.tasks.parts import BRIEF, FULL
from textvae.tasks.subject import Subject, subject_of, unselected

__all__ = ["diagnose_run", "page"]

DRAWN: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Figure | None]]] = {
    "listening": ("Distortion under other z.", pictures.listening),
    "dimensions": ("Which dimensions of z are used.", pictures.dimensions),
    "posterior": ("The model's posterior means against those of q.", pictures.plane),
    "bounds": ("The gap between the ELBO and log p(x), and its parts.", pictures.bounds),
    "curves": ("The importance-weighted estimate by number of samples.", pictures.curves),
    "density": ("q(z) against the prior.", pictures.density),
    "positions": ("Gain over the language model, by position.", pictures.positions),
}


def diagnose_run(
    run: Run, split: str = "valid", lm: str | Path | None = None, seed: int = 0, device: str = "cpu"
) -> str:
    """Measure what is missing, write the page and its plots, and return the page.

    Raises
    ------
    ConfigError
        If `lm` does not fit this run, the split has a single sentence, or matplotlib is not installed.
    """
    began = time.monotonic()
    require_matplotlib()
    run.require_writable()
    subject = subject_of(run, split, seed, lm, device)
    if len(subject.sequences) < 2:
        raise ConfigError(f"a diagnosis needs at least 2 sentences of {split}: it compares each with another")
    numbers = finite(_numbers(subject))
    found = diagnose(numbers, {path.stem for path in recipe_files("remedies")}.__contains__)
    drawn = _draw(run, numbers)
    text = page(str(run.path), split, len(subject.sequences), found, drawn, unfinished(run))
    run.write_text("diagnosis/diagnosis.md", text.split("\n"))
    run.write_json(
        "diagnosis/diagnosis.json", {"split": split, "state": found.state, "cause": found.cause} | numbers
    )
    _show_in_tensorboard(run, drawn, text)
    remark(f"{run.path / 'diagnosis'}: written in {time.monotonic() - began:.0f} seconds")
    return text


RISEN = 1.0
"""Nats by which a rate above that of the best weights says that training had not yet made up for it."""


def unfinished(run: Run) -> str | None:
    """Why a longer training might come out otherwise; None if valid had stopped improving."""
    if run.status != "done":
        return f"its training is {run.status or 'waiting'}"
    if why := unselected(run):
        return why
    rows = [row for row in run.rows() if row["split"] == "valid" and row.get("elbo") is not None]
    if len(rows) < 2:
        return "it was validated once" if rows else None
    last, before = rows[-1], max(rows[:-1], key=lambda row: float(row["elbo"]))
    if last["elbo"] > before["elbo"]:
        return f"−ELBO on valid still fell at its end, from {-before['elbo']:.2f} to {-last['elbo']:.2f}"
    if last.get("rate", 0.0) - before.get("rate", 0.0) >= RISEN:
        return (
            f"its weights, the best on valid by −ELBO, are those of step {before['step']}, at a rate of "
            f"{before['rate']:.2f} nats, which had risen to {last['rate']:.2f} at step {last['step']}"
        )
    return None


def page(
    name: str, split: str, sentences: int, found: Diagnosis, drawn: Mapping[str, bytes], early: str | None = None
) -> str:
    """The diagnosis as Markdown that is also readable as plain text; `early`: why it may be too early for one."""
    lines = [
        f"# {name}",
        "",
        f"Measured on {sentences} sentences of {split} unless another number is stated; in nats per sentence, "
        "± one standard error.",
        "",
        f"**{found.headline}**",
    ]
    first = (
        [f"**This run may be too early to judge**: {early}. Train it longer before you act on the rest."]
        if early
        else []
    )
    lines += ["", *(f"- {sentence}" for sentence in (*first, *found.findings))] if first or found.findings else []
    if found.advice:
        lines += ["", "What to try (recipes for `textvae train`):", ""]
        lines += [f"- `{recipe}`: {what}" for recipe, what in found.advice]
    if drawn:
        lines += ["", "Plots:", ""]
        lines += [f"- [{name}.png]({name}.png): {_caption(name)}" for name in drawn]
    return "\n".join(lines)


def _numbers(subject: Subject) -> dict[str, Any]:
    """The numbers behind the verdict: the survey of the split, and the parts that apply to this run."""
    wanted = [part for part in BRIEF if part.refusal(subject) is None]
    whole = {part.name: part for part in FULL}
    known = {part.name: whole[part.name].known(subject) or part.known(subject) for part in wanted}
    todo = [part for part in wanted if known[part.name] is None]
    if todo:
        minutes = expected_minutes(subject, todo)
        remark(f"{subject.run.path}: {counted(len(todo), 'part')} to measure, about {minutes:.1f} minutes")
    values = {"latent_dim": subject.vae.latent_dim, "sentences": len(subject.sequences), **subject.survey.means()}
    values |= latent_use(subject.vae.model, subject.sequences, subject.survey, subject.seed)
    for part in wanted:
        values |= known[part.name] or measure(part, subject)
    return values


def _draw(run: Run, numbers: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw every plot that these numbers allow, and write it beside the page."""
    (run.path / "diagnosis").mkdir(exist_ok=True)
    made = {name: draw(numbers) for name, (_, draw) in DRAWN.items()} | {"training": pictures.training(run.rows())}
    drawn = {name: png(figure) for name, figure in made.items() if figure is not None}
    for name, content in drawn.items():
        write_atomically(run.path / "diagnosis" / f"{name}.png", content)
    return drawn


def _caption(name: str) -> str:
    return DRAWN[name][0] if name in DRAWN else "Rate and distortion over training."


def _show_in_tensorboard(run: Run, drawn: Mapping[str, bytes], text: str) -> None:
    from torch.utils.tensorboard import SummaryWriter

    step = max((row["step"] for row in run.rows()), default=0)
    with SummaryWriter(run.tensorboard) as board:
        board.add_text("diagnosis", text, step)
        for name, content in drawn.items():
            board.add_image(f"diagnosis/{name}", pixels(content), step, dataformats="HWC")
