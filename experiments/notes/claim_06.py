"""Claim 6: one z and a mini-batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from notes import Notes, Page, Row, main
from textvae.evaluation.estimators import standard_error
from textvae.models.linear_gaussian import LinearGaussian
from textvae.models.principal_components import optimum
from textvae.models.terms import forward_pass
from textvae.plots.figure import BLUE, GREEN, ORANGE, Figure, canvas, legend
from worlds import exact_terms, fit, linear, objective, rows

DIM, COORDINATES, DATA = 3, 6, 1024
TRAINED = ((16, 1), (16, 16), (256, 1))
"""Observations in a batch, and z for each."""
CHANCE = 4.4
"""What chance alone passes once in a hundred times, in standard errors, among all components of all gradients (783)."""
NONE = float("nan")


def claim(notes: Notes) -> Page:
    repeats, steps, seeds = (60, 300, 2) if notes.quick else (300, 2000, 10)
    model = linear(DIM, COORDINATES, seed=1)
    x = linear(DIM, COORDINATES, seed=2).sample(DATA, seed=1)[1]
    for head in model.posterior.parameters():
        head.data.mul_(0.2)  # far from the optimum, but no variance explodes with x
    exact = exact_gradient(model, x)
    grid = [(batch, samples) for batch in (1, 16, 256) for samples in (1, 4, 16)]
    found = notes.spread(cell, [(model, x, exact, batch, samples, repeats) for batch, samples in grid])
    best = best_loss(x)
    ends = notes.spread(trained, [(x, *how, steps, seed) for how in TRAINED for seed in range(seeds)])
    above = dict(zip(TRAINED, torch.tensor([end - best for end in ends]).view(-1, seeds), strict=True))
    found += [line(above, *how) for how in TRAINED]
    cells = [row for row in found if row["what"] == "gradient"]
    along, along_se = pooled(cells)
    by = keyed(found)
    one, many = (by["gradient", 16, samples]["noise ÷ exact norm"] for samples in (1, 16))
    plain, careful, wide = (by["training", batch, samples] for batch, samples in TRAINED)
    return Page(
        number=6,
        title="one z and a mini-batch",
        claim="One z per sentence and mini-batches suffice: two nested approximations by stochastic gradients.",
        verdict="true",
        answer="Neither biases the gradient; both only add noise, and a second z for an observation is worth less than a second observation. On a linear-Gaussian model trained with one z and 16 observations at a time, −ELBO ends "
        f"{said(plain)} nats above the known optimum; with 16 z it ends {said(careful)} above it, nearer for {careful['seeds nearer than one z']} of {seeds} seeds, and with 16 times as many observations {said(wide)}, nearer for {wide['seeds nearer than one z']}. Which of the two brings it nearer these runs do not settle.",
        figure=f"The mean gradient's part along the exact one, as a share of it: {along:.4f} ± {along_se:.4f} over {len(cells) * repeats:,} independent draws (1 if there is no bias). Noise ÷ norm of the exact gradient at batch 16: "
        f"{one:.2f} with one z, {many:.2f} with 16. After {steps} steps −ELBO is {said(plain)} nats above the optimum with one z, {said(careful)} with 16 (mean of {seeds} seeds ± the standard error over seeds).",
        text=f"""
A linear-Gaussian model ({COORDINATES} coordinates, D = {DIM}) and {DATA} observations from another one, so that there is something to learn. The exact gradient of the mean −ELBO by all
parameters, of Q and of the decoder, comes from its closed form. Against it: the gradient of the library's own pass, with a batch drawn at random and one
or more z for each observation, {repeats} times. `noise` is the root of the summed variance, as a share of the norm of the exact gradient.
`along the exact` is the mean over the draws of ⟨g, exact⟩ ÷ ‖exact‖²: one number a draw, so that its standard error is over independent draws (the components of one draw are not independent
of each other). `largest z` is the largest standardised error of a single one of {len(exact)} components; among all {len(cells) * len(exact)} of them chance alone passes {CHANCE:g} once in a hundred times.

The variance is a/batch + b/(batch · z): more z remove only b. Then training with Adam, {steps} steps from one start, the learning rate falling to 0 over the
second half, with {seeds} seeds of the batches and the z (`repeats`); errors are over seeds; the optimum is known from the eigenvalues of the data's covariance (`textvae.models.principal_components`).
""",
        open="How a and b compare on a trained LSTM. For the importance-weighted bound more z change the aim itself, not only the noise.",
        table=found,
        picture=picture(by),
        holds=sound(found, 5.0) if notes.quick else shown(found),
    )


def keyed(found: Sequence[Row]) -> dict[tuple[str, int, int], Row]:
    return {(row["what"], row["batch"], row["z per observation"]): row for row in found}


def sound(found: Sequence[Row], most: float) -> dict[str, bool]:
    """What holds of few draws, too; no component of a gradient is off by more than `most` standard errors."""
    by = keyed(found)
    cells = [row for row in found if row["what"] == "gradient"]
    along, along_se = pooled(cells)
    one, many, wide = (by["gradient", batch, samples]["noise ÷ exact norm"] for batch, samples in TRAINED)
    return {
        "there is no bias": abs(along - 1) < 3 * along_se and max(row["largest z"] for row in cells) < most,
        "more sentences help more than more z": wide < many < one,
    }


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of its table."""
    by = keyed(found)
    plain, *better = (by["training", batch, samples] for batch, samples in TRAINED)
    return sound(found, CHANCE) | {
        "one z comes near the optimum": plain["most above"] < 0.025,
        "less noise comes nearer, with every seed": all(
            row["above the optimum"] < plain["above the optimum"] / 3 and row["seeds nearer than one z"] == row["repeats"]
            for row in better
        ),
    }


