"""The report's figures as PNG, each with its caption; none of what no run has a number for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from textvae.plots.figure import png
from textvae.studies.report import plots
from textvae.studies.report.entries import Row

__all__ = ["Picture", "pictures_of"]

PLANE = "Rate–distortion plane: a point a run, a remedy's strengths joined; grey lines have equal −ELBO."
LIKELIHOOD = "Importance-weighted NLL over the rate: what using z costs, at matched rate."
SPECTRUM = (
    f"Rate of each dimension, largest first: a line a run; less than {plots.SMALLEST_RATE:g} nats is drawn there."
)
COURSE = "Valid rate over training: a line a run."


@dataclass(frozen=True)
class Picture:
    """A figure of one corpus, on one split or, with an empty one, over training."""

    corpus: str
    split: str
    kind: str
    caption: str
    png: bytes

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.corpus, self.split, self.kind)))


def pictures_of(corpus: str, rows: Sequence[Row], splits: Sequence[str]) -> Iterator[Picture]:
    """Plane, likelihood and spectrum on every split, and the rate over training."""
    for split in splits:
        if any(row.summary(split, "rate").n for row in rows):
            yield Picture(corpus, split, "plane", PLANE, png(plots.plane(rows, split)))
            yield Picture(corpus, split, "likelihood", LIKELIHOOD, png(plots.likelihood_by_rate(rows, split)))
        spectral = [row for row in rows if any(e.measured(split).get("rate_per_dimension") for e in row.entries)]
        if spectral:
            yield Picture(corpus, split, "spectrum", SPECTRUM, png(plots.spectra(spectral, split)))
    trained = [row for row in rows if any(any(entry.course("valid", "rate")[1]) for entry in row.entries)]
    if trained:
        yield Picture(corpus, "", "rate", COURSE, png(plots.courses(trained)))
