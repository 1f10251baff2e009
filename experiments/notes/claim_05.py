"""Claim 5: the decoder's variance as the weight between reconstruction and divergence."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from notes import Notes, Page, Row, main
from textvae.models.linear_gaussian import LinearGaussian
from textvae.models.principal_components import optimum
from textvae.plots.figure import BLUE, GREY, ORANGE, Figure, canvas, legend
from worlds import exact_terms, fit, linear, objective, place, rows

EIGENVALUES, DIM, VARIANCE = (6.0, 3.0, 1.6, 0.6, 0.3, 0.15), 3, 0.5
BETAS = (0.25, 0.5, 1.0, 2.0, 4.0)


def claim(notes: Notes) -> Page:
    steps = 300 if notes.quick else 1500
    x, found = data(), []
    for beta in BETAS:
        found.append(row(f"β = {beta:g}", beta, "formula", at_optimum(x, VARIANCE, beta), x))
        found.append(row(f"σ² = {beta * VARIANCE:g}", beta, "formula", at_optimum(x, beta * VARIANCE, 1.0), x))
    for beta in (0.25, 1.0, 4.0):
        for name, variance, weight in (
            (f"β = {beta:g}", VARIANCE, beta),
            (f"σ² = {beta * VARIANCE:g}", beta * VARIANCE, 1.0),
        ):
            found.append(row(name, beta, "trained", trained(x, variance, weight, steps), x))
    learned = row("σ² learned", float("nan"), "trained", trained(x, 1.0, 1.0, 2 * steps, learned=True), x)
    found.append(learned)
    formula, runs = sorted_out(found)
    apart, stepped = (
        max(abs(a[k] - b[k]) for a, b in zip(rows_[::2], rows_[1::2], strict=True) for k in ("squared error", "rate"))
        for rows_ in (formula, runs)
    )
    named = {(r["model"], r["how"]): r for r in found}
    pairs = [(r, named[r["model"], "formula"]) for r in runs]
    missed = missed_by(found)
    ends = " and ".join(
        f"{run['rate']:.3f} for {best['rate']:.3f} at {run['model']}" for run, best in (pairs[0], pairs[-2])
    )
    best = optimum(x.T.cov(correction=0), DIM)
    same, scaled, clipped = (steps_apart(x, *how) for how in ((1.0, None), (4.0, None), (4.0, 1.0)))
    first, second = formula[-2:]
    return Page(
        number=5,
        title="the decoder's variance as a weight",
        claim="The decoder's variance σ² (Gaussian likelihood) weighs reconstruction against the divergence.",
        verdict="true, for a Gaussian decoder",
        answer="Fixing σ² at βσ₀² has the same optimum and the same trade-off as the weight β at σ₀², by the formula, and training finds it. But the two are different models with "
        "different likelihoods, and their losses differ by a factor, which a learning rate and a clipped gradient notice. "
        "A learned σ² chooses for itself. A categorical decoder has no σ: there β ≠ 1 is no likelihood at all.",
        figure=f"Trained against the formula: rate {ends}, off by at most {missed['rate']:.3f} nats, and the squared "
        f"error by {missed['squared error']:.3f}, whether β or σ² was set. At β = 4 the two models' −log p(x) differ by {abs(first['−log p(x)'] - second['−log p(x)']):.2f} nats. Learned σ²: {learned['σ²']:.3f}, by the formula {best.variance:.3f}.",
        text=f"""
Data in six coordinates whose covariance has the eigenvalues {", ".join(map(str, EIGENVALUES))}, and a linear-Gaussian VAE with D = {DIM}. For five β: the optimum of
distortion + β · rate at σ₀² = {VARIANCE}, and that of the plain −ELBO at σ² = βσ₀², both by formula; for three of them also trained, with Q a full Gaussian, {steps} steps of Adam. The
squared error E|x − Wz − μ|² has no σ in it, so that it can be compared. Principal directions whose eigenvalue is not above βσ₀² collapse, either way.

That β and σ² reach the *same* point is no finding of the table. The formula sees β and σ² only as βσ² (the two optima differ by {apart:.0e}), and Adam does not see a factor on the
loss: from one start and with the same noise both runs take the same steps (the trained ones differ by {stepped:.0e}). What is found is that training reaches what the formula says, and what differs: the losses.

The two losses are the same up to the factor β and a constant. Plain gradient descent for 100 steps from one start and with the same noise, β = 4: the weights end
{same:.2g} apart with one learning rate for both, {scaled:.0e} apart if that of the second is β times the first's, and {clipped:.2g} apart again if gradients are also clipped to norm 1.
""",
        open="For a text decoder the softmax's temperature plays a similar part, but it enters the normaliser too: no identity like this one is known.",
        table=found,
        picture=picture(found),
        holds={
            "the optima coincide": apart < 1e-9,
            "Adam does not see the factor": stepped < 1e-5,
            "a scaled learning rate makes the same steps": scaled < 1e-8 < same,
            "clipping tells them apart": clipped > 1e-4,
        }
        | (sound(found) if notes.quick else shown(found)),
    )


def sorted_out(found: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows by the formula and the trained ones; that of the learned σ² has no β and is left out."""
    formula, runs = ([row for row in found if row["how"] == how and not math.isnan(row["beta"])] for how in ("formula", "trained"))
    return formula, runs


