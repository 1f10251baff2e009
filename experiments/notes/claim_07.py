"""Claim 7: when the posterior gap vanishes."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from notes import Notes, Page, Row, main
from one_dimension import POINTS, best_gaussian, construction, two_humps, two_valued
from textvae.data.batches import Sequences
from textvae.evaluation.estimators import standard_error
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.refinement import refinement
from textvae.models.terms import forward_pass
from textvae.models.text_vae import TextVAE
from textvae.plots.figure import BLACK, BLUE, GREEN, ORANGE, Figure, canvas, legend
from worlds import doubt, fit, linear, objective, rows, some, texts, truth, wanted

SIGMAS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
SENTENCES = 40
NONE = float("nan")


def claim(notes: Notes) -> Page:
    words, stated = on_text(notes)
    least, half = counter_case()
    found = [*fixed_decoders(notes), *words, *doersch(), least]
    by = keyed(found)
    narrow, wide = (by[f"1-d, σ = {sigma:g}", "Doersch's"] for sigma in (0.02, 0.5))
    counter = by["1-d mixture, best p(x) at its σ", "best Gaussian"]
    collapsed, alive = by["text, collapsed", "diagonal"], by["text, alive", "diagonal"]
    fixed = {family: by["linear-Gaussian, W fixed", family] for family in ("diagonal", "full", "flow")}
    flow = fixed["flow"]
    return Page(
        number=7,
        title="when the posterior gap vanishes",
        claim="The model behaves as hoped only if D[Q ‖ P(z|X)] → 0, and whether a decoder exists that makes the true posterior Gaussian while log P(X) is "
        "maximal is unknown.",
        verdict="open whether the gap must vanish; false that such a decoder is unknown",
        answer="Nothing here compares how models with and without a gap behave, so that \"only if\" stays open; that a vanishing gap is not enough is shown by the collapsed model, which has none and whose z says nothing. Where the decoder models the text and ignores z, the posterior is the prior, exactly Gaussian, and log P(X) may be maximal: for text the function "
        "sought is the collapsed model. A decoder that uses z is known in one dimension, in the limit σ → 0 (Doersch). At a fixed σ the answer can "
        "be no: a mixture is then fitted exactly only with a posterior that is no Gaussian.",
        figure=f"Gap in nats: collapsed {collapsed['gap']:.5f} ± {collapsed['gap_se']:.5f}, alive {alive['gap']:.3f} ± {alive['gap_se']:.3f}; Doersch's "
        f"construction {wide['gap']:.3f} at σ = 0.5 and {narrow['gap']:.5f} at σ = 0.02; the mixture at its fixed σ {counter['gap']:.3f} on average over x, for the best Gaussian of each x.",
        text=f"""
**A decoder that is given.** A linear-Gaussian model with fixed W: the gap of a trained Q (200 z an observation) against the known log p(x), for a diagonal and a full Gaussian and a flow. Then W learned
along with a diagonal Q: the decoder then turns z until a diagonal Q suffices, and the gap closes from the other side. A richer family is no smaller gap by itself: the flow has
{flow["gap"]:.2f} left after as many steps as the full Gaussian needs for {fixed["full"]["gap"]:.2f}, though it could say as much and more.

**Text.** VAEs on a tiny grammar with a z of two dimensions, so that log p(x) is an integral: the gap of the encoder on {collapsed["observations"]} test sentences, and its split by refining Q for each of them.
`family` is the gap of the refined Gaussian, what no Q of its kind can say (but for what the refinement leaves); `amortisation` is the rest, what the encoder misses. Both are integrals on one grid (error at
most {doubt(stated)}), so that the parts make the whole. The refined Gaussian has a full covariance where Q has one, else a diagonal; for the flow the split compares two families. And a collapsed run. One run
each; errors are over observations, those of the parts paired.

