"""Claim 1: log p(x) by sampling z from the prior."""

import torch
from torch import Tensor

from notes import Notes, Page, Row, main
from textvae.data.batches import Sequences
from textvae.evaluation.curves import importance_curve
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.prior_monte_carlo import prior_curve
from textvae.models.linear_gaussian import observations
from textvae.models.text_vae import TextVAE
from textvae.plots.figure import BLUE, GREEN, ORANGE, RED, Figure, canvas, legend
from worlds import linear, place, rows, some, text, truth, widened


def claim(notes: Notes) -> Page:
    counts = (10, 100, 1000) if notes.quick else (10, 100, 1000, 8000)
    found = []
    for dim in (2, 8, 16):
        model = linear(dim, dim + 8)
        place(model, widened(model, 1.3))
        x = model.sample(16, seed=1)[1]
        with torch.no_grad():
            exact = model.log_evidence(rows(x))
        found += measured(f"linear-Gaussian, D = {dim}", model, observations(x), exact, counts)
    for name, run, recipes in (("alive", "two", ()), ("collapsed", "collapsed", ("vanilla",))):
        vae = text(notes, run, *recipes)
        sequences = some(vae, notes, 16)
        exact = truth(vae.model, sequences).log_evidence
        found += measured(f"text, D = 2, {name}", vae.model, sequences, exact, counts[:3])
    last = {row["world"]: row for row in found}
    hard, quiet = last["linear-Gaussian, D = 16"], last["text, D = 2, collapsed"]
    return Page(
        number=1,
        title="log p(x) by sampling z from the prior",
        claim="log P(X) can be estimated as the mean of P(X|z) over z ~ P(z), but this needs very many samples, since "
        "for almost all z P(X|z) is nearly 0.",
        verdict="true",
        answer="The estimate is unbiased and yet useless once z says much: at D = 16 it is still nats off after "
        f"{hard['samples']:,} samples, where the same number from Q is exact to a hundredth. On a collapsed model ten samples "
        "suffice, which is itself a sign of collapse.",
        figure=f"D = 16, {hard['samples']:,} samples each, mean over 16 observations: −log p̂ too high by "
        f"{hard['prior_excess']:.2f} ± {hard['prior_se']:.2f} nats from the prior ({hard['prior_effective']:.1f} effective "
        f"samples), by {hard['q_excess']:.3f} ± {hard['q_se']:.3f} from Q ({hard['q_effective']:.0f}).",
        text="""
Three linear-Gaussian models, whose log p(x) has a closed form, and two VAEs on a tiny grammar with a z of two
dimensions, whose log p(x) is an integral on a grid. For 16 observations each, as the number n of samples grows:

    from the prior    −log (1/n) Σ p(x|zᵢ),                zᵢ ~ p(z)
    from Q            −log (1/n) Σ p(x|zᵢ) p(zᵢ)/q(zᵢ|x),  zᵢ ~ q(z|x)

Q is the exact posterior with its covariance widened by 1.3, or the trained encoder. The table gives the mean excess over
the exact −log p(x), its standard error over observations, and the effective number of samples, (Σw)²/Σw². Both
estimates of p(x) are unbiased; their logarithms are biased low, so that −log p̂ is too high until the effective number is
well above 1. Below ten of them the spread of the weights says nothing about the error: one sees nothing and feels safe.
""",
        open="How many samples suffice depends on the rate, not on D as such: about exp(rate) prior samples are needed to "
        "hit the posterior once. No model here has the rate of a VAE trained on long sentences, for which the claim can only be "
        "stronger.",
        table=found,
        picture=picture(found),
        holds={
            "the prior fails at D = 16": hard["prior_excess"] > 10 * abs(hard["q_excess"])
            and hard["prior_excess"] > 1,
            "it is good on a collapsed model": notes.quick or abs(quiet["prior_excess"]) < 0.02,
            "it needs more samples as D grows": last["linear-Gaussian, D = 2"]["prior_excess"]
            < hard["prior_excess"],
        },
    )


def measured(world: str, model: TextVAE, data: Sequences, exact: Tensor, counts: tuple[int, ...]) -> list[Row]:
    """Excess over the exact −log p(x), and effective samples, for every number of samples."""
    noise = SentenceNoise(0, model.latent_dim)
    curves = [curve(model, data, counts, noise, chunk=500) for curve in (prior_curve, importance_curve)]
    rows = []
    for place_, samples in enumerate(counts):
        row: Row = {"world": world, "samples": samples}
        for name, curve in zip(("prior", "q"), curves, strict=True):
            excess = curve.nll[place_] + exact
            row |= {
                f"{name}_excess": float(excess.mean()),
                f"{name}_se": float(excess.std() / len(excess) ** 0.5),
                f"{name}_effective": float(curve.effective_samples[place_].mean()),
            }
        rows.append(row)
    return rows


def picture(found: list[Row]) -> Figure:
    figure, (left, right) = canvas(2)
    colours = dict(
        zip(dict.fromkeys(row["world"] for row in found), (BLUE, GREEN, RED, ORANGE, "#CC79A7"), strict=True)
    )
    for world, colour in colours.items():
        rows = [row for row in found if row["world"] == world]
        samples = [row["samples"] for row in rows]
        left.plot(samples, [row["prior_excess"] for row in rows], "o-", color=colour, label=world)
        left.plot(samples, [row["q_excess"] for row in rows], "x--", color=colour)
        right.plot(samples, [row["prior_effective"] for row in rows], "o-", color=colour)
        right.plot(samples, [row["q_effective"] for row in rows], "x--", color=colour)
    left.set(xscale="log", xlabel="samples n", ylabel="nats above −log p(x)", title="● from the prior, × from Q")
    left.set_yscale("symlog", linthresh=0.1)
    right.set(
        xscale="log",
        yscale="log",
        xlabel="samples n",
        ylabel="effective samples",
        title="the same samples, effective",
    )
    legend(left)
    return figure


if __name__ == "__main__":
    main(claim)