def missed_by(found: Sequence[Row]) -> dict[str, float]:
    """The largest distance of a trained model from the formula, by what is measured."""
    formula, runs = sorted_out(found)
    named = {row["model"]: row for row in formula}
    return {key: max(abs(run[key] - named[run["model"]][key]) for run in runs) for key in ("squared error", "rate")}


def sound(found: Sequence[Row]) -> dict[str, bool]:
    """What holds by formula."""
    first, second = sorted_out(found)[0][-2:]
    return {"likelihoods differ": abs(first["−log p(x)"] - second["−log p(x)"]) > 0.5}


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of its table."""
    return sound(found) | {
        "training finds the optima": max(missed_by(found).values()) < 0.05,
        "the learned variance is the formula's": abs(found[-1]["σ²"] - optimum(data().T.cov(correction=0), DIM).variance) < 0.03,
    }


def data() -> Tensor:
    """1,024 rows whose covariance has exactly these eigenvalues."""
    torch.manual_seed(0)
    x = torch.randn(1024, len(EIGENVALUES)).double()
    white = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov(correction=0))).T
    rotation = torch.linalg.qr(torch.randn(2 * [len(EIGENVALUES)]).double()).Q
    coloured: Tensor = white * torch.tensor(EIGENVALUES).double().sqrt() @ rotation.T
    return coloured


def at_optimum(x: Tensor, variance: float, beta: float) -> LinearGaussian:
    """The model that minimises distortion + β · rate at this σ²; its q is the exact posterior at βσ²."""
    found = optimum(x.T.cov(correction=0), DIM, variance, beta)
    warm, model = (linear(DIM, x.shape[1], variance=v) for v in (beta * variance, variance))
    for each in (warm, model):
        each.decoder.linear.weight.data = found.weight.clone()
        each.decoder.linear.bias.data.zero_()
    place(model, warm.exact_posterior())
    return model


def trained(x: Tensor, variance: float, weight: float, steps: int, learned: bool = False) -> LinearGaussian:
    model = linear(DIM, x.shape[1], variance=variance, learned=learned)
    fit(objective(model, weight=weight), x, steps)
    return model


@torch.no_grad()
def row(name: str, beta: float, how: str, model: LinearGaussian, x: Tensor) -> Row:
    distortion, rate = (float(part.mean()) for part in exact_terms(model, x))
    variance = float(model.decoder.log_variance.exp())
    squared = variance * (2 * distortion - x.shape[1] * math.log(2 * math.pi * variance))
    return {
        "model": name, "how": how, "beta": beta, "σ²": variance, "squared error": squared, "rate": rate,
        "−ELBO": distortion + rate, "−log p(x)": -float(model.log_evidence(rows(x)).mean()),
    }  # fmt: skip


def steps_apart(x: Tensor, factor: float, clip_norm: float | None) -> float:
    """How far W of the β-model and of the σ²-model are apart after 100 steps; the second's learning rate is `factor` times."""
    ends = []
    for variance, weight, lr in ((VARIANCE, 4.0, 0.002), (4 * VARIANCE, 1.0, 0.002 * factor)):
        model = linear(DIM, x.shape[1], variance=variance)
        fit(objective(model, weight=weight), x, 100, lr=lr, optimiser="sgd", clip_norm=clip_norm)
        ends.append(model.decoder.linear.weight.detach())
    return float((ends[0] - ends[1]).norm())


def picture(found: list[Row]) -> Figure:
    figure, (left, right) = canvas(2)
    groups = {mark: [r for r in found if r["model"].startswith(mark)] for mark in ("β", "σ² =")}
    line = [r for r in groups["β"] if r["how"] == "formula"]
    left.plot([r["rate"] for r in line], [r["squared error"] for r in line], color=GREY, label="formula, both")
    for (mark, rows_), shape, colour in zip(groups.items(), ("o", "x"), (BLUE, ORANGE), strict=True):
        dots = [r for r in rows_ if r["how"] == "trained"]
        left.plot(
            [r["rate"] for r in dots],
            [r["squared error"] for r in dots],
            shape,
            color=colour,
            label=f"trained, {mark[:2].strip()}",
        )
        curve = [r for r in rows_ if r["how"] == "formula"]
        right.plot(
            BETAS, [r["−ELBO"] for r in curve], "-" + shape, color=colour, label=f"{mark[:2].strip()}: −ELBO"
        )
        right.plot(
            BETAS,
            [r["−log p(x)"] for r in curve],
            ":" + shape,
            color=colour,
            label=f"{mark[:2].strip()}: −log p(x)",
        )
    left.set(xlabel="rate, nats", ylabel="squared error", title="one trade-off")
    right.set(xscale="log", xlabel="β, or σ²/σ₀²", ylabel="nats", title="two likelihoods")
    right.set_xticks(BETAS, [f"{beta:g}" for beta in BETAS])
    right.minorticks_off()
    legend(left)
    legend(right)
    return figure


if __name__ == "__main__":
    main(claim)
