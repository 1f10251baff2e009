"""Parts that hold the ELBO against log p(x): prior Monte Carlo, annealing, refinement, the two means."""

from typing import Any

from torch import Tensor

from textvae.console import counting
from textvae.data.batches import Sequences
from textvae.evaluation.annealed import Annealing, annealed, sandwich
from textvae.evaluation.estimators import survey
from textvae.evaluation.plane import Plane, exact_means, posterior_means
from textvae.evaluation.prior_monte_carlo import prior_curve
from textvae.evaluation.quadrature import integrate
from textvae.evaluation.refinement import Refinement, gaps, refinement
from textvae.models.distributions import DiagonalGaussian
from textvae.tasks.parts.part import Sizes
from textvae.tasks.parts.use import mean
from textvae.tasks.subject import Subject

__all__ = ["annealing", "posterior", "prior", "simulated"]

GRID = 2
"""The widest z that a grid can hold."""


def prior(subject: Subject, sizes: Sizes) -> dict[str, Any]:
    """−log of the likelihood averaged over the prior, and how few of its samples counted."""
    sequences = subject.some(sizes.prior_sentences)
    with counting("z from the prior", len(sequences)) as tick:
        curve = prior_curve(subject.vae.model, sequences, [sizes.prior_samples], subject.noise, tick=tick)
    return {
        **mean("prior_nll", curve.nll[-1]),
        "prior_nll_monte_carlo_error": float(curve.mean_error[-1]),
        "prior_nll_samples": sizes.prior_samples,
        "prior_nll_sentences": len(sequences),
        "prior_nll_effective_samples": float(curve.effective_samples[-1].median()),
    }


def posterior(subject: Subject, sizes: Sizes) -> dict[str, Any]:
    """The posterior gap and its two parts, and the plane of the two posterior means, on some sentences.

    On a sphere q cannot be refined: the gap stays whole, and means and log p(x) are found from q itself.
    """
    sequences = subject.some(sizes.gap_sentences)
    found = (_unrefined if subject.vae.model.posterior.spherical else _refined)(subject, sequences, sizes)
    return {"gap_sentences": len(sequences), **found}


def _unrefined(subject: Subject, sequences: Sequences, sizes: Sizes) -> dict[str, Any]:
    plane = _weighted(subject, sequences, sizes, None)
    elbo = survey(subject.vae.model, sequences, subject.noise).elbo
    return {
        **mean("posterior_iwae_nll", -plane.log_evidence),
        "posterior_iwae_samples": sizes.mean_samples,
        **mean("amortised_elbo", elbo),
        **mean("posterior_gap", plane.log_evidence - elbo),
        **_drawn(plane),
    }


def _refined(subject: Subject, sequences: Sequences, sizes: Sizes) -> dict[str, Any]:
    with counting("refining q for each sentence", len(sequences)) as tick:
        refined = refinement(subject.vae.model, sequences, subject.noise, steps=sizes.refining_steps, tick=tick)
    plane, evidence, settings = _evidence(subject, sequences, refined, sizes)
    found = gaps(evidence, refined)
    return {
        **settings,
        **mean("amortised_elbo", refined.amortised.elbo),
        **mean("amortised_rate", refined.amortised.rate),
        **mean("refined_elbo", refined.refined.elbo),
        **mean("refined_rate", refined.refined.rate),
        "refining_passes": refined.passes,
        **mean("posterior_gap", found.posterior_gap),
        **mean("amortisation_gap", found.amortisation_gap),
        **mean("family_gap", found.family_gap),
        **_drawn(plane),
    }


def simulated(subject: Subject, sizes: Sizes) -> dict[str, Any]:
    """log p(x) between two bounds, on sentences simulated from the model itself."""
    from textvae.generation import simulate

    model, count = subject.vae.model, sizes.simulated_sentences
    how = annealing(subject, sizes)
    sequences, z = simulate(model, count, subject.seed)
    with counting("annealing there and back", count) as tick:
        found = sandwich(model, sequences, z, how, tick=tick)
    return {
        **mean("ais_lower", found.lower),
        **mean("ais_upper", found.upper),
        **mean("ais_gap", found.gap),
        "ais_simulated": count,
        **_settings(how),
    }


def annealing(subject: Subject, sizes: Sizes) -> Annealing:
    """How every chain of these parts is annealed."""
    return Annealing(temperatures=sizes.temperatures, seed=subject.seed)


def _evidence(
    subject: Subject, sequences: Sequences, refined: Refinement, sizes: Sizes
) -> tuple[Plane, Tensor, dict[str, Any]]:
    """The two posterior means, log p(x) (N,), and how both were found.

    On a grid where z is narrow enough. Else from below, by importance weights with the refined q as proposal
    and, if there are temperatures, by annealing, which then counts.
    """
    model = subject.vae.model
    if subject.vae.latent_dim <= GRID:
        with counting("integrating over z", len(sequences)) as tick:
            exact = integrate(model, sequences, tick=tick)
        settings = {**mean("quadrature_nll", -exact.log_evidence), "quadrature_error": float(exact.error.max())}
        return exact_means(model, sequences, exact), exact.log_evidence, settings
    plane = _weighted(subject, sequences, sizes, DiagonalGaussian(refined.mean, refined.log_variance))
    settings = {**mean("refined_iwae_nll", -plane.log_evidence), "refined_iwae_samples": sizes.mean_samples}
    if not sizes.temperatures:
        return plane, plane.log_evidence, settings
    how = annealing(subject, sizes)
    with counting("annealing", len(sequences)) as tick:
        lower = annealed(model, sequences, how, tick=tick)
    return plane, lower, {**settings, **mean("ais_nll", -lower), **_settings(how)}


def _weighted(subject: Subject, sequences: Sequences, sizes: Sizes, proposal: DiagonalGaussian | None) -> Plane:
    """Both means by importance weights, from a proposal or from q itself."""
    with counting("means of p(z|x)", len(sequences)) as tick:
        return posterior_means(subject.vae.model, sequences, subject.noise, sizes.mean_samples, proposal, tick=tick)


def _drawn(plane: Plane) -> dict[str, Any]:
    """The plane's summary, and the points of a picture of it."""
    points = {"posterior_means": plane.model[plane.valid], "inference_means": plane.inference[plane.valid]}
    return {**plane.summary(), **{name: values.tolist() for name, values in points.items()}}


def _settings(how: Annealing) -> dict[str, int]:
    return {"ais_temperatures": how.temperatures, "ais_leapfrogs": how.leapfrogs, "ais_chains": how.chains}
