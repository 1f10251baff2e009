"""Claim 11: what is lost with the logarithm, and with the weights."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from notes import Notes, Page, Row, main
from textvae.data.batches import Batch, Sequences, collate
from textvae.evaluation.estimators import standard_error
from textvae.evaluation.quadrature import Quadrature
from textvae.models.distributions import DiagonalGaussian, FullGaussian, Reparameterised
from textvae.models.linear_gaussian import LinearGaussian
from textvae.models.text_vae import TextVAE
from textvae.plots.figure import BLUE, GREEN, GREY, ORANGE, Figure, canvas, legend
from worlds import doubt, linear, rows, some, text, truth

WIDER, WIDER_TEXT = 1.3, 3.0
"""By what the covariance of Q is widened before weights are drawn."""


def claim(notes: Notes) -> Page:
    observations, draws = 16, 400 if notes.quick else 2000
    vae = text(notes, "two")
    with torch.no_grad():
        found = [
            row(f"linear-Gaussian, D = {dim}", gaussian(linear(dim, dim + 8), observations, draws)) for dim in (2, 8, 16)
        ]
        sequences = some(vae, notes, observations)
        grid = truth(vae.model, sequences)
        found.append(row("text, D = 2", words(vae.model, sequences, grid, draws)))
    large, said = found[2], found[3]
    return Page(
        number=11,
        title="what is lost with the logarithm, and with the weights",
        claim="E_Q log P(X|z) is about (1/n) Σ P(X|zᵢ), and E_Q P(X|z) is how the model generates X.",
        verdict="false, both",
        answer="The first is a slip: without the logarithm the mean is a number near 0 that no gradient would care for. The second forgets the weights P(z)/Q(z|X): "
        "what generates X is E_P, and the mean over a Q near the posterior overstates P(X), the more the larger the rate.",
        figure=f"Text, D = 2: log E_Q P(X|z) above log P(X) by {said['no weights']:.2f} ± {said['no weights, se']:.2f} nats; linear-Gaussian, "
        f"D = 16: by {large['no weights']:.2f} ± {large['no weights, se']:.2f}. With weights the two are off by {said['weighted']:.3f} ± {said['weighted, se']:.3f} and {large['weighted']:.3f} ± {large['weighted, se']:.3f}. "
        f"Without the log, {said['mean of P(X|z)']:.2g} stands for {said['E_Q log P(X|z)']:.2f}.",
        text=f"""
Linear-Gaussian models with Q the exact posterior, so that nothing else can be to blame, and a VAE on a tiny grammar with its own encoder. {observations}
observations each; ± is over them.

    E_Q log P(X|z)        −distortion, what the notes mean
    mean of P(X|z)        what they write, E_Q P(X|z): the logarithm is missing
    log E_Q P(X|z)        the same read as an estimate of log P(X): the weights are missing
    log E_Q w P(X|z)      w = P(z)/Q(z|X): log P(X), whatever Q is

The first three are exact: closed forms, or integrals on a grid (error at most {doubt(grid.error)}); so is log P(X). The fourth is a mean over {draws:,} draws from a Q that is *not* the posterior: the exact one with its covariance
{WIDER:g} times as wide, or the encoder's {WIDER_TEXT:g} times as wide (its own is too narrow for weights that keep still: claim 1).

