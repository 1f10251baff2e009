"""Claim 2: the identity behind the ELBO."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from notes import Notes, Page, Row, main
from textvae.data.batches import Sequences, collate
from textvae.models.linear_gaussian import LinearGaussian, LinearPosterior
from textvae.models.modes import inert
from textvae.models.text_vae import TextVAE
from textvae.plots.figure import BLUE, GREY, ORANGE, Figure, canvas
from worlds import doubt, linear, pair, place, rows, some, truth


def claim(notes: Notes) -> Page:
    found: list[Row] = []
    points: dict[str, Tensor] = {}
    for dim in (1, 2, 4, 8, 16):
        left, right = gaussian(dim)
        found.append(row(f"linear-Gaussian, D = {dim}", "closed forms", left, right, math.nan))
        points[f"linear-\nGaussian,\nD = {dim}"] = left - right
    vaes = pair(notes)
    seen = notes.spread(on_grids, [(vae.model, some(vae, notes, 8)) for vae in vaes.values()])
    for name, sides in zip(vaes, seen, strict=True):
        for how, (left, right, stated) in sides.items():
            found.append(row(f"text, D = 2, {name}", f"quadrature, {how} grids", left, right, stated))
            points[f"text,\n{name},\n{how}"] = left - right
    exact = max(each["largest difference"] for each in found if "linear" in each["world"])
    fine, coarse = (
        max((each for each in found if how in each["how"]), key=lambda each: float(each["largest difference"]))
        for how in ("fine", "coarse")
    )
    return Page(
        number=2,
        title="the identity behind the ELBO",
        claim="log P(X) − D[Q(z|X) ‖ P(z|X)] = E_Q log P(X|z) − D[Q(z|X) ‖ P(z)].",
        verdict="true",
        answer="It is an identity, for any Q whatever, and the numbers obey it: on the linear-Gaussian model, where each term has a closed form of its own, to the "
        "precision of the arithmetic; on trained LSTM decoders as nearly as the integrals are known.",
        figure=f"Largest difference of the two sides: {exact:.0e} nats (linear-Gaussian, D up to 16, closed forms), {fine['largest difference']:.0e} (text, D = 2, fine "
        f"grids, whose stated error is {doubt(fine['stated error'])}), {coarse['largest difference']:.1g} on grids that are too coarse.",
        text="""
On linear-Gaussian models with random W and a *random* full-covariance Q, nowhere near the posterior, the four terms are four closed forms: on the left log N(x; μ, WWᵀ + σ²I) and
the divergence of Q from the exact posterior; on the right the expectation of the squared error and the divergence of Q from N(0, I). None is used for another.

On VAEs trained on a tiny grammar, with the encoder's own Q, the terms are integrals over z, in float64, by three sets of points that share none but the origin:

    log P(X)                          polar coordinates: Gauss-Legendre along the radius, equal angles
    D[Q(z|X) ‖ P(z|X)]                a square grid of spacing h, trapezoid rule
    E_Q log P(X|z), D[Q(z|X) ‖ P(z)]  a square grid of spacing 1.3 h

What is independent here, and what is not: the divergence from P(z|X) needs P(X), as what normalises the posterior, and takes it from its own grid. Were log P(X) taken from
there too, the two sides would agree on any grid that holds all of Q, however wrong: that is algebra, and no test. As it is, they differ by what the two rules disagree on about log P(X), and by what the two grids disagree on
about the expectations under Q. The coarse grids, h = 0.64, show that they can. `stated error` is twice the largest change by doubling the spacing of a square grid, or mass that it does not see: far above the error of the finer grid.
""",
        open="Nothing: it is an identity. What it does not say is how large the two sides are (claim 7).",
        table=found,
        picture=picture(points),
        holds=sound(found) if notes.quick else shown(found),
    )


def sound(found: Sequence[Row]) -> dict[str, bool]:
    """What needs no grid."""
    return {"closed forms agree": all(row["largest difference"] < 1e-10 for row in found if "linear" in row["world"])}


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of its table."""
    fine, coarse = ([row for row in found if how in row["how"]] for how in ("fine", "coarse"))
    return sound(found) | {
        "integrals agree": all(row["largest difference"] < max(1e-10, row["stated error"]) for row in fine),
        "they need not": max(row["largest difference"] for row in coarse) > 1e-2,
    }


