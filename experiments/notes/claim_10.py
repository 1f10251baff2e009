"""Claim 10: sampling, back-propagation and the reparameterisation."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from notes import Notes, Page, Row, main
from textvae.api import Vae
from textvae.data.batches import Sequences, collate
from textvae.evaluation.estimators import standard_error
from textvae.evaluation.quadrature import Quadrature
from textvae.models.distributions import DiagonalGaussian
from textvae.plots.figure import BLUE, GREEN, GREY, ORANGE, RED, Figure, canvas, legend
from worlds import doubt, linear, rows, some, text, truth

HOW = ("pathwise", "score, less a baseline", "pathwise, rate sampled", "score, rate sampled", "score, rate sampled, less a baseline")
BLOCKS = 20


def claim(notes: Notes) -> Page:
    draws = 1000 if notes.quick else 20_000
    torch.manual_seed(0)
    worlds = {f"linear-Gaussian, D = {dim}": gaussian(dim) for dim in (1, 4, 16)}
    vae = text(notes, "two")
    sequences = some(vae, notes, 3)
    grid = truth(vae.model, sequences)
    worlds |= {f"text, D = 2, sentence {index + 1}": sentence(vae, sequences, grid, index) for index in range(3)}
    found: list[Row] = []
    for world, (joint, mean, log_variance, exact) in worlds.items():
        made = estimates(joint, mean, log_variance, draws)
        for how, values in made.items():
            share = values @ exact / exact.square().sum()
            z = (values.mean(0) - exact) / (values.std(0) / draws**0.5)
            times, times_se = ratio(values, made["pathwise"])
            found.append({
                "world": world, "estimator": how, "draws": draws, "variance": float(values.var(0).sum()), "÷ pathwise": times, "÷ pathwise, se": times_se,
                "along the exact": float(share.mean()), "along the exact, se": standard_error(share), "largest z": float(z.abs().max()),
            })  # fmt: skip
    _, sampled, plain, best = others(found)
    words = [row["÷ pathwise"] for world, row in plain.items() if "text" in world]
    held = [row["÷ pathwise"] for world, row in best.items() if "text" in world]
    off = [abs(row["along the exact"] - 1) / row["along the exact, se"] for row in found]
    alone, alone_se = best["D = 1"]["variance"] / sampled["D = 1"]["variance"], best["D = 1"]["÷ pathwise, se"] / sampled["D = 1"]["÷ pathwise"]
    return Page(
        number=10,
        title="sampling and back-propagation",
        claim="Sampling blocks back-propagation; hence z = μ + σε, the reparameterisation.",
        verdict="false as stated, the remedy is right",
        answer="Sampling does not block the gradient: the score-function estimator never differentiates through z and is as unbiased. What reparameterisation buys is variance, and how much depends on "
        "the dimension and on the rival. Against the plain score it is tens to thousands of times. Against the best score here, with a baseline, and with the rate of the pathwise gradient in closed form, as training has it, it is "
        f"{best['D = 1']['÷ pathwise']:.1f} times at D = 1 and {best['D = 16']['÷ pathwise']:.0f} times at D = 16; on text at D = 2 the two are about even ({min(held):.2f} to {max(held):.2f}).",
        figure=f"Variance of the score-function gradient ÷ that of the pathwise one: {plain['D = 1']['÷ pathwise']:.0f} at D = 1, {plain['D = 16']['÷ pathwise']:.0f} at D = 16, {min(words):.0f} to {max(words):.0f} on three sentences (D = 2). With a baseline: "
        f"{said(best['D = 1'])}, {said(best['D = 16'])}, {min(held):.2f} to {max(held):.2f}. The mean gradient's part along the exact one is off by at most {max(off):.1f} of its standard errors in {len(off)} cases.",
        text=f"""
