"""Claim 8: reconstruction against divergence."""

import math
from itertools import pairwise

from notes import Notes, Page, Row, Wanted, main
from textvae.evaluation.density import log_densities, mutual_information, saturated
from textvae.evaluation.estimators import standard_error, survey
from textvae.evaluation.evaluate import exact_nll
from textvae.evaluation.noise import SentenceNoise
from textvae.plots.figure import BLUE, GREY, ORANGE, Figure, canvas, legend
from worlds import TINY, lines, some, texts, wanted

DIM, EPOCHS, SENTENCES = 8, 4, 500
BETAS = (0.05, 0.2, 0.5, 0.8, 1.0)


def claim(notes: Notes) -> Page:
    found, losses = [], []
    for beta, vae in zip(BETAS, texts(notes, [run(notes, beta) for beta in BETAS]), strict=True):
        seen = survey(vae.model, some(vae, notes, SENTENCES), SentenceNoise(0, DIM))
        losses.append(-seen.elbo.double())
        truth = exact_nll(lines(notes, SENTENCES), vae.tokenizer, TINY)
        above = losses[-1] - truth
        information = mutual_information(*log_densities(seen))["mutual_information"]
        found.append({
            "β": beta, "rate": float(seen.rate.mean()), "rate se": standard_error(seen.rate), "distortion": float(seen.distortion.mean()),
            "distortion se": standard_error(seen.distortion), "−ELBO": -float(seen.elbo.mean()), "−ELBO se": standard_error(seen.elbo),
            "above H(p*)": float(above.mean()), "above H(p*) se": standard_error(above), "mutual information": information,
            "saturated": "yes" if saturated(information, SENTENCES) else "no",
        })  # fmt: skip
    first, last, entropy = found[0], found[-1], float(truth.mean())
    least = min(found, key=lambda row: row["−ELBO"])
    rises = [b - a for b, a in pairwise(losses)]  # what the smaller β of two neighbours loses
    dear = [rise.mean() > 2 * standard_error(rise) for rise in rises]
    prices = [(a["rate"] - b["rate"]) / (b["distortion"] - a["distortion"]) for a, b in pairwise(found)]
    rates, distortions = [row["rate"] for row in found], [row["distortion"] for row in found]
    return Page(
        number=8,
        title="reconstruction against divergence",
        claim="Reconstruction and divergence pull against each other; they cannot be minimised apart.",
        verdict="true",
        answer=f"Between any two of these models every nat of distortion that is saved is paid for with more than a nat of rate, from {min(prices):.2f} to {max(prices):.2f} between neighbours, and distortion + rate never falls below H(p*), "
        "so that, once a model is good, one cannot be lowered with the other held.",
        figure=f"From β = {first['β']:g} to {last['β']:g} the rate falls from {first['rate']:.2f} to {last['rate']:.2f} and the distortion rises from {first['distortion']:.2f} ± "
        f"{first['distortion se']:.2f} to {last['distortion']:.2f} ± {last['distortion se']:.2f}; least sum {least['−ELBO']:.2f} ± {least['−ELBO se']:.2f} at β = {least['β']:g}, {least['above H(p*)']:.2f} ± {least['above H(p*) se']:.2f} above H(p*) "
        "on the same sentences.",
        text=f"""
One VAE on a tiny grammar, D = {DIM}, LSTM decoder, trained anew at each of five weights β of the rate, {EPOCHS} epochs and one run each. Distortion and rate of N = {SENTENCES} test sentences; ± is over sentences. H(p*) = {entropy:.2f} is the exact NLL of those sentences, so that `above H(p*)` is paired. For any model and any Q

    distortion + rate = H(p*) + KL(p*(x) q(z|x) ‖ p(x, z)) ≥ H(p*)

so that the line of slope −1 through H(p*) is a wall. A model on the wall may sit anywhere on it (claim 9): the trade is one for one there, and beyond it worse, as the curve shows: a smaller β has the larger sum,
by {", ".join(f"{float(rise.mean()):.3f} ± {standard_error(rise):.3f}" for rise in rises)} between neighbours, sentence by sentence.

The estimate of the mutual information of x and z cannot exceed ln N = {math.log(SENTENCES):.2f}, and is trusted up to ln N − 4 = {math.log(SENTENCES) - 4:.2f}; above that it is marked saturated, and the true one may be larger.
""",
        open="The curve is that of this model at this length of training; a better trained or larger one lies nearer to the wall. Which point of it is best for what is no question the loss can answer.",
        table=found,
        picture=picture(found, entropy),
        holds={
            "the rate falls with β": notes.quick or all(a >= b - 0.05 for a, b in pairwise(rates)),
            "the distortion rises": notes.quick or all(a <= b + 0.05 for a, b in pairwise(distortions)),
            "more than a nat of rate for every nat": notes.quick or (all(dear) and min(prices) > 1),
            "no sum is below the entropy": all(row["above H(p*)"] > -3 * row["above H(p*) se"] for row in found),
        },
    )


def run(notes: Notes, beta: float) -> Wanted:
    length = f"{EPOCHS} epochs"
    size = {"model__latent_dim": DIM, "training__budget": length, "training__validate_every": length}
    return wanted(notes, f"beta-{beta:g}-{DIM}", "beta", objective__weight__value=beta, objective__penalty__kind="rate", **size)


def picture(found: list[Row], entropy: float) -> Figure:
    figure, (axes,) = canvas(1)
    axes.plot(
        [row["rate"] for row in found], [row["distortion"] for row in found], "o-", color=BLUE, label="trained at β"
    )
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
