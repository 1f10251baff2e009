"""Claim 6: one z and a mini-batch."""

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from notes import Notes, Page, Row, main
from textvae.evaluation.estimators import standard_error
from textvae.models.linear_gaussian import LinearGaussian
from textvae.models.principal_components import optimum
from textvae.models.terms import forward_pass
from textvae.plots.figure import BLUE, GREEN, ORANGE, Figure, canvas, legend
from worlds import exact_terms, fit, linear, objective, rows

DIM, COORDINATES, DATA = 3, 6, 1024


def claim(notes: Notes) -> Page:
    repeats, steps = (60, 300) if notes.quick else (300, 2000)
    model = linear(DIM, COORDINATES, seed=1)
    x = linear(DIM, COORDINATES, seed=2).sample(DATA, seed=1)[1]
    for head in model.posterior.parameters():
        head.data.mul_(0.2)  # far from the optimum, but no variance explodes with x
    exact = exact_gradient(model, x)
    found: list[Row] = []
    for batch in (1, 16, 256):
        for samples in (1, 4, 16):
            drawn = gradients(model, x, batch, samples, repeats)
            z = (drawn.mean(0) - exact) / (drawn.std(0) / repeats**0.5)
            share = drawn @ exact / exact.square().sum()
            found.append({
                "what": "gradient", "batch": batch, "z per observation": samples, "repeats": repeats,
                "noise ÷ exact norm": float(drawn.var(0).sum() ** 0.5 / exact.norm()), "along the exact": float(share.mean()),
                "along the exact, se": standard_error(share), "largest z": float(z.abs().max()), "above the optimum": float("nan"),
            })  # fmt: skip
    best = best_loss(x)
    for batch, samples in ((16, 1), (16, 16), (256, 1)):
        torch.manual_seed(0)
        trained = linear(DIM, COORDINATES, seed=3)
        fit(objective(trained, samples=samples), x, steps, lr=0.02, batch=batch)
        excess = float(loss_of(trained, x).detach()) - best
        found.append({
            **dict.fromkeys(found[0], float("nan")), "what": "training", "batch": batch, "z per observation": samples,
            "repeats": 1, "above the optimum": excess,
        })  # fmt: skip
    cells = [row for row in found if row["what"] == "gradient"]
    along, along_se = pooled(cells)
    largest, components = max(row["largest z"] for row in cells), len(cells) * len(exact)
    chance = float(Normal(0.0, 1.0).icdf(torch.tensor(1 - 0.005 / components)))
    by = {(row["what"], row["batch"], row["z per observation"]): row for row in found}
    one, many = (by["gradient", 16, samples]["noise ÷ exact norm"] for samples in (1, 16))
    plain, careful, wide = (by["training", batch, z]["above the optimum"] for batch, z in ((16, 1), (16, 16), (256, 1)))
    return Page(
        number=6,
        title="one z and a mini-batch",
        claim="One z per sentence and mini-batches suffice: two nested approximations by stochastic gradients.",
        verdict="true",
        answer="Neither biases the gradient; both only add noise, and a second z for a sentence is worth less than a second sentence. Trained with one z and 16 observations at a time, the model ends within "
        f"two hundredths of a nat of the known optimum; 16 z bring it {plain / careful:.0f} times nearer, and 16 times as many observations {plain / wide:.0f} times.",
        figure=f"The mean gradient's part along the exact one, as a share of it: {along:.4f} ± {along_se:.4f} over {len(cells) * repeats:,} independent draws (1 if there is no bias). Noise ÷ norm of the exact gradient at batch 16: "
        f"{one:.2f} with one z, {many:.2f} with 16. After {steps} steps −ELBO is {plain:.4f} nats above the optimum with one z, {careful:.4f} with 16.",
        text=f"""
A linear-Gaussian model ({COORDINATES} coordinates, D = {DIM}) and {DATA} observations from another one, so that there is something to learn. The exact gradient of the mean −ELBO by all
parameters, of Q and of the decoder, comes from its closed form. Against it: the gradient of the library's own pass, with a batch drawn at random and one
or more z for each observation, {repeats} times. `noise` is the root of the summed variance, as a share of the norm of the exact gradient.
`along the exact` is the mean over the draws of ⟨g, exact⟩ ÷ ‖exact‖²: one number a draw, so that its standard error is over independent draws (the components of one draw are not independent
of each other). `largest z` is the largest standardised error of a single one of {len(exact)} components; among all {components} of them chance alone passes {chance:.1f} once in a hundred times.

The variance is a/batch + b/(batch · z): more z remove only b. Then training with Adam, {steps} steps from one start, the learning rate falling to 0 over the
second half, one run each; the optimum is known from the eigenvalues of the data's covariance (`textvae.models.principal_components`).
""",
        open="How a and b compare on a trained LSTM. For the importance-weighted bound more z change the aim itself, not only the noise.",
        table=found,
        picture=picture(by),
        holds={
            "there is no bias": abs(along - 1) < 3 * along_se and largest < max(chance, 5.0 if notes.quick else 0.0),
            "more sentences help more than more z": by["gradient", 256, 1]["noise ÷ exact norm"] < many < one,
            "one z reaches the optimum": notes.quick or (plain < 0.025 and careful < plain / 3),
        },
    )


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
