"""Claim 9 on Penn Treebank: is a collapsed VAE as good as a language model of its size? A day; needs $TEXTVAE_DATA.

    .venv/bin/python experiments/notes/ptb_equivalence.py --jobs 2

Two one-sided tests at a margin of ±0.5 nat: the 90 % interval of the mean difference over seeds, paired over
sentences, must lie inside. Both are trained until valid stops improving. The runs are those of
`textvae study ptb --out runs/ptb`: what either has begun the other goes on with, and finished ones are kept.

References
----------
Schuirmann 1987, *A Comparison of the Two One-Sided Tests Procedure and the Power Approach*.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from notes import HERE, Notes, Row, Wanted, add_places, places, student, table
from textvae.data.batches import encode
from textvae.data.corpora import open_corpus
from textvae.errors import DataError
from textvae.evaluation.estimators import Survey, standard_error
from textvae.evaluation.listening import distortion_under
from textvae.evaluation.noise import SentenceNoise
from textvae.runs import Run

MARGIN = 0.5
PAIR = ("lm", "vanilla")


def main() -> None:
    """Train, measure on test, and say whether the two are equivalent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, choices=range(2, 11), default=3)
    add_places(parser, HERE, Path("runs/ptb"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    out, runs = places(given)
    notes = Notes(out, runs, given.quick, jobs=given.jobs)
    try:
        lines = list(open_corpus("ptb")["test"])[: 50 if given.quick else None]
    except DataError as error:
        parser.error(str(error))
    wanted = {(seed, remedy): run(seed, remedy) for seed in range(given.seeds) for remedy in PAIR}
    notes.ahead(list(wanted.values()))
    seen = {key: looked_at(notes, each, lines) for key, each in wanted.items()}
    length = {key: epochs(notes, each) for key, each in wanted.items()}
    rows = [row(seed, *(part[seed, remedy] for part in (seen, length) for remedy in PAIR)) for seed in range(given.seeds)]
    text = page(rows, len(lines))
    out.mkdir(parents=True, exist_ok=True)
    (out / "ptb-equivalence.md").write_text(text, "utf-8")
    print(text)


def run(seed: int, remedy: str) -> Wanted:
    return f"ptb/{remedy}/seed-{seed}", ("ptb", remedy), {"seed": seed, "threads": 1}


@dataclass(frozen=True)
class Seen:
    """A model on test, sentence by sentence (N,): −ELBO, its rate, and −log p(x|z) under z ~ P(z) and under z = 0."""

    loss: Tensor
    rate: Tensor
    drawn: Tensor
    still: Tensor


def looked_at(notes: Notes, wanted: Wanted, lines: list[str]) -> Seen:
    name, recipes, options = wanted
    vae = notes.trained(name, *recipes, **options)
    sequences = encode(lines, vae.tokenizer, vae.config.data.max_length)
    found = Survey.of(vae.model, sequences, SentenceNoise(0, vae.latent_dim))
    z = torch.randn(len(sequences), vae.latent_dim, generator=torch.Generator().manual_seed(0))
    drawn, still = (distortion_under(vae.model, sequences, code).double() for code in (z, torch.zeros_like(z)))
    return Seen(-found.elbo.double(), found.rate, drawn, still)


def epochs(notes: Notes, wanted: Wanted) -> float:
    """How many epochs a run took."""
    rows = Run(notes.runs / wanted[0]).rows()
    return max(row.get("epoch", 0.0) for row in rows)


def row(seed: int, alone: Seen, collapsed: Seen, alone_took: float, collapsed_took: float) -> Row:
    """A seed: both losses, and their difference, paired over sentences; then the collapsed VAE under a random z and under none."""
    behind, disturbed = collapsed.loss - alone.loss, collapsed.drawn - collapsed.still
    return {
        "seed": seed, "epochs": f"{alone_took:.0f} and {collapsed_took:.0f}", "language model": float(alone.loss.mean()), "collapsed VAE, −ELBO": float(collapsed.loss.mean()),
        "its rate": float(collapsed.rate.mean()), "difference": float(behind.mean()), "± over sentences": standard_error(behind),
        "−log p(x|z), z ~ P": float(collapsed.drawn.mean()), "at z = 0": float(collapsed.still.mean()), "what a random z costs": float(disturbed.mean()),
        "what it costs, ±": standard_error(disturbed),
    }  # fmt: skip


def page(rows: list[Row], sentences: int) -> str:
    """The verdict, and the seeds behind it."""
    values = torch.tensor([each["difference"] for each in rows], dtype=torch.float64)
    half = student(len(rows) - 1, 0.05) * float(values.std()) / math.sqrt(len(rows))
    low, high = float(values.mean()) - half, float(values.mean()) + half
    verdict = "equivalent" if low > -MARGIN and high < MARGIN else "not shown to be equivalent"
    return f"""# Penn Treebank: a collapsed VAE and a language model of its size

**Collapsed VAE less language model, both at convergence: {values.mean():+.3f} nats, 90 % interval {low:+.3f} to {high:+.3f} over {len(rows)} seeds: {verdict} at a margin of ±{MARGIN} nat**

The set-up of `experiments/corpora/ptb.yaml`, `lm` against `vanilla`, each until valid has stopped improving for good (`epochs`: what that took the two); test, {sentences:,} sentences. The difference is paired over sentences within a seed, and the interval is over seeds
(two one-sided tests, Schuirmann 1987). −ELBO by one z a sentence. A rate that is not near 0 would say that the VAE has not collapsed.
`what a random z costs` is −log p(x|z) of the collapsed VAE under a z drawn from the prior less that under z = 0, paired over sentences: what of the difference the random z could account for.

    .venv/bin/python experiments/notes/ptb_equivalence.py --seeds {len(rows)}

{table(rows)}"""


if __name__ == "__main__":
    main()