**One dimension.** Data ½ N(−1.5, 0.5²) + ½ N(1.5, 0.5²). Doersch: p(x|z) = N(g(z), σ²), g carrying N(0, 1) to the data, Q a Gaussian around g⁻¹(x); all by integrals, and
averaged over 100 x that cut the data into equal probabilities: nothing is drawn, so that there is no standard error.
`excess` is KL(p* ‖ p), what the model itself is off. The counter-case: at σ = 0.5 the decoder g(z) = ±1.5 by the sign of z has p(x) = p*(x) exactly. The best p(x) at this σ needs a g
of these two values (a convolution with N(0, σ²) can be undone in one way only), and half of a normal distribution, reweighted, is never a Gaussian. Its gap is an integral too, at {POINTS:,} z; at half of them it is {half:.3f}.
""",
        open="How small the gap of a flow becomes with more training, which neither world here was given. Whether, at a rate above 0 and a fixed finite decoder for text, gap and misfit can vanish together. That D[Q ‖ P(z|X)] → 0 suffices for a *useful* z is refuted "
        "by the collapsed model (claim 9).",
        table=found,
        picture=picture(by),
        holds={"the counter-case's integral is fine enough": abs(counter["gap"] - half) < 0.005}
        | (sound(found) if notes.quick else shown(found)),
    )


def keyed(found: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {(row["world"], row["posterior"]): row for row in found}


def sound(found: Sequence[Row]) -> dict[str, bool]:
    """What needs no training."""
    by = keyed(found)
    narrow, wide = (by[f"1-d, σ = {sigma:g}", "Doersch's"] for sigma in (0.02, 0.5))
    counter = by["1-d mixture, best p(x) at its σ", "best Gaussian"]
    return {
        "Doersch's construction": narrow["gap"] < 0.01 and narrow["excess"] < 0.001 and narrow["gap"] < wide["gap"],
        "the counter-case": counter["gap"] > 0.05 and abs(counter["excess"]) < 1e-3,
    }


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of its table."""
    by = keyed(found)
    diagonal, full = (by["linear-Gaussian, W fixed", family]["gap"] for family in ("diagonal", "full"))
    alive = by["text, alive", "diagonal"]
    return sound(found) | {
        "a full Gaussian closes the gap of a linear model": abs(full) < 0.05 < diagonal,
        "a learned decoder turns to meet a diagonal Q": by["linear-Gaussian, W learned", "diagonal"]["gap"] < 0.5 * diagonal,
        "the collapsed model has no gap": abs(by["text, collapsed", "diagonal"]["gap"]) < 0.01,
        "the alive one has": alive["gap"] > 3 * alive["gap_se"],
        "a refined q is no worse": all(
            row["amortisation"] > 0 for row in found if "text" in row["world"] and row["posterior"] != "flow"
        ),
    }


def row(world: str, posterior: str, gap: Tensor, family: Tensor | None = None, excess: float = NONE) -> Row:
    """A gap in its two parts, where `family`, what no q of its kind can say, is known (N,) or one number for all ()."""
    drawn = math.isnan(excess)  # the observations of one dimension are quantiles
    parts = {"amortisation": NONE, "amortisation_se": NONE, "family": NONE, "family_se": NONE}
    if family is not None:
        missed = gap - family
        parts |= {"amortisation": float(missed.mean()), "amortisation_se": standard_error(missed), "family": float(family.mean())}
        parts["family_se"] = standard_error(family) if family.ndim else NONE
    gaps = {"gap": float(gap.mean()), "gap_se": standard_error(gap) if drawn else NONE}
    return {"world": world, "posterior": posterior, "observations": len(gap), **gaps, **parts, "excess": excess}


def fixed_decoders(notes: Notes) -> list[Row]:
    """Gaps of trained q on linear-Gaussian data, the decoder fixed, and learned beside a diagonal q."""
    steps = 300 if notes.quick else 800
    return notes.spread(linear_gap, [(family, False, steps) for family in ("diagonal", "full", "flow")] + [("diagonal", True, 2 * steps)])


def linear_gap(family: str, learned: bool, steps: int) -> Row:
    model = linear(4, 8, posterior=family, seed=5)
    x = model.sample(512, seed=1)[1]
    model.decoder.requires_grad_(learned)
    fit(objective(model), x, steps)
    torch.manual_seed(0)
    with torch.no_grad():
        elbo = forward_pass(model, rows(x), torch.randn(200, len(x), 4).double())
        gap = model.log_evidence(rows(x)) - elbo.terms.elbo
    best = model.diagonal_gap.detach() if family == "diagonal" else None
    return row(f"linear-Gaussian, W {'learned' if learned else 'fixed'}", family, gap, best)