def on_grids(model: TextVAE, sequences: Sequences) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Both sides (N,) on coarse and on fine grids, and the error that these state."""
    evidence, sides = polar(model, sequences), {}
    for how, spacing in (("coarse", 0.64), ("fine", 0.04)):
        one, other = truth(model, sequences, spacing), truth(model, sequences, 1.3 * spacing)
        stated = max(float(grid.error.max()) for grid in (one, other))
        sides[how] = evidence - one.posterior_gap, -other.distortion - other.rate, stated
    return sides


def polar(model: TextVAE, sequences: Sequences, radii: int = 160, angles: int = 320, reach: float = 6.5) -> Tensor:
    """log p(x) (N,) by Gauss-Legendre along the radius and equal angles around."""
    node, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(radii))
    radius, angle = reach * (node + 1) / 2, 2 * math.pi * torch.arange(angles).double() / angles
    z = (radius[:, None, None] * torch.stack([angle.cos(), angle.sin()], -1)).flatten(0, 1)
    log_volume = (weight * radius * (reach / 2) * (2 * math.pi / angles)).log().repeat_interleave(angles)
    batch = collate([sequences[index] for index in range(len(sequences))])
    with inert(model):
        log_likelihood = torch.cat(
            [model.decoder(batch, part[:, None].expand(-1, len(sequences), -1)).sum(-1) for part in z.split(240)]
        )
        evidence: Tensor = (log_likelihood + (model.prior().log_prob(z) + log_volume)[:, None]).logsumexp(0)
    return evidence


@torch.no_grad()
def gaussian(dim: int) -> tuple[Tensor, Tensor]:
    """Both sides (B,) under a random Q."""
    model = linear(dim, dim + 4, seed=dim)
    q = random_posterior(dim, dim + 4)
    place(model, q)
    x = model.sample(50, seed=2)[1]
    prior = MultivariateNormal(torch.zeros(dim).double(), torch.eye(dim).double())
    left = model.log_evidence(rows(x)) - kl_divergence(q(x), model.exact_posterior()(x))
    return left, expected_log_likelihood(model, q, x) - kl_divergence(q(x), prior)


def random_posterior(dim: int, coordinates: int) -> LinearPosterior:
    root = torch.randn(dim, dim).double() / dim**0.5
    slope, offset = 0.3 * torch.randn(dim, coordinates).double(), torch.randn(dim).double()
    return LinearPosterior(slope, offset, root @ root.T + 0.3 * torch.eye(dim).double())


def expected_log_likelihood(model: LinearGaussian, q: LinearPosterior, x: Tensor) -> Tensor:
    """E_q log N(x; Wz + μ, σ²I) = log N(x; Wm + μ, σ²I) − tr(W S Wᵀ)/2σ²."""
    variance, linear_map = model.decoder.log_variance.exp(), model.decoder.linear
    spread = (linear_map.weight @ q.covariance @ linear_map.weight.T).trace()
    expected: Tensor = model.decoder(rows(x), q(x).mean[None]).sum(-1)[0] - 0.5 * spread / variance
    return expected


def row(world: str, how: str, left: Tensor, right: Tensor, stated: float) -> Row:
    return {
        "world": world, "how": how, "observations": len(left), "mean left": float(left.mean()), "mean right": float(right.mean()),
        "largest difference": float((left - right).abs().max()), "stated error": stated,
    }  # fmt: skip


def picture(points: dict[str, Tensor]) -> Figure:
    figure, (axes,) = canvas(1, 8.5)
    for place_, (name, apart) in enumerate(points.items()):
        spread = place_ + torch.linspace(-0.25, 0.25, len(apart))
        # A difference of exactly 0 has no logarithm: it is shown at the bottom.
        axes.plot(spread, apart.abs().clamp_min(1e-16), ".", color=ORANGE if "text" in name else BLUE)
    axes.axhline(1e-16, color=GREY, linewidth=1)
    axes.set_xticks(range(len(points)), points, fontsize=8)
    axes.set(yscale="log", ylabel="|left − right|, nats", title="each point an observation")
    return figure


if __name__ == "__main__":
    main(claim)
