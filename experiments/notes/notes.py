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
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

import textvae
from textvae.api import Vae
from textvae.plots.figure import Figure, png
from textvae.runs import Run

__all__ = ["HERE", "Notes", "Page", "Row", "Wanted", "add_places", "listed", "main", "places", "student", "table"]

HERE = Path(__file__).parent
QUICK = Path("runs/notes-quick")
SHOWN = 6
"""Commands on a page."""
T = TypeVar("T")
Row = dict[str, Any]
"""A row of a table, by column."""
Wanted = tuple[str, tuple[str | Path, ...], Row]
"""A run: its name, its recipes and its options."""
OVERVIEW = """# The notes' thirteen claims

Reading notes on variational autoencoders, after Doersch's tutorial and Bahuleyan's thesis, derive the model for a
Gaussian decoder and then worry about text. Each of their claims is answered here by a run: `make notes` makes the
pages again in 7 minutes on two quiet cores, of claim 9 a short one; `make notes-full` makes claim 9 in full, and asks Penn Treebank. Where the truth is known (the
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
    short: bool = False  # of a claim that has a longer page as well

    @property
    def stem(self) -> str:
        return f"claim-{self.number}{'-short' if self.short else ''}"


@dataclass
class Notes:
    """Where pages and runs go; `quick` asks for everything at a size that a test can afford."""

    out: Path
    runs: Path
    quick: bool = False
    full: bool = False
    jobs: int = 1
    commands: list[str] = field(default_factory=list)
    training: dict[str, float] = field(default_factory=dict)  # seconds, by run

    def trained(self, name: str, *recipes: str | Path, **options: Any) -> Vae:
        """The model of the run `name`, trained or gone on with where it is not done; dots are written `__`."""
        _train(*self._run((name, recipes, options)))
        self.noted((name, recipes, options))
        return textvae.load(self.runs / name)

    def noted(self, run: Wanted) -> None:
        """Let the page name a run that is trained, and count its time."""
        name, recipes, options = run
        self.commands.append(_command(name, recipes, options))
        rows = Run(self.runs / name).rows()
        self.training[name] = max(row.get("elapsed_seconds", 0.0) for row in rows)

    def ahead(self, wanted: Sequence[Wanted]) -> None:
        """Train runs that `trained` will ask for, `jobs` at a time, one thread each; what is done is kept."""
        runs = {name: self._run((name, *how)) for name, *how in wanted}
        left = [run for run in runs.values() if not _done(run[-1])]
        if self.jobs > 1 and len(left) > 1:
            self.spread(_train, left)

    def spread(self, work: Callable[..., T], arguments: Iterable[tuple[Any, ...]]) -> list[T]:
        """work(*each) of all arguments, `jobs` at a time, one thread each."""
        if self.jobs == 1:
            return [work(*each) for each in arguments]
        with get_context("spawn").Pool(self.jobs, torch.set_num_threads, (1,)) as pool:
            return pool.starmap(work, arguments, chunksize=1)

    def _run(self, wanted: Wanted) -> tuple[list[str], Row, Path]:
        name, recipes, options = wanted
        keys = {key.replace("__", "."): value for key, value in options.items()}
        if self.quick:
            keys |= {"training.budget": 40, "training.validate_every": 40}
        return [str(recipe) for recipe in recipes], keys, self.runs / name


def _train(recipes: list[str], keys: Row, path: Path) -> None:
    if not _done(path):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* is replaced by")  # the remedy of tiny.yaml, by design
            textvae.train(recipes, {key: value for key, value in keys.items() if key != "init"}, path, keys.get("init"))


def _done(path: Path) -> bool:
    return Run(path).status == "done"


def _command(name: str, recipes: Sequence[str | Path], options: Row) -> str:
    said = " ".join(f"--{key.replace('__', '.')} {_quoted(value)}" for key, value in options.items())
    shown = [str(Path(r).relative_to(HERE.parents[1])) if isinstance(r, Path) else r for r in recipes]
    return f"textvae train {' '.join(shown)} {said} --run runs/notes/{name}"


def main(claim: Callable[[Notes], Page]) -> None:
    """Answer one claim from the command line."""
    parser = argparse.ArgumentParser(description=claim.__doc__)
    add_places(parser, HERE, Path("runs/notes"))
    parser.add_argument("--full", action="store_true", help="claim 9: the whole ladder, five seeds: hours")
    given = parser.parse_args()
    torch.set_num_threads(1)
    began, notes = time.monotonic(), Notes(*places(given), given.quick, given.full, given.jobs)
    publish(claim(notes), notes, time.monotonic() - began)


def add_places(parser: argparse.ArgumentParser, out: Path, runs: Path) -> None:
    """The options that all scripts share; pages and runs of a quick call go elsewhere, since runs are kept by name."""
    parser.add_argument("--out", type=Path, help=f"where pages are written; by default beside the script, if quick {QUICK}")
    parser.add_argument("--runs", type=Path, help=f"where runs are kept; by default {runs}, if quick {QUICK}")
    parser.add_argument(
        "--quick", action="store_true", help="everything small: to see that it works, not to believe"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs trained at once, one thread each")
    parser.set_defaults(usual=(out, runs))


def places(given: argparse.Namespace) -> tuple[Path, Path]:
    """Where pages and runs go."""
    out, runs = (QUICK, QUICK) if given.quick else given.usual
    return given.out or out, given.runs or runs


def publish(page: Page, notes: Notes, seconds: float) -> None:
    """Write a page, its table and its picture, and bring the overview up to date.

    Raises
    ------
    AssertionError
        If the page would say what the run did not show.
    """
    failed = [what for what, shown in page.holds.items() if not shown]
    assert not failed, f"claim {page.number}: not shown: {'; '.join(failed)}\n{table(page.table)}"
    out = notes.out
    out.mkdir(parents=True, exist_ok=True)
    stem = page.stem
    (out / f"{stem}.png").write_bytes(_fewer_colours(png(page.picture)))
    with (out / f"{stem}.csv").open("w", newline="", encoding="utf-8") as file:
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
    corpus = ", on the corpus that it writes into `runs/notes/tiny`" if "runs/notes/tiny" in runs else ""
    trained = f"The runs it trains, unless they are there already{corpus}:\n\n{runs}\n" if runs else ""
    training = f", and the training of {_counted(len(notes.training))} {_duration(sum(notes.training.values()))}, on one thread each" if runs else ""
    return (
        f"# Claim {page.number}: {page.title}\n\n**Claim.** {page.claim}\n\n**Answer: {page.verdict}.** {page.answer}\n\n"
        f"**Figure.** {page.figure}\n\n## What was done\n\n{page.text.strip()}\n\n"
        f"    .venv/bin/python {script}\n\n{trained}It took {_duration(seconds)}{training}.\n\n"
        f"## What came out\n\n![claim {page.number}]({page.stem}.png)\n\n{table(page.table)}\n"
        f"The same table as [CSV]({page.stem}.csv).\n\n## What remains open\n\n{page.open.strip()}\n"
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table of Markdown; a column that a row lacks is "—"."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *[[_shown(row.get(name, math.nan)) for name in head] for row in rows]]
    return "".join(_line(cells) for cells in lines)


def _line(cells: Sequence[str]) -> str:
    """A line of a table, in which a bar within a cell is escaped."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


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
    """The overview's rows, read from the pages themselves; a short page is named where there is no long one."""
    pages = {int(path.stem.split("-")[1]): path for path in sorted(out.glob("claim-*.md"))}
    rows = []
    for number, path in sorted(pages.items()):
        text = path.read_text("utf-8")
        claim, verdict, answer, figure = re.findall(
            r"\*\*Claim\.\*\* (.*)\n\n\*\*Answer: (.*?)\.\*\* (.*)\n\n\*\*Figure\.\*\* (.*)\n", text
        )[0]
        rows.append(_line([str(number), claim, f"**{verdict}**: {answer}", figure, f"[page]({path.name})"]))
    return rows


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "none"


def student(degrees: int, chance: float) -> float:
    """The t that Student's distribution exceeds with probability `chance`: for t = √ν tan θ its density is ∝ cos^(ν−1) θ."""
    angle = np.linspace(0, math.pi / 2, 200_001)
    density = np.cos((angle[1:] + angle[:-1]) / 2) ** (degrees - 1)
    above = np.append(density[::-1].cumsum()[::-1], 0) / (2 * density.sum())
    return math.sqrt(degrees) * math.tan(np.interp(chance, above[::-1], angle[::-1]))


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and " " in value else str(value)


def _counted(runs: int) -> str:
    return "its run" if runs == 1 else f"its {runs} runs"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
