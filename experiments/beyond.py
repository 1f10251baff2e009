"""Is a VAE's −ELBO below the NLL of a language model? Every sentence of a split, under a refined q.

    .venv/bin/python experiments/beyond.py RUN --lm LM --split test

q(z|x) of each sentence is refined with the model fixed and scored on noise that it was not fitted to, so that the
result is a valid −ELBO; the language model's NLL is exact. Nothing is chosen on the split. Differences are paired
over sentences and written to RUN/evaluation/SPLIT/. Penn Treebank's test split takes half an hour on one thread.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textvae.console.progress import counting
from textvae.errors import RunError, TextvaeError
from textvae.evaluation.estimators import Survey, importance_weighted_nll, mean_with_error
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.refinement import refinement
from textvae.runs import Run
from textvae.tasks.parts.part import BOTH_WAYS, Part
from textvae.tasks.subject import Subject, subject_of


@dataclass(frozen=True)
class Beyond(Part):
    """Upper bounds on −log p(x) of the VAE less the NLL of the language model, in nats per sentence."""

    name = "beyond"
    what = "bounds of the VAE less the NLL of the language model"
    needs = ("likelihood", "lm")

    refining_steps: int = 60
    samples: int = 2
    scored: int = 32
    weighted: int = 100
    sentences: int | None = None

    def passes(self, subject: Subject) -> float:
        refining = 2 * BOTH_WAYS * self.refining_steps * self.samples
        return len(subject.sequences) * (refining + 2 * self.scored + self.weighted)

    def measure(self, subject: Subject) -> dict[str, Any]:
        model = subject.vae.model
        sequences = subject.evenly(self.sentences or len(subject.sentences))
        assert subject.lm is not None
        lm = -Survey.of(subject.lm.model, sequences, SentenceNoise(subject.seed, 0)).elbo
        with counting("importance-weighted bound", len(sequences)) as tick:
            weighted = importance_weighted_nll(model, sequences, self.weighted, subject.noise, tick=tick)
        with counting("refining q for each sentence", len(sequences)) as tick:
            found = refinement(
                model,
                sequences,
                subject.noise,
                steps=self.refining_steps,
                samples=self.samples,
                scoring=self.scored,
                tick=tick,
            )
        bounds = {
            "amortised": -found.amortised.elbo,
            "refined": -found.refined.elbo,
            f"iwae_{self.weighted}": weighted,
        }
        return {
            "sentences": len(sequences),
            **mean_with_error("lm_nll", lm),
            **{
                name: value
                for bound, nll in bounds.items()
                for name, value in (
                    *mean_with_error(bound, nll).items(),
                    *mean_with_error(f"{bound}_less_lm", nll.double() - lm.double()).items(),
                )
            },
            **mean_with_error("amortised_rate", found.amortised.rate),
            **mean_with_error("refined_rate", found.refined.rate),
        }


def main() -> None:
    """Measure, unless it was before, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--lm", type=Path, required=True, help="the run of a language model")
    parser.add_argument("--split", default="test")
    parser.add_argument("--sentences", type=int, help="so many, evenly spaced; default: all")
    parser.add_argument("--weighted", type=int, default=100, help="samples K of the importance-weighted bound")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    try:
        subject = subject_of(Run.open(given.run), given.split, lm=given.lm, device=given.device)
        part = Beyond(weighted=given.weighted, sentences=given.sentences)
        if refusal := part.refusal(subject):
            raise RunError(f"{given.run}: {refusal}")
        found = part.numbers(subject)
    except TextvaeError as error:
        parser.error(str(error))
    for name in (name for name in found if f"{name}_se" in found):
        print(f"{name:24} {found[name]:9.3f} ± {found[f'{name}_se']:.3f}")


if __name__ == "__main__":
    main()