def said(row: Row) -> str:
    return f"{row['above the optimum']:.4f} ± {row['above the optimum, se']:.4f}"


def cell(model: LinearGaussian, x: Tensor, exact: Tensor, batch: int, samples: int, repeats: int) -> Row:
    """The noise and the bias of the gradient with some observations in a batch and some z for each."""
    drawn = gradients(model, x, batch, samples, repeats)
    z = (drawn.mean(0) - exact) / (drawn.std(0) / repeats**0.5)
    share = drawn @ exact / exact.square().sum()
    return {
        "what": "gradient", "batch": batch, "z per observation": samples, "repeats": repeats,
        "noise ÷ exact norm": float(drawn.var(0).sum() ** 0.5 / exact.norm()), "along the exact": float(share.mean()),
        "along the exact, se": standard_error(share), "largest z": float(z.abs().max()),
        "above the optimum": NONE, "above the optimum, se": NONE, "least above": NONE, "most above": NONE, "seeds nearer than one z": NONE,
    }  # fmt: skip


def trained(x: Tensor, batch: int, samples: int, steps: int, seed: int) -> float:
    """−ELBO over x after training from one start, the batches and the z drawn by a seed."""
    model = linear(DIM, COORDINATES, seed=3)
    torch.manual_seed(seed)
    fit(objective(model, samples=samples), x, steps, lr=0.02, batch=batch, seed=seed)
    return float(loss_of(model, x).detach())


def line(above: dict[tuple[int, int], Tensor], batch: int, samples: int) -> Row:
    """One way of training in a row: its distance from the optimum over the seeds."""
    own, plain = above[batch, samples], above[TRAINED[0]]
    return {
        "what": "training", "batch": batch, "z per observation": samples, "repeats": len(own), "noise ÷ exact norm": NONE, "along the exact": NONE,
        "along the exact, se": NONE, "largest z": NONE, "above the optimum": float(own.mean()), "above the optimum, se": standard_error(own),
        "least above": float(own.min()), "most above": float(own.max()),
        "seeds nearer than one z": NONE if own is plain else int((own < plain).sum()),
    }  # fmt: skip


def pooled(cells: list[Row]) -> tuple[float, float]:
    """The mean of `along the exact` over independent cells, each as heavy as it is precise, and its standard error."""
    weights = [1 / row["along the exact, se"] ** 2 for row in cells]
    mean = sum(w * row["along the exact"] for w, row in zip(weights, cells, strict=True)) / sum(weights)
    return mean, sum(weights) ** -0.5


def exact_gradient(model: LinearGaussian, x: Tensor) -> Tensor:
    """Of the mean −ELBO over x by all parameters."""
    return flat(torch.autograd.grad(loss_of(model, x), list(model.parameters())))


def loss_of(model: LinearGaussian, x: Tensor) -> Tensor:
    """The mean −ELBO over x, no z sampled."""
    distortion, rate = exact_terms(model, x)
    return (distortion + rate).mean()


def gradients(model: LinearGaussian, x: Tensor, batch: int, samples: int, repeats: int) -> Tensor:
    """Gradients (repeats, P) of the library's own pass."""
    torch.manual_seed(1000 * batch + samples)
    found = []
    for _ in range(repeats):
        some = rows(x[torch.randint(len(x), (batch,))])
        done = forward_pass(model, some, torch.randn(samples, batch, DIM).double())
        found.append(flat(torch.autograd.grad(-done.terms.elbo.mean(), list(model.parameters()))))
    return torch.stack(found)


def flat(parts: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def best_loss(x: Tensor) -> float:
    """The least −ELBO of any model of this D and σ²: the exact posterior leaves no gap."""
    covariance = x.T.cov(correction=0)
    found = optimum(covariance, DIM, 0.5)
    best = MultivariateNormal(x.mean(0), found.weight @ found.weight.T + 0.5 * torch.eye(COORDINATES).double())
    return float(-best.log_prob(x).mean())


def picture(by: dict[tuple[str, int, int], Row]) -> Figure:
    figure, (axes,) = canvas(1)
    for samples, colour in zip((1, 4, 16), (BLUE, ORANGE, GREEN), strict=True):
        noise = [by["gradient", batch, samples]["noise ÷ exact norm"] for batch in (1, 16, 256)]
        axes.plot((1, 16, 256), noise, "o-", color=colour, label=f"{samples} z per observation")
    axes.set(
        xscale="log", yscale="log", xlabel="observations in a batch", ylabel="noise ÷ norm of the exact gradient"
    )
    legend(axes)
    return figure


if __name__ == "__main__":
    main(claim)