def on_text(notes: Notes) -> tuple[list[Row], float]:
    """Gaps of text VAEs and their parts, the encoder's q and the refined one on the same grid; the grids' stated error."""
    runs = {
        ("text, alive", "diagonal"): wanted(notes, "two"),
        ("text, alive", "full"): wanted(notes, "two-full", "full_covariance"),
        ("text, alive", "flow"): wanted(notes, "two-flow", "flow_posterior"),
        ("text, collapsed", "diagonal"): wanted(notes, "collapsed", "vanilla"),
    }
    asked = [
        (*run, vae.model, some(vae, notes, 8 if notes.quick else SENTENCES), 60 if notes.quick else 150)
        for run, vae in zip(runs, texts(notes, runs.values()), strict=True)
    ]
    found, stated = zip(*notes.spread(text_gap, asked), strict=True)
    return list(found), max(stated)


def text_gap(world: str, family: str, model: TextVAE, sequences: Sequences, steps: int) -> tuple[Row, float]:
    refined = refinement(model, sequences, SentenceNoise(0, 2), steps=steps)
    grid = truth(model, sequences, 0.05)
    best = replace(grid, log_q=refined.q.log_prob(grid.z[:, None].expand(-1, len(sequences), -1)))
    return row(world, family, grid.posterior_gap, best.posterior_gap), max(float(each.error.max()) for each in (grid, best))


def doersch() -> list[Row]:
    """The construction for falling σ, averaged over data at equal probabilities."""
    data = two_humps()
    x = quantiles(data)
    found = []
    for sigma in SIGMAS:
        grid = construction(data, sigma, x)
        excess = float((data.log_prob(x) - grid.log_evidence).mean())
        found.append(row(f"1-d, σ = {sigma:g}", "Doersch's", grid.posterior_gap, excess=excess))
    return found


def counter_case() -> tuple[Row, float]:
    """The gap of the best Gaussian, and the same found at every second z."""
    data = two_humps()
    x = quantiles(data)
    grid = two_valued(1.5, 0.5, x)
    excess = float((data.log_prob(x) - grid.log_evidence).mean())
    made = row("1-d mixture, best p(x) at its σ", "best Gaussian", best_gaussian(grid), excess=excess)
    return made, float(best_gaussian(grid, every=2).mean())


def quantiles(data: torch.distributions.Distribution, count: int = 100) -> Tensor:
    """Points between which the data have equal probability."""
    fine = torch.linspace(-5, 5, 20001, dtype=torch.float64)
    levels = (torch.arange(count).double() + 0.5) / count
    return fine[torch.searchsorted(data.cdf(fine), levels)]


def picture(by: dict[tuple[str, str], Row]) -> Figure:
    figure, (left, right) = canvas(2)
    dots = [by[f"1-d, σ = {sigma:g}", "Doersch's"] for sigma in SIGMAS]
    left.plot(SIGMAS, [r["gap"] for r in dots], "o-", color=BLUE, label="posterior gap")
    left.plot(SIGMAS, [max(r["excess"], 1e-6) for r in dots], "x--", color=ORANGE, label="KL(p* ‖ p)")
    left.plot(
        0.5,
        by["1-d mixture, best p(x) at its σ", "best Gaussian"]["gap"],
        "s",
        color=GREEN,
        label="counter-case, gap",
    )
    left.set(xscale="log", yscale="log", xlabel="σ of the decoder", ylabel="nats", title="one dimension")
    legend(left)
    shown = [(key, r) for key, r in by.items() if not key[0].startswith("1-d")]
    right.barh(range(len(shown)), [r["gap"] for _, r in shown], xerr=[r["gap_se"] for _, r in shown], color=BLUE, ecolor=BLACK)
    right.set_yticks(range(len(shown)), [f"{world}\n{family}" for (world, family), _ in shown], fontsize=7)
    right.invert_yaxis()
    right.set(xlabel="posterior gap, nats", title="D = 4 and text")
    return figure


if __name__ == "__main__":
    main(claim)
