"""The plots of a diagnosis: each function takes numbers by name, and returns None if they are missing."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from textvae.plots.figure import BLACK, BLUE, GREEN, GREY, ORANGE, RED, Axes, Figure, canvas, legend

__all__ = ["ACTIVE", "bounds", "curves", "density", "dimensions", "listening", "plane", "positions", "training"]

Numbers = Mapping[str, Any]
ACTIVE = 0.01
"""Minimum Var_x E_q[z_d | x] of an active unit; `evaluation.collapse`, which plots do not import, counts them."""
ROOM = {"mean": (-1.0, 1.0), "variance": (0.0, 2.0)}
"""Minimum axis range of each moment, so that sampling noise looks small."""


def training(rows: Sequence[Numbers]) -> Figure | None:
    """Rate and distortion of the valid split over training."""
    valid = [row for row in rows if row.get("split") == "valid" and row.get("distortion") is not None]
    if len(valid) < 2:
        return None
    rates = {row["step"]: row["rate"] for row in valid if row.get("rate") is not None}
    figure, axes = canvas(2 if rates else 1)
    if rates:
        axes[0].plot(list(rates), list(rates.values()), color=BLUE, marker="o", markersize=3)
        axes[0].set_ylim(0, 1.1 * max(rates.values()) + 0.1)
        axes[0].set(title="rate on valid: at 0, z is unused", xlabel="optimiser step", ylabel="nats per sentence")
    steps, distortions = [row["step"] for row in valid], [row["distortion"] for row in valid]
    axes[-1].plot(steps, distortions, color=ORANGE, marker="o", markersize=3)
    axes[-1].set(title="distortion on valid", xlabel="optimiser step", ylabel="nats per sentence")
    return figure


def dimensions(found: Numbers) -> Figure | None:
    """Which dimensions are active, and how sharply the others have collapsed."""
    variances, rates, curve = found.get("mean_variances"), found.get("rates"), found.get("collapsed_dimensions")
    if not variances:
        return None
    figure, axes = canvas(2 if curve else 1)
    spectrum = axes[0]
    places = range(1, len(variances) + 1)
    spectrum.plot(places, variances, "o-", color=BLUE, markersize=4, label="variance of the posterior mean")
    if rates:
        spectrum.plot(places, rates, "s--", color=ORANGE, markersize=4, label="rate (nats)")
    spectrum.axhline(ACTIVE, color=BLACK, linewidth=1, linestyle=":", label=f"active above a variance of {ACTIVE}")
    spectrum.set_yscale("log")
    _pad_log(spectrum, [*variances, *(rates or []), ACTIVE])
    spectrum.xaxis.get_major_locator().set_params(integer=True)
    spectrum.set(title="spectrum of z", xlabel="dimension, each curve sorted", ylabel="variance, or nats")
    legend(spectrum)
    if curve:
        axes[1].step(found["collapse_epsilons"], curve, where="post", color=BLUE)
        axes[1].set_xscale("log")
        axes[1].set_ylim(-0.3, len(variances) + 0.3)
        share = f"{1 - found['collapse_delta']:.0%}"
        axes[1].set(
            title=f"collapsed: rate below ε in {share} of sentences",
            xlabel="ε (nats)",
            ylabel=f"dimensions, of {len(variances)}",
        )
    return figure


def density(found: Numbers) -> Figure | None:
    """Mean and variance of q(z) against those of the prior, dimension by dimension."""
    if not found.get("aggregate_mean"):
        return None
    figure, panels = canvas(2)
    for axes, moment in zip(panels, ("mean", "variance"), strict=True):
        values, prior = found[f"aggregate_{moment}"], found[f"prior_{moment}"]
        places = range(1, len(values) + 1)
        axes.plot(places, prior, "s", color=GREY, markersize=5, label="p(z)")
        axes.plot(places, values, "o", color=BLUE, markersize=5, label="aggregate q(z)")
        axes.set(title=f"{moment} of z", xlabel="dimension", ylabel=moment)
        axes.xaxis.get_major_locator().set_params(integer=True)
        low, high = ROOM[moment]
        axes.set_ylim(min([low, *values, *prior]), 1.1 * max([high, *values, *prior]))
        legend(axes)
    return figure


def curves(found: Numbers) -> Figure | None:
    """The estimate of −log p(x) as the number of samples grows, z from q and z from the prior."""
    drawn = {"iwae": ("z from q", BLUE), "prior": ("z from the prior", ORANGE)}
    known = {name: style for name, style in drawn.items() if found.get(f"{name}_curve_nll")}
    if not known:
        return None
    figure, (axes,) = canvas(1)
    for name, (label, colour) in known.items():
        counts, values = found[f"{name}_curve_samples"], found[f"{name}_curve_nll"]
        errors = [error or 0 for error in found[f"{name}_curve_nll_se"]]  # none where too few samples are effective
        axes.errorbar(counts, values, errors, fmt="o-", color=colour, label=label, capsize=2)
    axes.set_xscale("log")
    axes.set(title="bound by number of samples", xlabel="samples K", ylabel="−log p(x), nats (± s.e.)")
    legend(axes)
    return figure


def listening(found: Numbers) -> Figure | None:
    """Distortion under the sentence's own z, the prior's and another sentence's."""
    names = {"own": BLUE, "prior": GREY, "shuffled": ORANGE}
    if found.get("distortion_own_z") is None:
        return None
    values = [found[f"distortion_{name}_z"] for name in names]
    figure, (axes,) = canvas(1)
    labels = ["its own", "the prior's", "another sentence's"]
    errors = [2 * (found.get(f"distortion_{name}_z_se") or 0) for name in names]
    for place, (value, error, colour) in enumerate(zip(values, errors, names.values(), strict=True)):
        axes.errorbar(value, place, xerr=error, fmt="o", color=colour, markersize=8, capsize=3)
        axes.annotate(f"{value:.2f}", (value, place), xytext=(0, 9), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.7)
    # At least four nats wide, so that a difference that is none does not fill it.
    room = max(0.25 * (max(values) - min(values)) + max(errors), (4 - max(values) + min(values)) / 2)
    axes.set_xlim(min(values) - room, max(values) + room)
    axes.set(title="does the decoder listen to z?", xlabel="−log p(x|z), nats per sentence (± 2 s.e.)")
    return figure


