"""Parts that compare the ELBO with log p(x): two curves, annealing, refinement, the two means."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from textvae.console.progress import counting
from textvae.data.batches import Sequences
from textvae.evaluation.annealed import Annealing, annealed, sandwich
from textvae.evaluation.curves import Curve, importance_curve
from textvae.evaluation.estimators import Survey, mean_with_error, standard_error
from textvae.evaluation.plane import Plane, exact_means, posterior_means
from textvae.evaluation.prior_monte_carlo import prior_curve
from textvae.evaluation.quadrature import integrate
from textvae.evaluation.refinement import Gaussian, Refinement, gaps, refinement
from textvae.generation import simulate
from textvae.tasks.parts.part import BOTH_WAYS, Part
from textvae.tasks.subject import Subject

__all__ = ["BoundCurve", "PosteriorGap", "PriorCurve", "Simulated"]

GRID = 2
"""Largest latent_dim for quadrature."""
WITH_REVERSE = 1.7
"""Cost of annealing in both directions, in that of one: they share its tuning."""


@dataclass(frozen=True)
class PriorCurve(Part):
    """−log of the likelihood averaged over the prior, and its effective sample size."""

    name = "prior"
    what = "likelihood estimated with z from the prior"
    needs = ("likelihood",)

    prior_sentences: int = 200
    prior_samples: int = 1000

    def passes(self, subject: Subject) -> float:
        return self.prior_sentences * self.prior_samples

    def measure(self, subject: Subject) -> dict[str, Any]:
        sequences = subject.evenly(self.prior_sentences)
        with counting("z from the prior", len(sequences)) as tick:
            curve = prior_curve(subject.vae.model, sequences, rising(self.prior_samples), subject.noise, tick=tick)
        drawn = _drawn_curve("prior", curve)
        # With a small effective sample size, of any sentence, the standard error is meaningless.
        believed = zip(drawn["prior_curve_nll_se"], curve.mean_error.isnan().tolist(), strict=True)
        drawn["prior_curve_nll_se"] = [math.nan if unknown else error for error, unknown in believed]
        return {
            "prior_nll": drawn["prior_curve_nll"][-1],
            "prior_nll_se": drawn["prior_curve_nll_se"][-1],
            "prior_nll_monte_carlo_error": float(curve.mean_error[-1]),
            "prior_nll_samples": self.prior_samples,
            "prior_nll_sentences": len(sequences),
            "prior_nll_effective_samples": drawn["prior_curve_effective_samples"][-1],
            **drawn,
        }


@dataclass(frozen=True)
class BoundCurve(Part):
    """The importance-weighted bound as K grows, on the sentences used for the posterior gap."""

    name = "bound"
    what = "the importance-weighted bound as K grows"
    needs = ("likelihood",)

    gap_sentences: int = 100
    curve_samples: int = 1000

    def passes(self, subject: Subject) -> float:
        return self.gap_sentences * self.curve_samples

    def measure(self, subject: Subject) -> dict[str, Any]:
        sequences = subject.evenly(self.gap_sentences)
        with counting("the bound as K grows", len(sequences)) as tick:
            curve = importance_curve(
                subject.vae.model, sequences, rising(self.curve_samples), subject.noise, tick=tick
            )
        return _drawn_curve("iwae", curve)


def rising(most: int) -> list[int]:
    """1, 3, 10, 30, … up to `most`."""
    steps = [count for power in range(len(str(most))) for count in (10**power, 3 * 10**power) if count < most]
    return [*steps, most]


@dataclass(frozen=True)
class PosteriorGap(Part):
    """The posterior gap and its two parts, and the plane of the two posterior means, on some sentences.

    On a sphere q cannot be refined: the gap is not split, and means and log p(x) are estimated from q itself.
    """

    name = "posterior"
    what = "posterior gap, its parts, means of p(z|x)"
    needs = ("likelihood",)

    gap_sentences: int = 100
    refining_steps: int = 150
    mean_samples: int = 256
    temperatures: int = 50

    def passes(self, subject: Subject) -> float:
        return self.gap_sentences * (
            BOTH_WAYS * (4 * self.refining_steps + gradients(self.temperatures)) + self.mean_samples
        )

    def measure(self, subject: Subject) -> dict[str, Any]:
        sequences = subject.evenly(self.gap_sentences)
        spherical = subject.vae.model.posterior.spherical
        found = self._unrefined(subject, sequences) if spherical else self._refined(subject, sequences)
        return {"gap_sentences": len(sequences), **found}

    def _unrefined(self, subject: Subject, sequences: Sequences) -> dict[str, Any]:
        plane = self._weighted(subject, sequences, None)
        elbo = Survey.of(subject.vae.model, sequences, subject.noise).elbo
        return {
            "evidence": "iwae",
            **mean_with_error("posterior_iwae_nll", -plane.log_evidence),
            "posterior_iwae_samples": self.mean_samples,
            **mean_with_error("amortised_elbo", elbo),
            **mean_with_error("posterior_gap", plane.log_evidence - elbo),
            **_drawn(plane),
        }

    def _refined(self, subject: Subject, sequences: Sequences) -> dict[str, Any]:
        with counting("refining q for each sentence", len(sequences)) as tick:
            refined = refinement(subject.vae.model, sequences, subject.noise, steps=self.refining_steps, tick=tick)
        plane, evidence, settings = self._evidence(subject, sequences, refined)
        found = gaps(evidence, refined)
        return {
            **settings,
            **mean_with_error("amortised_elbo", refined.amortised.elbo),
            **mean_with_error("amortised_rate", refined.amortised.rate),
            **mean_with_error("refined_elbo", refined.refined.elbo),
            **mean_with_error("refined_rate", refined.refined.rate),
            **mean_with_error("refined_rate_gain", refined.refined.rate - refined.amortised.rate),
            "refined_elbo_passes": refined.passes,
            **mean_with_error("posterior_gap", found.posterior_gap),
            **mean_with_error("amortisation_gap", found.amortisation_gap),
            **mean_with_error("family_gap", found.family_gap),
            **_drawn(plane),
        }

    def _evidence(
        self, subject: Subject, sequences: Sequences, refined: Refinement
    ) -> tuple[Plane, Tensor, dict[str, Any]]:
        """The two posterior means, log p(x) (N,), and how both were computed.

        By quadrature if latent_dim ≤ GRID. Else a lower bound: importance weights with the refined q as
        proposal. If there are temperatures, annealing gives another beside it; the larger of two noisy bounds is
        not chosen, since it would be too large on average.
        """
        model = subject.vae.model
        if subject.vae.latent_dim <= GRID:
            with counting("integrating over z", len(sequences)) as tick:
                exact = integrate(model, sequences, tick=tick)
            settings = {
                **mean_with_error("quadrature_nll", -exact.log_evidence),
                "quadrature_error": float(exact.error.max()),
            }
            return exact_means(model, sequences, exact), exact.log_evidence, {"evidence": "quadrature", **settings}
        plane = self._weighted(subject, sequences, refined.q)
        weighted = plane.log_evidence
        settings = {**mean_with_error("refined_iwae_nll", -weighted), "refined_iwae_samples": self.mean_samples}
        if not self.temperatures:
            return plane, weighted, {"evidence": "refined_iwae", **settings}
        how = annealing(subject, self.temperatures)
        with counting("annealing", len(sequences)) as tick:
            lower = annealed(model, sequences, how, tick=tick)
        settings |= {**mean_with_error("ais_nll", -lower), **_settings(how)}
        return plane, weighted, {"evidence": "refined_iwae", **settings}

    def _weighted(self, subject: Subject, sequences: Sequences, proposal: Gaussian | None) -> Plane:
        """Both means by importance weights, from a proposal or from q itself."""
        with counting("means of p(z|x)", len(sequences)) as tick:
            return posterior_means(
                subject.vae.model, sequences, subject.fresh_noise, self.mean_samples, proposal, tick=tick
            )


@dataclass(frozen=True)
class Simulated(Part):
    """log p(x) between two bounds, on sentences simulated from the model itself."""

    name = "simulated"
    what = "log p(x) between two bounds, on simulated sentences"
    needs = ("likelihood", "space")

    simulated_sentences: int = 100
    temperatures: int = 50

    def passes(self, subject: Subject) -> float:
        return WITH_REVERSE * BOTH_WAYS * self.simulated_sentences * gradients(self.temperatures)

    def measure(self, subject: Subject) -> dict[str, Any]:
        model, count = subject.vae.model, self.simulated_sentences
        how = annealing(subject, self.temperatures)
        sequences, z = simulate(model, count, subject.seed)
        with counting("annealing forward and in reverse", count) as tick:
            found = sandwich(model, sequences, z, how, tick=tick)
        return {
            **mean_with_error("ais_lower", found.lower),
            **mean_with_error("ais_upper", found.upper),
            **mean_with_error("ais_gap", found.gap),
            "ais_simulated": count,
            **_settings(how),
        }


def annealing(subject: Subject, temperatures: int) -> Annealing:
    """The annealing settings of these parts."""
    return Annealing(temperatures=temperatures, seed=subject.seed)


def gradients(temperatures: int) -> int:
    """Forward-backward passes per sentence that annealing takes; none without temperatures."""
    return Annealing(temperatures=temperatures).gradients if temperatures else 0


def _drawn_curve(name: str, curve: Curve) -> dict[str, Any]:
    """Means over sentences for every number of samples, each with its standard error over sentences."""
    errors = [standard_error(row) for row in curve.nll]
    return {
        f"{name}_curve_samples": list(curve.samples),
        f"{name}_curve_nll": curve.nll.mean(1).tolist(),
        f"{name}_curve_nll_se": errors,
        f"{name}_curve_effective_samples": curve.effective_samples.median(1).values.tolist(),
    }


def _drawn(plane: Plane) -> dict[str, Any]:
    """The plane's summary, and the points to plot."""
    points = {"posterior_means": plane.model[plane.valid], "inference_means": plane.inference[plane.valid]}
    return {**plane.summary(), **{name: values.tolist() for name, values in points.items()}}


def _settings(how: Annealing) -> dict[str, int]:
    return {"ais_temperatures": how.temperatures, "ais_leapfrogs": how.leapfrogs, "ais_chains": how.chains}
