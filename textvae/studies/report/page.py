"""One self-contained page of a study, and the same numbers and figures as CSV and PNG.

Only what the runs wrote is read; no model is built. Undefined is —, in CSV an empty cell.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from textvae.runs import write_atomically
from textvae.studies.manifest import Manifest
from textvae.studies.report import tables
from textvae.studies.report.bibliography import bibliography
from textvae.studies.report.entries import Entry, Row, read_entries, rows_of
from textvae.studies.report.html import chip, details, document, figure, listed, section, sentence, table
from textvae.studies.report.pictures import Picture, pictures_of
from textvae.studies.report.published import GRADES, comparable, published
from textvae.studies.report.spreadsheets import rows_csv, runs_csv

__all__ = ["write_report"]

MEASURES = "Alemi et al. 2018; Burda et al. 2016; Hoffman & Johnson 2016 — what the report measures with"
SHOWN = 5
"""Samples and reconstructions shown of a run."""
HOW = (
    "Nats per sentence unless said; EOS counted. Mean ± standard error over seeds (s.e. = s.d. / √n); beneath it "
    "the standard deviation over seeds (s.d.). A row of one seed has neither. K is the number of samples behind an "
    "importance-weighted estimate, N the reference set of a mutual information, which cannot exceed ln N. "
    "— means that the run has no such number."
)
AT_RATE = (
    "Linear interpolation between the strengths of a remedy on either side, means over seeds; not runs. "
    "— where its strengths do not bracket the rate."
)
PROBES = (
    "I(z; f) ≥, in nats: a lower bound by a linear probe, fitted on train, scored on held-out z. "
    "H(f) is the most there is to know, I(x; f) the most that the sentence tells."
)


def write_report(directory: Path) -> Path:
    """Write `report/` into a study's directory, and return its page.

    Raises
    ------
    RunError
        If it holds no study.
    """
    manifest = Manifest.read(directory)
    entries = read_entries(directory, manifest)
    corpora = rows_of(entries)
    out = directory / "report"
    out.mkdir(exist_ok=True)
    pictures = [picture for name, rows in corpora.items() for picture in pictures_of(name, rows, manifest.splits)]
    for picture in pictures:
        (out / f"{picture.name}.png").write_bytes(picture.png)
    write_atomically(out / "rows.csv", rows_csv(corpora, manifest))
    write_atomically(out / "runs.csv", runs_csv(entries, manifest))
    works = [MEASURES, *manifest.remedies.values()]
    if any(map(comparable, corpora.values())):
        works += [f"{line.work} — published" for line in published()]
    write_atomically(out / "references.bib", bibliography(works))
    body = [
        _head(directory, manifest, entries),
        _failures(manifest),
        *(
            _corpus(name, rows, manifest, [picture for picture in pictures if picture.corpus == name])
            for name, rows in corpora.items()
        ),
        section("What the remedies are", _legend(manifest)),
        section("BibTeX", f"<pre>{escape(bibliography(works))}</pre>"),
        section("The study", f"<pre>{escape((directory / 'study.yaml').read_text('utf-8'))}</pre>"),
    ]
    write_atomically(out / "report.html", document(manifest.title, *body))
    return out / "report.html"


def _head(directory: Path, manifest: Manifest, entries: Sequence[Entry]) -> str:
    """What the page is of, and with what code it was made."""
    states = ((state, manifest.count([state])) for state in ("done", "running", "waiting", "interrupted", "failed"))
    counted = ", ".join(f"{count} {state}" for state, count in states if count)
    made = [entry.run.environment for entry in entries]
    versions = sorted({f"textvae {m['textvae']}" for m in made if "textvae" in m})
    commits = sorted({_commit(m) for m in made if m.get("commit")})
    devices = sorted({m["device"] for m in made if "device" in m})
    said = "; ".join([f"{len(manifest.records)} runs: {counted}", *versions, *commits, *devices])
    return f"<h1>{escape(manifest.title)}</h1><p class='note'>{escape(said)}. {escape(HOW)}</p>"


def _commit(environment: Mapping[str, Any]) -> str:
    return f"commit {environment['commit'][:10]}" + (" with changes" if environment.get("diff_sha256") else "")


def _failures(manifest: Manifest) -> str:
    failed = [record for record in manifest.records.values() if record.state == "failed"]
    rows = [[chip("failed") + escape(r.path), escape(f"{r.path}.log"), sentence(r.reason)] for r in failed]
    return section("Failed", table(["run", "log", "its last line"], rows, texts=3)) if rows else ""


def _corpus(name: str, rows: Sequence[Row], manifest: Manifest, pictures: Sequence[Picture]) -> str:
    entries = [entry for row in rows for entry in row.entries]
    parts = []
    for split in manifest.splits:
        sentences = {size for row in rows for size in row.settings(split, "sentences")}
        size = f", {sentences.pop():,} sentences" if len(sentences) == 1 else ""
        parts += [
            section(f"{split}{size}", tables.measured(rows, split, manifest.metrics, manifest.baseline), level=3),
            *(figure(picture.png, picture.caption) for picture in pictures if picture.split == split),
            section(f"At matched rate, {split}", tables.matched_rates(rows, split), level=3, note=AT_RATE),
        ]
    parts += [figure(picture.png, picture.caption) for picture in pictures if not picture.split]
    parts.append(section("What z knows of the grammar's factors", tables.factors(rows), level=3, note=PROBES))
    if comparable(rows) and "test" in manifest.splits:
        grades = "; ".join(f"{grade}: {meaning}" for grade, meaning in GRADES.items())
        beside = tables.published_beside_ours(rows)
        parts.append(section("Published figures beside ours, test", beside, level=3, note=f"Grades — {grades}."))
    parts.append(section("What they say", _showcases(rows), level=3, note="The first seed of each row."))
    parts.append(details(f"Every run ({len(entries)})", tables.runs(entries, manifest.splits)))
    return section(name, *parts)


def _showcases(rows: Sequence[Row]) -> str:
    """A card a row: samples, reconstructions and an interpolation of its first seed."""
    cards = []
    for row in rows:
        run = row.entries[0].run
        pairs = [line.split("\t") for line in run.read_text("reconstructions.txt")[:SHOWN]]
        inside = "".join(
            (
                listed("samples, z from the prior", run.read_text("samples.txt")[:SHOWN]),
                listed("sentence → reconstruction", [" → ".join(pair) for pair in pairs]),
                listed("interpolation", run.read_text("interpolations.txt")),
            )
        )
        if inside:
            cards.append(f"<div class='card'><h4>{escape(row.label)}</h4>{inside}</div>")
    return f"<div class='cards'>{''.join(cards)}</div>" if cards else ""


def _legend(manifest: Manifest) -> str:
    return table(
        ["remedy", "what it does"],
        [[escape(name), sentence(says)] for name, says in manifest.remedies.items()],
        texts=2,
    )
