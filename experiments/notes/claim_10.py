"""Claim 10: sampling, back-propagation and the reparameterisation."""

from collections.abc import Callable

import torch
from torch import Tensor

from notes import Notes, Page, Row, main
from textvae.api import Vae
from textvae.data.batches import Sequences, collate
from textvae.models.distributions import DiagonalGaussian
from textvae.plots.figure import BLUE, GREEN, ORANGE, Figure, canvas, legend
from worlds import linear, rows, some, text, truth

HOW = ("pathwise", "score", "score, less a baseline")


def claim(notes: Notes) -> Page:
    draws = 1000 if notes.quick else 4000
    torch.manual_seed(0)
    worlds = {f"linear-Gaussian, D = {dim}": gaussian(dim) for dim in (1, 4, 16)}
    vae = text(notes, "two")
    worlds |= {
        f"text, D = 2, sentence {index + 1}": sentence(vae, some(vae, notes, index + 1), index)
        for index in range(3)
    }
    found, scores = [], []
    for world, (joint, mean, log_variance, exact) in worlds.items():
        row: Row = {"world": world, "draws": draws}
        for how, values in estimates(joint, mean, log_variance, draws).items():
            z = (values.mean(0) - exact) / (values.std(0) / draws**0.5)
            scores.append(z)
            row[f"variance, {how}"] = float(values.var(0).sum())
            row[f"largest z, {how}"] = float(z.abs().max())
        row["score ÷ pathwise"] = row["variance, score"] / row["variance, pathwise"]
        row["with baseline ÷ pathwise"] = row["variance, score, less a baseline"] / row["variance, pathwise"]
        found.append(row)
    z = torch.cat(scores)
    small, large = found[0]["score ÷ pathwise"], found[2]["score ÷ pathwise"]
    words = [row["score ÷ pathwise"] for row in found[3:]]
    return Page(
        number=10,
        title="sampling and back-propagation",
        claim="Sampling blocks back-propagation; hence z = μ + σε, the reparameterisation.",
        verdict="false as stated, the remedy is right",
        answer="Sampling does not block the gradient: the score-function estimator never differentiates through z and is as unbiased. "
        "What reparameterisation buys is variance: the plain score needs tens to thousands of times as many draws. With a baseline it comes close in one or "
        "two dimensions, and is far off again in 16.",
        figure=f"Variance of the score-function gradient ÷ that of the pathwise one: {small:.0f} at D = 1, {large:.0f} at D = 16, "
        f"{min(words):.0f} to {max(words):.0f} on three sentences; {len(z)} gradient components, standardised errors of all "
        f"estimators: mean {z.mean():.2f} ± {z.std() / len(z) ** 0.5:.2f}.",
        text=f"""
The gradient of the ELBO of one observation by the mean and the log-variance of its diagonal Q. Exact: by the closed form of the
ELBO (linear-Gaussian), or by differentiating an integral over a grid of z (a VAE on a tiny grammar, LSTM decoder). Against it, from
{draws:,} draws of one z each, with f(z) = log p(x|z) + log p(z) − log q(z):

    pathwise                  ∇ f(μ + σε)
    score                     f(z) ∇ log q(z)
    score, less a baseline    (f(z) − the mean of f over the other draws) ∇ log q(z)

Variance is that of a single draw, summed over the components; the largest standardised error z of a component says whether there
is a bias (up to 3 or so is chance).
""",
        open="The ratio is no constant: it depends on how steep log p(x|z) is, and where z is discrete only the score (or a relaxation) "
        "is left. Better baselines than a mean were not tried.",
        table=found,
        picture=picture(found),
        holds={
            "no estimator is biased": float(z.abs().max()) < 4.5 and abs(float(z.mean())) < 0.5,
            "pathwise has the least variance": all(row["score ÷ pathwise"] > 2 for row in found),
            "a baseline helps": all(r["with baseline ÷ pathwise"] < r["score ÷ pathwise"] for r in found),
        },
    )


Problem = tuple[Callable[[Tensor], Tensor], Tensor, Tensor, Tensor]
"""log p(x, z) of z (K, 1, D); mean and log-variance (D,) of q; the exact gradient (2D,)."""


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
    return lambda z: model.decoder(batch, z).sum(-1) + model.prior().log_prob(z), mean, log_variance, exact


def sentence(vae: Vae, sequences: Sequences, index: int) -> Problem:
    """One sentence under a trained text VAE; the exact gradient is that of the integral."""
    model = vae.model.requires_grad_(False)
    batch, grid = collate([sequences[index]]), truth(model, sequences)
    q = model.posterior(batch)
    mean, log_variance = (part[0].clone().requires_grad_() for part in (q.location, q.log_variance))
    log_q = DiagonalGaussian(mean, log_variance).log_prob(grid.z)
    density = (log_q + grid.log_volume).exp()
    elbo = (density * (grid.log_likelihood[:, index] + grid.log_prior[:, 0] - log_q)).sum()
    exact = torch.cat(torch.autograd.grad(elbo, [mean, log_variance]))
    return lambda z: model.decoder(batch, z).sum(-1) + model.prior().log_prob(z), mean, log_variance, exact


def estimates(
    joint: Callable[[Tensor], Tensor], mean: Tensor, log_variance: Tensor, draws: int
) -> dict[str, Tensor]:
    """Single-draw gradients (draws, 2D) by every estimator, on the same z."""
    leaves = [part.detach().expand(draws, 1, -1).clone().requires_grad_() for part in (mean, log_variance)]
    q = DiagonalGaussian(*leaves)
    z = q.transport(torch.randn(draws, 1, len(mean)).double())

    def gradient(value: Tensor) -> Tensor:
        return torch.cat(torch.autograd.grad(value.sum(), leaves, retain_graph=True), -1)[:, 0]

    value = joint(z) - q.log_prob(z)
    signal, log_q = value.detach(), q.log_prob(z.detach())
    others = (signal - signal.mean()) * draws / (draws - 1)
    return dict(zip(HOW, (gradient(value), gradient(signal * log_q), gradient(others * log_q)), strict=True))


def picture(found: list[Row]) -> Figure:
    figure, (axes,) = canvas(1, 7.5)
    for shift, how, colour in zip((-0.27, 0, 0.27), HOW, (BLUE, ORANGE, GREEN), strict=True):
        places = [place + shift for place in range(len(found))]
        axes.bar(places, [row[f"variance, {how}"] for row in found], 0.25, color=colour, label=how)
    names = [
        row["world"].replace("linear-Gaussian", "linear-Gaussian\n").replace(", D = 2, ", "\n").replace("\n,", "\n")
        for row in found
    ]
    axes.set_xticks(range(len(found)), names, fontsize=8)
    axes.set(yscale="log", ylabel="variance of one draw's gradient")
    legend(axes)
    return figure


if __name__ == "__main__":
    main(claim)
