"""Claim 1: log p(x) by sampling z from the prior."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from notes import Notes, Page, Row, main
from textvae.data.batches import Sequences
from textvae.evaluation.curves import importance_curve
from textvae.evaluation.estimators import standard_error
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.prior_monte_carlo import prior_curve
from textvae.evaluation.quadrature import Quadrature
from textvae.models.linear_gaussian import observations
from textvae.models.text_vae import TextVAE
from textvae.plots.figure import BLUE, GREEN, ORANGE, RED, Figure, canvas
from worlds import doubt, linear, pair, place, rows, some, truth, widened

SEEDS = 20
"""Draws of the noise, each with its own seed, for the rows on text."""


def claim(notes: Notes) -> Page:
    counts, seeds = ((10, 100, 1000), 2) if notes.quick else ((10, 100, 1000, 8000), SEEDS)
    worlds: list[tuple[Any, ...]] = []
    for dim in (2, 8, 16):
        model = linear(dim, dim + 8)
        place(model, widened(model, 1.3))
        x = model.sample(16, seed=1)[1]
        with torch.no_grad():
            exact = model.log_evidence(rows(x))
        worlds.append((f"linear-Gaussian, D = {dim}", model, observations(x), exact, counts, 1))
    narrow, stated = {}, []
    for name, vae in pair(notes).items():
        sequences = some(vae, notes, 16)
        grid = truth(vae.model, sequences)
        stated.append(float(grid.error.max()))
        narrow[name] = float((variance(grid) / grid.posterior_variance).median())
        worlds.append((f"text, D = 2, {name}", vae.model, sequences, grid.log_evidence, counts[:3], seeds))
    found = [row for rows_ in notes.spread(measured, worlds) for row in rows_]
    hard, alive, quiet = quoted(found)
    return Page(
        number=1,
        title="log p(x) by sampling z from the prior",
        claim="log P(X) can be estimated as the mean of P(X|z) over z ~ P(z), but this needs very many samples, since "
        "for almost all z P(X|z) is nearly 0.",
        verdict="true",
        answer="The estimate is unbiased and yet useless once z says much: at D = 16 it is still nats off after "
        f"{hard['samples']:,} samples, where as many from the exact posterior, a little widened, are exact to a hundredth. A trained Q is "
        f"usually better than the prior, but no sure gain: the text model's is too narrow. {alive['samples']:,} samples from it are nearer to the truth than as many from the prior in {alive['q_nearer']} of {seeds} repetitions; its worst is {alive['q_rms_most']:.2f} nats off, the prior's worst {alive['prior_rms_most']:.2f}, since "
        f"the weights of Q have no bound. On a collapsed model {quiet['samples']} samples from the prior suffice ({quiet['prior_excess']:+.4f} ± {quiet['prior_se']:.4f} over observations), which is itself a sign of collapse.",
        figure=f"D = 16, {hard['samples']:,} samples each, mean over 16 observations ± over them: −log p̂ too high by "
        f"{hard['prior_excess']:.2f} ± {hard['prior_se']:.2f} nats from the prior ({hard['prior_effective']:.1f} effective "
        f"samples), by {hard['q_excess']:.3f} ± {hard['q_se']:.3f} from the widened posterior ({hard['q_effective']:.0f}). Text, alive, {alive['samples']:,} samples, root mean square error, mean of {seeds} repetitions ± over them: "
        f"{alive['prior_rms']:.3f} ± {alive['prior_rms_se']:.3f} from the prior, {alive['q_rms']:.3f} ± {alive['q_rms_se']:.3f} from Q.",
        text=f"""
Three linear-Gaussian models, whose log p(x) has a closed form, and two VAEs on a tiny grammar with a z of two
dimensions, whose log p(x) is an integral on a grid (error at most {doubt(max(stated))}). For 16 observations each, as the number n of samples grows:

    from the prior    −log (1/n) Σ p(x|zᵢ),                zᵢ ~ p(z)
    from Q            −log (1/n) Σ p(x|zᵢ) p(zᵢ)/q(zᵢ|x),  zᵢ ~ q(z|x)

Q is the exact posterior with its covariance widened by 1.3, or the trained encoder. The table gives the mean excess over
the exact −log p(x), its standard error over observations (`se`), and the effective number of samples, (Σw)²/Σw². On text all of it is
repeated with {seeds} seeds of the noise: the excess is their mean, `rms` the root mean square error over observations, mean over the seeds, `rms_se` its standard error
over the seeds, `rms_most` that of the worst seed, and `q_nearer` says for how many seeds it is smaller from Q than from the prior. Both
estimates of p(x) are unbiased; their logarithms are biased low, so that −log p̂ is too high until the effective number is
well above 1. Below ten of them the spread of the weights says nothing about the error: one sees nothing and feels safe.