The gradient of the ELBO of one observation by the mean and the log-variance of its diagonal Q. Exact: by the closed form of the
ELBO (linear-Gaussian), or by differentiating an integral over a grid of z (a VAE on a tiny grammar, LSTM decoder; error of the grid's integrals at most {doubt(grid.error)}). Against it, from
{draws:,} draws of one z each, with f(z) = log p(x|z) + log p(z) − log q(z) and b a mean over the other draws:

    pathwise                                ∇ log p(x|μ + σε) − ∇ KL(q ‖ p), the rate in closed form, as training has it
    score, less a baseline                  (log p(x|z) − b) ∇ log q(z) − ∇ KL(q ‖ p)
    pathwise, rate sampled                  ∇ f(μ + σε)
    score, rate sampled                     f(z) ∇ log q(z)
    score, rate sampled, less a baseline    (f(z) − b) ∇ log q(z)

`variance` is that of a single draw, summed over the components; `÷ pathwise` its ratio to the first one's, with an error by leaving out each of {BLOCKS} blocks of draws in turn. `along the exact` is
the mean over the draws of ⟨g, exact⟩ ÷ ‖exact‖², 1 if there is no bias, with its standard error over draws; the estimators share their draws, so that their errors are not independent.
`largest z` is the largest standardised error of a single component.

Of two rivals that both sample the rate, the score with a baseline has the smaller variance at D = 1: {alone:.2f} ± {alone_se:.2f} of the pathwise one's. That it is so depends on that choice: log p(z) − log q(z) in f steadies the
score, whose variance is larger without it, and unsettles the pathwise gradient, whose variance is larger with it.
""",
        open="The ratio is no constant: it depends on how steep log p(x|z) is, and where z is discrete only the score (or a relaxation) "
        "is left. Better baselines than a mean were not tried.",
        table=found,
        picture=picture(found),
        holds=sound(found) if notes.quick else shown(found),
    )


def keyed(found: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {(row["world"].removeprefix("linear-Gaussian, "), row["estimator"]): row for row in found}


def others(found: Sequence[Row]) -> list[dict[str, Row]]:
    """The rows of each estimator but the pathwise one with the rate in closed form, by world."""
    by = keyed(found)
    return [{world: by[world, how] for world, name in by if name == how} for how in HOW[1:]]


def sound(found: Sequence[Row]) -> dict[str, bool]:
    """What holds of fewer draws, too."""
    _, sampled, plain, best = others(found)
    off = [abs(row["along the exact"] - 1) / row["along the exact, se"] for row in found]
    return {
        "no estimator is biased": max(off) < 3.5 and max(row["largest z"] for row in found) < 4.5,
        "the plain score has more variance everywhere": all(row["÷ pathwise"] > 2 for row in plain.values()),
        "a baseline helps": all(best[world]["variance"] < plain[world]["variance"] for world in plain),
        "sampling the rate unsettles the pathwise gradient": all(row["÷ pathwise"] > 1 for row in sampled.values()),
        "the pathwise one has far less variance at D = 16": best["D = 16"]["÷ pathwise"] > 5,
    }


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of its table."""
    closed, sampled, _, best = others(found)
    one, alike = best["D = 1"], sampled["D = 1"]
    held = [row["÷ pathwise"] for world, row in best.items() if "sentence" in world]
    return sound(found) | {
        "sampling the rate steadies the score": all(best[world]["variance"] < closed[world]["variance"] for world in best),
        "the pathwise one has less variance at D = 1": one["÷ pathwise"] - 2 * one["÷ pathwise, se"] > 1,
        "but not of those that sample the rate": one["variance"] / alike["variance"] + 2 * one["÷ pathwise, se"] / alike["÷ pathwise"] < 1,
        "at D = 2 they are about even": 0.4 < min(held) <= max(held) < 2.5,
    }


def said(row: Row) -> str:
    return f"{row['÷ pathwise']:.2f} ± {row['÷ pathwise, se']:.2f} at {row['world'].split(', ')[1]}"


def ratio(values: Tensor, reference: Tensor) -> tuple[float, float]:
    """Variance ÷ variance of the reference, over the same draws, with its error by the jackknife over blocks."""
    block = torch.arange(len(values)) % BLOCKS
    left_out = torch.stack([_ratio(values[block != b], reference[block != b]) for b in range(BLOCKS)])
    error = ((BLOCKS - 1) * left_out.var(correction=0)).sqrt()
    return float(_ratio(values, reference)), float(error)


def _ratio(values: Tensor, reference: Tensor) -> Tensor:
    return values.var(0).sum() / reference.var(0).sum()


Joint = Callable[[Tensor], tuple[Tensor, Tensor]]
Problem = tuple[Joint, Tensor, Tensor, Tensor]
"""log p(x|z) and log p(z) of z (K, 1, D); mean and log-variance (D,) of q; the exact gradient (2D,)."""


def gaussian(dim: int) -> Problem:
    model = linear(dim, dim + 4, seed=dim).requires_grad_(False)
    batch = rows(model.sample(1, seed=3)[1])
    best = model.best_diagonal()
    mean = (best(batch.targets).mean[0] + 0.3).requires_grad_()
    log_variance = best.covariance.diagonal().log().clone().requires_grad_()
    weight = model.decoder.linear.weight
    spread = (weight.square().sum(0) * log_variance.exp()).sum() / model.decoder.log_variance.exp()
    rate = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum()
    elbo = model.decoder(batch, mean[None, None]).sum() - 0.5 * spread - rate
    exact = torch.cat(torch.autograd.grad(elbo, [mean, log_variance]))
    return lambda z: (model.decoder(batch, z).sum(-1), model.prior().log_prob(z)), mean, log_variance, exact


def sentence(vae: Vae, sequences: Sequences, grid: Quadrature, index: int) -> Problem:
    """One sentence under a trained text VAE; the exact gradient is that of the integral."""
    model = vae.model.requires_grad_(False)
    batch = collate([sequences[index]])
    q = model.posterior(batch)
    mean, log_variance = (part[0].clone().requires_grad_() for part in (q.location, q.log_variance))
    log_q = DiagonalGaussian(mean, log_variance).log_prob(grid.z)
    density = (log_q + grid.log_volume).exp()
    elbo = (density * (grid.log_likelihood[:, index] + grid.log_prior[:, 0] - log_q)).sum()
    exact = torch.cat(torch.autograd.grad(elbo, [mean, log_variance]))
    return lambda z: (model.decoder(batch, z).sum(-1), model.prior().log_prob(z)), mean, log_variance, exact


def estimates(
    joint: Joint, mean: Tensor, log_variance: Tensor, draws: int
) -> dict[str, Tensor]:
    """Single-draw gradients (draws, 2D) by every estimator, on the same z."""
    leaves = [part.detach().expand(draws, 1, -1).clone().requires_grad_() for part in (mean, log_variance)]
    q = DiagonalGaussian(*leaves)
    z = q.transport(torch.randn(draws, 1, len(mean)).double())

    def gradient(value: Tensor) -> Tensor:
        return torch.cat(torch.autograd.grad(value.sum(), leaves, retain_graph=True), -1)[:, 0]

    likelihood, prior = joint(z)
    rate = kl_divergence(q, DiagonalGaussian(torch.zeros_like(q.mean), torch.zeros_like(q.mean)))
    sampled, log_q = likelihood + prior - q.log_prob(z), q.log_prob(z.detach())

    def score(signal: Tensor) -> Tensor:
        return gradient(signal.detach() * log_q)

    def centred(signal: Tensor) -> Tensor:
        return (signal - signal.mean()) * draws / (draws - 1)

    made = (
        gradient(likelihood - rate), score(centred(likelihood)) - gradient(rate),
        gradient(sampled), score(sampled), score(centred(sampled)),
    )  # fmt: skip
    return dict(zip(HOW, made, strict=True))


def picture(found: list[Row]) -> Figure:
    figure, (axes,) = canvas(1, 7.5)
    worlds = list(dict.fromkeys(row["world"] for row in found))
    for shift, how, colour in zip((-0.32, -0.16, 0, 0.16, 0.32), HOW, (BLUE, GREEN, GREY, ORANGE, RED), strict=True):
        heights = [row["variance"] for row in found if row["estimator"] == how]
        axes.bar([place + shift for place in range(len(worlds))], heights, 0.15, color=colour, label=how)
    names = [world.replace("linear-Gaussian, ", "linear-Gaussian\n").replace(", D = 2, ", ", D = 2\n") for world in worlds]
    axes.set_xticks(range(len(worlds)), names, fontsize=8)
    axes.set(yscale="log", ylabel="variance of one draw's gradient")
    legend(axes)
    return figure


if __name__ == "__main__":
    main(claim)
