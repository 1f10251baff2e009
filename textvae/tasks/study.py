"""`textvae study`: every run of a study, each in its own processes and folder."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from textvae import builder
from textvae.config import Config, changed_keys
from textvae.config.recipes import resolve
from textvae.console.output import remark
from textvae.console.progress import StudyDisplay
from textvae.data.corpora import Corpus, open_corpus
from textvae.errors import ConfigError, DataError, RunError, TextvaeError, counted, did_you_mean
from textvae.evaluation.evaluate import NUMBERS
from textvae.files import write_atomically
from textvae.runs import Run
from textvae.studies.conduct import Conductor, completed, finished
from textvae.studies.grid import Cell, expand, shared
from textvae.studies.jobs import Job, job_of, log_of
from textvae.studies.launchers import Launcher, LauncherName, launcher_named
from textvae.studies.manifest import Manifest, Record, StudyDirectory
from textvae.studies.study import Study, read_study
from textvae.tasks.environment import require_same_sentences

__all__ = ["study"]

SETTINGS = "settings.yaml"


def study(name: str, out: Path | None = None, jobs: int | None = None, launcher: LauncherName = "local") -> Path:
    """Run the unfinished cells of a study in `out`, by default `runs/<its name>`, and return that directory.

    Raises
    ------
    ConfigError
        If any cell cannot be run, or not by this launcher; nothing is then started or written.
    RunError
        If the study was stopped, or any of its runs failed.
    """
    file = resolve(name, ("studies",))
    asked = read_study(file)
    out = out or Path("runs") / file.stem
    cells = _checked(asked, file, out, launcher)
    directory = StudyDirectory(out)
    try:
        # First, since it touches nothing here: a launcher that is refused leaves a study, or no folder, as it was.
        with closing(_launcher(launcher, jobs, out, asked, cells)) as made:
            job = partial(job_of, out=out, settings=out / SETTINGS, measures=asked.evaluate, threads=made.threads)
            for cell in cells.values():
                made.check(job(cell))
            directory.create()
            with directory.lock():
                _prepare(out, asked, file, cells.values())
                manifest = _manifest(out, asked, file, cells)
                _remark_on_others(out, cells)
                _conduct(out, cells, manifest, made, job)
    except BrokenPipeError:
        raise  # of the terminal, not of the study
    except OSError as error:
        raise RunError(f"{out}: cannot be written to: {error.strerror or error}") from None
    _report_failures(out, cells, manifest)
    return out


def _checked(asked: Study, file: Path, out: Path, launcher: LauncherName) -> dict[str, Cell]:
    """Every cell by its path, in the order to run them.

    Raises
    ------
    ConfigError
        If any cell cannot be run, after printing every reason.
    """
    unknown = [metric for metric in asked.metrics if metric not in NUMBERS]
    problems = [
        f"{file}: metrics: {metric!r} is not a number of an evaluation{did_you_mean(metric, NUMBERS)}; choose from "
        + ", ".join(NUMBERS)
        for metric in unknown
    ]
    cells, wrong = expand(asked, file)
    problems += [*wrong, *_elsewhere(cells, out, launcher)]
    for problem in problems:
        remark(problem)
    if problems:
        listed = f"{counted(len(problems), 'mistake')}, listed above"
        raise ConfigError(f"{file}: {listed}; nothing was started")
    return {cell.path: cell for cell in cells}


def _elsewhere(cells: Iterable[Cell], out: Path, launcher: LauncherName) -> Iterable[str]:
    """Problems outside the settings: corpora, devices, and runs that already exist.

    Devices must be available on this machine only if the runs are launched on it.
    """
    seen: set[Hashable] = set()
    opened = cache(lambda name, column: open_corpus(name, column=column))
    for cell in cells:
        data, name, training = cell.config.data, cell.config.device, cell.config.training
        checks: dict[Hashable, Callable[[], object]] = {
            (data.corpus, data.column): partial(opened, data.corpus, data.column),
            (name, training.precision, training.graphs): partial(
                _refuse_device, cell.config, here=launcher == "local"
            ),
            cell.path: partial(_refuse_other, Run(out / cell.path), cell, opened),
        }
        for key, check in checks.items():
            try:
                if key not in seen:
                    check()
            except TextvaeError as error:
                yield f"{cell.path}: {error}"
            seen.add(key)


def _refuse_device(config: Config, *, here: bool) -> None:
    builder.refuse_device(config, builder.device(config.device, "device", here=here), ".".join)


def _refuse_other(run: Run, cell: Cell, opened: Callable[[str, str | None], Corpus]) -> None:
    """Raise if there is a run of these settings that was made with others, or of other sentences."""
    if not run.exists():
        return
    changed = changed_keys(run.config, cell.config)
    if changed:
        raise RunError(f"{run.path}: was made with other settings of {', '.join(changed)}; choose another --out")
    data = cell.config.data
    with suppress(DataError):  # which is told of the corpus, once
        require_same_sentences(run, cell.config, opened(data.corpus, data.column), "choose another --out")


def _prepare(out: Path, asked: Study, file: Path, cells: Iterable[Cell]) -> None:
    """Write the files that the study's runs and its report need."""
    write_atomically(out / StudyDirectory.MARKER, file.read_bytes())
    _write_yaml(out / SETTINGS, "what study.yaml sets for every run", shared(asked))
    for cell in cells:
        if cell.stage:
            (out / cell.path).parent.mkdir(parents=True, exist_ok=True)
            _write_yaml(
                out / f"{cell.path}.yaml", "a first stage that runs of this study share", cell.config.plain()
            )


