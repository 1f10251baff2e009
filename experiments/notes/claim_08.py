"""Claim 8: reconstruction against divergence."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import mean

import torch
from torch import Tensor

from notes import Notes, Page, Row, Wanted, main, student
from textvae.evaluation.density import log_densities, mutual_information, saturated
from textvae.evaluation.estimators import Survey, standard_error
from textvae.evaluation.exact import exact_nll
from textvae.evaluation.noise import SentenceNoise
from textvae.plots.figure import BLUE, GREY, ORANGE, Figure, canvas, legend
from worlds import TINY, lines, some, texts, wanted

DIM, EPOCHS, SENTENCES, SEEDS = 8, 4, 500, 5
LESS = "less at the next β"
NONE = float("nan")
BETAS = (0.05, 0.2, 0.5, 0.8, 1.0)


def claim(notes: Notes) -> Page:
    seeds = 2 if notes.quick else SEEDS
    wanted_ = [run(notes, beta, seed) for beta in BETAS for seed in range(seeds)]
    vaes = texts(notes, wanted_)
    truth = exact_nll(lines(notes, SENTENCES), vaes[0].tokenizer, TINY)
    seen = [Survey.of(vae.model, some(vae, notes, SENTENCES), SentenceNoise(0, DIM)) for vae in vaes]
    grouped = [seen[start : start + seeds] for start in range(0, len(seen), seeds)]
    found = [line(beta, own, following, truth) for beta, own, following in zip(BETAS, grouped, [*grouped[1:], None], strict=True)]
    first, *_, last = found
    steps, entropy = found[:-1], float(truth.mean())
    sure = student(seeds - 1, 0.05 / len(steps))
    settled = [row[LESS] > sure * row[f"{LESS} se"] for row in steps]
    known = settled.index(False) if False in settled else len(settled)  # the first steps, of which each is settled
    prices = [(a["rate"] - b["rate"]) / (b["distortion"] - a["distortion"]) for a, b in pairwise(found[: known + 1])]
    unsettled = "".join(
        f" The step from β = {a['β']:g} to {b['β']:g} is within the spread of the seeds ({said(a, LESS, 3)})." for a, b in pairwise(found[known:])
    )
    least = min(found, key=lambda row: row["−ELBO"])
    return Page(
        number=8,
        title="reconstruction against divergence",
        claim="Reconstruction and divergence pull against each other; they cannot be minimised apart.",
        verdict="true",
        answer=f"From β = {first['β']:g} to {found[known]['β']:g} every nat of distortion that is saved is paid for with more than a nat of rate, from {min(prices, default=NONE):.2f} to {max(prices, default=NONE):.2f} between neighbours, and distortion + rate never falls below H(p*), "
        f"so that, once a model is good, one cannot be lowered with the other held.{unsettled}",
        figure=f"From β = {first['β']:g} to {last['β']:g} the rate falls from {said(first, 'rate')} to {said(last, 'rate')} and the distortion rises from {said(first, 'distortion')} to {said(last, 'distortion')}; "
        f"least sum {said(least, '−ELBO')} at β = {least['β']:g}, {said(least, 'above H(p*)')} above H(p*) on the same sentences (mean of {seeds} seeds ± the standard error over seeds).",
        text=f"""
One VAE on a tiny grammar, D = {DIM}, LSTM decoder, trained anew at each of five weights β of the rate, {EPOCHS} epochs and {seeds} seeds each. Distortion and rate of N = {SENTENCES} test sentences; ± is over seeds. H(p*) = {entropy:.2f} is the exact NLL of those sentences, so that `above H(p*)` is paired. For any model and any Q

    distortion + rate = H(p*) + KL(p*(x) q(z|x) ‖ p(x, z)) ≥ H(p*)

so that the line of slope −1 through H(p*) is a wall. A model on the wall may sit anywhere on it (claim 9): the trade is one for one there, and beyond it worse, as the curve shows: a smaller β has the larger sum,
by {", ".join(said(row, LESS, 3) for row in steps)} between neighbours (`{LESS}`, paired seed by seed). A step is settled beyond {sure:.1f} errors: Student's t with {seeds - 1} degrees of freedom, one chance in 20 shared among the {len(steps)} steps.

