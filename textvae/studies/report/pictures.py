"""The report's figures as PNG, each with its caption; figures without any number are left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from textvae.plots.diagnosis import ACTIVE
from textvae.plots.figure import png
from textvae.studies.report.columns import KNOWN, number
from textvae.studies.report.entries import Row
from textvae.studies.report.marks import Point
from textvae.studies.report.panels import SMALLEST, courses, spectra
from textvae.studies.report.plane import CROWDED, beyond, crowd, likelihood_by_rate, plane

__all__ = ["Picture", "pictures_of"]

POINTS = (
    "One point per run; remedies at several strengths in colour, their means joined; "
    "those at a single strength in grey, by name"
)
PLANE = f"Rate–distortion plane. {POINTS}. Grey lines have equal −ELBO."
LIKELIHOOD = "Importance-weighted NLL{} over the rate: what using z costs, at matched rate. " + f"{POINTS}."
SPECTRUM = (
    "Active-unit spectra: Var E[z|x] of every dimension, over the sentences, largest first; one line per run. "
    f"Dotted: {ACTIVE}, from which a unit counts as active; smaller values than {SMALLEST:.5f} are drawn there."
)
COURSE = "Valid rate over training: one line per run; logarithmic above one nat."


@dataclass(frozen=True)
class Picture:
    """A figure of one corpus, on one split or, if `split` is empty, over training."""

    corpus: str
    split: str
    kind: str
    caption: str
    png: bytes

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.corpus, self.split, self.kind)))


def pictures_of(corpus: str, rows: Sequence[Row], splits: Sequence[str], baseline: str | None) -> Iterator[Picture]:
    """Plane, likelihood and spectrum on every split, and the rate over training."""
    for split in splits:
        if any(row.summary(split, "rate").n for row in rows):
            on_plane, by_rate = (_aside(rows, split, metric, baseline) for metric in ("distortion", "iwae_nll"))
            yield Picture(corpus, split, "plane", PLANE + on_plane, png(plane(rows, split, baseline)))
            likelihood = png(likelihood_by_rate(rows, split, baseline))
            made = KNOWN["iwae_nll"].estimators(rows, split)
            caption = LIKELIHOOD.format(f", {made}," if made else "") + by_rate
            yield Picture(corpus, split, "likelihood", caption, likelihood)
        spectral = [row for row in rows if any(e.measured(split).get("mean_variances") for e in row.entries)]
        if spectral:
            yield Picture(corpus, split, "spectrum", SPECTRUM, png(spectra(spectral, split)))
    trained = [row for row in rows if any(any(entry.course("valid", "rate")[1]) for entry in row.entries)]
    if trained:
        yield Picture(corpus, "", "rate", COURSE, png(courses(trained)))


def _aside(rows: Sequence[Row], split: str, metric: str, baseline: str | None) -> str:
    """A caption for the runs without a name in the figure, and those outside it."""
    near, far = crowd(rows, split, metric, baseline), beyond(rows, split, metric)
    column, labelled = KNOWN[metric], {row.label: row for row in rows}

    def numbers(label: str, point: Point) -> str:
        made = column.note(labelled[label], split)
        value = f"{column.heading} {number(point.value, 1)}" + (f", {made}" if made else "")
        return f"{label} (rate {number(point.rate, 1)}, {value})"

    outside = (numbers(label, point) for label, point in far)
    return "".join(
        (
            f" Unnamed at the left, at a rate below {CROWDED:g} nats: {', '.join(near)}." if near else "",
            f" Outside the frame: {', '.join(outside)}." if far else "",
        )
    )