def _write_yaml(path: Path, what: str, values: Mapping[str, Any]) -> None:
    write_atomically(path, f"# {what}\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}")


def _manifest(out: Path, asked: Study, file: Path, cells: dict[str, Cell]) -> Manifest:
    """The manifest with the known state of every cell; only finished cells count as done."""
    manifest = Manifest(
        title=_first_line(file) or file.stem,
        metrics=asked.metrics,
        splits=list(asked.evaluate.splits),
        baseline=asked.baseline,
        remedies={
            cell.remedy: "; ".join(map(_says, cell.recipes[1:])) for cell in cells.values() if not cell.stage
        },
        records={path: _record(cell) for path, cell in cells.items()},
    )
    if before := Manifest.read(out):
        manifest.keep(before.records)
    for path, record in manifest.records.items():
        done = record.state == "done" and finished(Run(out / path), cells[path], asked.evaluate)
        record.state = "done" if done else "interrupted" if record.state == "interrupted" else "waiting"
    manifest.write(out)
    return manifest


def _remark_on_others(out: Path, cells: Mapping[str, Cell]) -> None:
    """Say which runs the folder holds, of an earlier form of the study, that it no longer names."""
    found = (path.parent.relative_to(out).as_posix() for path in sorted(out.glob(f"*/*/seed-*/{Run.MARKER}")))
    others = [path for path in found if path not in cells]
    if others:
        remark(
            f"{out}: {counted(len(others), 'run')} that the study no longer names stay as they are, and the report"
            f" leaves them out: {', '.join(others)}"
        )


def _record(cell: Cell) -> Record:
    first = cell.first.path if cell.first else None
    return Record(cell.path, cell.corpus, cell.remedy, cell.strength, cell.seed, cell.stage, first)


def _launcher(name: LauncherName, jobs: int | None, out: Path, asked: Study, cells: Mapping[str, Cell]) -> Launcher:
    # A job that names its card, as cuda:1, must see all of them.
    cards = {cell.config.device for cell in cells.values() if cell.config.device.startswith("cuda")} == {"cuda"}
    return launcher_named(name, jobs, out / "slurm", asked.slurm, cards=cards)


def _conduct(
    out: Path, cells: dict[str, Cell], manifest: Manifest, launcher: Launcher, job: Callable[[Cell], Job]
) -> None:
    done = manifest.count(["done"])
    remark(f"{out}: {counted(len(cells), 'run')}, {done} already finished")
    if done == len(cells):
        return
    with StudyDisplay(completed(out, cells, manifest), len(cells)) as display:
        Conductor(out, cells, manifest, launcher, job, display).conduct()


def _report_failures(out: Path, cells: dict[str, Cell], manifest: Manifest) -> None:
    failed = [record for record in manifest.records.values() if record.state == "failed"]
    for record in failed:
        remark(f"{record.path} failed: {record.reason} ({log_of(cells[record.path], out)})")
    if failed:
        raise RunError(
            f"{out}: {len(failed)} of {counted(len(cells), 'run')} failed, as listed above; "
            "the same command tries again"
        )


def _says(recipe: str) -> str:
    return _first_line(resolve(recipe)) or Path(recipe).stem


def _first_line(file: Path) -> str:
    """The text of a file's first line if that is a comment, else empty."""
    first = file.read_text("utf-8").split("\n")[0]
    return first.lstrip("# ").rstrip() if first.startswith("#") else ""