The estimate of the mutual information of x and z cannot exceed ln N = {math.log(SENTENCES):.2f}, and is trusted up to ln N − 4 = {math.log(SENTENCES) - 4:.2f}; where a seed's is above that, it is marked saturated, and the true one may be larger.
""",
        open="The curve is that of this model at this length of training; a better trained or larger one lies nearer to the wall. Which point of it is best for what is no question the loss can answer.",
        table=found,
        picture=picture(found, entropy),
        holds=above(found) if notes.quick else shown(found),
    )


def above(found: Sequence[Row]) -> dict[str, bool]:
    """What holds of any model."""
    return {"no sum is below the entropy": all(row["above H(p*)"] > -3 * row["± over sentences"] for row in found)}


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of its table."""
    steps = found[:-1]
    sure = student(int(found[0]["seeds"]) - 1, 0.05 / len(steps))
    return above(found) | {
        "the rate falls with β": all(a["rate"] > b["rate"] for a, b in pairwise(found)),
        "the distortion rises": all(a["distortion"] < b["distortion"] for a, b in pairwise(found)),
        "more than a nat of rate for every nat, up to β = 0.8": all(
            row[LESS] > sure * row[f"{LESS} se"] for row in steps[:-1]
        ),
    }


def line(beta: float, own: list[Survey], following: list[Survey] | None, truth: Tensor) -> Row:
    """A weight in one row: means over the seeds, their errors, and how much less −ELBO is at the next weight."""
    losses = [-seen.elbo.double() for seen in own]
    information = [mutual_information(*log_densities(seen))["mutual_information"] for seen in own]
    less = [loss + after.elbo for loss, after in zip(losses, following, strict=True)] if following else []
    return {
        "β": beta, "seeds": len(own), **over_seeds("rate", [seen.rate for seen in own]), **over_seeds("distortion", [seen.distortion for seen in own]),
        **over_seeds("−ELBO", losses), **over_seeds("above H(p*)", [loss - truth for loss in losses]),
        "± over sentences": standard_error(torch.stack(losses).mean(0) - truth), **over_seeds(LESS, less), "mutual information": mean(information),
        "saturated": "yes" if any(saturated(each, SENTENCES) for each in information) else "no",
    }  # fmt: skip


def over_seeds(name: str, values: list[Tensor]) -> Row:
    """The mean over seeds and its standard error, of what each says of the sentences."""
    means = torch.tensor([float(each.mean()) for each in values])
    return {name: float(means.mean()) if values else NONE, f"{name} se": standard_error(means)}


def said(row: Row, name: str, digits: int = 2) -> str:
    return f"{row[name]:.{digits}f} ± {row[f'{name} se']:.{digits}f}"


def run(notes: Notes, beta: float, seed: int) -> Wanted:
    length = f"{EPOCHS} epochs"
    size = {"model__latent_dim": DIM, "training__budget": length, "training__validate_every": length}
    mark, again = (f"-{seed}", {"seed": seed}) if seed else ("", {})
    return wanted(notes, f"beta-{beta:g}-{DIM}{mark}", "beta", objective__weight__value=beta, objective__penalty__kind="rate", **size, **again)


def picture(found: list[Row], entropy: float) -> Figure:
    figure, (axes,) = canvas(1)
    rate, rate_se, distortion, distortion_se = ([row[name] for row in found] for name in ("rate", "rate se", "distortion", "distortion se"))
    axes.errorbar(rate, distortion, xerr=rate_se, yerr=distortion_se, fmt="o-", color=BLUE, capsize=3, label="trained at β, ± over seeds")
    # The last two lie on each other: one label for both.
    for row, name in zip(found, [*(f"β = {beta:g}" for beta in BETAS[:-2]), "", "β = 0.8 and 1"], strict=True):
        axes.annotate(name, (row["rate"], row["distortion"]), (6, 5), textcoords="offset points", fontsize=8)
    axes.plot([0, entropy], [entropy, 0], color=GREY, label="distortion + rate = H(p*)")
    collapsed = found[-1]["−ELBO"]
    axes.plot([0, collapsed], [collapsed, 0], ":", color=ORANGE, label=f"the sum at β = {found[-1]['β']:g}")
    axes.set(xlabel="rate, nats", ylabel="distortion, nats")
    legend(axes)
    return figure


if __name__ == "__main__":
    main(claim)
