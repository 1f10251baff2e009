"""What the thirteen scripts share: the page with its table and picture, the overview, and runs that are kept.

A page stands on `holds`, named comparisons of what was measured; a page whose comparisons fail is not written,
so that no sentence outlives the numbers behind it.
"""

import argparse
import csv
import io
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import textvae
from textvae.api import Vae
from textvae.evaluation.estimators import standard_error
from textvae.plots.figure import Figure, png
from textvae.runs import Run

__all__ = ["HERE", "Notes", "Page", "Row", "main", "mean_error", "pm"]

HERE = Path(__file__).parent
SHOWN = 6
"""Commands on a page."""
Row = dict[str, Any]
"""A row of a table, by column."""
OVERVIEW = """# The notes' thirteen claims

Reading notes on variational autoencoders, after Doersch's tutorial and Bahuleyan's thesis, derive the model for a
Gaussian decoder and then worry about text. Each of their claims is answered here by a run: `make notes` makes the
pages again, and claim 9 at its short length; `make notes-full` makes claim 9 in full. Where the truth is known (the
linear-Gaussian model, quadrature over a z of one or two dimensions, a grammar) it is what the runs are held against.
Nats per sentence; ± is one standard error, and each page says over what.

| # | claim | answer | figure | page |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Page:
    """One claim and its answer; `claim`, `answer`, `figure` and `open` are sentences, `text` is Markdown."""

    number: int
    title: str
    claim: str
    verdict: str
    answer: str
    figure: str
    text: str
    open: str
    table: Sequence[Mapping[str, Any]]
    picture: Figure
    holds: Mapping[str, bool]


@dataclass
class Notes:
    """Where pages and runs go; `quick` asks for everything at a size that a test can afford."""

    out: Path
    runs: Path
    quick: bool = False
    full: bool = False
    commands: list[str] = field(default_factory=list)

    def trained(self, name: str, *recipes: str | Path, **options: Any) -> Vae:
        """The model of the run `name`, trained or gone on with where it is not done; dots are written `__`."""
        keys = {key.replace("__", "."): value for key, value in options.items()}
        said = " ".join(f"--{key} {_quoted(value)}" for key, value in keys.items())
        shown = [str(Path(r).relative_to(HERE.parents[1])) if isinstance(r, Path) else r for r in recipes]
        self.commands.append(f"textvae train {' '.join(shown)} {said} --run runs/notes/{name}")
        if self.quick:
            keys |= {"training.budget": 40, "training.validate_every": 40}
        path = self.runs / name
        if not (path / "status").exists() or Run(path).status != "done":
            textvae.train([str(recipe) for recipe in recipes], keys, path)
        return textvae.load(path)


def main(claim: Callable[[Notes], Page]) -> None:
    """Answer one claim from the command line."""
    parser = argparse.ArgumentParser(description=claim.__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="where pages are written")
    parser.add_argument("--runs", type=Path, default=Path("runs/notes"), help="where runs are kept")
    parser.add_argument(
        "--quick", action="store_true", help="everything small: to see that it works, not to believe"
    )
    parser.add_argument("--full", action="store_true", help="claim 9: the whole ladder, three seeds: hours")
    given = parser.parse_args()
    torch.set_num_threads(1)
    began, notes = time.monotonic(), Notes(given.out, given.runs, given.quick, given.full)
    publish(claim(notes), notes, time.monotonic() - began)


def publish(page: Page, notes: Notes, seconds: float) -> None:
    """Write a page, its table and its picture, and bring the overview up to date.

    Raises
    ------
    AssertionError
        If the page would say what the run did not show.
    """
    failed = [what for what, shown in page.holds.items() if not shown]
    assert not failed, f"claim {page.number}: not shown: {'; '.join(failed)}\n{_table(page.table)}"
    out = notes.out
    out.mkdir(parents=True, exist_ok=True)
    stem = f"claim-{page.number}"
    (out / f"{stem}.png").write_bytes(_fewer_colours(png(page.picture)))
    with (out / f"{stem}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(page.table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _short(value) for key, value in row.items()} for row in page.table)
    (out / f"{stem}.md").write_text(_markdown(page, notes, seconds), "utf-8")
    (out / "README.md").write_text(OVERVIEW + "".join(_rows(out)), "utf-8")
    print(f"{out / stem}.md: {page.verdict}; {page.figure}")


def _fewer_colours(content: bytes) -> bytes:
    """The same PNG with a palette: a third of the size."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").quantize(256).save(out, "PNG", optimize=True)
    return out.getvalue()


def _markdown(page: Page, notes: Notes, seconds: float) -> str:
    script = f"experiments/notes/claim_{page.number:02d}.py{' --full' if notes.full else ''}"
    commands = list(dict.fromkeys(notes.commands))
    runs = "".join(f"    {command}\n" for command in commands[:SHOWN])
    if len(commands) > SHOWN:
        runs += f"\nand {len(commands) - SHOWN} more like them, which the script names.\n"
    trained = f"The runs it trains, unless they are there already:\n\n{runs}\n" if runs else ""
    return (
        f"# Claim {page.number}: {page.title}\n\n**Claim.** {page.claim}\n\n**Answer: {page.verdict}.** {page.answer}\n\n"
        f"**Figure.** {page.figure}\n\n## What was done\n\n{page.text.strip()}\n\n"
        f"    .venv/bin/python {script}\n\n{trained}It took {_duration(seconds)} on one core"
        f"{', runs that were there already not counted' if runs else ''}.\n\n"
        f"## What came out\n\n![claim {page.number}](claim-{page.number}.png)\n\n{_table(page.table)}\n"
        f"The same table as [CSV](claim-{page.number}.csv).\n\n## What remains open\n\n{page.open.strip()}\n"
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *[[_shown(row.get(name, math.nan)) for name in head] for row in rows]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _short(value: Any) -> Any:
    """Six significant digits, and nothing where a number is undefined."""
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return (
            "—" if math.isnan(value) else f"{value:.3g}" if abs(value) < 1 or abs(value) >= 1e5 else f"{value:.2f}"
        )
    return str(value)


def _rows(out: Path) -> list[str]:
    """The overview's rows, read from the pages themselves."""
    rows = []
    for path in sorted(out.glob("claim-*.md"), key=lambda path: int(path.stem.split("-")[1])):
        text, number = path.read_text("utf-8"), path.stem.split("-")[1]
        claim, verdict, answer, figure = re.findall(
            r"\*\*Claim\.\*\* (.*)\n\n\*\*Answer: (.*?)\.\*\* (.*)\n\n\*\*Figure\.\*\* (.*)\n", text
        )[0]
        cells = [claim, f"**{verdict}**: {answer}", figure]
        rows.append(
            f"| {number} | {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} | [page]({path.name}) |\n"
        )
    return rows


def mean_error(values: Tensor) -> tuple[float, float]:
    """Mean and its standard error over the elements."""
    return float(values.double().mean()), standard_error(values.flatten())


def pm(values: Tensor, digits: int = 2) -> str:
    """Mean ± standard error, in words for a page."""
    mean, error = mean_error(values)
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and " " in value else str(value)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
