"""Claim 9 on Penn Treebank: is a collapsed VAE as good as a language model of its size? Hours; needs $TEXTVAE_DATA.

    .venv/bin/python experiments/notes/ptb_equivalence.py --seeds 3

Two one-sided tests at a margin of ±0.5 nat: the 90 % interval of the mean difference, paired over sentences and
over seeds, must lie inside. Runs resume, and finished ones are skipped.

References
----------
Schuirmann 1987, *A Comparison of the Two One-Sided Tests Procedure and the Power Approach*.
"""

import argparse
import math
from pathlib import Path

import torch

from notes import Notes
from textvae.data.batches import encode
from textvae.data.corpora import open_corpus
from textvae.evaluation.estimators import importance_weighted_nll, survey
from textvae.evaluation.noise import SentenceNoise

MARGIN = 0.5
STUDENT = {2: 6.314, 3: 2.920, 4: 2.353, 5: 2.132, 6: 2.015, 7: 1.943, 8: 1.895, 9: 1.860, 10: 1.833}
"""The 95 % point of Student's t, by the number of seeds."""


def main() -> None:
    """Train, measure on test, and say whether the two are equivalent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, choices=sorted(STUDENT), default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--runs", type=Path, default=Path("runs/notes/ptb"))
    given = parser.parse_args()
    notes = Notes(given.runs, given.runs)
    test = list(open_corpus("ptb")["test"])
    differences = []
    for seed in range(given.seeds):
        losses = []
        for remedy in ("lm", "vanilla"):
            vae = notes.trained(
                f"{remedy}-{seed}", "ptb", remedy, seed=seed, training__budget=f"{given.epochs} epochs", threads=1
            )
            sequences, noise = (
                encode(test, vae.tokenizer, vae.config.data.max_length),
                SentenceNoise(0, vae.latent_dim),
            )
            seen = survey(vae.model, sequences, noise)
            nll = importance_weighted_nll(vae.model, sequences, 50, noise)
            print(
                f"{remedy}, seed {seed}: −ELBO {-seen.elbo.mean():.3f}, rate {seen.rate.mean():.3f}, NLL {nll.mean():.3f}"
            )
            losses.append(-seen.elbo.double())
        differences.append(float((losses[1] - losses[0]).mean()))
    values = torch.tensor(differences)
    half = STUDENT[given.seeds] * float(values.std()) / math.sqrt(given.seeds)
    low, high = float(values.mean()) - half, float(values.mean()) + half
    verdict = "equivalent" if low > -MARGIN and high < MARGIN else "not shown to be equivalent"
    print(
        f"collapsed − language model: {values.mean():+.3f} nats, 90 % interval {low:+.3f} to {high:+.3f}: {verdict} at ±{MARGIN}"
    )


if __name__ == "__main__":
    main()
