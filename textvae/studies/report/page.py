"""One self-contained page of a study, and the same numbers and figures as CSV and PNG.

Only what the runs wrote is read; no model is built. Undefined numbers are —, in CSV an empty cell.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from textvae.errors import counted
from textvae.files import write_atomically
from textvae.runs import Run
from textvae.studies.manifest import Manifest, Record, State
from textvae.studies.report import tables
from textvae.studies.report.beside import published_beside_ours
from textvae.studies.report.bibliography import bibliography
from textvae.studies.report.entries import Entry, Row, read_entries, rows_of
from textvae.studies.report.factors import factors, probed_sentences
from textvae.studies.report.gathered import gathered
from textvae.studies.report.html import chip, details, document, figure, listed, section, sentence, table
from textvae.studies.report.pictures import Picture, pictures_of
from textvae.studies.report.provenance import code_of
from textvae.studies.report.published import GRADES, SPLIT, beside
from textvae.studies.report.spreadsheets import rows_csv, runs_csv

__all__ = ["write_report"]

MEASURES = "Alemi et al. 2018; Burda et al. 2016; Hoffman & Johnson 2016 — what the report measures with"
SHOWN = 5
"""Number of samples and reconstructions shown per run."""
HOW = (
    "Nats per sentence unless stated; EOS counted. Mean ± standard error over seeds (s.e. = s.d. / √n); beneath it "
    "the standard deviation over seeds (s.d.). A row of one seed has neither. K is the number of samples behind an "
    "importance-weighted estimate, N the reference set of a mutual information, which cannot exceed ln N: ≥ marks "
    "one that is saturated, too close to ln N in some seed. A language model’s likelihood is exact. — means "
    "that the run has no such number."
)
AT_RATE = (
    "Each seed’s curve over the strengths of its remedy, interpolated linearly between the two runs on either side "
    "of the rate R. Mean ± standard error over the seeds whose strengths bracket R; no row where none do. Updates "
    "are those of the whole training, first stage included."
)
PROBES = (
    "I(z; f) ≥, in nats: a lower bound by a linear probe of z ~ q(z|x), fitted on train, scored on held-out z; Σ "
    "is the sum of the bounds. H(f) is the factor’s entropy, I(x; f) the most that a sentence reveals. Controls: "
    "the bound for the z of an untrained encoder, and for labels shuffled in fitting; beside the probe’s accuracy, "
    "that of always guessing the majority."
)
PUBLISHED = (
    "A published row is shown only with runs that have every setting defining it. Grades — "
    + "; ".join(f"{grade}: {meaning}" for grade, meaning in GRADES.items())
    + ". A figure of grade M is not verified."
)


def write_report(directory: Path) -> Path:
    """Write `report/` into the directory of a study, or of any runs, and return its page.

    Raises
    ------
    RunError
        If the directory holds neither.
    """
    manifest = Manifest.read(directory) or gathered(directory)
    entries = read_entries(directory, manifest)
    corpora = rows_of(entries)
    out = directory / "report"
    out.mkdir(exist_ok=True)
    pictures = [
        picture
        for name, rows in corpora.items()
        for picture in pictures_of(name, rows, manifest.splits, manifest.baseline)
    ]
    for picture in pictures:
        write_atomically(out / f"{picture.name}.png", picture.png)
    write_atomically(out / "rows.csv", rows_csv(corpora, manifest))
    write_atomically(out / "runs.csv", runs_csv(entries, manifest))
    works = [MEASURES, *manifest.remedies.values()]
    if SPLIT in manifest.splits:
        shown = (line for rows in corpora.values() for lines, _ in beside(rows) for line in lines)
        works += [f"{line.work} — published" for line in shown]
    write_atomically(out / "references.bib", bibliography(works))
    body = [
        _head(directory, manifest),
        _failures(manifest),
        _unevaluated(entries),
        *(
            _corpus(name, rows, manifest, [picture for picture in pictures if picture.corpus == name])
            for name, rows in corpora.items()
        ),
        section("What the rows are", _legend(manifest)),
        section("BibTeX", f"<pre>{escape(bibliography(works))}</pre>"),
        section("The study", _file(directory / "study.yaml")),
    ]
    write_atomically(out / "report.html", document(manifest.title, *body))
    return out / "report.html"


def _file(path: Path) -> str:
    return f"<pre>{escape(path.read_text('utf-8'))}</pre>" if path.exists() else ""


def _head(directory: Path, manifest: Manifest) -> str:
    """The title, the runs, and the code and devices that made them."""
    stages = [record for record in manifest.records.values() if record.stage]
    runs = [record for record in manifest.records.values() if not record.stage]
    made = [Run(directory / path).environment for path in manifest.records]
    versions = sorted({f"textvae {m['textvae']}" for m in made if "textvae" in m})
    devices = sorted({m["device"] for m in made if "device" in m})
    states = [_states(runs, "run"), *([_states(stages, "first stage")] if stages else [])]
    said = "; ".join([*states, *versions, *devices])
    return (
        f"<h1>{escape(manifest.title)}</h1><p class='note'>{escape(said)}. {escape(code_of(made))}</p>"
        f"<p class='note'>{escape(HOW)}</p>"
    )


def _states(records: Sequence[Record], what: str) -> str:
    found = Counter(record.state for record in records)
    order: tuple[State, ...] = ("done", "running", "waiting", "interrupted", "failed")
    each = ", ".join(f"{found[state]} {state}" for state in order if found[state])
    return f"{counted(len(records), what)}: {each}"


def _failures(manifest: Manifest) -> str:
    failed = [record for record in manifest.records.values() if record.state == "failed"]
    rows = [[chip("failed") + escape(r.path), escape(f"{r.path}.log"), sentence(r.reason)] for r in failed]
    return section("Failed", table(["run", "log", "its last line"], rows, texts=3)) if rows else ""


def _unevaluated(entries: Sequence[Entry]) -> str:
    """The runs that have weights but no numbers."""
    paths = [entry.record.path for entry in entries if entry.run.best.exists() and not entry.evaluation]
    note = "Trained, but in no table until evaluated: textvae evaluate RUN --split test"
    return section("Not evaluated", escape(", ".join(paths)), note=note)


def _corpus(name: str, rows: Sequence[Row], manifest: Manifest, pictures: Sequence[Picture]) -> str:
    entries = [entry for row in rows for entry in row.entries]
    parts = [part for split in manifest.splits for part in _split(split, rows, manifest, pictures)]
    parts += [figure(picture.png, picture.caption) for picture in pictures if not picture.split]
    if SPLIT in manifest.splits:
        title = f"Published figures beside ours, {SPLIT}"
        parts.append(section(title, published_beside_ours(rows), level=3, note=PUBLISHED))
    parts.append(
        section("Samples and reconstructions", _showcases(rows), level=3, note="The first seed of each row.")
    )
    parts.append(details(f"Every run ({len(entries)})", tables.runs(entries, manifest.splits)))
    return section(name, *parts)


def _split(split: str, rows: Sequence[Row], manifest: Manifest, pictures: Sequence[Picture]) -> Iterator[str]:
    """Everything measured on a split."""
    size = _size({size for row in rows for size in row.settings(split, "sentences")})
    yield section(f"{split}{size}", tables.measured(rows, split, manifest.metrics, manifest.baseline), level=3)
    yield from (figure(picture.png, picture.caption) for picture in pictures if picture.split == split)
    yield section(f"At matched rate, {split}", tables.matched_rates(rows, split), level=3, note=AT_RATE)
    held_out = _size(probed_sentences(rows, split))
    title = f"Information in z about the grammar’s factors, {split}{held_out}"
    yield section(title, factors(rows, split), level=3, note=PROBES)


def _size(sentences: set[int]) -> str:
    return f", {min(sentences):,} sentences" if len(sentences) == 1 else ""


def _showcases(rows: Sequence[Row]) -> str:
    """One card per row: samples, reconstructions and an interpolation of its first seed."""
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