def plane(found: Numbers) -> Figure | None:
    """The mean of the model's posterior against that of q, one point per sentence and dimension."""
    model, inference = found.get("posterior_means"), found.get("inference_means")
    if not model or not inference:
        return None
    figure, (axes,) = canvas(1)
    across, up = ([value for row in rows for value in row] for rows in (inference, model))
    axes.plot(across, up, ".", color=BLUE, markersize=4, alpha=0.5, markeredgewidth=0)
    reach = 1.05 * max(map(abs, [*across, *up, 1.0]))
    axes.plot([-reach, reach], [-reach, reach], color=BLACK, linewidth=1, label="means agree")
    axes.axhline(0, color=ORANGE, linewidth=1, linestyle="--", label="points here: the model ignores z")
    axes.axvline(0, color=RED, linewidth=1, linestyle=":", label="points here: the inference lags")
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set(title="posterior means", xlabel="mean of q(z|x)", ylabel="mean of p(z|x)")
    legend(axes, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return figure


def bounds(found: Numbers) -> Figure | None:
    """−ELBO of the encoder's q and of the refined one, above the estimate of −log p(x) that the gaps rest on."""
    # Annealing is found in evaluations that were kept before the bound was fixed in advance.
    ways = {"quadrature": "by quadrature", "ais": "by annealing", "refined_iwae": "by importance weights"}
    way = found.get("evidence")
    if way not in ways:  # on a sphere q is not refined
        return None
    rows = [
        ("−ELBO of the encoder's q", -found["amortised_elbo"], RED),
        ("−ELBO of q refined", -found["refined_elbo"], ORANGE),
        (f"−log p(x), {ways[way]}", found[f"{way}_nll"], GREEN),
    ]
    figure, (axes,) = canvas(1)
    for place, (_, value, colour) in enumerate(rows):
        axes.plot(value, place, "o", color=colour, markersize=9)
        axes.annotate(f"{value:.2f}", (value, place), xytext=(0, 9), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.7)
    values = [value for _, value, _ in rows]
    room = max(0.25 * (max(values) - min(values)), (1 - max(values) + min(values)) / 2)
    axes.set_xlim(min(values) - room, max(values) + room)
    axes.set(
        title="posterior gap and its parts",
        xlabel=f"nats per sentence, mean of {found['gap_sentences']} sentences",
    )
    return figure


def positions(found: Numbers) -> Figure | None:
    """Gain of z over a language model at every position, and its cumulative sum minus the rate if there is one."""
    gain, net = found.get("lm_gain_by_position"), found.get("lm_gain_net_of_rate")
    if not gain:
        return None
    figure, panels = canvas(1 if net is None else 2)
    left = panels[0]
    places = range(1, len(gain) + 1)
    errors = [2 * (error or 0) for error in found["lm_gain_by_position_se"]]
    left.errorbar(places, gain, yerr=errors, color=BLUE, marker="o", markersize=3, capsize=2)
    left.axhline(0, color=BLACK, linewidth=1)
    left.set(title="gain over the language model", xlabel="position in the sentence", ylabel="nats (± 2 s.e.)")
    if net is not None:
        right = panels[1]
        total = found["sentences_by_position"][0]
        shares = [count / total for count in found["sentences_by_position"]]
        products = (g * share for g, share in zip(gain, shares, strict=True))
        sums = accumulate(products, initial=net - found["lm_gain"])
        right.plot(range(len(gain) + 1), list(sums), color=GREEN, marker="o", markersize=3)
        right.axhline(0, color=BLACK, linewidth=1)
        right.set(
            title="cumulative gain minus the rate",
            xlabel="position in the sentence",
            ylabel="nats per sentence; above 0, z pays off",
        )
    for axes in panels:
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _pad_log(axes: Axes, values: Sequence[float]) -> None:
    """Set limits a little beyond the positive values."""
    positive = [value for value in values if value > 0]
    axes.set_ylim(min(positive) / 2, max(positive) * 2)