`no weights` is the third less log P(X), `weighted` the fourth less log P(X). By Jensen's inequality E_Q log P(X|z) ≤ log E_Q P(X|z); with Q
the exact posterior E_Q log P(X|z) already exceeds log P(X), by D[Q ‖ P(z)], the rate that has not been paid.
""",
        open="Nothing. Both stay among the deliberately broken estimators, which the tests of the library must reject.",
        table=found,
        picture=picture(found),
        holds=sound(found) if notes.quick else shown(found),
    )


def sound(found: Sequence[Row]) -> dict[str, bool]:
    """What holds of fewer draws and of a model that has hardly been trained, too."""
    linear_ = [row for row in found if "linear" in row["world"]]
    return {
        "without weights P(X) is overstated": all(row["no weights"] > 0 for row in linear_) and linear_[-1]["no weights"] > 1,
        "more so at a larger rate": all(
            a["rate"] < b["rate"] and a["no weights"] < b["no weights"] for a, b in pairwise(linear_)
        ),
        "with weights there is no bias": all(abs(row["weighted"]) < 3.5 * row["weighted, se"] for row in found),
        "without a logarithm nothing is left": all(row["mean of P(X|z)"] > 0 > row["E_Q log P(X|z)"] for row in found),
    }


def shown(found: Sequence[Row]) -> dict[str, bool]:
    """What the page says of its table."""
    return sound(found) | {
        "on text, too, P(X) is overstated": all(row["no weights"] > 0 for row in found),
        "with weights there is little error": all(row["weighted, se"] < 0.02 for row in found),
    }


def gaussian(model: LinearGaussian, observations: int, draws: int) -> dict[str, Tensor]:
    """Closed forms; the weighted estimate alone is sampled, from a wider Q."""
    x = model.sample(observations, seed=5)[1]
    q, linear_map, variance = model.exact_posterior(), model.decoder.linear, model.decoder.log_variance.exp()
    means = linear_map(q(x).mean)
    spread = linear_map.weight @ q.covariance @ linear_map.weight.T
    wide = MultivariateNormal(means, spread + variance * torch.eye(x.shape[1]).double())
    log_p = model.decoder(rows(x), q(x).mean[None]).sum(-1)[0] - 0.5 * spread.trace() / variance
    wider = FullGaussian(q(x).mean, torch.linalg.cholesky(WIDER * q.covariance).expand(observations, -1, -1))
    evidence = model.log_evidence(rows(x))
    return {
        "rate": log_p - evidence,  # Q is the posterior: there is no gap
        "E_Q log P(X|z)": log_p,
        "mean of P(X|z)": wide.log_prob(x).exp(),
        "log E_Q P(X|z)": wide.log_prob(x),
        "log E_Q w P(X|z)": weighted(model, rows(x), wider, draws),
        "log P(X)": evidence,
    }


def words(model: TextVAE, sequences: Sequences, grid: Quadrature, draws: int) -> dict[str, Tensor]:
    """Integrals on the grid, and the weighted estimate from a wider Q."""
    batch = collate([sequences[index] for index in range(len(sequences))])
    q = model.posterior(batch)
    wider = DiagonalGaussian(q.mean, q.variance.log() + math.log(WIDER_TEXT))
    return {
        "rate": grid.rate,
        "E_Q log P(X|z)": grid.under_q(grid.log_likelihood),
        "mean of P(X|z)": grid.under_q(grid.log_likelihood.exp()),
        "log E_Q P(X|z)": grid.under_q(grid.log_likelihood.exp()).log(),
        "log E_Q w P(X|z)": weighted(model, batch, wider, draws),
        "log P(X)": grid.log_evidence,
    }


def weighted(model: TextVAE, batch: Batch, q: Reparameterised, draws: int) -> Tensor:
    """log of the mean of p(x|z) p(z) / q(z) (B,) over draws from q."""
    torch.manual_seed(0)
    z = q.transport(torch.randn(draws, batch.sentences, model.latent_dim).double())
    log_likelihood = torch.cat([model.decoder(batch, part).sum(-1) for part in z.split(100)])
    weights = log_likelihood + model.prior().log_prob(z) - q.log_prob(z)
    return weights.logsumexp(0) - math.log(draws)


def row(world: str, values: dict[str, Tensor]) -> Row:
    """Means over observations, and paired differences from log P(X) with their standard errors."""
    made: Row = {"world": world, **{name: float(value.mean()) for name, value in values.items()}}
    for name, key in (("no weights", "log E_Q P(X|z)"), ("weighted", "log E_Q w P(X|z)")):
        difference = values[key] - values["log P(X)"]
        made |= {name: float(difference.mean()), f"{name}, se": standard_error(difference)}
    return made


def picture(found: list[Row]) -> Figure:
    figure, (axes,) = canvas(1, 7.5)
    shown = (("E_Q log P(X|z)", BLUE), ("log E_Q P(X|z)", ORANGE), ("log E_Q w P(X|z)", GREEN), ("log P(X)", GREY))
    for number, (name, colour) in enumerate(shown):
        places = [place + 0.2 * (number - 1.5) for place in range(len(found))]
        axes.bar(places, [row[name] for row in found], 0.18, color=colour, label=name)
    axes.set_xticks(range(len(found)), [row["world"] for row in found], fontsize=8)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set(ylabel="nats, mean over observations")
    legend(axes, loc="lower left")
    return figure


if __name__ == "__main__":
    main(claim)