**Why a trained Q is no sure gain on text.** Its variance is {narrow["alive"]:.2f} of the true posterior's (median over sentences and dimensions; collapsed:
{narrow["collapsed"]:.2f}): training by the ELBO prefers a Q that is too narrow to one that is too wide. Far from its centre q(z|x) then falls much faster than p(x|z) p(z), whose first
factor levels off, so that the weight has no bound: most samples weigh too little, a rare one very much, and the error of the mean falls more slowly than the effective number of samples promises
({alive["q_effective"]:.0f} from Q, {alive["prior_effective"]:.0f} from the prior). The prior's weights are p(x|z) ≤ 1, which cannot run away; and at two dimensions and so small a rate it is no bad
place to look. Whoever estimates log p(x) from Q should widen it.
""",
        open="How many samples suffice depends on the rate, not on D as such: about exp(rate) prior samples are needed to "
        "hit the posterior once. No model here has the rate of a VAE trained on long sentences, for which the claim can only be "
        "stronger.",
        table=found,
        picture=picture(found),
        holds={"the encoder's q is too narrow": notes.quick or narrow["alive"] < 0.8 < narrow["collapsed"]}
        | (sound(found) if notes.quick else shown(found)),
    )


def quoted(found: Sequence[Row]) -> tuple[Row, Row, Row]:
    """The rows that the answer quotes: D = 16 and the alive model with all samples, the collapsed one with ten."""
    last = {row["world"]: row for row in found}
    quiet = next(row for row in found if row["world"] == "text, D = 2, collapsed")
    return last["linear-Gaussian, D = 16"], last["text, D = 2, alive"], quiet


def sound(found: Sequence[Row]) -> dict[str, bool]:
    """What holds of fewer samples, too."""
    hard, *_ = quoted(found)
    easy = [row for row in found if row["world"] == "linear-Gaussian, D = 2"][-1]
    return {
        "the prior is nats off at D = 16": hard["prior_excess"] > max(1, 10 * abs(hard["q_excess"])),
        "it needs more samples as D grows": easy["prior_excess"] < hard["prior_excess"],
    }


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of its table."""
    hard, alive, quiet = quoted(found)
    return sound(found) | {
        "a widened posterior is exact to a hundredth": abs(hard["q_excess"]) + 2 * hard["q_se"] < 0.01,
        "the encoder's q is usually nearer": alive["q_nearer"] > 0.75 * alive["seeds"],
        "and now and then much further off": alive["q_rms_most"] > 1.5 * alive["prior_rms_most"],
        "ten are enough on a collapsed model": quiet["samples"] == 10 and abs(quiet["prior_excess"]) < 0.02,
    }


def variance(grid: Quadrature) -> Tensor:
    """Var[z_d] (B, D) under q."""
    mean, square = ((grid.log_q + grid.log_volume).exp().T @ part for part in (grid.z, grid.z.square()))
    return square - mean.square()


def measured(world: str, model: TextVAE, data: Sequences, exact: Tensor, counts: tuple[int, ...], seeds: int) -> list[Row]:
    """Excess over the exact −log p(x), its root mean square and effective samples, for every number of samples."""
    noises = [SentenceNoise(seed, model.latent_dim) for seed in range(seeds)]
    curves = {
        name: [curve(model, data, counts, noise, chunk=500) for noise in noises]
        for name, curve in (("prior", prior_curve), ("q", importance_curve))
    }
    excess = {name: torch.stack([curve.nll for curve in drawn]) + exact for name, drawn in curves.items()}
    rms = {name: each.square().mean(-1).sqrt() for name, each in excess.items()}  # (seeds, counts)
    found = []
    for place_, samples in enumerate(counts):
        row: Row = {"world": world, "samples": samples, "seeds": seeds}
        for name, drawn in curves.items():
            own, errors = excess[name][:, place_].mean(0), rms[name][:, place_]
            row |= {
                f"{name}_excess": float(own.mean()),
                f"{name}_se": standard_error(own),
                f"{name}_rms": float(errors.mean()),
                f"{name}_rms_se": standard_error(errors) if seeds > 1 else math.nan,
                f"{name}_rms_most": float(errors.max()),
                f"{name}_effective": float(torch.stack([curve.effective_samples[place_] for curve in drawn]).mean()),
            }
        found.append(row | {"q_nearer": int((rms["q"] < rms["prior"])[:, place_].sum())})
    return found


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
    left.set_ylim(top=400)
    right.set(
        xscale="log",
        yscale="log",
        xlabel="samples n",
        ylabel="effective samples",
        title="the same samples, effective",
    )
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


if __name__ == "__main__":
    main(claim)
